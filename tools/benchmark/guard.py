# SPDX-License-Identifier: MIT
"""Whatever the benchmark makes is taken down again, however it ends.

Steps are with-statements, so an exception, Ctrl-C among them, undoes them in reverse order.  A
process that is killed outright can undo nothing: a second one, that waits for the end of this
one on a pipe, then does.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

from . import system


def _undo(kind, what):
    """For the second process: undo a step knowing only its kind and name."""
    if kind == "process":
        with contextlib.suppress(OSError):
            os.killpg(int(what), signal.SIGKILL)
    elif kind == "mount":
        while system.mounted(what) and system.detach(what):
            pass
    elif kind == "cgroup":
        for _ in range(100):
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.rmdir(what)
                except FileNotFoundError:
                    raise
                except OSError:
                    time.sleep(0.1)
                    continue
            break
    elif kind == "directory":
        shutil.rmtree(what, ignore_errors=True)
    elif kind == "loop":
        subprocess.run(["losetup", "-d", what], check=False, stderr=subprocess.DEVNULL)
    elif kind == "zram":
        for _ in range(50):
            with contextlib.suppress(OSError):
                system.write(f"/sys/block/zram{what}/reset", 1)
                system.write("/sys/class/zram-control/hot_remove", what)
                break
            time.sleep(0.1)
    elif kind == "setting":
        path, value = what
        with contextlib.suppress(OSError):
            system.write(path, value)


class Guard:
    """Knows the steps that were made and not yet undone."""

    def __init__(self):
        self._count = 0
        # With cgroups of version 2, where a device is limited: the directory that others are made
        # in, and the group of those who have none.
        self.parent = self.everyone = None
        read_end, self._pipe = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._pipe)
            self._wait(read_end)
        os.close(read_end)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)

    @staticmethod
    def _interrupt(number, _frame):
        raise KeyboardInterrupt(signal.Signals(number).name)

    @staticmethod
    def _wait(pipe):
        """The second process."""
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        steps = []
        with os.fdopen(pipe) as stream:
            for line in stream:
                made, kind, what = json.loads(line)
                if made:
                    steps.append((kind, what))
                else:
                    steps.remove((kind, what if not isinstance(what, list) else what))
        for kind, what in reversed(steps):
            with contextlib.suppress(Exception):
                _undo(kind, what)
        os._exit(0)

    def _say(self, made, kind, what):
        os.write(self._pipe, json.dumps([made, kind, what]).encode() + b"\n")

    @contextlib.contextmanager
    def inside(self, parent, everyone):
        """Meanwhile cgroups are made in that one, and processes without one are in everyone."""
        self.parent, self.everyone = parent, everyone
        try:
            yield
        finally:
            self.parent = self.everyone = None

    def number(self):
        self._count += 1
        return self._count

    @contextlib.contextmanager
    def step(self, kind, what, undo):
        """Around what is made inside; undo() also when only a part of it was."""
        self._say(True, kind, what)
        try:
            yield
        finally:
            with uninterrupted():
                undo()
                self._say(False, kind, what)

    @contextlib.contextmanager
    def setting(self, path, value):
        """A kernel setting for the time being, where there is such a setting."""
        before = system.read(path).strip()
        if before in ("", str(value)):
            yield
            return
        with self.step("setting", [path, before], lambda: system.write(path, before)):
            system.write(path, value)
            yield

    @contextlib.contextmanager
    def process(self, argv, cgroup=None, **kwargs):
        """A process that is ended, by SIGTERM and else SIGKILL, at the end, and what it has started."""
        cgroup = cgroup or self.everyone
        # A process of another user may not enter by itself.
        own = cgroup and "user" not in kwargs
        process = subprocess.Popen(argv, preexec_fn=cgroup.enter if own else None,
                                   start_new_session=True, **kwargs)
        with self.step("process", process.pid, lambda: end_process(process)):
            if cgroup and not own:
                cgroup.enter(process.pid)
            yield process

    def close(self):
        os.close(self._pipe)
        os.waitpid(self._child, 0)


@contextlib.contextmanager
def uninterrupted():
    """Undoing is not to be interrupted halfway."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def insist(action, patience=15):
    """Do what others may keep busy for a moment, as a device whose filesystem is being closed."""
    end = time.monotonic() + patience
    while True:
        try:
            return action()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def end_process(process, patience=10):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
