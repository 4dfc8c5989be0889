# SPDX-License-Identifier: MIT
"""Sixty seconds of what tools/soak does for longer: every way to use a file, in every pair of lanes,
from several processes at once; every byte that was read is explained, see soak.h."""
import os
import subprocess
import time

import pytest

from util_mount import BUILD

SOAK = os.path.join(BUILD, "tests", "soak")


def soak(m, seconds, *options):
    seed = time.time_ns() // 1000000
    if m.options and "passthrough=off" in m.options:
        options += ("--no-passthrough",)
    done = subprocess.run([SOAK, "--seed", str(seed), "--seconds", str(seconds), *options, m.path,
                           m.source], stdout=subprocess.PIPE, text=True, timeout=seconds + 100)
    assert done.returncode == 0, (
        f"{done.stdout}\nto replay and shrink it: tools/soak --seed as above, with {m.options}")


@pytest.mark.limit(150)
@pytest.mark.parametrize("passthrough", ["auto", "off"])
@pytest.mark.parametrize("transport", ["io_uring", "dev"])
def test_soak(mount, transport, passthrough):
    soak(mount(f"transport={transport}", f"passthrough={passthrough}"), 9)


@pytest.mark.limit(150)
@pytest.mark.parametrize("transport, passthrough", [("io_uring", "auto"), ("dev", "auto"),
                                                    ("io_uring", "off"), ("dev", "off")])
def test_soak_with_a_writer_outside(mount, transport, passthrough):
    m = mount(f"transport={transport}", f"passthrough={passthrough}")
    soak(m, 6, "--outside", "--operations", "6000")


@pytest.mark.parametrize("name", ["fixed", "sized", "other"])
def test_the_soak_finds_what_is_planted(mount, name):
    """What a file was is written back to it now and then: writes are lost."""
    m = mount()
    process = subprocess.Popen([SOAK, "--seed", "1", "--rounds", "100", m.path, m.source],
                               stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        try:
            with open(m.backing(name), "r+b", buffering=0) as stream:
                before = stream.readall()
                time.sleep(0.01)
                os.pwrite(stream.fileno(), before, 0)
        except FileNotFoundError:
            pass
    text = process.stdout.read()
    assert process.returncode == 1 and "FAILED: seed " in text, text
