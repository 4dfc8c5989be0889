# SPDX-License-Identifier: MIT
"""The same battery over every backing filesystem, lane, transport and passthrough setting."""
import random

import pytest

from util_battery import BATTERY, model

BACKINGS = ["ext4", "xfs", "btrfs", "tmpfs"]
LANES = ["auto", "cached", "direct", "stream"]


@pytest.mark.parametrize("passthrough", ["auto", "off"])
@pytest.mark.parametrize("transport", ["dev", "io_uring"])
@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("backing", BACKINGS)
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
