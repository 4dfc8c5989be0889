# SPDX-License-Identifier: MIT
"""The two conditions of memory.

fresh: caches were just dropped, and where this is a virtual machine that gives free pages back to
its host they have gone there, so every page read into is a new one.
steady: reader and daemon are in a memory cgroup that is full of clean page cache, as memory is on
a machine that has been up for a day, so every page is a recycled one.

Where few pages are read, or the speed of a disk does not matter, what is asked for is only cold:
caches were just dropped, whatever becomes of free pages.
"""
import contextlib
import mmap
import sys
import time

from . import cgroup, presets, system
from .build import Failure

NAMES = ("fresh", "steady")

# Free pages are reported to the host in passes this far apart, and a bit (seconds).
PASS = 2.3
PASSES = 6
# Where the kernel counts what it reported, it can be told when it is done.
REPORTED = "/sys/module/page_reporting/parameters/reported_kib"
MOST = 0.9
STILL = 0.3
# Less than this is not worth waiting for.
TRICKLE = 64 << 20


def give_back(freed):
    """Wait until what is free has gone back to the host: half of it new and half of it not would
    be no condition at all.  freed: bytes that have just become free."""
    if freed < TRICKLE:
        return
    begin = last = system.read(REPORTED)
    if not last:
        time.sleep(2 * PASS)
        return
    start = changed = time.monotonic()
    while time.monotonic() < start + PASSES * PASS:
        time.sleep(0.05)
        now = system.read(REPORTED)
        if now != last:
            last, changed = now, time.monotonic()
        done = (int(last) - int(begin)) << 10 >= MOST * freed
        if time.monotonic() > changed + (STILL if done else PASS):
            break


class Sponge:
    """Holds the pages that have just become free, so that the next ones to be used are new: that
    takes a moment, where the host takes seconds.  When there are few new ones left, it gives all of
    them to the host and waits."""

    PAGE = 2 << 20
    # What becomes free beside the files: the memory of who read them.
    BESIDE = 128 << 20
    # Of memory, what is not held.
    LEFT = 0.5

    def __init__(self):
        self.held, self.known = [], False
        self.low = sys.maxsize       # bytes that were free when the last measurement ended

    def take(self, freed):
        """freed: bytes that have just become free."""
        size = (freed + freed // 8 + self.BESIDE) // self.PAGE * self.PAGE
        if self.known and system.free_memory() - size > self.LEFT * system.memory():
            self.held.append(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS |
                                       mmap.MAP_POPULATE))
            self.held[-1].madvise(mmap.MADV_DONTFORK)
            return
        freed += sum(map(len, self.held))
        self.let_go()
        give_back(freed)
        self.known = True

    def let_go(self):
        """Some use memory that is not told of here."""
        for one in self.held:
            one.close()
        self.held, self.known = [], False


class Fresh:
    name = "fresh"

    def __init__(self, bench):
        self.bench = bench

    @contextlib.contextmanager
    def group(self, counted=False):
        """The cgroup that reader and daemon are put into; None: none is needed."""
        if counted and cgroup.available():
            with cgroup.memory(self.bench.guard) as group:
                yield group
        else:
            yield None

    def prepare(self, group):
        """Right before the measurement, with the daemon running."""
        before = min(self.bench.sponge.low, system.free_memory())
        system.drop_caches()
        if not self.bench.options.hurry:
            self.bench.sponge.take(max(0, system.free_memory() - before))


class Cold(Fresh):
    name = "cold"

    def prepare(self, group):
        self.bench.sponge.let_go()
        system.drop_caches()


class Steady:
    name = "steady"

    def __init__(self, bench):
        if not cgroup.available():
            raise Failure("no memory cgroup, so no steady condition: --conditions fresh")
        self.bench = bench
        self.size = bench.options.steady_memory

    @contextlib.contextmanager
    def group(self, counted=False):
        with cgroup.memory(self.bench.guard, self.size) as group:
            yield group

    def prepare(self, group):
        self.bench.sponge.let_go()
        filler = self.bench.filler(self.size + self.size // 8)
        system.drop_caches()
        self.bench.load(["read", filler], group)
        if group.usage() < 0.95 * self.size:
            raise Failure("the memory cgroup did not fill")


def named(bench, name):
    return {"fresh": Fresh, "steady": Steady}[name](bench)


def conditions(bench, suite):
    return [named(bench, name) for name in presets.conditions(bench.options, suite)]
