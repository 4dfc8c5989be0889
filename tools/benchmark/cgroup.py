# SPDX-License-Identifier: MIT
"""Memory cgroups, version 1 or 2: to have memory that is full, and to count page cache."""
import contextlib
import os
import time

from . import system

V1, V2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"


class Cgroup:
    def __init__(self, path, version):
        self.path, self.version = path, version

    def _file(self, v1, v2):
        return os.path.join(self.path, v1 if self.version == 1 else v2)

    def enter(self):
        """Called in a child process before exec."""
        system.write(os.path.join(self.path, "cgroup.procs"), os.getpid())

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
def memory(guard, limit=None):
    """A cgroup of its own, holding at most limit bytes."""
    version = 1 if os.path.isdir(V1) else 2
    if version == 2:
        system.write(os.path.join(V2, "cgroup.subtree_control"), "+memory")
    path = os.path.join(V1 if version == 1 else V2, f"lanefs-bench-{os.getpid()}-{guard.number()}")
    group = Cgroup(path, version)
    with guard.step("cgroup", path, group.remove):
        os.mkdir(path)
        if limit:
            group.limit(limit)
        yield group


def available():
    return os.path.isdir(V1) or "memory" in system.read(os.path.join(V2, "cgroup.controllers"))
