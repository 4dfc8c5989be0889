# SPDX-License-Identifier: MIT
"""The protection figure: random reads of a hot set of small files next to streams, all in one
memory cgroup that is twice the hot set."""
import contextlib
import json
import os
import subprocess

from . import cgroup, compare, device, presets, system
from .build import Failure
from .contenders import Lanefs
from .session import Session

TITLE = "Small reads of a hot set next to streams"
PEERS = ["native", "auto", "direct", "stream", "passthrough_hp", "passthrough_hp+direct",
         "mergerfs+direct"]
MEMORY = 400 << 20
HOT_FILE = 1 << 20
BLOCK = 64 << 10
SETTLE = 1.0

ALONE = "alone"
# name, what each stream does
STREAMS = {
    "2 streams, read 128K": [["read", "--block", 128 << 10, "{a}"],
                             ["read", "--block", 128 << 10, "{b}"]],
    "2 streams, sendfile": [["sendfile", "--block", 1 << 20, "{a}"],
                            ["sendfile", "--block", 1 << 20, "{b}"]],
    "a copy": [["copy", "--block", 128 << 10, "--to", "{to}", "{a}"]],
}


class Protect:
    """One contender: alone first, then next to each kind of stream."""

    def __init__(self, bench, source):
        self.bench, self.source = bench, source
        self.seconds = bench.options.seconds
        self.hot = [f"{number:03}" for number in range(MEMORY // 2 // HOT_FILE)]

    def prepare_lane(self, contender):
        """The streamed files get the lane by their directory's policy, so that the hot ones stay
        what small files are."""
        if not isinstance(contender, Lanefs):
            return
        path = os.path.join(self.source, "streams")
        with contextlib.suppress(OSError):
            os.removexattr(path, "user.lanefs.policy")
        lane = contender.steer_by_policy()
        if lane != "auto":
            os.setxattr(path, "user.lanefs.policy", lane.encode())

    def small_reads(self, at, seed, seconds):
        result = at.bench.load(["random", "--block", BLOCK, "--seconds", seconds, "--seed", seed,
                                *(at.path("hot", name) for name in self.hot)], at.group)
        return result["latency"]

    @contextlib.contextmanager
    def streams(self, at, commands, results):
        names = {"a": at.path("streams", "a"), "b": at.path("streams", "b"),
                 "to": at.path("streams", "copy")}
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(self.bench.guard.process(
                [self.bench.build.load, *(str(word).format(**names) for word in argv),
                 "--seconds", str(self.bench.options.timeout)], at.group,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True))
                for argv in commands]
            yield
            for process in running:
                process.terminate()
            for process in running:
                out, _ = process.communicate(timeout=self.bench.options.timeout)
                if process.returncode:
                    raise Failure("a stream failed")
                results.append(json.loads(out))

    def warm(self, at):
        for _ in range(2):
            self.bench.load(["openclose", "--block", HOT_FILE, at.path("hot")], at.group)

    def measure(self, contender):
        self.prepare_lane(contender)
        bench, samples = self.bench, {}
        with cgroup.memory(bench.guard, MEMORY) as group, \
             contender.serve(bench, self.source, group) as served:
            at = Session(bench, contender, served, group, None)
            bench.sponge.let_go()
            system.drop_caches()
            self.warm(at)
            self.small_reads(at, 1, 1)
            alone = self.small_reads(at, 2, self.seconds / 2)
            samples[ALONE] = sample_of(alone, alone, [])
            for name, commands in STREAMS.items():
                self.warm(at)
                results = []
                with self.streams(at, commands, results):
                    bench.run(["sleep", str(SETTLE)])
                    latency = self.small_reads(at, 3, self.seconds)
                samples[name] = sample_of(latency, alone, results)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.source, "streams", "copy"))
        return samples


def sample_of(latency, alone, streams):
    speed = sum(one["bytes"] / one["seconds"] for one in streams)
    return {"value": latency["p50"], "latency": latency,
            "extra": {"mean us": latency["mean"], "p99 us": latency["p99"],
                      "median x alone": latency["p50"] / alone["p50"],
                      "mean x alone": latency["mean"] / alone["mean"],
                      "streams MB/s": speed / 1e6 if streams else None}}


def plan(options):
    return len(presets.peers(options, "protect", PEERS)) * options.rounds


def run(bench):
    options = bench.options
    names = presets.peers(options, "protect", PEERS)
    size = min(options.file_size, 2 << 30)
    with device.backing(bench, options.device, size * 3 + MEMORY) as source, bench.on(source):
        for name in ("hot", "streams"):
            os.mkdir(os.path.join(source, name))
        one = Protect(bench, source)
        for name in one.hot:
            bench.file(os.path.join(source, "hot", name), HOT_FILE, sync=False)
        for name in "ab":
            bench.file(os.path.join(source, "streams", name), size)
        key = {"suite": "protect", "condition": "", "device": options.device}
        yield from compare.compare_cases(bench, key, [ALONE, *STREAMS], names,
                                         one.measure, unit="us")
