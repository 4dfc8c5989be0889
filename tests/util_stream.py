# SPDX-License-Identifier: MIT
"""Streams: cold files to read, what is resident of them meanwhile and after."""
import ctypes
import errno
import functools
import os
import struct
import threading
import time

import pytest

import util_sys
from util import clock, idle, run, wait_for, write_large
from util_sys import resident

MIB = 1 << 20
WINDOW = 8 * MIB
# What a reader may have in front of it, and what comes until it is looked at again.
SLACK = 20 * MIB
BACKINGS = ["ext4", "xfs", "btrfs"]
# Enough to be told from what may be resident, WINDOW and SLACK.
LARGE = 64 * MIB

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def without_system_call(number, error=errno.ENOSYS):
    """In the daemon, before it starts: the kernel refuses that system call with error."""
    deny, allow = 0x00050000 | error, 0x7fff0000
    program = b"".join(struct.pack("HBBI", *line) for line in (
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, deny),
        (0x06, 0, 0, allow)))
    code = ctypes.create_string_buffer(program)
    head = struct.pack("HxxxxxxP", 4, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
            libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head):
        raise OSError(ctypes.get_errno(), "seccomp")


class Reclaimed(AssertionError):
    """Pages are missing that should be there."""


class Outrun(Reclaimed):
    """More is there than should be, but a processor stood still meanwhile."""


def all_there(path, size):
    if resident(path) != size:
        raise Reclaimed(f"of {size} bytes of {path} {resident(path)} are resident")


def unless_reclaimed(test):
    """Decorator: for tests that expect every page, or none too many.

    The machine may reclaim one of its own accord, or stand still, but not in each of five runs.
    """
    @functools.wraps(test)
    def repeated(*args, **kwargs):
        for _ in range(4):
            made, again = [], dict(kwargs)

            def make(*options, **more):
                made.append(kwargs["mount"](*options, **more))
                return made[-1]

            if "mount" in kwargs:
                again["mount"] = make
            try:
                return test(*args, **again)
            except Reclaimed as error:
                print(f"again after: {error}")
            for path in [m.source for m in made] or [kwargs["stream"].path]:
                run("find", path, "-mindepth", "1", "-delete")
            if "stream" in kwargs:
                wait_for(lambda: kwargs["stream"].stats()["files"]["open"] == 0, 5, "release")
        return test(*args, **kwargs)
    return repeated


def passthrough(m):
    if not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    return m


def cold(m, name, size=LARGE, seed=0):
    digest = write_large(m.backing(name), size, seed)
    util_sys.drop_pages(m.backing(name))
    assert resident(m.backing(name)) == 0
    return digest


def read_ahead(m, kib=128):
    """As on most disks; some virtual ones have 8 MiB."""
    device = os.stat(m.source).st_dev
    path = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    disk = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/../queue/read_ahead_kb"
    if not os.path.exists(path) and os.path.exists(disk):
        path = disk
    elif not os.path.exists(path):
        uuid = run("findmnt", "-no", "UUID", "-T", m.source).stdout.strip()
        path = f"/sys/fs/btrfs/{uuid}/bdi/read_ahead_kb"
    if os.path.exists(path):
        with open(path, "w") as stream:
            stream.write(str(kib))


def make_room(scratch):
    """The images are shared by all tests and small."""
    for path in scratch.mounted.values():
        run("find", path, "-mindepth", "2", "-type", "f", "-delete")


class Peak(threading.Thread):
    """The most that is resident of a file while the block runs."""

    def __init__(self, path):
        super().__init__()
        self.path, self.most, self.over = path, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.005):
            self.most = max(self.most, resident(self.path))

    def __enter__(self):
        self.lost = clock() - time.monotonic()
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        self.lost += time.monotonic() - clock()

    def at_most(self, size):
        """For tests that are unless_reclaimed."""
        if self.most > size and self.lost > 0.1:
            raise Outrun(f"{self.most / MIB} MiB, and {self.lost} s were lost")
        assert 0 < self.most <= size, self.most / MIB


def gone(path, seconds=5, left=0):
    wait_for(lambda: resident(path) <= left, seconds, "what the stream left is dropped")


def slowly(stream, piece=128 << 10, pause=0.002):
    """Its contents, at no more than 64 MB/s."""
    while data := stream.read(piece):
        yield data
        idle(pause)
