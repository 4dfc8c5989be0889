# SPDX-License-Identifier: MIT
"""One measurement: a load, and what the machine did meanwhile."""
import contextlib
import os
import threading
import time

from . import system

SAMPLE = 0.02


def measured(bench, served, argv, group=None, command=None):
    """Run a load; what it says, and CPU, context switches and disk bytes of the whole machine."""
    daemon = served.cpu()
    before = system.Counters(bench.device)
    result = command(group) if command else bench.load(argv, group)
    sample = system.Counters(bench.device).since(before)
    sample["daemon_cpu"] = served.cpu() - daemon
    sample.update(result)
    sample["value"] = result["bytes"] / result["seconds"] if result["seconds"] else 0
    return sample


class Footprint:
    """How much page cache grew: at most, and a second after the last close.

    Counted as what is charged to the cgroup of reader and daemon, so it is whatever of the file
    is in memory, on the mount and below it, and nothing that others on the machine do.  Of that,
    what is resident of the file `without` does not count.
    """

    def __init__(self, group, without=None):
        self._group, self._without = group, without
        self.peak = self.after = None
        self.dirty = 0
        self.series = []  # (seconds, bytes)

    def _now(self):
        return self._all() - self._apart()

    def _apart(self):
        if not self._without:
            return 0
        fd = os.open(self._without, os.O_RDONLY)
        try:
            found = system.resident(fd)
        finally:
            os.close(fd)
        return found[0] if found else 0

    def _all(self):
        if self._group:
            return self._group.page_cache()
        for line in system.read("/proc/meminfo").splitlines():
            if line.startswith("Cached:"):
                return int(line.split()[1]) << 10
        return 0

    @contextlib.contextmanager
    def watch(self):
        """Around a load; in a pass of its own, since looking costs time too."""
        stop = threading.Event()
        start, begin = self._now(), time.monotonic()

        def look():
            while not stop.wait(SAMPLE):
                self.series.append((round(time.monotonic() - begin, 3), self._now() - start))
                if self._group:
                    self.dirty = max(self.dirty, self._group.dirty())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        end = round(time.monotonic() - begin, 3), self._now() - start
        time.sleep(1)
        self.after = max(0, self._now() - start)
        self.peak = max(size for _, size in [*self.series, end])
        # Enough for a chart.
        self.series = self.series[::1 + len(self.series) // 200]
        self.series += [end, (end[0] + 1, self.after)]
