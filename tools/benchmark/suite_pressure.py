# SPDX-License-Identifier: MIT
"""Memory that becomes short: a hog takes nine tenths of the memory cgroup while streams run and a
small hot set is read."""
import json
import os
import subprocess
import threading
import time

from . import cgroup, compare, device, presets, system
from .build import Failure
from .session import Session

TITLE = "A hog takes 90% of the memory"
PEERS = ["native", "auto"]
MEMORY = 1 << 30
SHARE = 0.9
HOT, HOT_FILE = 32, 1 << 20
BLOCK = 64 << 10
SETTLE = 1.0
PATIENCE = 20
CASE = "hot 64K reads beside 2 streams and the hog"


def memory():
    """Of the cgroup."""
    return min(MEMORY, system.memory() // 4)


class Threshold:
    """What files have to be as large as not to be cached, looked at all the time."""

    EVERY = 0.05

    def __init__(self, served):
        self.served = served
        self.seen = []  # (when, bytes)

    def now(self):
        report = json.loads(os.getxattr(self.served.path, "user.lanefs.report"))
        return report["threshold"]["bytes"]

    def watch(self, stop):
        while not stop.wait(self.EVERY):
            self.seen.append((time.monotonic(), self.now()))

    def fell(self, before, since):
        """Seconds from then until it was lower; None: it never was."""
        return next((max(0.0, when - since) for when, size in self.seen if size < before), None)

    def came_back(self, before):
        """Wait for it; the seconds that took, None: longer than anybody waits."""
        begin = time.monotonic()
        while time.monotonic() < begin + PATIENCE:
            if self.now() >= 0.9 * before:
                return time.monotonic() - begin
            time.sleep(self.EVERY)
        return None


class Pressure:
    def __init__(self, bench, source):
        self.bench, self.source = bench, source
        self.seconds = bench.options.seconds

    def small_reads(self, at, seed):
        argv = ["random", "--block", BLOCK, "--seconds", self.seconds, "--seed", seed,
                *(at.path("hot", str(number)) for number in range(HOT))]
        return self.bench.load(argv, at.group)["latency"]["p50"]

    def stream(self, at, name):
        return self.bench.guard.process(
            [self.bench.build.load, "read", "--seconds", str(self.bench.options.timeout),
             at.path("streams", name)], at.group, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL)

    def measure(self, contender):
        with cgroup.memory(self.bench.guard, memory()) as group, \
             contender.serve(self.bench, self.source, group) as served:
            at = Session(self.bench, contender, served, group, None)
            threshold = Threshold(served) if served.stats() else None
            self.bench.sponge.let_go()
            system.drop_caches()
            with self.stream(at, "a"), self.stream(at, "b"):
                self.small_reads(at, 1)
                return self.sample(at, threshold)

    def sample(self, at, threshold):
        before = self.small_reads(at, 2)
        high = threshold and threshold.now()
        with Hog(self.bench, at.group, int(memory() * SHARE), threshold) as hog:
            time.sleep(SETTLE)
            during = self.small_reads(at, 3)
        back = threshold and threshold.came_back(high)
        after = self.small_reads(at, 4)
        extra = {"before us": before, "after us": after, "median x before": during / before,
                 "after x before": after / before}
        if threshold:
            fell = threshold.fell(high, hog.grown)
            extra["threshold fell, s"] = PATIENCE if fell is None else fell
            extra["threshold back, s"] = PATIENCE if back is None else back
            extra["threshold, MiB"] = high / (1 << 20)
            extra["lowest, MiB"] = min(size for _, size in threshold.seen) / (1 << 20)
        return {"value": during, "extra": extra}


class Hog:
    """Memory that somebody takes and keeps; the threshold is watched meanwhile."""

    def __init__(self, bench, group, size, threshold):
        self._process = bench.guard.process(
            [bench.build.load, "hog", "--length", str(size), "-"], group,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._stop = threading.Event()
        self._thread = threshold and threading.Thread(target=threshold.watch, args=(self._stop,))
        self.grown = None  # when it had all it wanted

    def __enter__(self):
        process = self._process.__enter__()
        if self._thread:
            self._thread.start()
        if process.stdout.readline().strip() != "ready":
            self.__exit__(None, None, None)
            raise Failure("the hog was not given its memory")
        self.grown = time.monotonic()
        return self

    def __exit__(self, *error):
        self._stop.set()
        if self._thread:
            self._thread.join()
        return self._process.__exit__(*error)


def plan(options):
    return len(presets.peers(options, "pressure", PEERS)) * options.rounds


def run(bench):
    options = bench.options
    if not cgroup.available():
        raise Failure("no memory cgroup, so no suite pressure")
    size = min(options.file_size, 1 << 30)
    with device.backing(bench, options.device, size * 2 + HOT * HOT_FILE * 2) as source, \
         bench.on(source):
        for name in ("hot", "streams"):
            os.mkdir(os.path.join(source, name))
        for number in range(HOT):
            bench.file(os.path.join(source, "hot", str(number)), HOT_FILE, sync=False)
        for name in "ab":
            bench.file(os.path.join(source, "streams", name), size)
        key = {"suite": "pressure", "case": CASE, "condition": "", "device": options.device}
        yield from compare.compare(bench, key, presets.peers(options, "pressure", PEERS),
                                   Pressure(bench, source).measure, unit="us")
