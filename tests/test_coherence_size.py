# SPDX-License-Identifier: MIT
"""What grows in SOURCE, and who sends it without ever asking for its size."""
import mmap
import os
import time

import pytest

from test_coherence import LANES
from util import read_file, wait_for, write_file


@pytest.fixture(params=LANES, ids="-".join)
def m(request, part):
    lane, passthrough = request.param
    return part(f"lane={lane}", f"passthrough={passthrough}")


@pytest.fixture
def sink():
    fd = os.memfd_create("sink")
    yield fd
    os.close(fd)


def test_outside_growth_is_seen_by_sendfile_in_a_second(m, sink):
    """The kernel asks nobody for the size: sendfile ends where it knows the file to end."""
    write_file(m.backing("f"), b"a" * 50000)
    with open(m.join("f"), "rb", buffering=0) as stream, open(m.backing("f"), "ab") as outside:
        assert os.sendfile(sink, stream.fileno(), 0, 100000) == 50000
        outside.write(b"b" * 20000)
        outside.flush()
        os.lseek(sink, 0, os.SEEK_SET)
        wait_for(lambda: os.sendfile(sink, stream.fileno(), 50000, 100000), 1.5, "the larger size")
        while os.sendfile(sink, stream.fileno(), os.lseek(sink, 0, os.SEEK_CUR) + 50000, 100000):
            pass
        assert os.pread(sink, 100000, 0) == b"b" * 20000 + b"a" * 30000


def test_outside_growth_is_seen_by_a_writer_that_sends(m, sink):
    """It has asked for the size; what it has stored stays."""
    write_file(m.backing("f"), b"a" * 50000)
    with open(m.join("f"), "r+b", buffering=0) as stream, open(m.backing("f"), "ab") as outside:
        assert os.sendfile(sink, stream.fileno(), 0, 100000) == 50000
        outside.write(b"b" * 20000)
        outside.flush()
        with mmap.mmap(stream.fileno(), 50000) as view:
            view[49999:] = b"c"
            wait_for(lambda: os.fstat(stream.fileno()).st_size == 70000, 1.5, "the larger size")
            os.lseek(sink, 0, os.SEEK_SET)
            assert os.sendfile(sink, stream.fileno(), 50000, 100000) == 20000
        assert os.pread(sink, 20000, 0) == b"b" * 20000
    assert read_file(m.backing("f")) == b"a" * 49999 + b"c" + b"b" * 20000


def send_all(sink, fd, offset):
    os.lseek(sink, 0, os.SEEK_SET)
    while sent := os.sendfile(sink, fd, offset, 100000):
        offset += sent
    return offset


@pytest.mark.parametrize("before", ["looked up", "read", "written"])
def test_growth_before_the_open_is_seen_by_sendfile(m, sink, before):
    """The kernel knows the size from before, and is not asked for attributes."""
    # open() would ask for attributes.
    if before == "written":
        fd = os.open(m.join("f"), os.O_RDWR | os.O_CREAT)
        os.write(fd, b"a" * 50000)
    else:
        write_file(m.backing("f"), b"a" * 50000)
        assert os.stat(m.join("f")).st_size == 50000
        fd = os.open(m.join("f"), os.O_RDONLY)
    if before != "looked up":
        assert send_all(sink, fd, 0) == 50000
        os.close(fd)
    for size in (60000, 60001, 70000):
        write_file(m.backing("f"), b"b" * size)
        more = os.open(m.join("f"), os.O_RDONLY)
        assert send_all(sink, more, 0) == size
        assert os.pread(sink, 100000, 0)[:size] == b"b" * size
        os.close(more)
    if before == "looked up":
        os.close(fd)


@pytest.mark.parametrize("how", [os.O_RDONLY, os.O_RDWR])
def test_growth_long_after_the_open_is_seen_by_the_first_sendfile(m, sink, how):
    """Nothing was read by the kernel's pages before, and whoever writes has it know sizes of his own."""
    if how == os.O_RDWR and "passthrough=off" in m.mount.options:
        pytest.skip("the kernel's pages may hold stores, see README, Limits")
    write_file(m.backing("f"), b"a" * 50000)
    fd = os.open(m.join("f"), os.O_RDONLY)
    other = os.open(m.join("f"), how)
    with open(m.backing("f"), "ab", buffering=0) as outside:
        outside.write(b"b" * 20000)
    # As long as it may take, and some for a busy machine.
    time.sleep(1.6)
    assert send_all(sink, fd, 50000) == 70000
    assert os.pread(sink, 100000, 0)[:20000] == b"b" * 20000
    os.close(other)
    os.close(fd)


def test_growth_after_somebody_shrank_it_is_seen_by_sendfile_in_a_second(m, sink):
    write_file(m.backing("f"), b"a" * 70000)
    fd = os.open(m.join("f"), os.O_RDONLY)
    assert send_all(sink, fd, 0) == 70000
    os.truncate(m.join("f"), 50000)
    with open(m.backing("f"), "ab", buffering=0) as outside:
        outside.write(b"b" * 10000)
    wait_for(lambda: send_all(sink, fd, 0) == 60000, 1.5, "the size after it was truncated")
    assert os.pread(sink, 100000, 0)[:60000] == b"a" * 50000 + b"b" * 10000
    os.close(fd)
