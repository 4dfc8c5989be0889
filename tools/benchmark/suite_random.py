# SPDX-License-Identifier: MIT
"""Reading at random places of a cold large file, with one thread."""
import os

from . import compare, condition, device, presets, sizes
from .session import session

TITLE = "Random reading of a cold file"
PEERS = ["native", "odirect", "direct"]
# In fresh memory.
MORE = {4 << 10: ["auto", "passthrough_hp", "mergerfs"], 64 << 10: ["auto"]}
BLOCKS = (4 << 10, 64 << 10)
BYTES = {4 << 10: 40 << 20, 64 << 10: 320 << 20}


class Random:
    def __init__(self, bench, source, state, block):
        self.bench, self.source, self.state, self.block = bench, source, state, block
        self.count = max(16, min(BYTES[block], bench.options.file_size // 8) // block)
        self.turn = 0

    def measure(self, contender):
        self.turn += 1
        with session(self.bench, contender, self.source, self.state) as at:
            argv = ["random", "--block", self.block, "--count"]
            at.warm([*argv, 16, at.path("warm")])
            at.cold()
            before = at.served.backing_bytes()
            sample = at.reads([*argv, self.count, "--seed", self.turn], at.path("file"))
            read = at.served.backing_bytes()
            sample["extra"] = {"median us": sample["latency"]["p50"],
                               "p99 us": sample["latency"]["p99"]}
            if before is not None and read - before:
                sample["extra"]["backing/byte"] = (read - before) / sample["bytes"]
            return sample


def names_for(options, block, state):
    return presets.peers(options, "random", PEERS + (MORE[block] if state == "fresh" else []))


def plan(options):
    return options.rounds * sum(len(names_for(options, block, state)) for block in BLOCKS
                                for state in presets.conditions(options, "random"))


def run(bench):
    options = bench.options
    with device.backing(bench, options.device, options.file_size + (1 << 20)) as source, \
         bench.on(source):
        bench.file(os.path.join(source, "file"), options.file_size)
        bench.file(os.path.join(source, "warm"), 1 << 20)
        for block in BLOCKS:
            for state in condition.conditions(bench, "random"):
                key = {"suite": "random", "case": f"random {sizes.show(block)}",
                       "condition": state.name, "device": options.device}
                yield from compare.compare(bench, key, names_for(options, block, state.name),
                                           Random(bench, source, state, block).measure)
