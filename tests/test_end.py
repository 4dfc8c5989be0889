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
from util import Child, pattern, read_file, wait_for, write_file, write_large
from util_mount import lanefs_mounts

pytestmark = pytest.mark.daemon

WAYS = [("direct", "dev"), ("direct", "io_uring"), ("cached", "dev"), ("cached", "io_uring")]
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV)


@pytest.fixture(params=WAYS, ids="-".join)
def m(request, mount):
    lane, transport = request.param
    one = mount(f"lane={lane}", f"transport={transport}",
                "passthrough=off" if lane == "cached" else "")
    write_large(one.backing("f"), 32 << 20)
    util_sys.drop_pages(one.backing("f"))
    return one


def read_for_ever(m):
    """Read whole files by new opens until an error comes; its errno and when it came."""
    try:
        while True:
            fd = os.open(m.join("f"), os.O_RDONLY)
            at = 0
            while data := os.pread(fd, 131072, at):
                at += len(data)
            os.close(fd)
            os.posix_fadvise(os.open(m.join("f"), os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        return error.errno, time.monotonic()


def read_one_descriptor(m, fd):
    """The same by one descriptor that stays open."""
    try:
        while True:
            at = 0
            while data := os.pread(fd, 100000, at):
                at += len(data)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        return error.errno, time.monotonic()


def write_for_ever(m, name):
    data = pattern(100000)
    try:
        while True:
            write_file(m.join(name), data)
            os.rename(m.join(name), m.join(name + ".done"))
    except OSError as error:
        return error.errno, time.monotonic()


def wait_for_lock(m):
    fd = os.open(m.join("f"), os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        return error.errno, time.monotonic()
    return "taken"


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
    fd = os.open(m.join("f"), os.O_RDONLY)
    holder = os.open(m.join("f"), os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    children = [load(read_for_ever, m), load(read_one_descriptor, m, fd),
                load(write_for_ever, m, "w"), load(wait_for_lock, m)]
    time.sleep(0.5)
    assert all(child.poll() is None for child in children)
    sent = time.monotonic()
    m.process.send_signal(number)
    assert m.wait_end(5) == 0
    assert time.monotonic() - sent < 2
    assert lanefs_mounts(m.path) == []
    for child in children:
        number, when = child.result(5)
        assert number in GONE + (errno.ENOENT, errno.EINTR), os.strerror(number)
        assert when - sent < 3
    os.close(fd)
    os.close(holder)
    finished = m.backing("w.done")
    if os.path.exists(finished):
        assert read_file(finished) == pattern(100000)


def test_sudden_death_under_load(m, load):
    """Everyone who waits gets an error within 2 s, and a second mount works at once."""
    fd = os.open(m.join("f"), os.O_RDONLY)
    holder = os.open(m.join("f"), os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    children = [load(read_for_ever, m), load(read_for_ever, m), load(read_one_descriptor, m, fd),
                load(write_for_ever, m, "w"), load(wait_for_lock, m)]
    time.sleep(0.5)
    assert all(child.poll() is None for child in children)
    m.may_die = True
    killed = time.monotonic()
    m.process.kill()
    assert m.wait_end(5) == -signal.SIGKILL
    for child in children:
        number, when = child.result(5)
        assert number in GONE, os.strerror(number)
        assert when - killed < 2
    for action in (lambda: os.stat(m.path), lambda: os.listdir(m.path), lambda: os.fstat(fd),
                   lambda: os.open(m.join("f"), os.O_RDONLY)):
        with pytest.raises(OSError) as caught:
            action()
        assert caught.value.errno in GONE
    os.close(fd)
    os.close(holder)
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
    for _ in range(5):
        children = [load(read_for_ever, m) for _ in range(4)]
        time.sleep(0.1)
        for child in children:
            child.signal(signal.SIGKILL)
        for child in children:
            child.wait(5)
    assert len(read_file(m.join("f"))) == 32 << 20
    wait_for(lambda: m.stats()["reads"]["in_flight"] == 0, 5, "no request is left")
    wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "no open file is left")
