# SPDX-License-Identifier: MIT
"""The same battery over every backing filesystem, lane, transport and passthrough setting."""
import itertools
import random

import pytest

from util_battery import BATTERY, model

BACKINGS = ["ext4", "xfs", "btrfs", "tmpfs"]
LANES = ["auto", "cached", "direct", "stream"]
TRANSPORTS = ["dev", "io_uring"]
PASSTHROUGH = ["auto", "off"]


def ways():
    """
    All of them on ext4.  On the others each lane with and without passthrough, and each of those by
    one transport, by the other for the next lane and backing: whose requests are carried does not
    depend on what they are answered from, which all four tell of on ext4; what a lane does, and
    whether it passes through, depends on the backing, and all of that is here.
    """
    for backing, lane, passthrough, transport in itertools.product(
            BACKINGS, LANES, PASSTHROUGH, TRANSPORTS):
        places = BACKINGS.index(backing), LANES.index(lane), PASSTHROUGH.index(passthrough)
        if backing == "ext4" or transport == TRANSPORTS[sum(places) % 2]:
            yield backing, lane, transport, passthrough


@pytest.mark.parametrize("backing, lane, transport, passthrough", ways())
def test_battery(mount, backing, lane, transport, passthrough):
    m = mount("threshold=512K", f"lane={lane}", f"transport={transport}",
              f"passthrough={passthrough}", backing=backing)
    for part in BATTERY:
        part(m, random.Random(f"{backing} {lane} {transport} {passthrough} {part.__name__}"), 1)


@pytest.mark.limit(120)
@pytest.mark.parametrize("lane, transport, passthrough", [
    ("auto", "io_uring", "auto"), ("cached", "dev", "off"), ("direct", "io_uring", "auto"),
    ("direct", "dev", "off"), ("auto", "io_uring", "off")])
def test_long_battery(mount, lane, transport, passthrough):
    """More of it, mounted over itself on the machine's own disk."""
    m = mount("threshold=512K", f"lane={lane}", f"transport={transport}",
              f"passthrough={passthrough}", over=True)
    for part in BATTERY:
        part(m, random.Random(part.__name__), 16)


@pytest.mark.parametrize("passthrough", ["auto", "off"])
@pytest.mark.parametrize("policies", [
    ("cached", "direct", "stream"), ("direct", "cached", "direct"), ("stream", "stream", "direct"),
    ("direct", "direct", "cached")], ids="-".join)
def test_lanes_mixed(mount, policies, passthrough):
    """Three opens of one file in different lanes against one model."""
    m = mount(f"passthrough={passthrough}")
    for seed in range(4):
        model(m, random.Random(seed), 2, policies)


@pytest.mark.parametrize("lane", LANES)
def test_without_attribute_caching(mount, lane):
    m = mount("threshold=512K", f"lane={lane}", "attr-timeout=0")
    model(m, random.Random(lane), 2)
