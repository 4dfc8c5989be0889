# SPDX-License-Identifier: MIT
"""What the direct lane writes: the bytes, who may write at once, and what stays in the page cache."""
import os
import threading
import time

import pytest

import util_sys
from util import pattern, read_file, sha256
from util_sys import resident

pytestmark = pytest.mark.daemon

MIB = 1 << 20
BACKINGS = ["disk", "ext4", "xfs", "btrfs", "tmpfs"]


def write_all(path, data, piece, flags=os.O_WRONLY | os.O_CREAT):
    fd = os.open(path, flags, 0o644)
    try:
        for at in range(0, len(data), piece):
            view = memoryview(data)[at:at + piece]
            while view:
                view = view[os.write(fd, view):]
        os.fsync(fd)
    finally:
        os.close(fd)


def dirty(path):
    """Pages of the file that are still to be written."""
    fd = os.open(path, os.O_RDONLY)
    try:
        counts = util_sys.cachestat_all(fd)
    finally:
        os.close(fd)
    if counts is None:
        pytest.skip("this kernel has no cachestat(2)")
    return counts.dirty + counts.writeback


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("passthrough", ["passthrough=auto", "passthrough=off"])
def test_bytes_of_every_write_size(mount, backing, passthrough):
    """Large and small, aligned and not, also where the filesystem knows no uncached writes."""
    m = mount("lane=direct", passthrough, backing=backing)
    data = pattern(5 * MIB + 777, seed=3)
    for piece in (4 * MIB, MIB, 128 << 10, 100001, 4096):
        write_all(m.join(f"f{piece}"), data, piece)
        assert read_file(m.backing(f"f{piece}")) == data, piece
        assert sha256(m.join(f"f{piece}")) == sha256(m.backing(f"f{piece}")), piece


@pytest.mark.parametrize("transport", ["transport=dev", "transport=io_uring"])
def test_large_writes_leave_the_page_cache_alone(mount, transport):
    m = mount("lane=direct", "passthrough=off", transport, backing="ext4")
    data = pattern(64 * MIB, seed=5)
    write_all(m.join("f"), data, MIB)
    assert resident(m.backing("f")) <= MIB
    assert resident(m.join("f")) == 0
    assert read_file(m.backing("f")) == data


@pytest.mark.parametrize("passthrough", ["passthrough=auto", "passthrough=off"])
def test_a_size_the_kernel_is_told_of_leaves_no_page(mount, passthrough):
    """The kernel learns of a larger file by a byte of its last page, which is not to stay."""
    m = mount("lane=direct", passthrough, backing="ext4")
    write_all(m.join("f"), pattern(MIB), MIB)
    with open(m.join("f"), "rb") as stream:
        # The daemon looks twice a second at what is open.
        time.sleep(2)
        assert resident(stream.fileno()) == 0


def test_pages_that_were_there_before_stay(mount):
    """Somebody else's hot part of the file is overwritten, not taken from him."""
    m = mount("lane=direct", "passthrough=off", backing="ext4")
    write_all(m.backing("f"), pattern(8 * MIB), MIB)
    before = resident(m.backing("f"))
    assert before >= 7 * MIB
    write_all(m.join("f"), pattern(4 * MIB, seed=9), MIB, os.O_WRONLY)
    assert resident(m.backing("f")) >= before - MIB
    assert read_file(m.backing("f"))[:4 * MIB] == pattern(4 * MIB, seed=9)


@pytest.mark.parametrize("transport", ["transport=dev", "transport=io_uring"])
def test_writers_of_one_file_at_once(mount, transport):
    """Each has its own part, and one appends: no byte is lost."""
    m = mount("lane=direct", "passthrough=off", transport)
    parts, size, piece = 6, 4 * MIB, 48 << 10
    with open(m.backing("f"), "wb") as stream:
        stream.truncate(parts * size)

    def part(number):
        data = pattern(size, seed=number)
        fd = os.open(m.join("f"), os.O_WRONLY)
        for at in range(0, size, piece):
            os.pwrite(fd, data[at:at + piece], number * size + at)
        os.close(fd)

    def append():
        fd = os.open(m.join("f"), os.O_WRONLY | os.O_APPEND)
        for _ in range(64):
            os.write(fd, b"a" * 5000)
        os.close(fd)

    threads = [threading.Thread(target=part, args=(number,)) for number in range(parts)]
    threads += [threading.Thread(target=append) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    data = read_file(m.backing("f"))
    for number in range(parts):
        assert data[number * size:(number + 1) * size] == pattern(size, seed=number), number
    assert data[parts * size:] == b"a" * (2 * 64 * 5000)


def test_written_through_another_lane_is_read(mount):
    """Windows, the pages of the mount and those of the backing file: none is stale."""
    m = mount("lane=direct", "passthrough=off", "transport=io_uring")
    write_all(m.join("f"), pattern(8 * MIB), MIB)
    reader = os.open(m.join("f"), os.O_RDONLY)
    for at in range(0, 4 * MIB, 128 << 10):
        assert os.pread(reader, 128 << 10, at) == pattern(8 * MIB)[at:at + (128 << 10)]
    for turn in range(8):
        data = pattern(MIB, seed=20 + turn)
        write_all(m.join("f"), data, (64 << 10) * (turn % 2 + 1), os.O_WRONLY)
        assert os.pread(reader, MIB, 0) == data
        out = os.memfd_create("out")
        assert os.sendfile(out, reader, 0, MIB) > 0
        got = os.pread(out, MIB, 0)
        assert got == data[:len(got)]
        os.close(out)
    os.close(reader)


@pytest.mark.parametrize("options", [("lane=direct", "passthrough=off", "transport=io_uring"),
                                     ("lane=direct", "passthrough=off", "transport=dev"),
                                     ("lane=cached", "passthrough=off"), ("lane=cached",)])
@pytest.mark.parametrize("flag", [os.RWF_DSYNC, os.RWF_SYNC])
def test_write_that_is_synchronous_by_itself(mount, options, flag):
    """pwritev2(2) with RWF_DSYNC on a descriptor that is not: nothing is left to be written."""
    m = mount(*options, backing="ext4")
    write_all(m.join("f"), pattern(MIB), MIB)
    fd = os.open(m.join("f"), os.O_WRONLY)
    try:
        os.pwritev(fd, [b"x" * 4096], 8192)
        # A folio that is dirty counts with all its pages.
        before = dirty(m.backing("f"))
        os.pwritev(fd, [b"y" * 4096], 8192, flag)
        after = dirty(m.backing("f"))
    finally:
        os.close(fd)
    assert before > 0
    assert after == 0
    assert read_file(m.backing("f"))[8192:12288] == b"y" * 4096
