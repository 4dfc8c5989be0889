# SPDX-License-Identifier: MIT
"""Ends: unmounting, signals and sudden death under load leave nothing hanging."""
import errno
import fcntl
import mmap
import os
import signal
import time

import pytest

import util_sys
from util import (Child, clock, pattern, read_file, wait_for, wait_for_waiters, write_file,
                  write_large)
from util_mount import lanefs_mounts, uring_parameter

pytestmark = pytest.mark.daemon

WAYS = [("direct", "dev"), ("direct", "io_uring"), ("cached", "dev"), ("cached", "io_uring")]
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV, errno.ECANCELED)


@pytest.fixture(params=WAYS, ids="-".join)
def m(request, mount):
    lane, transport = request.param
    one = mount(f"lane={lane}", f"transport={transport}",
                "passthrough=off" if lane == "cached" else "")
    write_large(one.backing("f"), 32 << 20)
    util_sys.drop_pages(one.backing("f"))
    return one


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_source_is_free_when_the_daemon_has_ended(disk, mount, transport):
    """Over io_uring the kernel's connection outlives the process."""
    for _ in range(3):
        one = disk("ext4")
        m = mount(f"transport={transport}", source=one.path)
        for name in range(30):
            write_file(m.backing(f"f{name}"), b"data")
            assert read_file(m.join(f"f{name}")) == b"data"
        # Of some the last RELEASE may come as the mount ends.
        fds = [os.open(m.join(f"f{name}"), os.O_RDONLY) for name in range(20)]
        for name, fd in enumerate(fds):
            os.unlink(m.join(f"f{name}") if name % 2 else m.backing(f"f{name}"))
            os.close(fd)
        util_sys.umount2(m.path, 0)
        m.wait_end()
        one.leave()


def read_for_ever(root):
    """Read whole files by new opens below the mount's root, a descriptor, until an error comes;
    its errno and when it came."""
    try:
        while True:
            fd = os.open("f", os.O_RDONLY, dir_fd=root)
            at = 0
            while data := os.pread(fd, 131072, at):
                at += len(data)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
    except OSError as error:
        return error.errno, clock()


def read_one_descriptor(fd):
    """The same by one descriptor that stays open."""
    try:
        while True:
            at = 0
            while data := os.pread(fd, 100000, at):
                at += len(data)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        return error.errno, clock()


def write_for_ever(root):
    """Save a file as careful programs do, again and again."""
    data = pattern(100000)
    try:
        while True:
            fd = os.open("w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=root)
            assert os.write(fd, data) == len(data)
            os.close(fd)
            os.rename("w", "w.done", src_dir_fd=root, dst_dir_fd=root)
    except OSError as error:
        return error.errno, clock()


def wait_for_lock(root):
    try:
        fd = os.open("f", os.O_RDWR, dir_fd=root)
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        return error.errno, clock()
    return "taken"


class Open:
    """Descriptors in a mount that is about to end; closing them may then fail."""

    def __init__(self, m):
        self.root = os.open(m.path, os.O_RDONLY | os.O_DIRECTORY)
        self.reader = os.open(m.join("f"), os.O_RDONLY)
        self.holder = os.open(m.join("f"), os.O_RDWR)
        fcntl.flock(self.holder, fcntl.LOCK_EX)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for fd in (self.root, self.reader, self.holder):
            try:
                os.close(fd)
            except OSError as error:
                assert error.errno in GONE


@pytest.fixture
def load():
    """load(function, ...) starts a process; all of them are gone after the test."""
    children = []

    def start(function, *args):
        children.append(Child(function, *args))
        return children[-1]

    yield start
    for child in children:
        child.close()


def wait_for_load(m):
    """Until the readers have read more than the file, the writer has saved, and who waits waits."""
    wait_for(lambda: m.stats()["reads"]["bytes"] > 64 << 20, 20, "readers")
    wait_for(lambda: os.path.exists(m.backing("w.done")), 20, "the writer")
    wait_for_waiters(m.backing("f"), 1)


def test_lazy_unmount_under_readers(m, load):
    """Readers with an open file go on; the daemon ends by itself after the last of them."""
    fd = os.open(m.join("f"), os.O_RDONLY)
    stop = os.pipe()

    def reader():
        turns = 0
        while True:
            at = 0
            while data := os.pread(fd, 131072, at):
                at += len(data)
            assert at == 32 << 20
            turns += 1
            os.set_blocking(stop[0], False)
            try:
                if os.read(stop[0], 1):
                    return turns
            except BlockingIOError:
                pass

    children = [load(reader) for _ in range(3)]
    time.sleep(0.3)
    util_sys.umount2(m.path, util_sys.MNT_DETACH)
    assert lanefs_mounts(m.path) == []
    assert os.listdir(m.path) == []
    time.sleep(0.3)
    assert m.process.poll() is None
    os.write(stop[1], b"xxx")
    for child in children:
        assert child.result() > 0
    os.close(fd)
    assert m.wait_end(5) == 0
    os.close(stop[0])
    os.close(stop[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_under_load(m, load, number):
    with Open(m) as held:
        children = [load(read_for_ever, held.root), load(read_one_descriptor, held.reader),
                    load(write_for_ever, held.root), load(wait_for_lock, held.root)]
        wait_for_load(m)
        assert all(child.poll() is None for child in children)
        sent = clock()
        m.process.send_signal(number)
        assert m.wait_end(5) == 0
        assert clock() - sent < 2
        assert lanefs_mounts(m.path) == []
        for child in children:
            number, when = child.result(5)
            assert number in GONE, os.strerror(number)
            assert when - sent < 2.5
    if os.path.exists(m.backing("w.done")):
        assert read_file(m.backing("w.done")) == pattern(100000)
    m.start()
    assert len(read_file(m.join("f"))) == 32 << 20


def test_sudden_death_under_load(m, load):
    """Everyone who waits gets an error within 2 s, and a second mount works at once."""
    m.may_die = True
    with Open(m) as held:
        children = [load(read_for_ever, held.root), load(read_for_ever, held.root),
                    load(read_one_descriptor, held.reader), load(write_for_ever, held.root),
                    load(wait_for_lock, held.root)]
        wait_for_load(m)
        assert all(child.poll() is None for child in children)
        killed = clock()
        m.process.kill()
        assert m.wait_end(5) == -signal.SIGKILL
        for child in children:
            number, when = child.result(5)
            assert number in GONE, os.strerror(number)
            assert when - killed < 2
        for action in (lambda: os.listdir(m.path), lambda: os.open(m.join("f"), os.O_RDONLY),
                       lambda: os.mkdir(m.join("d"))):
            with pytest.raises(OSError) as caught:
                action()
            assert caught.value.errno in GONE
    util_sys.umount2(m.path, util_sys.MNT_DETACH)
    m.start()
    m.may_die = False
    assert len(read_file(m.join("f"))) == 32 << 20


def test_mount_again_over_the_dead(m):
    """Without an unmount between: works, or says what to do; no half-made mount."""
    m.may_die = True
    m.process.kill()
    m.wait_end(5)
    from util import run
    with uring_parameter():
        done = run(*[arg for arg in m.argv if arg != "-f"], check=False, timeout=20)
    if done.returncode:
        assert done.stderr.count("\n") == 1 and m.path in done.stderr
        assert len(lanefs_mounts(m.path)) == 1
    else:
        assert len(read_file(m.join("f"))) == 32 << 20
        m.unmount_lazily()


def test_dirty_mapping_at_the_end(m):
    """What mmap left dirty reaches the backing file when the mount ends."""
    data = bytearray(pattern(200000))
    write_file(m.join("g"), data)
    fd = os.open(m.join("g"), os.O_RDWR)
    with mmap.mmap(fd, 200000) as view:
        view[77:82] = data[77:82] = b"dirty"
        view[150000:150005] = data[150000:150005] = b"DIRTY"
    os.close(fd)
    m.process.send_signal(signal.SIGTERM)
    assert m.wait_end(5) == 0
    assert read_file(m.backing("g")) == data


def test_many_mounts_and_unmounts(mount):
    """No mount, process or cgroup of threads is left over by starting again and again."""
    m = mount("transport=io_uring")
    for turn in range(10):
        write_file(m.join(f"f{turn}"), b"x")
        if turn % 2:
            m.process.send_signal(signal.SIGTERM)
        else:
            util_sys.umount2(m.path, 0)
        assert m.wait_end(5) == 0
        wait_for(lambda: not lanefs_mounts(m.path), 2, "unmounted")
        m.start()
    assert len(os.listdir(m.path)) == 10


def test_reader_killed_while_it_waits(m, load):
    """An interrupted request never wedges the mount."""
    root = os.open(m.path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(5):
        children = [load(read_for_ever, root) for _ in range(4)]
        time.sleep(0.1)
        for child in children:
            child.signal(signal.SIGKILL)
        for child in children:
            child.wait(5)
    os.close(root)
    assert len(read_file(m.join("f"))) == 32 << 20
    wait_for(lambda: m.stats()["reads"]["in_flight"] == 0, 5, "no request is left")
    wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "no open file is left")
