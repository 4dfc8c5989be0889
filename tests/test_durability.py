# SPDX-License-Identifier: MIT
"""What was acknowledged is there: when the daemon is killed, and on the device when asked for."""
import contextlib
import errno
import fcntl
import mmap
import os
import signal
import struct
import subprocess
import time

import pytest

import util_sys
from util import Child, need, pattern, read_file, run, wait_for, write_file

pytestmark = pytest.mark.daemon

KIB, MIB = 1 << 10, 1 << 20
LANES = [("cached", "auto", "dev"), ("cached", "off", "io_uring"), ("direct", "auto", "io_uring"),
         ("direct", "off", "dev"), ("stream", "auto", "io_uring")]
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED)


def over(mount, lane, passthrough, transport, **kwargs):
    m = mount(f"lane={lane}", f"passthrough={passthrough}", f"transport={transport}", **kwargs)
    if lane == "stream" and not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    return m


@contextlib.contextmanager
def opened(path, flags):
    """A descriptor that may outlive the daemon, and then complains when it is closed."""
    fd = os.open(path, flags, 0o644)
    try:
        yield fd
    finally:
        try:
            os.close(fd)
        except OSError as error:
            assert error.errno in GONE


@pytest.mark.parametrize("lane, transport", [("cached", "dev"), ("direct", "io_uring"),
                                             ("stream", "io_uring"), ("auto", "dev")])
def test_sync_writes_at_once(mount, lane, transport):
    m = mount("sync", f"lane={lane}", f"transport={transport}", backing="ext4")
    assert m.stats()["passthrough"]["reason"] == "sync"
    with opened(m.join("f"), os.O_RDWR | os.O_CREAT) as fd, open(m.backing("f"), "rb") as backing:
        for at in range(50):
            os.write(fd, bytes(4 * KIB + 7))
            found = util_sys.cachestat_all(backing.fileno())
            assert not found or not (found.dirty or found.writeback), at


# What is done, and the names there are then besides those left alone.
CHANGES = {
    "create": (lambda at: os.close(os.open(at("n"), os.O_CREAT | os.O_WRONLY)), {"n"}),
    "mkdir": (lambda at: os.mkdir(at("n")), {"n"}),
    "mkfifo": (lambda at: os.mkfifo(at("n")), {"n"}),
    "symlink": (lambda at: os.symlink("x", at("n")), {"n"}),
    "link": (lambda at: os.link(at("a"), at("n")), {"n"}),
    "unlink": (lambda at: os.unlink(at("a")), set()),
    "rmdir": (lambda at: os.rmdir(at("d")), set()),
    "rename": (lambda at: os.rename(at("a"), at("n")), {"n"}),
}
GOES = {"unlink": "a", "rmdir": "d", "rename": "a"}


@pytest.mark.parametrize("option, fstype, change", [
    *(("dirsync", fstype, change) for fstype in ("ext4", "xfs") for change in CHANGES),
    ("sync", "ext4", "create")])
def test_names_are_on_the_disk_at_once(disk, mount, option, fstype, change):
    device = disk(fstype)
    write_file(device.path + "/a", b"")
    os.mkdir(device.path + "/d")
    run("sync", "-f", device.path)
    m = mount(option, source=device.path)
    act, appears = CHANGES[change]
    act(m.join)
    device.shut_down()
    assert m.close() == []
    device.again()
    assert set(os.listdir(device.path)) - {"lost+found"} == \
        ({"a", "d"} | appears) - {GOES.get(change)}


class Acknowledged:
    """Counters of writers, which may see that they are to end."""

    def __init__(self, count):
        self.view = mmap.mmap(-1, 8 * (count + 1))

    def __getitem__(self, index):
        return struct.unpack_from("Q", self.view, 8 * index)[0]

    def add(self, index, count):
        struct.pack_into("Q", self.view, 8 * index, self[index] + count)

    def stop(self):
        self.view[-1] = 1

    @property
    def stopped(self):
        return self.view[-1]


def record(index, number, size):
    return (struct.pack("<QQ", index, number) * (size // 16 + 1))[:size]


def plain(fd, data, at):
    return os.pwrite(fd, data, at)


def append(fd, data, at):
    return os.write(fd, data)


def through_mapping(fd, data, at):
    page = at // 4096 * 4096
    os.ftruncate(fd, at + len(data))
    with mmap.mmap(fd, at + len(data) - page, offset=page) as view:
        view[at - page:] = data
        view.flush()
    return len(data)


# Name, flags, bytes of a record, and how one is written; the appenders share a file.
WRITERS = [("small", 0, 5000, plain), ("large", 0, 300000, plain),
           ("append", os.O_APPEND, 3000, append), ("append", os.O_APPEND, 3000, append),
           ("direct", os.O_DIRECT, 8192, util_sys.write_direct),
           ("mapped", 0, 6000, through_mapping)]


def write_records(root, index, acknowledged):
    """Until it is to end or cannot go on; the error."""
    name, flags, size, write = WRITERS[index]
    count = size
    number = 0
    try:
        with opened(f"{root}/{name}", os.O_RDWR | os.O_CREAT | flags) as fd:
            while count == size and not acknowledged.stopped:
                count = write(fd, record(index, number, size), number * size)
                acknowledged.add(index, count)
                number += 1
                # So that files stay small.
                time.sleep(size / (20 * MIB))
    except OSError as error:
        return error.errno


def ended(child):
    """A mapping has no other way to say it."""
    child.wait()
    return os.WIFSIGNALED(child.poll()) and os.WTERMSIG(child.poll()) == signal.SIGBUS


def acknowledged_bytes(index, count):
    size = WRITERS[index][2]
    return b"".join(record(index, number, size) for number in range(count // size + 1))[:count]


@pytest.mark.parametrize("lane, passthrough, transport", LANES + [("direct", "off", "io_uring")])
def test_killed_daemon_loses_nothing_acknowledged(disk, mount, lane, passthrough, transport):
    """Plain writes, no fsync: every byte of which a call has told is in the backing file."""
    m = over(mount, lane, passthrough, transport, source=disk("ext4", 512).path)
    m.may_die = True
    acknowledged = Acknowledged(len(WRITERS))
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(write_records, m.path, index, acknowledged))
                    for index in range(len(WRITERS))]
        wait_for(lambda: all(acknowledged[index] > 8 * size
                             for index, (_, _, size, _) in enumerate(WRITERS)), 30,
                 "all of them write")
        m.process.kill()
        m.wait_end()
        acknowledged.stop()
        for child in children:
            assert ended(child) or child.result() in (None, *GONE)
    for index, (name, _, size, _) in enumerate(WRITERS):
        data, wanted = read_file(m.backing(name)), acknowledged_bytes(index, acknowledged[index])
        if name == "append":
            data = b"".join(data[at:at + size] for at in range(0, len(data), size)
                            if data[at:at + 8] == wanted[:8])
        assert data[:len(wanted)] == wanted, name
    m.unmount_lazily()


def written_by(process):
    """Bytes whose writing was acknowledged to a process, when it has ended."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with open(f"/proc/{process.pid}/io") as stream:
        return int([line.split()[1] for line in stream if line.startswith("wchar")][0])


@pytest.mark.parametrize("program, lane, passthrough, transport", [
    ("cp", "stream", "auto", "io_uring"), ("cp", "direct", "off", "dev"),
    ("rsync", "cached", "off", "io_uring"), ("rsync", "direct", "auto", "dev")])
def test_copy_whose_daemon_is_killed(mount, program, lane, passthrough, transport):
    need(program)
    m = over(mount, lane, passthrough, transport)
    m.may_die = True
    data = pattern(16 * MIB)
    os.mkdir(m.backing("from"))
    os.mkdir(m.backing("to"))
    for name in ("a", "b", "c"):
        write_file(m.backing("from", name), data)

    def begun():
        return sum(entry.stat().st_size for entry in os.scandir(m.backing("to"))) > 20 * MIB

    process = subprocess.Popen([program, *(["-r"] if program == "rsync" else []),
                                *(m.join("from", name) for name in ("a", "b", "c")), m.join("to")],
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: begun() or process.poll() is not None, 30, "the copy has begun")
        m.process.kill()
        m.wait_end()
        said = process.stderr.read()
        if program == "cp":
            written = written_by(process) - len(said)
        process.wait(30)
    finally:
        process.kill()
        process.stderr.close()
    there = 0
    for entry in os.scandir(m.backing("to")):
        found = read_file(entry.path)
        assert found == data[:len(found)], entry.name
        # What rsync has renamed is whole.
        assert program == "cp" or entry.name[0] == "." or len(found) == len(data)
        there += len(found)
    assert there >= 20 * MIB
    if program == "cp":
        assert there >= written >= 16 * MIB
    m.unmount_lazily()


@pytest.mark.parametrize("lane, passthrough, transport", LANES)
def test_rwf_append(mount, lane, passthrough, transport):
    """At the end, whatever the offset, also where others append at the same time."""
    m = over(mount, lane, passthrough, transport)
    write_file(m.backing("f"), b"0" * 10000)
    expected = [b"0" * 10000]
    with opened(m.join("f"), os.O_RDWR) as one, opened(m.join("f"), os.O_RDWR) as two, \
            opened(m.join("f"), os.O_WRONLY | os.O_APPEND) as appender:
        for turn in range(6):
            for number, fd in enumerate((one, two)):
                piece = bytes([97 + 2 * turn + number]) * (5000 * turn + 100000 * number + 1)
                assert os.pwritev(fd, [piece], 7 * turn, os.RWF_APPEND) == len(piece)
                expected.append(piece)
            assert os.write(appender, b"appended") == 8
            expected.append(b"appended")
            # And where it was not asked for, at its offset.
            assert os.pwrite(one, b"1" * (turn + 1), 0) == turn + 1
    expected = b"".join(expected)
    expected = b"1" * 6 + expected[6:]
    assert read_file(m.backing("f")) == expected
    assert read_file(m.join("f")) == expected


@pytest.mark.parametrize("lane, passthrough, transport", LANES)
def test_synchronous_write_is_on_the_device(disk, mount, lane, passthrough, transport):
    device = disk("ext4")
    m = over(mount, lane, passthrough, transport, source=device.path)
    write_file(m.backing("f"), pattern(MIB))
    run("sync", "-f", device.path)

    def on_device(size, at):
        return os.pread(device.image, size, device.place("f", at))

    for number, flags in enumerate((os.O_SYNC, os.O_DSYNC, os.O_DSYNC | os.O_DIRECT,
                                    os.O_SYNC | os.O_APPEND)):
        for size in (4 * KIB, 128 * KIB):
            data = pattern(size, seed=number)
            with opened(m.join("f"), os.O_WRONLY | flags) as fd:
                at = os.fstat(fd).st_size if flags & os.O_APPEND else 256 * KIB
                assert util_sys.write_direct(fd, data, at) == size
                assert on_device(size, at) == data, (flags, size)
    with opened(m.join("f"), os.O_WRONLY) as fd:
        for call in (os.fsync, os.fdatasync):
            data = pattern(8 * KIB, seed=call.__name__)
            os.pwrite(fd, data, 64 * KIB)
            call(fd)
            assert on_device(8 * KIB, 64 * KIB) == data


def outcome(function, *args):
    try:
        function(*args)
    except OSError as error:
        return error.errno
    return None


@pytest.mark.parametrize("lane", ["cached", "stream", "direct"])
def test_descriptor_in_passthrough_outlives_the_daemon(mount, lane):
    """It reads, writes and is mapped; what takes the daemon, as direct reads do, fails."""
    m = over(mount, lane, "auto", "io_uring")
    if not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    m.may_die = True
    data = bytearray(pattern(MIB))
    write_file(m.backing("f"), data)
    fd = os.open(m.join("f"), os.O_RDWR)
    appender = os.open(m.join("f"), os.O_WRONLY | os.O_APPEND)
    m.process.kill()
    m.wait_end()
    for mounted in (True, False):
        with mmap.mmap(fd, 65536) as view:
            view[40000:40006] = data[40000:40006] = b"stored"
            view.flush()
        if lane == "direct":
            assert outcome(os.pread, fd, 10, 0) in GONE
            assert outcome(os.pwrite, fd, b"x", 0) in GONE
        else:
            assert os.pread(fd, 2 * MIB, 0) == data
            assert os.pwrite(fd, b"written", 5000) == 7
            assert os.write(appender, b"appended") == 8
            data[5000:5007] = b"written"
            data += b"appended"
        assert read_file(m.backing("f")) == data
        for action in ((os.fsync, fd), (os.fdatasync, fd), (os.ftruncate, fd, 10),
                       (os.posix_fallocate, fd, 0, 10), (os.close, os.dup(fd)),
                       (fcntl.flock, fd, fcntl.LOCK_EX)):
            assert outcome(*action) in GONE, action
        for action in (os.open, m.join("f"), os.O_RDONLY), (os.listdir, m.path):
            assert not mounted or outcome(*action) in GONE, action
        m.unmount_lazily()
    for last in (fd, appender):
        assert outcome(os.close, last) in GONE
        assert outcome(os.close, last) == errno.EBADF
    m.start()
    m.may_die = False
    assert read_file(m.join("f")) == data


@pytest.mark.parametrize("lane, passthrough, transport", LANES)
def test_new_mount_beside_a_writer_of_the_dead_one(mount, lane, passthrough, transport):
    """What a descriptor of the mount before goes on to write is seen as changes from outside are."""
    m = over(mount, "cached", "auto", transport)
    if not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    m.may_die = True
    data = bytearray(pattern(8 * MIB))
    write_file(m.backing("f"), data)
    with opened(m.join("f"), os.O_RDWR) as old, mmap.mmap(old, len(data)) as view:
        m.process.kill()
        m.wait_end()
        m.unmount_lazily()
        m = over(mount, lane, passthrough, transport, source=m.source)
        for turn in range(4):
            piece, at = bytes([65 + turn]) * 200000, 5 * MIB + 777 + 4096 * turn
            with opened(m.join("f"), os.O_RDONLY) as held:
                # As a stream, so that what is about to be written is read ahead.
                for begin in range(0, 4 * MIB, 128 * KIB):
                    assert os.pread(held, 128 * KIB, begin) == data[begin:begin + 128 * KIB]
                if turn % 2:
                    view[at:at + len(piece)] = piece
                else:
                    assert os.pwrite(old, piece, at) == len(piece)
                data[at:at + len(piece)] = piece
                if turn < 2:
                    assert read_file(m.join("f")) == data, "at the next open"
                wait_for(lambda: os.pread(held, len(piece), at) == piece, 5,
                         "seen by who has it open")
        with opened(m.join("f"), os.O_RDWR) as new:
            os.pwrite(new, b"new", 100)
            data[100:103] = b"new"
        assert os.pread(old, len(data), 0) == view[:] == data
