# SPDX-License-Identifier: MIT
"""Many small files: open, read and close, stat, listing; hot and cold."""
import os

from . import compare, device, presets, system
from .condition import Cold
from .session import session

TITLE = "Small files"
PEERS = ["native", "auto", "passthrough_hp", "mergerfs"]
HOT_OPEN = "open+read+close of 64K, hot"
HOT_FSTAT = "open+fstat+read+close of 64K, hot"
# Where it is looked at what each part of an open costs; cached is the lane it gets undecided.
MORE = {HOT_OPEN: ["bindfs", "cached", "auto:transport=dev", "auto:passthrough=off",
                   "passthrough_ll"]}
SIZE, HOT_SIZE = 8 << 10, 64 << 10
HOT = 1000
# That many calls on hot files are enough to measure.
HOT_MOST = 12500


def make_files(directory, count, size):
    data = os.urandom(size)
    os.mkdir(directory)
    at = os.open(directory, os.O_RDONLY)
    try:
        for number in range(count):
            fd = os.open(f"{number:06}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=at)
            os.write(fd, data)
            os.close(fd)
    finally:
        os.close(at)


def cases(options):
    """(name, what bench-load does, directory, hot)"""
    hot, cold = min(options.tree // 4, HOT_MOST), max(1, options.tree // 20)
    many, few = f"--count={hot}", f"--count={cold}"
    yield HOT_OPEN, ["openclose", f"--block={HOT_SIZE}", many], "hot", True
    yield HOT_FSTAT, ["openstat", f"--block={HOT_SIZE}", many], "hot", True
    yield "open+read+close of 8K, cold", ["openclose", f"--block={SIZE}", few], "tree", False
    yield "stat, hot", ["stat", many], "hot", True
    yield "stat, cold", ["stat", few], "tree", False
    yield f"readdir of {options.tree:,}, hot", ["readdir"], "tree", True
    yield f"readdir of {options.tree:,}, cold", ["readdir"], "tree", False


def decided_us(stats):
    """Within how many microseconds half of the lanes were chosen, None where nobody chooses."""
    counts = stats["decision_latency"] if stats else []
    below = 0
    for power, count in enumerate(counts):
        below += count
        if below * 2 >= sum(counts) > 0:
            return 2 ** power / 1000
    return None


class Small:
    def __init__(self, bench, source, argv, directory, hot):
        self.bench, self.source = bench, source
        self.argv, self.directory, self.hot = argv, directory, hot

    def measure(self, contender):
        with session(self.bench, contender, self.source, Cold(self.bench)) as at:
            path = at.path(self.directory)
            if self.hot:
                system.drop_caches()
                at.warm([*self.argv, path])
            else:
                at.cold()
            sample = at.measured([*self.argv, path])
            sample["value"] = sample["calls"] / sample["seconds"]
            if "latency" in sample:
                sample["extra"] = {"median us": sample["latency"]["p50"],
                                   "p99 us": sample["latency"]["p99"]}
                decided = decided_us(at.served.stats())
                if decided is not None:
                    sample["extra"]["lane chosen within us"] = decided
            else:
                sample["extra"] = {"ms each": sample["seconds"] * 1000}
            return sample


def names_for(options, case):
    return presets.peers(options, "small", PEERS + MORE.get(case, []))


def plan(options):
    return sum(len(names_for(options, case[0])) for case in cases(options)) * options.rounds


def run(bench):
    options = bench.options
    room = options.tree * (SIZE + 1024) * 2 + HOT * HOT_SIZE * 2
    with device.backing(bench, options.device, room) as source, bench.on(source):
        bench.progress.say(f"making {options.tree:,} files")
        make_files(os.path.join(source, "tree"), options.tree, SIZE)
        make_files(os.path.join(source, "hot"), min(HOT, options.tree), HOT_SIZE)
        os.sync()
        for case, argv, directory, hot in cases(options):
            key = {"suite": "small", "case": case, "condition": "", "device": options.device}
            yield from compare.compare(bench, key, names_for(options, case),
                                       Small(bench, source, argv, directory, hot).measure,
                                       unit="/s")
