# SPDX-License-Identifier: MIT
"""Processes, waiting and test data: helpers that know nothing of lanefs."""
import concurrent.futures
import contextlib
import faulthandler
import fcntl
import functools
import hashlib
import os
import pickle
import random
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import traceback

import pytest

import util_sys
import util_watch

NOBODY = 65534
USER_A, USER_B = 5001, 5002
GROUP_X = 6001


def patience(seconds):
    """So long may take what takes less than that many seconds on a machine with nothing else to
    do: longer, the more there is to do for each processor."""
    return seconds * min(max(1, os.getloadavg()[0] / os.cpu_count()), 4)


def clock():
    """time.monotonic() without the time in which a processor stood still; see util_watch.Beat."""
    return util_watch.beat.time() if util_watch.beat else time.monotonic()


def idle(seconds):
    """Sleep, and as long as a processor stands still: what goes on there is not to be outrun."""
    time.sleep(seconds)
    while util_watch.beat and util_watch.beat.late():
        time.sleep(0.002)


def wait_for(condition, seconds, what, longest=0.01):
    """Poll until condition() is true and return its value.  seconds: see patience()."""
    seconds = patience(seconds)
    end = clock() + seconds
    pause = 0.001
    while True:
        # Whatever lies between this and the condition, it is looked at once more.
        over = clock() > end
        value = condition()
        if value:
            return value
        if over:
            raise AssertionError(f"not within {seconds:.1f} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, longest)


def unmount(path):
    """Somebody may look at it just now, as lanectl does at all mounts."""
    done = []

    def over():
        done.append(run("umount", path, check=False))
        return not done[-1].returncode or "busy" not in done[-1].stderr

    wait_for(over, 10, "unmounted")
    assert not done[-1].returncode, done[-1].stderr


def wait_for_waiters(path, count):
    """Until so many wait for locks of the file: in the kernel, for themselves or in lanefs."""
    mark = f":{os.stat(path).st_ino} "

    def waiting():
        with open("/proc/locks") as stream:
            return sum(" -> " in line and mark in line for line in stream) == count

    wait_for(waiting, 10, f"{count} who wait")


def run(*argv, timeout=60, check=True, **kwargs):
    """Run a program; its output is in the failure when it fails."""
    done = subprocess.run([os.fspath(arg) for arg in argv], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=patience(timeout),
                          **kwargs)
    done.stdout = done.stdout.decode(errors="surrogateescape")
    done.stderr = done.stderr.decode(errors="surrogateescape")
    if check and done.returncode:
        raise AssertionError(f"{argv} gave {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def need(*programs):
    for program in programs:
        if not any(os.access(os.path.join(path, program), os.X_OK) for path in
                   os.environ["PATH"].split(":") + ["/usr/sbin", "/sbin"]):
            pytest.skip(f"{program} is not installed")


def sysctl_path(name):
    return "/proc/sys/" + name.replace(".", "/")


@contextlib.contextmanager
def sysctl(name, value):
    """A setting of the kernel is value meanwhile."""
    path = sysctl_path(name)
    with open(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = lock.read()
        with open(path, "w") as stream:
            stream.write(str(value))
        try:
            yield
        finally:
            with open(path, "w") as stream:
                stream.write(before)


@contextlib.contextmanager
def sysctls_stay(*names):
    """The tests that run beside this one change none of these settings meanwhile."""
    with contextlib.ExitStack() as stack:
        for name in names:
            fcntl.flock(stack.enter_context(open(sysctl_path(name))), fcntl.LOCK_SH)
        yield


class Child:
    """A function in a forked process, as another user if asked; its result or exception comes
    back through result()."""

    def __init__(self, function, *args, uid=None, gid=None, groups=(), umask=None, nofile=None):
        self._pipe = None
        read_end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(function, args, write_end, uid, gid, groups, umask, nofile)
        os.close(write_end)
        self._pipe = read_end
        self._status = None

    def _child(self, function, args, pipe, uid, gid, groups, umask, nofile):
        try:
            faulthandler.disable()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if nofile is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))
            if umask is not None:
                os.umask(umask)
            if uid is not None:
                gid = uid if gid is None else gid
                os.setgroups(groups)
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
            outcome = (True, function(*args))
        except BaseException as error:
            outcome = (False, (error, traceback.format_exc()))
        try:
            data = pickle.dumps(outcome)
        except Exception:
            data = pickle.dumps((False, (AssertionError(repr(outcome)), "")))
        with os.fdopen(pipe, "wb") as stream:
            stream.write(data)
        os._exit(0)

    def poll(self):
        """The wait status when it has ended, else None."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status

    def wait(self, seconds=30):
        wait_for(lambda: self.poll() is not None, seconds, f"end of process {self.pid}")

    def result(self, seconds=30):
        seconds = patience(seconds)
        data, end = b"", clock() + seconds
        while True:
            left = max(0, end - clock())
            if not select.select([self._pipe], [], [], left)[0]:
                if clock() < end:
                    continue
                raise AssertionError(f"no result from process {self.pid} within {seconds:.1f} s")
            piece = os.read(self._pipe, 1 << 20)
            if not piece:
                break
            data += piece
        self.wait(5)
        if not data:
            raise AssertionError(f"process {self.pid} ended with status {self._status}")
        good, value = pickle.loads(data)
        if good:
            return value
        error, trace = value
        if not isinstance(error, OSError):
            sys.stderr.write(trace)
        raise error

    def signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def close(self):
        """End it whatever it does; what it waits for in a dead mount is the watchdog's."""
        if self._pipe is not None:
            self.signal(signal.SIGKILL)
            self.wait(10)
            os.close(self._pipe)
            self._pipe = None

    def __del__(self):
        # Hundreds of them would be inherited by every later one.
        if self._pipe is not None:
            os.close(self._pipe)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Peer:
    """A forked process that calls functions one after the other: where many short calls from another
    process are wanted, a Child for each would take most of the time.  What is called, and what comes
    back, goes by pickle, so functions go by name."""

    def __init__(self):
        self._asks, self._answers = os.pipe(), os.pipe()
        self._child = Child(self._serve)
        self._late = False

    def _serve(self):
        with os.fdopen(self._asks[0], "rb") as asks, os.fdopen(self._answers[1], "wb") as answers:
            os.close(self._asks[1])
            while True:
                try:
                    function, args = pickle.load(asks)
                except EOFError:
                    return
                try:
                    outcome = True, function(*args)
                except Exception as error:
                    outcome = False, error
                pickle.dump(outcome, answers)
                answers.flush()

    def call(self, function, *args, seconds=30):
        assert not self._late, "an answer is late, and the next would be taken for it"
        os.write(self._asks[1], pickle.dumps((function, args)))
        self._late = True
        if not select.select([self._answers[0]], [], [], patience(seconds))[0]:
            raise AssertionError(f"no answer from process {self._child.pid}")
        # Far less than a pipe holds.
        good, value = pickle.loads(os.read(self._answers[0], 1 << 16))
        self._late = False
        if good:
            return value
        raise value

    def close(self):
        self._child.close()
        for end in self._asks + self._answers:
            os.close(end)


def as_user(uid, function, *args, gid=None, groups=(), umask=None):
    """function(*args) as that user; raises what it raised.

    In a thread: to the kernel, though not to the C library, whose it is is a thread's own.
    """
    answer = []

    def run_as():
        try:
            util_sys.become(uid, uid if gid is None else gid, groups, umask)
            answer.append((True, function(*args)))
        except BaseException as error:
            answer.append((False, error))

    thread = threading.Thread(target=run_as, daemon=True)
    thread.start()
    thread.join(patience(30))
    util_sys.set_dumpable()
    assert answer, f"no result as user {uid}"
    good, value = answer[0]
    if good:
        return value
    raise value


def at_once(function, each):
    """function(one) for each of them, in threads: for what is mostly waiting."""
    with concurrent.futures.ThreadPoolExecutor(len(each)) as pool:
        for _ in pool.map(function, each):
            pass


def outcome(function, *args):
    """The result, or the errno name of its failure: for comparing two filesystems."""
    try:
        return function(*args)
    except OSError as error:
        return os.strerror(error.errno)


@functools.lru_cache(maxsize=4, typed=True)
def pattern(size, seed=0):
    """Bytes that no shifted or repeated part of themselves can stand for."""
    return random.Random(seed).randbytes(size)


def write_file(path, data, mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)


def read_file(path):
    with open(path, "rb", buffering=0) as stream:
        return stream.readall()


def write_large(path, size, seed=0):
    """A file of size bytes with a block of its own every 4 MiB; its SHA-256."""
    digest = hashlib.sha256()
    block = pattern(4 << 20, seed)
    with open(path, "wb", buffering=0) as stream:
        done = 0
        while done < size:
            piece = (done.to_bytes(8, "little") + block)[:min(len(block), size - done)]
            stream.write(piece)
            digest.update(piece)
            done += len(piece)
        os.fsync(stream.fileno())
    return digest.hexdigest()


def sha256(path, piece=128 << 10):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        while data := stream.read(piece):
            digest.update(data)
    return digest.hexdigest()
