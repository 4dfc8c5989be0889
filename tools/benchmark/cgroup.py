# SPDX-License-Identifier: MIT
"""Control groups, version 1 or 2: to have memory that is full, to count page cache, and to limit a
device."""
import contextlib
import os
import time

from . import system
from .build import Failure

V1, V2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
THROTTLE = "/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device"


def enable(directory, controller):
    """Have a controller of version 2 in the children of that group; whether it is there."""
    control = os.path.join(directory, "cgroup.subtree_control")
    if controller not in system.read(os.path.join(directory, "cgroup.controllers")).split():
        return False
    if controller in system.read(control).split():
        return True
    try:
        system.write(control, f"+{controller}")
    except OSError:
        return False
    return True


class Cgroup:
    def __init__(self, path, version):
        self.path, self.version = path, version

    def _file(self, v1, v2):
        return os.path.join(self.path, v1 if self.version == 1 else v2)

    def enter(self, pid=None):
        """The process itself, before exec, or another one."""
        system.write(os.path.join(self.path, "cgroup.procs"), pid or os.getpid())

    def limit(self, size):
        system.write(self._file("memory.limit_in_bytes", "memory.max"), size)

    def usage(self):
        return int(system.read(self._file("memory.usage_in_bytes", "memory.current"), "0"))

    def page_cache(self):
        """Bytes of files in memory that were read or written from within."""
        if self.version == 1:
            return self._stat("total_inactive_file", "total_active_file")
        return self._stat("inactive_file", "active_file")

    def dirty(self):
        """Bytes of these that are not on the disk yet."""
        if self.version == 1:
            return self._stat("total_dirty", "total_writeback")
        return self._stat("file_dirty", "file_writeback")

    def _stat(self, *names):
        total = 0
        for line in system.read(os.path.join(self.path, "memory.stat")).splitlines():
            name, value = line.split()
            if name in names:
                total += int(value)
        return total

    def kills(self):
        for line in system.read(self._file("memory.oom_control", "memory.events")).splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def remove(self):
        """Once the processes in it are gone."""
        end = time.monotonic() + 10
        while True:
            try:
                return os.rmdir(self.path)
            except FileNotFoundError:
                return None
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)


@contextlib.contextmanager
def group(guard, parent, version):
    path = os.path.join(parent, f"lanefs-bench-{os.getpid()}-{guard.number()}")
    one = Cgroup(path, version)
    with guard.step("cgroup", path, one.remove):
        os.mkdir(path)
        yield one


@contextlib.contextmanager
def memory(guard, limit=None):
    """A cgroup of its own, holding at most limit bytes."""
    version = 1 if os.path.isdir(V1) else 2
    parent = V1 if version == 1 else guard.parent or V2
    if version == 2 and not enable(parent, "memory"):
        raise Failure(f"{parent} has no memory controller to give to others")
    with group(guard, parent, version) as one:
        if limit:
            one.limit(limit)
        yield one


def available():
    return os.path.isdir(V1) or enable(V2, "memory")


@contextlib.contextmanager
def slow_device(guard, device, rate):
    """Reading of a device (MAJOR:MINOR) is limited to so many bytes a second: with version 1 for
    everyone, with version 2 for the processes that the guard starts."""
    if os.path.exists(THROTTLE):
        free = f"{device} 0"
        with guard.step("setting", [THROTTLE, free], lambda: system.write(THROTTLE, free)):
            system.write(THROTTLE, f"{device} {rate}")
            yield
        return
    if not enable(V2, "io"):
        raise Failure("no control group to limit a device with: neither blkio of version 1 nor io "
                      "of version 2")
    with group(guard, V2, 2) as limited:
        system.write(os.path.join(limited.path, "io.max"), f"{device} rbps={rate}")
        # A group that passes a controller on has no processes of its own.
        enable(limited.path, "memory")
        with group(guard, limited.path, 2) as everyone:
            with guard.inside(limited.path, everyone):
                yield
