# SPDX-License-Identifier: MIT
"""What one open reads over and over stays in memory, where there is room for it."""
import json
import os
import random

import pytest

import util_sys
from util import wait_for
from util_cgroup import memory_cgroup
from util_mount import sanitized
from util_stream import MIB, Reclaimed, all_there, gone, make_room, passthrough, read_ahead, \
    unless_reclaimed
from util_sys import resident

pytestmark = pytest.mark.daemon

SIZE = 24 * MIB
PIECE = 256 << 10
# The last page of a file may come by itself.
FEW = 64 << 10


@pytest.fixture(autouse=True)
def room(scratch):
    yield
    make_room(scratch)


def make(m, size=SIZE):
    """A large file of which nothing is in memory, and what is in it."""
    data = random.Random(size).randbytes(size)
    with open(m.backing("f"), "wb") as stream:
        stream.write(data)
        os.fsync(stream.fileno())
    util_sys.drop_pages(m.backing("f"))
    assert resident(m.backing("f")) == 0
    return data


def read_all(fd, data, seed=None):
    places = list(range(0, len(data), PIECE))
    if seed is not None:
        random.Random(seed).shuffle(places)
    for place in places:
        assert os.pread(fd, PIECE, place) == data[place:place + PIECE]


def open_lanes(m):
    lanes = m.stats(m.join("f"))["lanes"]
    return [name for name in lanes if lanes[name]["open"]]


@pytest.mark.parametrize("order", ["sequential", "random"])
@pytest.mark.parametrize("options", [
    ("transport=io_uring",), ("transport=dev",), ("passthrough=off",)], ids=lambda o: o[0])
@unless_reclaimed
def test_direct_reader(mount, options, order):
    m = mount("threshold=1M", *options, backing="ext4")
    read_ahead(m)
    data = make(m)
    fd = os.open(m.join("f"), os.O_RDONLY)
    assert open_lanes(m) == ["direct"]
    for again in range(2):
        # Once, and once more: nothing says yet that it goes on.
        assert resident(m.backing("f")) <= FEW
        read_all(fd, data, again if order == "random" else None)
    end = 0
    while resident(m.backing("f")) < SIZE and end < 8:
        read_all(fd, data, end if order == "random" else None)
        end += 1
    all_there(m.backing("f"), SIZE)
    hot = json.loads(m.attribute("report"))["hot"]
    assert hot["files"] == 1 and hot["bytes"] == SIZE, hot
    assert m.lane(m.join("f")) == "cached"
    # From memory: what others change in SOURCE is seen, and what is written here.
    for path, byte in ((m.backing("f"), b"x"), (m.join("f"), b"y")):
        with open(path, "r+b", buffering=0) as stream:
            stream.seek(MIB + 1)
            stream.write(byte)
        assert os.pread(fd, 3, MIB) == data[MIB:MIB + 1] + byte + data[MIB + 2:MIB + 3]
    os.truncate(m.join("f"), SIZE - 1)
    assert os.pread(fd, PIECE, SIZE - 10) == data[-10:-1]
    assert os.pread(fd, PIECE, SIZE - 1) == b""
    os.close(fd)
    wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "release")
    if resident(m.backing("f")) < SIZE * 0.95:
        raise Reclaimed("it is not there after the close")


@unless_reclaimed
def test_stream_of_more_than_the_trimmer_remembers(mount):
    """Eight windows are 8 MiB."""
    m = passthrough(mount("threshold=1M", "stream-window=1M", backing="ext4"))
    read_ahead(m)
    data = make(m)
    os.setxattr(m.join("f"), "user.lanefs.policy", b"stream")
    fd = os.open(m.join("f"), os.O_RDONLY)
    for _ in range(10):
        read_all(fd, data)
        if open_lanes(m) == ["cached"]:
            break
    assert open_lanes(m) == ["cached"]
    read_all(fd, data)
    all_there(m.backing("f"), SIZE)
    os.close(fd)
    all_there(m.backing("f"), SIZE)


@unless_reclaimed
def test_file_that_comes_back_while_somebody_has_it_open(mount):
    """A database's first process streams a table, and keeps it open; others come and go."""
    m = passthrough(mount("threshold=1M", "stream-window=1M", backing="ext4"))
    read_ahead(m)
    data = make(m)
    fd = os.open(m.join("f"), os.O_RDWR)
    assert open_lanes(m) == ["stream"]
    for turn in range(8):
        # Other parts of it: what was dropped does not come again.
        place = turn % 6 * 4 * MIB
        with open(m.join("f"), "r+b", buffering=0) as other:
            assert other.read(PIECE) == data[:PIECE]
            assert os.pread(other.fileno(), 4 * MIB, place) == data[place:place + 4 * MIB]
    wait_for(lambda: open_lanes(m) == ["cached"], 5, "what is open moves")
    read_all(fd, data)
    all_there(m.backing("f"), SIZE)
    os.close(fd)
    all_there(m.backing("f"), SIZE)


@pytest.mark.parametrize("how", ["policy", "lane", "learn"])
def test_who_has_decided_is_obeyed(mount, how):
    m = mount("threshold=1M", *{"lane": ["lane=direct"], "learn": ["learn=off"]}.get(how, []),
              backing="ext4")
    data = make(m)
    if how == "policy":
        os.setxattr(m.join("f"), "user.lanefs.policy", b"direct")
    with open(m.join("f"), "rb", buffering=0) as file:
        assert open_lanes(m) == ["direct"]
        for _ in range(6):
            read_all(file.fileno(), data)
            assert resident(m.backing("f")) <= FEW


def test_without_room(mount):
    """What the daemon reads is its control group's."""
    if sanitized():
        pytest.skip("a sanitizer needs more memory")
    with memory_cgroup("over", 96 * MIB) as group:
        m = mount("threshold=1M", backing="ext4", enter=group.enter)
        data = make(m, 64 * MIB)
        with open(m.join("f"), "rb", buffering=0) as file:
            assert open_lanes(m) == ["direct"]
            for _ in range(5):
                read_all(file.fileno(), data)
                gone(m.backing("f"))
        assert m.close() == []


def test_reader_whose_file_is_written(mount):
    """Who writes it goes on without windows, and what was kept is right."""
    m = mount("threshold=1M", backing="ext4")
    data = bytearray(make(m))
    fd = os.open(m.join("f"), os.O_RDONLY)
    writer = os.open(m.join("f"), os.O_RDWR)
    for turn in range(6):
        read_all(fd, data)
        place = turn * 3 * MIB + 5
        data[place:place + 3] = b"new"
        assert os.pwrite(writer, b"new", place) == 3
    read_all(fd, data)
    os.close(writer)
    read_all(fd, data)
    os.close(fd)
