# SPDX-License-Identifier: MIT
"""Times that move by themselves: atime rules, and mtime after writes of every kind."""
import mmap
import os
import time

import pytest

import util_sys
from util import pattern, read_file, run, sha256, wait_for, write_file

OLD = (1_000_000_000, 0)
OLD_NS = OLD[0] * 10**9


def aged(m, name="f", size=100000):
    """A file with an access time far before its modification."""
    write_file(m.backing(name), pattern(size))
    util_sys.utimensat(m.backing(name), OLD, (OLD[0] + 100, 0))
    return m.join(name)


def atime(m, name="f"):
    ours = os.stat(m.join(name)).st_atime_ns
    assert ours == os.stat(m.backing(name)).st_atime_ns
    return ours


def test_read_moves_atime_relatively(m):
    path = aged(m)
    os.stat(path)
    assert atime(m) == OLD_NS
    read_file(path)
    first = atime(m)
    assert first > OLD_NS
    time.sleep(0.02)
    read_file(path)
    assert atime(m) == first, "relatime: read again within a day of an unchanged file"
    time.sleep(0.02)
    write_file(path, b"changed")
    read_file(path)
    assert atime(m) > first


def test_mmap_read_moves_atime(m):
    path = aged(m)
    with open(path, "rb") as stream:
        with mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
            assert view[:4] == pattern(4)
    assert atime(m) > OLD_NS


def test_open_with_noatime(m):
    path = aged(m)
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
    assert len(os.read(fd, 200000)) == 100000
    os.close(fd)
    assert atime(m) == OLD_NS


def test_list_with_noatime(m):
    path = m.join("d")
    os.mkdir(path)
    os.mkdir(path + "/e")
    util_sys.utimensat(path, OLD, (OLD[0] + 100, 0))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
    assert os.listdir(fd) == ["e"]
    os.close(fd)
    assert atime(m, "d") == OLD_NS
    assert os.listdir(path) == ["e"]
    assert atime(m, "d") > OLD_NS


def test_copy_moves_atime(m):
    with open(aged(m), "rb") as source, open(m.join("g"), "wb") as target:
        os.fstat(source.fileno())
        assert os.copy_file_range(source.fileno(), target.fileno(), 1000) == 1000
    assert atime(m) == os.stat(m.backing("f")).st_atime_ns


def test_looking_does_not_move_atime(m):
    """stat, xattrs, an open without a read: none of them is an access."""
    path = aged(m)
    os.listxattr(path)
    os.access(path, os.R_OK)
    os.listdir(m.path)
    os.close(os.open(path, os.O_RDONLY))
    assert atime(m) == OLD_NS


@pytest.mark.daemon
def test_asking_lanefs_does_not_move_atime(m):
    path = aged(m)
    for name in ("lane", "why", "explain", "stats"):
        m.attribute(name, path)
    assert atime(m) == OLD_NS


@pytest.mark.daemon
@pytest.mark.parametrize("lane", ["cached", "direct", "stream"])
@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_noatime_mount(mount, lane, passthrough):
    m = mount("noatime", f"lane={lane}", f"passthrough={passthrough}")
    path = aged(m, size=1 << 20)
    sha256(path)
    assert atime(m) == OLD_NS
    with open(path, "rb") as stream:
        with mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
            assert view[4096:8192] == pattern(8192)[4096:]
    assert atime(m) == OLD_NS


@pytest.mark.daemon
@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_noatime_mount_sees_what_is_mounted_later(mount, passthrough):
    m = mount("noatime", f"passthrough={passthrough}")
    os.mkdir(m.backing("later"))
    assert os.listdir(m.join("later")) == []
    run("mount", "-t", "tmpfs", "none", m.backing("later"))
    try:
        # The kernel knows the name for attr-timeout.
        time.sleep(1.2)
        write_file(m.join("later/f"), b"data")
        assert read_file(m.backing("later/f")) == b"data"
        assert read_file(m.join("later/f")) == b"data"
    finally:
        util_sys.umount2(m.backing("later"), util_sys.MNT_DETACH)
    wait_for(lambda: os.listdir(m.join("later")) == [], 5, "what was mounted is not seen any more")


@pytest.mark.daemon
@pytest.mark.parametrize("option, moves", [("nodiratime", False), ("noatime", False), ("", True)])
def test_nodiratime_mount(mount, option, moves):
    m = mount(option)
    os.mkdir(m.backing("d"))
    util_sys.utimensat(m.backing("d"), OLD, (OLD[0] + 100, 0))
    assert os.listdir(m.join("d")) == []
    assert (atime(m, "d") > OLD_NS) == moves
    path = aged(m)
    read_file(path)
    assert (atime(m) > OLD_NS) == (option != "noatime")


def test_backing_noatime_is_kept(mount, scratch):
    """The backing is on a noatime mount: reads through lanefs leave its atime alone."""
    source = scratch.directory("noatime")
    run("mount", "--bind", source, source)
    try:
        run("mount", "-o", "remount,bind,noatime", source)
        m = mount(source=source)
        path = aged(m)
        read_file(path)
        assert atime(m) == OLD_NS
    finally:
        run("umount", "-l", source)


def moved(m, fd, action):
    """action() moves mtime and ctime at once, by name and by descriptor."""
    before = os.fstat(fd)
    time.sleep(0.02)
    action()
    by_fd, by_name = os.fstat(fd), os.stat(m.join("f"))
    for after in (by_fd, by_name):
        assert after.st_mtime_ns > before.st_mtime_ns
        assert after.st_ctime_ns > before.st_ctime_ns
    assert by_fd.st_mtime_ns == os.stat(m.backing("f")).st_mtime_ns


def test_every_kind_of_change_moves_mtime(m):
    write_file(m.join("f"), pattern(100000))
    fd = os.open(m.join("f"), os.O_RDWR)
    moved(m, fd, lambda: os.pwrite(fd, b"x", 10))
    moved(m, fd, lambda: os.ftruncate(fd, 50000))
    moved(m, fd, lambda: util_sys.fallocate(fd, 3, 0, 4096))
    moved(m, fd, lambda: os.copy_file_range(fd, fd, 100, 0, 30000))
    moved(m, fd, lambda: os.pwrite(fd, b"end", 100000))
    os.close(fd)


def test_mmap_write_moves_mtime_by_msync(m):
    write_file(m.join("f"), pattern(100000))
    fd = os.open(m.join("f"), os.O_RDWR)
    with mmap.mmap(fd, 100000) as view:
        def change():
            view[5000:5010] = b"0123456789"
            view.flush()
        moved(m, fd, change)
        moved(m, fd, change)
    os.close(fd)


@pytest.mark.daemon
@pytest.mark.parametrize("lane", ["cached", "direct", "stream"])
def test_mmap_write_moves_mtime_at_once(mount, lane):
    """Attributes of a file with a passthrough writer are cached for a tick of the clock at most."""
    m = mount(f"lane={lane}")
    if not m.passthrough:
        pytest.skip("without passthrough mtime moves at msync")
    write_file(m.join("f"), pattern(100000))
    fd = os.open(m.join("f"), os.O_RDWR)
    os.stat(m.join("f"))
    with mmap.mmap(fd, 100000) as view:
        def change():
            view[70000] = (view[70000] + 1) % 256
        moved(m, fd, change)
    os.close(fd)


def test_reading_does_not_move_mtime(m):
    write_file(m.join("f"), pattern(100000))
    before = os.stat(m.join("f"))
    time.sleep(0.02)
    read_file(m.join("f"))
    with open(m.join("f"), "rb") as stream:
        with mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
            assert len(view[:]) == 100000
    after = os.stat(m.join("f"))
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_explicit_times_survive_the_close(m):
    """What cp -a and rsync -t rely on: no late write-back moves a time that was set."""
    fd = os.open(m.join("f"), os.O_RDWR | os.O_CREAT)
    os.write(fd, pattern(300000))
    util_sys.futimens(fd, OLD, (OLD[0], 5))
    os.close(fd)
    time.sleep(0.02)
    assert os.stat(m.join("f")).st_mtime_ns == OLD_NS + 5 == os.stat(m.backing("f")).st_mtime_ns
