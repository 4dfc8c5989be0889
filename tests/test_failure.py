# SPDX-License-Identifier: MIT
"""Devices that fail and full filesystems: what the native filesystem says, and no hang."""
import concurrent.futures
import contextlib
import errno
import fcntl
import mmap
import os
import signal
import threading
import time

import pytest

import util_sys
from util import Child, pattern, read_file, run, wait_for, write_file, write_large

pytestmark = pytest.mark.daemon

KIB, MIB = 1 << 10, 1 << 20
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
# Every lane, with and without passthrough, and both transports.
LANES = [("cached", "auto", "io_uring"), ("cached", "off", "dev"), ("direct", "auto", "dev"),
         ("direct", "off", "io_uring"), ("stream", "auto", "dev")]


def over(mount, disk, lane, passthrough, transport):
    return mount(f"lane={lane}", f"passthrough={passthrough}", f"transport={transport}",
                 source=disk.path)


@contextlib.contextmanager
def opened(path, flags):
    fd = os.open(path, flags, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


def short(function, *args):
    """The name of its error, else its result, of bytes only how many."""
    try:
        result = function(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return len(result) if isinstance(result, bytes) else result


def failing(disk, fstype, size=8 * MIB, lost=5 * MIB):
    """A disk whose device has the bytes of d3/f from lost on no more; and what is in the file."""
    broken = disk(fstype)
    for index in range(4):
        # xfs puts each into another part of the device, the last behind its log.
        os.mkdir(f"{broken.path}/d{index}")
    data = pattern(size)
    for name in ("d0/good", "d3/f"):
        write_file(f"{broken.path}/{name}", data)
        run("sync", "-f", broken.path)
    util_sys.drop_pages(f"{broken.path}/d3/f")
    broken.cut(broken.place("d3/f", lost))
    return broken, data


@pytest.mark.parametrize("fstype, passthrough, transport", [
    ("ext4", "auto", "io_uring"), ("ext4", "off", "dev"), ("xfs", "auto", "dev"),
    ("xfs", "off", "io_uring")])
def test_device_cut_short_under_windows(disk, mount, fstype, passthrough, transport):
    """EIO to who asks for what is lost, and to nobody else; a later write there says so, too."""
    lost = 5 * MIB
    broken, data = failing(disk, fstype, lost=lost)
    m = over(mount, broken, "direct", passthrough, transport)
    path = m.join("d3", "f")
    for piece in (128 * KIB, MIB):
        with opened(path, os.O_RDONLY) as fd:
            for at in range(0, len(data), piece):
                if at < lost:
                    assert os.pread(fd, piece, at) == data[at:at + piece]
                else:
                    assert short(os.pread, fd, piece, at) == "EIO"
            assert short(os.pread, fd, MIB, lost - 64 * KIB) in ("EIO", 64 * KIB)
            assert os.pread(fd, 64 * KIB, lost - 64 * KIB) == data[lost - 64 * KIB:lost]
    assert m.stats()["window"]["hits"] + m.stats()["window"]["waits"] > 0
    with opened(path, os.O_RDWR) as fd:
        # Of an unaligned buffer the kernel makes two requests, the second with a part of a page.
        assert util_sys.write_direct(fd, b"x" * MIB, lost + MIB) == MIB
        assert short(os.fsync, fd) == "EIO"
        assert os.pwrite(fd, b"y" * MIB, MIB) == MIB
        os.fsync(fd)
    assert read_file(m.join("d0", "good")) == data
    with opened(path, os.O_RDONLY) as fd:
        assert os.pread(fd, lost, 0) == data[:MIB] + b"y" * MIB + data[2 * MIB:lost]
    assert m.stats()["reads"]["in_flight"] == 0


def write_back_errors(path, backing, lost):
    """What each call says about writes that the device does not take."""
    said = []

    def say(what, function, *args):
        said.append((what, short(function, *args)))

    with opened(path, os.O_RDWR) as first, opened(path, os.O_RDWR) as second, \
            opened(path, os.O_RDONLY) as reader:
        for turn in range(2):
            say("write", os.pwrite, first, pattern(8 * KIB), lost + turn * MIB)
            for name, fd in (("writer", first), ("other", second), ("reader", reader)):
                say(name, os.fsync, fd)
                say(name + " again", os.fsync, fd)
            say("close", os.close, os.dup(first))
            with opened(path, os.O_RDWR) as later:
                say("opened after", os.fsync, later)
        with opened(path, os.O_RDWR) as closed:
            say("write", os.pwrite, closed, pattern(4 * KIB), lost + 4 * KIB)
        say("the other", os.fdatasync, second)
        with opened(path, os.O_RDWR) as closed:
            say("write", os.pwrite, closed, pattern(4 * KIB), lost + 4 * KIB)
        run("sync", "-f", backing, check=False)
        with opened(path, os.O_RDWR) as later:
            say("opened after what nobody saw", os.fsync, later)
        say("the other", os.fsync, second)
        for name, flag in (("O_SYNC", os.O_SYNC), ("O_DSYNC", os.O_DSYNC)):
            with opened(path, os.O_RDWR | flag) as synchronous:
                say(name, os.pwrite, synchronous, pattern(8 * KIB), lost)
                say("fsync after " + name, os.fsync, synchronous)
                say("elsewhere " + name, os.pwrite, synchronous, pattern(8 * KIB), MIB)
        with opened(path, os.O_RDWR | os.O_DIRECT) as direct:
            say("O_DIRECT", util_sys.write_direct, direct, pattern(8 * KIB), lost)
            say("fsync after O_DIRECT", os.fsync, direct)
            say("elsewhere O_DIRECT", util_sys.write_direct, direct, pattern(8 * KIB), MIB)
        say("the other", os.fsync, second)
        say("the other again", os.fsync, second)
        with mmap.mmap(second, 0) as view:
            view[MIB:MIB + 5] = b"there"
            say("msync", view.flush, 0, 2 * MIB)
        say("reader", os.fsync, reader)
    return said


# In passthrough the kernel writes by a description of its own, and a mapping has another: what
# these have reported, fsync reports once more.  The daemon may have none yet of who only reads.
TWICE = ("fsync after O_SYNC", "fsync after O_DSYNC", "msync")


@pytest.mark.parametrize("lane, passthrough, transport", LANES)
def test_write_back_errors_reach_fsync(disk, mount, lane, passthrough, transport):
    """Once each descriptor that was open, and once who comes when nobody has been told."""
    lost = 5 * MIB
    broken, _ = failing(disk, "ext4", lost=lost)
    backing = broken.path + "/d3/f"
    native = write_back_errors(backing, backing, lost)
    assert [said for _, said in native].count("EIO") >= 10
    m = over(mount, broken, lane, passthrough, transport)
    late = passthrough == "auto" and lane != "direct"
    for mine, theirs in zip(write_back_errors(m.join("d3", "f"), backing, lost), native):
        if passthrough == "auto" and mine[0] in TWICE:
            assert mine[1] in ("EIO", theirs[1])
        elif late and mine[0] == "reader":
            late = False
        else:
            assert mine == theirs


class Left:
    """Descriptors in a directory from before its filesystem failed, and what becomes of all."""

    def __init__(self, root):
        self.root = root
        self.said = []
        self.reader = os.open(root + "/r", os.O_RDONLY)
        self.writer = os.open(root + "/w", os.O_RDWR)
        self.appender = os.open(root + "/w", os.O_WRONLY | os.O_APPEND)
        assert len(os.pread(self.reader, 64 * KIB, 0)) == 64 * KIB
        # This may never be written, and nobody is to wait for it.
        os.pwrite(self.writer, pattern(8 * KIB), 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.reader)
        self.close_writers()

    def close_writers(self):
        for fd in filter(None, (self.writer, self.appender)):
            os.close(fd)
        self.writer = self.appender = None

    def say(self, what, function, *args):
        self.said.append((what, short(function, *args)))

    def open_and(self, flags, function, *args):
        with opened(self.root + "/r", flags) as fd:
            return function(fd, *args)

    def look(self):
        """What every call says, in the end that of close()."""
        reader, root, say = self.reader, self.root, self.say
        say("read what was read", os.pread, reader, 64 * KIB, 0)
        say("read something else", os.pread, reader, 64 * KIB, 4 * MIB)
        say("open and read", self.open_and, os.O_RDONLY, os.pread, 64 * KIB, 2 * MIB)
        say("open for writing", self.open_and, os.O_RDWR, os.pwrite, b"x", 0)
        say("truncate", os.truncate, root + "/r", 5)
        say("create", write_file, root + "/new", b"x")
        say("mkdir", os.mkdir, root + "/d")
        say("unlink", os.unlink, root + "/w")
        say("rename", os.rename, root + "/w", root + "/v")
        say("chmod", os.chmod, root + "/r", 0o600)
        say("utime", os.utime, root + "/r", (1, 1))
        say("setxattr", os.setxattr, root + "/r", "user.x", b"x")
        for fd in filter(None, (self.writer, self.appender)):
            say("write", os.write, fd, pattern(8 * KIB))
            say("write much", os.write, fd, pattern(256 * KIB))
            say("fsync", os.fsync, fd)
            say("ftruncate", os.ftruncate, fd, 10)
            say("fallocate", util_sys.fallocate, fd, 0, MIB, MIB)
            say("close", os.close, os.dup(fd))
        say("fsync of the reader", os.fsync, reader)
        say("list", lambda: sorted(os.listdir(root)) and None)
        return self.said


def load(root):
    """Write and read until one of them fails: its error's name."""
    data, at = pattern(100000), 0
    try:
        with opened(root + "/r", os.O_RDONLY) as reader:
            while True:
                with opened(root + "/load", os.O_RDWR | os.O_CREAT) as writer:
                    for _ in range(8):
                        os.pwrite(writer, data, at % MIB)
                        assert len(os.pread(reader, 64 * KIB, at % (4 * MIB))) == 64 * KIB
                        at += 50000
                    os.fsync(writer)
    except OSError as error:
        return errno.errorcode[error.errno]


def remount(disk, *left):
    """Refused while anybody writes, through the mount or not."""
    for one in left:
        assert run("mount", "-o", "remount,ro", disk.path, check=False).returncode
        one.close_writers()
    wait_for(lambda: not run("mount", "-o", "remount,ro", disk.path, check=False).returncode, 10,
             "nobody writes any more")


EVENTS = {
    "remount": remount,
    "shutdown": lambda disk, *_: disk.shut_down(),
    "abort": lambda disk, *_: run("mount", "-o", "remount,abort", disk.path, check=False),
    "device": lambda disk, *_: disk.refuse_writes(),
}


@pytest.mark.parametrize("event, fstype, lane, passthrough, transport", [
    ("remount", "ext4", "cached", "auto", "dev"), ("remount", "xfs", "direct", "off", "io_uring"),
    ("shutdown", "ext4", "direct", "auto", "io_uring"), ("shutdown", "xfs", "cached", "off", "dev"),
    ("abort", "ext4", "stream", "auto", "dev"), ("device", "ext4", "direct", "off", "dev"),
    ("device", "xfs", "stream", "auto", "io_uring")])
def test_filesystem_that_ends(disk, mount, event, fstype, lane, passthrough, transport):
    """Read-only or shut down, under load: every call says what it says without lanefs."""
    broken = disk(fstype)
    for name in ("mine", "native"):
        os.mkdir(f"{broken.path}/{name}")
        write_file(f"{broken.path}/{name}/r", pattern(5 * MIB))
        write_file(f"{broken.path}/{name}/w", pattern(MIB))
    run("sync", "-f", broken.path)
    for name in ("mine/r", "mine/w", "native/r"):
        path = f"{broken.path}/{name}"
        wait_for(lambda: util_sys.drop_pages(path) or not util_sys.resident(path), 5, "it is cold")
    m = over(mount, broken, lane, passthrough, transport)
    with Left(m.join("mine")) as mine, Left(broken.path + "/native") as native, \
            contextlib.ExitStack() as stack:
        children = []
        if event != "remount":
            children = [stack.enter_context(Child(load, m.join("mine"))) for _ in range(2)]
            wait_for(lambda: os.path.exists(m.backing("mine", "load")), 10, "the load has begun")
        EVENTS[event](broken, mine, native)
        for child in children:
            assert child.result() in ("EROFS", "EIO")
        wait_for(lambda: run("sync", "-f", broken.path, check=False) and short(
            native.open_and, os.O_RDWR, os.pwrite, b"x", 0) in ("EROFS", "EIO"), 20, "its end")
        for mine_said, native_said in zip(mine.look(), native.look()):
            # What is in memory may outlive the filesystem.
            if mine_said[0] == "read what was read" and lane == "cached" and passthrough == "off":
                assert mine_said[1] in (64 * KIB, native_said[1])
            else:
                assert mine_said == native_said
        assert len(mine.said) == len(native.said)
    assert m.stats()["reads"]["in_flight"] == 0


def on_cpu(cpu, function, *args):
    """A thread of its own on that processor, and with that on its queue of requests."""
    def run():
        os.sched_setaffinity(0, {cpu})
        function(*args)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_who_waits_for_the_disk_holds_up_nobody_else(disk, mount):
    """Also not the requests that are answered where one was that has waited before."""
    frozen = disk("ext4")
    m = over(mount, frozen, "direct", "off", "io_uring")
    cpus = sorted(os.sched_getaffinity(0))
    names = [m.join(f"f{index}") for index in range(8)]
    fds = [os.open(name, os.O_RDWR | os.O_CREAT) for name in names]
    # Each queue has entries that workers have answered.
    for cpu in cpus:
        for thread in [on_cpu(cpu, os.posix_fallocate, fd, 0, 8192) for fd in fds]:
            thread.join()
    answers = []
    with opened(frozen.path, os.O_RDONLY) as fd:
        fcntl.ioctl(fd, FIFREEZE, 0)
        try:
            waiting = [on_cpu(cpus[0], os.posix_fallocate, fd, 0, 16384) for fd in fds]
            time.sleep(0.2)
            asking = [on_cpu(cpu, lambda: answers.append(os.statvfs(m.path)))
                      for cpu in cpus[1:] or cpus for _ in range(8)]
            wait_for(lambda: len(answers) == len(asking), 3, "the answers")
            assert all(thread.is_alive() for thread in waiting)
        finally:
            fcntl.ioctl(fd, FITHAW, 0)
    for thread in waiting + asking:
        thread.join()
    for fd in fds:
        os.close(fd)


def stream_on_an_image(disk, mount, size):
    """A mount of lane stream on an image, and the path of the filesystem the image is on."""
    below = disk("ext4", 2 * size)
    image = disk("ext4", size, f"{below.path}/image")
    throttle = f"/sys/block/{os.path.basename(image.device)}/queue/wbt_lat_usec"
    if not os.path.exists(throttle) or read_file(throttle).strip() == b"0":
        pytest.skip("the block layer lets more be written than there is here")
    m = over(mount, image, "stream", "auto", "io_uring")
    if not m.passthrough:
        pytest.skip("without passthrough there is no such lane")
    return m, below.path


@contextlib.contextmanager
def frozen(path):
    """What is on the filesystem hangs when it is written.  Yields whether it still does."""
    with opened(path, os.O_RDONLY) as fd:
        # Should the journal want to be written while this thread needs it.
        thaw = threading.Timer(15, fcntl.ioctl, (fd, FITHAW, 0))
        fcntl.ioctl(fd, FIFREEZE, 0)
        thaw.start()
        try:
            yield thaw.is_alive
        finally:
            thaw.cancel()
            thaw.join()
            with contextlib.suppress(OSError):
                fcntl.ioctl(fd, FITHAW, 0)


def waiting_workers(m):
    return [where for where in m.threads() if "lanefs-worker D" in where]


def prepare(m, names, size):
    """What is in files already needs no new blocks."""
    for name in names:
        write_file(m.join(name), pattern(size))
    run("sync", "-f", m.source)


def test_closed_files_take_no_thread_each_while_the_disk_hangs(disk, mount):
    """What they have left to be written waits for a disk that takes nothing."""
    m, below = stream_on_an_image(disk, mount, 64)
    names = [f"f{index}" for index in range(100)]
    prepare(m, names, 32 * KIB)
    with frozen(below) as hangs:
        for name in names:
            with opened(m.join(name), os.O_WRONLY) as file:
                os.pwrite(file, b"y" * 32 * KIB, 0)
        if not hangs():
            pytest.skip("so slow that the disk had to be thawed")
        wait_for(lambda: waiting_workers(m), 5, "some wait for the disk")
        time.sleep(0.5)
        assert len(waiting_workers(m)) < 10, waiting_workers(m)
    for name in names:
        assert read_file(m.join(name)) == b"y" * 32 * KIB
        wait_for(lambda name=name: not util_sys.resident(m.backing(name)), 20, "it is dropped")


def test_open_files_take_a_few_threads_while_the_disk_hangs(disk, mount):
    """Each has more to be written than a stream's window."""
    m, below = stream_on_an_image(disk, mount, 900)
    size = 10 * MIB
    names = [f"f{index}" for index in range(64)]
    prepare(m, names, size)
    over_all = threading.Event()

    def write(name):
        with opened(m.join(name), os.O_WRONLY) as file:
            for offset in range(0, size, MIB):
                os.pwrite(file, b"y" * MIB, offset)
            over_all.wait(60)

    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        try:
            with frozen(below) as hangs:
                writers = [pool.submit(write, name) for name in names]
                wait_for(lambda: len(waiting_workers(m)) >= 8, 10, "some wait for the disk")
                time.sleep(0.5)
                if not hangs():
                    pytest.skip("so slow that the disk had to be thawed")
                assert len(waiting_workers(m)) < 44, waiting_workers(m)
        finally:
            over_all.set()
        for writer in writers:
            writer.result(60)
    for name in names:
        assert read_file(m.join(name)) == b"y" * size


def test_end_while_the_disk_hangs(mount, disk):
    """
    A thread of the daemon that hangs does not keep those who wait for it.  Over io_uring the kernel may
    do that to who was next to be served by that thread (fs/fuse/dev_uring.c, ent_w_req_queue).
    """
    frozen = disk("ext4")
    m = mount("transport=dev", source=frozen.path)
    write_file(m.join("f"), b"x")
    with opened(frozen.path, os.O_RDONLY) as fd:
        fcntl.ioctl(fd, FIFREEZE, 0)
        try:
            with Child(os.mkdir, m.join("d")) as child:
                wait_for(lambda: "mnt_want_write" in str(m.threads()), 5, "a thread hangs")
                assert child.poll() is None
                m.process.send_signal(signal.SIGTERM)
                with pytest.raises(OSError) as caught:
                    child.result(5)
                assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
        finally:
            fcntl.ioctl(fd, FITHAW, 0)
    assert m.wait_end(5) == 0


def test_programs_start_while_others_wait(mount):
    """
    execve(2) closes descriptors of streams, and waits for the FLUSH, while the daemon asks /proc
    about the process, and waits for that execve(2).
    """
    m = mount("transport=io_uring", "lane=stream", "threshold=1M")
    for index in range(5):
        write_large(m.backing(f"f{index}"), 2 * MIB)
    stop = time.monotonic() + 2

    def sync():
        with opened(m.join("f4"), os.O_RDWR) as fd:
            while time.monotonic() < stop:
                os.pwrite(fd, b"x", 0)
                os.fdatasync(fd)
                time.sleep(0.001)

    def execute():
        try:
            for index in range(4):
                os.open(m.join(f"f{index}"), os.O_RDONLY | os.O_CLOEXEC)
            os.execv("/bin/true", ["true"])
        finally:
            os._exit(1)

    with Child(sync) as syncing:
        while time.monotonic() < stop:
            pid = os.fork()
            if not pid:
                execute()
            ended = wait_for(lambda: (done := os.waitpid(pid, os.WNOHANG))[0] and done, 5,
                             "the program's end")
            assert ended == (pid, 0)
        syncing.result()


def test_frozen_filesystem_goes_on(disk, mount):
    """As for a snapshot: everybody waits, and goes on when it thaws, with nothing lost."""
    frozen = disk("ext4")
    write_file(frozen.path + "/r", pattern(4 * MIB))
    m = over(mount, frozen, "direct", "off", "io_uring")
    turns = mmap.mmap(-1, 4096)

    def work(index):
        turn = 0
        while not turns[100]:
            write_file(m.join(f"w{index}"), pattern(100000))
            os.makedirs(m.join(f"d{index}"))
            os.rmdir(m.join(f"d{index}"))
            assert len(read_file(m.join("r"))) == 4 * MIB
            turn += 1
            turns[index] = turn % 256

    with opened(frozen.path, os.O_RDONLY) as fd, contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(work, index)) for index in range(4)]
        wait_for(lambda: all(turns[:4]), 20, "all of them work")
        fcntl.ioctl(fd, FIFREEZE, 0)
        try:
            # They stop, one after the other, at the latest when they want to write.
            for _ in range(3):
                before = turns[:4]
                time.sleep(0.1)
                if before == turns[:4]:
                    break
        finally:
            fcntl.ioctl(fd, FITHAW, 0)
        before = turns[:4]
        wait_for(lambda: all(turns[index] != before[index] for index in range(4)), 20,
                 "all of them go on")
        turns[100] = 1
        for child in children:
            child.result()
    for index in range(4):
        assert read_file(m.backing(f"w{index}")) == pattern(100000)


ROOM = 2 * MIB


class Full:
    """Ways to write more to a file than its filesystem has room for."""

    def __init__(self, root):
        self.path, self.source = root + "/f", root + "/source"

    def until(self, flags, write, data=None):
        """Write until there is an error: how much was acknowledged, and the error."""
        data, done, error = data or pattern(100000), 0, None
        with opened(self.path, flags | os.O_CREAT) as fd:
            try:
                while done < 3 * ROOM:
                    done += write(fd, data[done % len(data):], done)
            except OSError as caught:
                error = errno.errorcode[caught.errno]
            assert os.fstat(fd).st_size == done
        assert read_file(self.path) == (data * (done // len(data) + 1))[:done]
        return done, error

    def write(self):
        return self.until(os.O_WRONLY, lambda fd, data, at: os.write(fd, data))

    def pwrite(self):
        return self.until(os.O_RDWR, os.pwrite)

    def large(self):
        return self.until(os.O_WRONLY, lambda fd, data, at: os.write(fd, data), pattern(3 * MIB))

    def append(self):
        return self.until(os.O_WRONLY | os.O_APPEND, lambda fd, data, at: os.write(fd, data))

    def synchronous(self):
        return self.until(os.O_RDWR | os.O_SYNC, os.pwrite)

    def direct(self):
        return self.until(os.O_RDWR | os.O_DIRECT, util_sys.write_direct, pattern(256 * KIB))

    def splice(self):
        ends = os.pipe()

        def write(fd, data, at):
            left = os.write(ends[1], data[:60000])
            try:
                count = os.splice(ends[0], fd, left)
                left -= count
                return count
            finally:
                if left:
                    os.read(ends[0], left)

        try:
            return self.until(os.O_WRONLY, write)
        finally:
            os.close(ends[0])
            os.close(ends[1])

    def copied(self, copy):
        with opened(self.source, os.O_RDONLY) as source:
            return self.until(os.O_WRONLY, lambda fd, rest, at: copy(
                fd, source, MIB - len(rest), min(99999, len(rest))), read_file(self.source))

    def copy_file_range(self):
        return self.copied(lambda fd, source, at, length:
                           os.copy_file_range(source, fd, length, at))

    def sendfile(self):
        return self.copied(os.sendfile)

    def fallocate(self):
        with opened(self.path, os.O_RDWR | os.O_CREAT) as fd:
            error = short(util_sys.fallocate, fd, 0, 0, 3 * ROOM)
            size = os.fstat(fd).st_size
            assert os.pwrite(fd, b"x" * 100, 0) == 100
            return size, error

    def mapped(self):
        """How a process ends that stores into new pages, and then calls msync()."""
        def store():
            with opened(self.path, os.O_RDWR | os.O_CREAT) as fd:
                os.ftruncate(fd, 3 * ROOM)
                with mmap.mmap(fd, 3 * ROOM) as view:
                    for at in range(0, 3 * ROOM, 4096):
                        view[at:at + 5] = b"there"
                    view.flush()

        with Child(store) as child:
            child.wait()
            if os.WIFSIGNALED(child.poll()):
                return signal.Signals(os.WTERMSIG(child.poll())).name
            return short(child.result)


WAYS = ["write", "pwrite", "append", "synchronous", "direct", "splice", "copy_file_range",
        "sendfile"]


def agree(way, mine, theirs):
    """What the filesystem keeps for itself varies a little."""
    if way == "mapped":
        # Without passthrough the kernel finds out when it writes the pages.
        return theirs == "SIGBUS" and mine in ("SIGBUS", "ENOSPC")
    if way == "large":
        # Of one request all, some or nothing may be written.
        return mine[1] == theirs[1] == "ENOSPC"
    return mine[1] == theirs[1] == "ENOSPC" and abs(mine[0] - theirs[0]) <= 128 * KIB


@pytest.mark.parametrize("lane, passthrough, transport", LANES)
def test_full_by_every_way(disk, mount, lane, passthrough, transport):
    """The short count, then ENOSPC; the file has what was acknowledged, and no more."""
    small = disk("ext4")
    m = over(mount, small, lane, passthrough, transport)
    roots = m.backing("native"), m.join("mine")

    def free():
        return os.statvfs(small.path).f_bfree * 4096

    for root in roots:
        os.mkdir(root)
        write_file(root + "/source", pattern(MIB))
    run("sync", "-f", small.path)
    with opened(m.backing("fill"), os.O_RDWR | os.O_CREAT) as fill:
        os.posix_fallocate(fill, 0, free() - ROOM)
    before = free()
    for way in WAYS + ["large", "fallocate", "mapped"]:
        said = []
        for root in roots:
            said.append(getattr(Full(root), way)())
            os.truncate(root + "/f", 0)
            os.unlink(root + "/f")
            wait_for(lambda: free() == before, 10, "the space is free again")
        assert agree(way, said[1], said[0]), (way, said)
    os.unlink(m.join("fill"))
    data = pattern(2 * ROOM)
    wait_for(lambda: free() > 3 * ROOM, 10, "the space is free again")
    write_file(m.join("f"), data)
    assert read_file(m.join("f")) == data


@pytest.mark.parametrize("transport", ["io_uring", "dev"])
def test_pages_that_are_written_in_part(disk, mount, transport):
    """The kernel looks for an error, not at the count."""
    small = disk("ext4")
    m = over(mount, small, "cached", "off", transport)
    with opened(m.join("f"), os.O_RDWR | os.O_CREAT) as fd, \
         opened(m.backing("fill"), os.O_RDWR | os.O_CREAT) as fill:
        os.truncate(fd, MIB)
        run("sync", "-f", small.path)
        os.posix_fallocate(fill, 0, os.statvfs(small.path).f_bavail * 4096 - 512 * KIB)
        with mmap.mmap(fd, MIB) as view:
            view[:] = pattern(MIB)
            with pytest.raises(OSError) as caught:
                view.flush()
            assert caught.value.errno == errno.ENOSPC
