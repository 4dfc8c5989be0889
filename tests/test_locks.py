# SPDX-License-Identifier: MIT
"""flock, POSIX and open-file-description locks, shared with users of the backing file."""
import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import threading
import time

import pytest

import util_sys
from util import Child, Peer, at_once, clock, outcome, wait_for, wait_for_waiters, write_file
from util_sys import lock_conflict, ofd_lock, posix_lock

READ, WRITE, UNLOCK = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
BUSY = (errno.EAGAIN, errno.EACCES)
PEER = None


@pytest.fixture(params=["mount-mount", "mount-backing", "backing-mount"])
def pair(request, m):
    """The same file by two ways; the first holds, the second asks."""
    write_file(m.backing("f"), b"x" * 1000)
    ways = {"mount": m.join("f"), "backing": m.backing("f")}
    return [ways[way] for way in request.param.split("-")]


@contextlib.contextmanager
def lease(path, kind):
    """As Samba takes it; who may wait for it waits for lease-break-time, 45 s."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(path, os.O_RDONLY if kind == READ else os.O_RDWR)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)
        yield fd
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)


@pytest.mark.daemon
def test_asking_for_a_lock_breaks_no_lease(m):
    write_file(m.backing("f"), b"x")
    with open(m.join("f"), "rb") as stream, lease(m.backing("f"), READ) as fd:
        assert lock_conflict(stream.fileno(), READ) is None
        assert fcntl.fcntl(fd, fcntl.F_GETLEASE) == READ


@pytest.mark.daemon
def test_looks_wait_for_no_lease(m):
    with open(m.backing("f"), "wb") as stream:
        stream.truncate(200 << 20)
    os.stat(m.join("f"))
    with lease(m.backing("f"), WRITE):
        begin = time.monotonic()
        assert os.getxattr(m.join("f"), "user.lanefs.lane")
        assert time.monotonic() - begin < 20


@pytest.fixture(scope="module", autouse=True)
def peer():
    """Another process, from before there are mounts that it could keep busy."""
    global PEER
    PEER = Peer()
    yield
    PEER.close()


def _ask(path, kind, start, length):
    with open(path, "r+b") as stream:
        return lock_conflict(stream.fileno(), kind, start, length)


def conflict(path, kind, start, length):
    """In another process: what stands in the way of that POSIX lock."""
    return PEER.call(_ask, path, kind, start, length)


def _attempt(path, function, *args):
    with open(path, "r+b") as stream:
        try:
            function(stream.fileno(), *args)
        except OSError as error:
            assert error.errno in BUSY, error
            return "busy"
        return "taken"


def try_lock(path, function, *args):
    """In another process: 'taken' or 'busy'."""
    return PEER.call(_attempt, path, function, *args)


def test_posix_lock(pair):
    holder, other = pair
    with open(holder, "r+b") as stream:
        posix_lock(stream.fileno(), WRITE, 100, 50)
        assert try_lock(other, posix_lock, WRITE, 149, 1) == "busy"
        assert try_lock(other, posix_lock, READ, 0, 101) == "busy"
        assert try_lock(other, posix_lock, WRITE, 150, 10) == "taken"
        assert try_lock(other, posix_lock, WRITE, 0, 100) == "taken"
        assert conflict(other, READ, 120, 1)[:3] == (WRITE, 100, 50)
        posix_lock(stream.fileno(), UNLOCK, 100, 20)
        assert try_lock(other, posix_lock, WRITE, 100, 20) == "taken"
        assert try_lock(other, posix_lock, WRITE, 120, 1) == "busy"
        posix_lock(stream.fileno(), READ, 120, 30)
        assert try_lock(other, posix_lock, READ, 120, 30) == "taken"
        assert try_lock(other, posix_lock, WRITE, 120, 30) == "busy"
        posix_lock(stream.fileno(), UNLOCK)
        assert conflict(other, WRITE, 0, 0) is None


def test_posix_lock_falls_with_any_close_of_its_process(pair):
    holder, other = pair
    with open(holder, "r+b") as stream:
        posix_lock(stream.fileno(), WRITE)
        assert try_lock(other, posix_lock, WRITE) == "busy"
        with open(holder, "rb"):
            pass
        assert try_lock(other, posix_lock, WRITE) == "taken"


def test_posix_lock_falls_with_a_close_while_another_thread_waits(pair):
    holder, other = pair
    seen = os.pipe()

    def hold_and_wait():
        with open(holder, "r+b") as stream, open(holder, "rb") as second:
            # The other side's tries may be in the way for a moment.
            posix_lock(stream.fileno(), WRITE, 0, 10, True)
            thread = threading.Thread(target=posix_lock, daemon=True,
                                      args=(stream.fileno(), WRITE, 10, 10, True))
            thread.start()
            wait_for_waiters(holder, 1)
            os.read(seen[0], 1)
            second.close()
            thread.join(20)
            return try_lock(other, posix_lock, WRITE, 0, 10), \
                try_lock(other, posix_lock, WRITE, 10, 10)

    with open(other, "r+b") as stream:
        posix_lock(stream.fileno(), WRITE, 10, 10)
        with Child(hold_and_wait) as child:
            wait_for(lambda: try_lock(other, posix_lock, WRITE, 0, 10) == "busy", 10, "the lock")
            os.write(seen[1], b"x")
            wait_for(lambda: try_lock(other, posix_lock, WRITE, 0, 10) == "taken", 5, "its end")
            posix_lock(stream.fileno(), UNLOCK, 10, 10)
            assert child.result(25) == ("taken", "busy")
    for end in seen:
        os.close(end)


def open_many(directory, count=100):
    """Who opens many files and locks none closes them without FLUSH."""
    path = os.path.join(directory, "many")
    write_file(path, b"x")
    for _ in range(count):
        open(path, "rb").close()


@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
def test_posix_lock_of_a_reader_falls_with_its_close(pair, many):
    """Even if nobody tells of the closes of who opened the file before it was first locked."""
    holder, other = pair
    if many:
        open_many(os.path.dirname(holder))
    for _ in range(3):
        with open(holder, "rb") as stream:
            posix_lock(stream.fileno(), READ)
            assert try_lock(other, posix_lock, WRITE) == "busy"
            assert try_lock(other, posix_lock, READ) == "taken"
        wait_for(lambda: try_lock(other, posix_lock, WRITE) == "taken", 1, "the end of the lock")
    with open(holder, "rb"), open(holder, "r+b") as stream:
        posix_lock(stream.fileno(), WRITE)
        assert try_lock(other, posix_lock, WRITE) == "busy"
        open(holder, "rb").close()
        assert try_lock(other, posix_lock, WRITE) == "taken"


def test_flock_of_a_reader_is_gone_once_it_is_closed(m):
    """Even if its RELEASE is still on its way, for who asks without waiting."""
    def lock(index):
        open_many(m.path)
        write_file(m.backing(f"l{index}"), b"x")
        with open(m.join(f"l{index}"), "rb") as stream, open(m.join(f"l{index}"), "rb") as other:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            stream.close()
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)

    # Who has locked once is told of every close: each is a process of its own.
    for index in range(30):
        with Child(lock, index) as child:
            child.result()


def test_process_that_is_left_by_its_parent_has_no_lock_of_it(pair):
    """A POSIX lock ends with its process, also where a child has the descriptor."""
    holder, other = pair

    ends = os.pipe(), os.pipe()

    def parent():
        stream = open(holder, "rb")
        if not os.fork():
            kept = stream.fileno(), ends[0][0], ends[1][1]
            for fd in set(map(int, os.listdir("/proc/self/fd"))) - set(kept) - {0, 1, 2}:
                try:
                    os.close(fd)
                except OSError:
                    pass
            os.read(ends[0][0], 1)
            os._exit(0)
        posix_lock(stream.fileno(), READ)

    with Child(parent) as child:
        child.result()
        wait_for(lambda: try_lock(other, posix_lock, WRITE) == "taken", 1, "the end of the lock")
    os.close(ends[0][1])
    os.close(ends[1][1])
    os.read(ends[1][0], 1)
    os.close(ends[0][0])
    os.close(ends[1][0])


def test_posix_lock_falls_with_its_process(pair):
    holder, other = pair

    def hold():
        stream = open(holder, "r+b")
        posix_lock(stream.fileno(), WRITE, wait=True)
        os.kill(os.getpid(), signal.SIGSTOP)

    with Child(hold) as child:
        wait_for(lambda: try_lock(other, posix_lock, WRITE) == "busy", 10, "the lock")
        child.signal(signal.SIGKILL)
        child.wait()
        assert try_lock(other, posix_lock, WRITE) == "taken"


def test_posix_locks_of_one_process_do_not_conflict(m):
    write_file(m.join("f"), b"")
    with open(m.join("f"), "r+b") as one, open(m.join("f"), "r+b") as two:
        posix_lock(one.fileno(), WRITE, 0, 10)
        posix_lock(two.fileno(), WRITE, 5, 10)
        assert lock_conflict(two.fileno(), WRITE) is None
        assert conflict(m.join("f"), WRITE, 0, 0)[:3] == (WRITE, 0, 15)


def test_posix_locks_are_not_inherited(m):
    write_file(m.join("f"), b"")
    with open(m.join("f"), "r+b") as stream:
        posix_lock(stream.fileno(), WRITE)

        def in_child():
            try:
                posix_lock(stream.fileno(), WRITE)
            except OSError as error:
                return error.errno in BUSY
            return False

        with Child(in_child) as child:
            assert child.result()


def test_holder_is_named(m):
    write_file(m.join("f"), b"")
    with open(m.join("f"), "r+b") as stream:
        posix_lock(stream.fileno(), WRITE)
        assert conflict(m.join("f"), WRITE, 0, 0)[3] == os.getpid()


def test_open_file_description_lock(pair):
    holder, other = pair
    stream = open(holder, "r+b")
    ofd_lock(stream.fileno(), WRITE, 10, 10)
    with open(holder, "r+b") as second:
        with pytest.raises(OSError) as caught:
            ofd_lock(second.fileno(), WRITE, 15, 1)
        assert caught.value.errno in BUSY
    assert try_lock(other, ofd_lock, READ, 19, 1) == "busy"
    assert try_lock(other, posix_lock, WRITE, 10, 1) == "busy"
    assert try_lock(other, ofd_lock, WRITE, 20, 1) == "taken"
    stream.close()
    wait_for(lambda: try_lock(other, ofd_lock, WRITE) == "taken", 2, "close drops the lock")


@pytest.fixture
def hop():
    """hop(turn) goes to another processor: over io_uring what comes after may overtake RELEASE."""
    cpus = os.sched_getaffinity(0)
    ways = sorted(cpus)
    yield lambda turn: os.sched_setaffinity(0, {ways[turn % len(ways)]})
    os.sched_setaffinity(0, cpus)


def test_open_file_description_lock_is_gone_once_it_is_closed(m, hop):
    """Even if its RELEASE is still on its way: for who asks, and for who takes it."""
    write_file(m.join("f"), b"x")
    for turn in range(100):
        first = open(m.join("f"), "r+b")
        ofd_lock(first.fileno(), WRITE)
        first.close()
        hop(turn)
        with open(m.join("f"), "r+b") as second:
            if turn % 2:
                assert lock_conflict(second.fileno(), WRITE, command=fcntl.F_OFD_GETLK) is None
            ofd_lock(second.fileno(), WRITE)


def test_open_file_description_lock_outlives_an_earlier_close(m, hop):
    """The kernel gives the number of an open file again before it tells of the file's close."""
    def lock(name):
        write_file(m.join(name), b"x")
        with open(m.join(name), "r+b") as other:
            for turn in range(25):
                with open(m.join(name), "r+b") as stream:
                    ofd_lock(stream.fileno(), WRITE)
                    for _ in range(2):
                        with pytest.raises(OSError) as caught:
                            ofd_lock(other.fileno(), WRITE)
                        assert caught.value.errno in BUSY
                if not turn % 3:
                    hop(turn // 3)

    # A refusal is waited for, once in each turn: locks_grace().
    at_once(lock, ["f", "g", "h", "i"])


def test_flock(pair):
    holder, other = pair
    with open(holder, "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert try_lock(other, fcntl.flock, fcntl.LOCK_SH | fcntl.LOCK_NB) == "busy"
        fcntl.flock(stream, fcntl.LOCK_SH)
        assert try_lock(other, fcntl.flock, fcntl.LOCK_SH | fcntl.LOCK_NB) == "taken"
        assert try_lock(other, fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB) == "busy"
        fcntl.flock(stream, fcntl.LOCK_UN)
        assert try_lock(other, fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB) == "taken"
        fcntl.flock(stream, fcntl.LOCK_EX)
    wait_for(lambda: try_lock(other, fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB) == "taken", 2,
             "close drops the lock")


def test_flock_is_shared_with_children_and_duplicates(m):
    write_file(m.join("f"), b"")
    stream = open(m.join("f"), "r+b")
    fcntl.flock(stream, fcntl.LOCK_EX)
    copy = os.dup(stream.fileno())
    stream.close()
    assert try_lock(m.join("f"), fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB) == "busy"
    fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(copy)
    wait_for(lambda: try_lock(m.join("f"), fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB) == "taken",
             2, "the last close drops the lock")


def test_flock_and_posix_locks_do_not_meet(m):
    write_file(m.join("f"), b"")
    with open(m.join("f"), "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert try_lock(m.join("f"), posix_lock, WRITE) == "taken"


def waiting_child(path, function, *args):
    def wait():
        with open(path, "r+b") as stream:
            function(stream.fileno(), *args)
            return time.monotonic()

    return Child(wait)


@pytest.mark.parametrize("function, args", [(posix_lock, (WRITE, 0, 0, True)),
                                            (ofd_lock, (WRITE, 0, 0, True)),
                                            (fcntl.flock, (fcntl.LOCK_EX,))],
                         ids=["posix", "ofd", "flock"])
def test_waiting_lock_is_granted(pair, function, args):
    holder, other = pair
    with open(holder, "r+b") as stream:
        unlock = (fcntl.LOCK_UN,) if function is fcntl.flock else (UNLOCK,)
        function(stream.fileno(), *args)
        with waiting_child(other, function, *args) as child:
            wait_for_waiters(holder, 1)
            # Some looks for a signal to it (fs/lock-wait.c).
            time.sleep(0.05)
            assert child.poll() is None
            released = time.monotonic()
            function(stream.fileno(), *unlock)
            assert child.result(5) - released < 1


@pytest.mark.parametrize("function, args", [(posix_lock, (WRITE, 0, 0, True)),
                                            (fcntl.flock, (fcntl.LOCK_EX,))],
                         ids=["posix", "flock"])
def test_forty_waiters(m, function, args):
    """More waiters than any thread pool has threads; the mount goes on meanwhile."""
    write_file(m.join("f"), b"0")

    def add():
        with open(m.join("f"), "r+b", buffering=0) as stream:
            function(stream.fileno(), *args)
            value = int(os.pread(stream.fileno(), 10, 0))
            time.sleep(0.001)
            os.pwrite(stream.fileno(), b"%d" % (value + 1), 0)

    with open(m.join("f"), "r+b") as stream:
        function(stream.fileno(), *args)
        children = [Child(add) for _ in range(40)]
        try:
            wait_for_waiters(m.join("f"), 40)
            write_file(m.join("meanwhile"), b"y" * 100000)
            assert len(os.listdir(m.path)) == 2
            assert all(child.poll() is None for child in children)
            function(stream.fileno(), *((fcntl.LOCK_UN,) if function is fcntl.flock
                                        else (UNLOCK,)))
            for child in children:
                child.result(20)
        finally:
            for child in children:
                child.close()
    assert open(m.join("f")).read() == "40"


@pytest.mark.parametrize("function, args", [(posix_lock, (WRITE, 0, 0, True)),
                                            (fcntl.flock, (fcntl.LOCK_EX,))],
                         ids=["posix", "flock"])
def test_waiting_lock_is_interrupted_by_a_signal(pair, function, args):
    holder, other = pair

    class Alarm(Exception):
        pass

    def wait():
        def ring(*_):
            raise Alarm
        signal.signal(signal.SIGUSR1, ring)
        try:
            with open(other, "r+b") as stream:
                function(stream.fileno(), *args)
        except Alarm:
            return "interrupted"
        return "taken"

    with open(holder, "r+b") as stream:
        function(stream.fileno(), *args)
        with Child(wait) as child, Child(wait) as killed:
            wait_for_waiters(holder, 2)
            child.signal(signal.SIGUSR1)
            assert child.result(5) == "interrupted"
            killed.signal(signal.SIGKILL)
            killed.wait(5)
    # Nobody who gave up may hold the lock now.
    args = (fcntl.LOCK_EX | fcntl.LOCK_NB,) if function is fcntl.flock else (WRITE,)
    wait_for(lambda: try_lock(other, function, *args) == "taken", 2, "the lock is free")


@pytest.mark.parametrize("function, args", [(posix_lock, (WRITE, 0, 0, True)),
                                            (fcntl.flock, (fcntl.LOCK_EX,))],
                         ids=["posix", "flock"])
def test_signal_of_a_process_with_threads_that_wait(pair, function, args):
    """It is the first thread's; another that waits, too, waits on."""
    holder, other = pair

    told, tell = os.pipe()

    def wait():
        found = []
        signal.signal(signal.SIGUSR1, lambda *_: os.write(tell, b"1"))

        def lock():
            with open(other, "r+b") as stream:
                try:
                    function(stream.fileno(), *args)
                    found.append("taken")
                except OSError as error:
                    found.append(error.errno)

        thread = threading.Thread(target=lock)
        thread.start()
        # Only what the first thread is told.
        lock()
        thread.join()
        return found

    with open(holder, "r+b") as stream:
        function(stream.fileno(), *args)
        with Child(wait) as child:
            wait_for_waiters(holder, 2)
            child.signal(signal.SIGUSR1)
            # The first thread, while the lock is held; the other has its chance to be ended, too.
            assert select.select([told], [], [], 5)[0]
            time.sleep(0.3)
            function(stream.fileno(), *((fcntl.LOCK_UN,) if function is fcntl.flock else (UNLOCK,)))
            assert child.result(10) == ["taken", "taken"]
    os.close(told)
    os.close(tell)


def test_signal_of_a_process_whose_first_thread_has_ended(pair):
    """Then it is that of the one that waits."""
    holder, other = pair

    def wait():
        # Of Python's, it lets system calls end.
        signal.signal(signal.SIGUSR1, lambda *_: None)
        fd = os.open(other, os.O_RDWR)

        def lock():
            # Not Python's own, which waits on.
            taken = util_sys.libc.flock(fd, fcntl.LOCK_EX) == 0
            os._exit(1 if taken else 0 if ctypes.get_errno() == errno.EINTR else 2)

        threading.Thread(target=lock).start()
        util_sys.libc.syscall(60 if os.uname().machine == "x86_64" else 93, 0)

    def first_has_ended():
        with open(f"/proc/{child.pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] == "Z"

    with open(holder, "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with Child(wait) as child:
            wait_for_waiters(holder, 1)
            wait_for(first_has_ended, 5, "the first thread's end")
            child.signal(signal.SIGUSR1)
            child.wait(5)
            assert os.waitstatus_to_exitcode(child.poll()) == 0


def test_lock_with_threads(m):
    """flock between two descriptors of one process, from two threads."""
    write_file(m.join("f"), b"")
    order = []
    with open(m.join("f"), "rb") as one, open(m.join("f"), "rb") as two:
        fcntl.flock(one, fcntl.LOCK_EX)

        def second():
            fcntl.flock(two, fcntl.LOCK_EX)
            order.append("second")

        thread = threading.Thread(target=second, daemon=True)
        thread.start()
        wait_for_waiters(m.join("f"), 1)
        order.append("first")
        fcntl.flock(one, fcntl.LOCK_UN)
        thread.join(5)
    assert order == ["first", "second"]


def test_read_only_descriptor_cannot_write_lock(m):
    write_file(m.join("f"), b"")
    with open(m.join("f"), "rb") as stream:
        with pytest.raises(OSError) as caught:
            posix_lock(stream.fileno(), WRITE)
        assert caught.value.errno == errno.EBADF
        posix_lock(stream.fileno(), READ)
        fcntl.flock(stream, fcntl.LOCK_EX)


@pytest.mark.parametrize("backing", ["ext4"])
def test_append_only_file_is_locked(mount, backing):
    m = mount(backing=backing)
    write_file(m.backing("log"), b"x")
    with open(m.backing("log"), "rb") as stream:
        flags = util_sys.get_flags(stream.fileno())
        util_sys.set_flags(stream.fileno(), flags | util_sys.FS_APPEND_FL)
        try:
            fd = os.open(m.join("log"), os.O_WRONLY | os.O_APPEND)
            posix_lock(fd, WRITE)
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.close(fd)
        finally:
            util_sys.set_flags(stream.fileno(), flags)


def test_two_readers_that_both_want_to_write(m):
    """Each waits for the other's read lock: the second is told."""
    write_file(m.join("f"), b"x" * 100)
    first_reads, first_waits = os.pipe()

    def first():
        with open(m.join("f"), "r+b") as stream:
            posix_lock(stream.fileno(), READ, 10, 5)
            os.write(first_waits, b"x")
            posix_lock(stream.fileno(), WRITE, 10, 5, True)
            return "granted"

    with open(m.join("f"), "r+b") as stream:
        posix_lock(stream.fileno(), READ, 0, 0)
        with Child(first) as child:
            os.read(first_reads, 1)
            wait_for_waiters(m.join("f"), 1)
            with pytest.raises(OSError) as caught:
                posix_lock(stream.fileno(), WRITE, 0, 0, True)
            assert caught.value.errno == errno.EDEADLK
            # Who is in the way of the other is known although both hold a lock of the range.
            assert conflict(m.join("f"), WRITE, 0, 5)[3] == os.getpid()
            posix_lock(stream.fileno(), UNLOCK)
            assert child.result(5) == "granted"
    os.close(first_reads)
    os.close(first_waits)


def test_circle_that_closes_while_all_wait(m):
    """The lock changes hands, and who has it now waits already."""
    path = m.join("f")
    write_file(path, b"x" * 100)
    goes, go = os.pipe()
    ready, say = os.pipe()

    def first_reader():
        with open(path, "r+b") as stream:
            posix_lock(stream.fileno(), READ, 0, 1)
            os.write(say, b"x")
            os.read(goes, 1)

    def second_reader():
        with open(path, "r+b") as stream:
            posix_lock(stream.fileno(), READ, 1, 1)
            os.write(say, b"x")
            return outcome(posix_lock, stream.fileno(), WRITE, 5, 1, True)

    def writer():
        with open(path, "r+b") as stream:
            posix_lock(stream.fileno(), WRITE, 5, 1)
            os.write(say, b"x")
            return outcome(posix_lock, stream.fileno(), WRITE, 0, 2, True)

    with Child(first_reader) as first:
        os.read(ready, 1)
        with Child(writer) as third:
            os.read(ready, 1)
            wait_for_waiters(path, 1)
            with Child(second_reader) as second:
                os.read(ready, 1)
                wait_for_waiters(path, 2)
                os.write(go, b"x")
                first.result(5)
                answers = [second.result(10), third.result(10)]
    assert answers.count(os.strerror(errno.EDEADLK)) == 1 and answers.count(None) == 1, answers
    for fd in (goes, go, ready, say):
        os.close(fd)


def test_refused_lock_of_who_has_children(m):
    """A child has inherited the descriptor and closed it; who opened it holds the lock on."""
    write_file(m.join("f"), b"")
    with open(m.join("f"), "r+b") as stream, open(m.join("f"), "r+b") as other:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with Child(lambda: None) as child:
            child.result(5)
        begun = clock()
        for _ in range(100):
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert clock() - begun < 3


def test_holder_is_the_process_of_the_thread(m):
    write_file(m.join("f"), b"")
    with open(m.join("f"), "r+b") as stream:
        thread = threading.Thread(target=posix_lock, args=(stream.fileno(), WRITE))
        thread.start()
        thread.join()
        assert conflict(m.join("f"), WRITE, 0, 0)[3] == os.getpid()
