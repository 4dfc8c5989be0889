# SPDX-License-Identifier: MIT
"""A memory cgroup for the time of a test, of version 1 or 2."""
import contextlib
import os

import pytest

from util import wait_for

V1, V2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"


def _write(path, text):
    with open(path, "w") as stream:
        stream.write(text)


class Cgroup:
    def __init__(self, path, version):
        self.path, self.version = path, version

    def enter(self):
        """Called in a process, puts it in."""
        _write(os.path.join(self.path, "cgroup.procs"), str(os.getpid()))

    def peak(self):
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        with open(os.path.join(self.path, name)) as stream:
            return int(stream.read())

    def kills(self):
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        with open(os.path.join(self.path, name)) as stream:
            for line in stream:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0


@contextlib.contextmanager
def memory_cgroup(name, limit):
    """A cgroup that holds at most limit bytes; skips where none can be made."""
    version = 1 if os.path.isdir(V1) else 2
    path = os.path.join(V1 if version == 1 else V2, f"lanefs-test-{os.getpid()}-{name}")
    try:
        os.mkdir(path)
        _write(os.path.join(path, "memory.limit_in_bytes" if version == 1 else "memory.max"),
               str(limit))
    except OSError as error:
        if os.path.isdir(path):
            os.rmdir(path)
        pytest.skip(f"no memory cgroup: {error}")

    def removed():
        try:
            os.rmdir(path)
        except OSError:
            return False
        return True

    try:
        yield Cgroup(path, version)
    finally:
        wait_for(removed, 10, "the cgroup is empty")
