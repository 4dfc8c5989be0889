# SPDX-License-Identifier: MIT
"""Files that are read through a mapping: bounded like others, and nobody else's mapping touched."""
import contextlib
import ctypes
import errno
import hashlib
import mmap
import os
import random
import struct
import time
from types import SimpleNamespace

import pytest

import util_sys
from util import Child, idle, run, sha256, wait_for
from util_stream import BACKINGS, MIB, SLACK, WINDOW, Peak, Reclaimed, cold, gone, make_room, \
    passthrough, read_ahead, unless_reclaimed, without_system_call
from util_sys import resident

pytestmark = pytest.mark.daemon

SYS_PROCESS_MADVISE = 440
# Enough to be told from what may be resident, WINDOW and SLACK.
SIZE = 48 * MIB


@pytest.fixture(autouse=True)
def room(scratch):
    yield
    make_room(scratch)


def small_window(mount, lane, backing, **kwargs):
    m = passthrough(mount(f"lane={lane}", "stream-window=8M", backing=backing, **kwargs))
    read_ahead(m)
    return m


def can_page_out(m):
    if not m.stats()["page_out"]["available"]:
        pytest.skip(m.stats()["page_out"]["reason"])
    return m


@pytest.fixture
def stream(request, mount):
    """A mount that streams all files, with a small window."""
    return can_page_out(small_window(mount, "stream", getattr(request, "param", "ext4")))


each_backing = pytest.mark.parametrize("stream", BACKINGS, indirect=True)


@contextlib.contextmanager
def mapped(path, size=SIZE):
    """A mapping that leaves no descriptor behind, as Python's own does."""
    libc = util_sys.libc
    libc.mmap.restype = ctypes.c_void_p
    fd = os.open(path, os.O_RDONLY)
    address = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, fd,
                        ctypes.c_long(0))
    os.close(fd)
    assert address != ctypes.c_void_p(-1).value
    try:
        yield lambda at, length: ctypes.string_at(address + at, length)
    finally:
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))


def look_through(read, size=SIZE, piece=128 << 10, pause=0.003):
    """The checksum of all of it, at no more than 42 MB/s: who drops it gives way to everybody."""
    found = hashlib.sha256()
    for at in range(0, size, piece):
        found.update(read(at, min(piece, size - at)))
        idle(pause)
    return found.hexdigest()


def touch(view, begin, end):
    for at in range(begin, end, 4096):
        assert view[at:at + 1] is not None


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("lane", ["stream", "direct"])
@unless_reclaimed
def test_mapping_is_bounded(mount, lane, backing):
    m = can_page_out(small_window(mount, lane, backing))
    digest = cold(m, "f", SIZE)
    with open(m.join("f"), "rb") as file, \
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view, \
            Peak(m.backing("f")) as peak:
        assert m.stats()["lanes"][lane]["open"] == 1
        assert look_through(lambda at, length: view[at:at + length]) == digest
    peak.at_most(WINDOW + SLACK)
    gone(m.backing("f"))
    assert m.stats()["residency"]["dropped"] >= SIZE - WINDOW - SLACK


@unless_reclaimed
def test_mapping_of_a_filesystem_below_is_bounded(mount, scratch):
    """Its files have other numbers on the mount than they have themselves."""
    source, below = scratch.directory("source", "xfs"), scratch.directory("below", "ext4")
    os.mkdir(os.path.join(source, "below"))
    run("mount", "--bind", below, os.path.join(source, "below"))
    try:
        m = can_page_out(small_window(mount, "stream", "xfs", source=source))
        # That of the other filesystem, too.
        read_ahead(SimpleNamespace(source=below))
        digest = cold(m, "below/f", SIZE)
        with open(m.join("below/f"), "rb") as file, \
                mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view, \
                Peak(m.backing("below/f")) as peak:
            assert look_through(lambda at, length: view[at:at + length]) == digest
        peak.at_most(WINDOW + SLACK)
        gone(m.backing("below/f"))
        assert m.close() == []
    finally:
        run("umount", "-l", os.path.join(source, "below"))


@unless_reclaimed
def test_mapping_that_outlives_its_descriptor_is_bounded(stream):
    digest = cold(stream, "f", SIZE)
    with mapped(stream.join("f")) as read:
        wait_for(lambda: stream.stats()["files"]["open"] == 0, 5, "release")
        with Peak(stream.backing("f")) as peak:
            assert look_through(read) == digest
        peak.at_most(WINDOW + SLACK)
        # What it reads at is not taken away, however long it does nothing.
        left = resident(stream.backing("f"))
        time.sleep(1)
        assert resident(stream.backing("f")) >= left / 2
    gone(stream.backing("f"), 10)


@unless_reclaimed
def test_mapping_of_a_child_is_bounded(stream):
    """Loaders of datasets map and fork; who opened the file does not read it."""
    digest = cold(stream, "f", SIZE)
    with open(stream.join("f"), "rb") as file, \
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        child = Child(look_through, lambda at, length: view[at:at + length])
        try:
            with Peak(stream.backing("f")) as peak:
                assert child.result(60) == digest
        finally:
            child.close()
    peak.at_most(WINDOW + SLACK)


@each_backing
@unless_reclaimed
def test_pages_that_another_process_maps_stay(stream):
    """What two map is left alone, and so is what only the other maps, behind the mount."""
    cold(stream, "f", 64 * MIB)
    ready, on = os.pipe(), os.pipe()

    def other():
        with open(stream.join("f"), "rb") as one, open(stream.backing("f"), "rb") as two, \
                mmap.mmap(one.fileno(), 0, prot=mmap.PROT_READ) as mounted, \
                mmap.mmap(two.fileno(), 0, prot=mmap.PROT_READ) as behind:
            touch(mounted, 16 * MIB, 18 * MIB)
            touch(behind, 36 * MIB, 38 * MIB)
            os.write(ready[1], b"x")
            os.read(on[0], 1)

    with open(stream.join("f"), "rb") as file, open(stream.backing("f"), "rb") as backing, \
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        child = Child(other)
        try:
            assert os.read(ready[0], 1) == b"x"
            touch(view, 16 * MIB, 18 * MIB)
            before = stream.stats()["residency"]["dropped"]
            look_through(lambda at, length: view[at:at + length] if at >= 42 * MIB else b"", 64 * MIB)
            assert stream.stats()["residency"]["dropped"] > before
            for begin in (16, 36):
                pages = util_sys.cachestat(backing.fileno(), begin * MIB, 2 * MIB)
                if pages * 4096 != 2 * MIB:
                    raise Reclaimed(f"{pages} pages are left at {begin} MiB")
            os.write(on[1], b"x")
            child.result(10)
        finally:
            child.close()
            for fd in ready + on:
                os.close(fd)


@each_backing
def test_mapping_is_never_torn(stream):
    """What is stored to a mapping is there, while others stream the file and pages come and go."""
    cold(stream, "f", SIZE)
    with open(stream.join("f"), "r+b") as file, mmap.mmap(file.fileno(), 8 * MIB) as view:
        for turn in range(4):
            for at in range(0, 8 * MIB, 4096):
                view[at:at + 8] = struct.pack("<Q", at + turn)
            sha256(stream.join("f"))
            for at in range(0, 8 * MIB, 4096):
                assert view[at:at + 8] == struct.pack("<Q", at + turn)
        view.flush()
    gone(stream.backing("f"))
    with open(stream.backing("f"), "rb") as file:
        for at in range(0, 8 * MIB, 4096):
            assert os.pread(file.fileno(), 8, at) == struct.pack("<Q", at + 3)


@each_backing
def test_stores_are_kept_while_pages_are_taken(stream):
    """A program that writes all of a large mapping from end to end."""
    cold(stream, "f", SIZE)
    with open(stream.join("f"), "r+b") as file, mmap.mmap(file.fileno(), SIZE) as view, \
            Peak(stream.backing("f")):
        for at in range(0, SIZE, 4096):
            view[at + 100:at + 108] = struct.pack("<Q", at)
            if not at % MIB:
                time.sleep(0.01)
        for at in range(0, SIZE, 4096):
            assert view[at + 100:at + 108] == struct.pack("<Q", at)
    gone(stream.backing("f"), 10)
    with open(stream.backing("f"), "rb") as file:
        for at in range(0, SIZE, 4096):
            assert os.pread(file.fileno(), 8, at + 100) == struct.pack("<Q", at)


def test_random_reader_is_not_robbed_all_the_time(stream):
    """What it needs again at once stays with it, though it is more than the window."""
    cold(stream, "f", 32 * MIB)
    rng = random.Random(7)
    with open(stream.join("f"), "rb") as file, \
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            at = rng.randrange(32 * MIB)
            assert len(view[at:at + 1]) == 1
            time.sleep(0.0002)
        dropped = stream.stats()["residency"]["dropped"]
        assert dropped <= 2 * 32 * MIB, dropped / MIB
        assert resident(stream.backing("f")) >= WINDOW


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_where_pages_cannot_be_taken_they_stay(mount, error):
    m = small_window(mount, "stream", "ext4",
                     enter=lambda: without_system_call(SYS_PROCESS_MADVISE, error))
    digest = cold(m, "f", SIZE)
    with open(m.join("f"), "rb") as file, \
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert look_through(lambda at, length: view[at:at + length]) == digest
        assert resident(m.backing("f")) >= 32 * MIB
        assert "process_madvise" in m.stats()["page_out"]["reason"]
        assert m.stats()["residency"]["paged_out"] == 0
    gone(m.backing("f"))
