# SPDX-License-Identifier: MIT
"""Many readers at once: of one file at different places, of a file each, and paced ones."""
import os

from . import compare, condition, device, presets
from .session import session

TITLE = "Many readers at once"
FEW = ["native", "direct"]
# A hundred of them in fresh memory.
MORE = ["stream", "auto", "passthrough_hp"]
PACED = ["native", "stream"]
BLOCK = 128 << 10
PACE = 1000 * 1000
# Half a minute where other loads take two seconds, and nothing that varies: one round.
PACED_TIMES = 15
PACED_ROUNDS = 1


def cases(options, state):
    """(name, readers, whether they share one file); more than a hundred in fresh memory only."""
    for readers in options.readers:
        if readers > 100 and state != "fresh":
            continue
        yield f"{readers} readers, one file", readers, True
        yield f"{readers} readers, {readers} files", readers, False


def paced(options):
    return f"{min(options.readers)} paced sendfile readers"


def paced_rounds(options):
    return min(PACED_ROUNDS, options.rounds)


class Readers:
    """Readers that take all of the data between them."""

    def __init__(self, bench, source, state, readers, shared):
        self.bench, self.source, self.state = bench, source, state
        self.readers, self.shared = readers, shared
        self.length = bench.options.file_size // readers // BLOCK * BLOCK or BLOCK

    def _files(self, at):
        if self.shared:
            return ["--spread", at.path("file")]
        return [at.path(f"{self.readers}", str(number)) for number in range(self.readers)]

    def measure(self, contender):
        with session(self.bench, contender, self.source, self.state) as at:
            at.warm(["read", "--block", BLOCK, "--length", 64 << 20, at.path("file")])
            at.cold()
            sample = at.measured(["read", "--block", BLOCK, "--workers", self.readers,
                                  "--length", self.length, *self._files(at)])
            sample["extra"] = {"slowest/mean": sample["slowest"] / sample["mean"],
                               "daemon MiB": at.served.memory() / (1 << 20)}
            stats = at.served.stats()
            if stats:
                sample["extra"]["pool MiB"] = stats["pool"]["resident"] / (1 << 20)
            return sample


class Paced:
    """Readers at the speed of a film each; what matters is what they cost, not how fast they
    are."""

    def __init__(self, bench, source, state):
        self.bench, self.source, self.state = bench, source, state
        self.seconds = bench.options.seconds * PACED_TIMES

    def measure(self, contender):
        with session(self.bench, contender, self.source, self.state, True) as at:
            at.cold()
            left = at.footprint()
            with left.watch():
                sample = at.measured(["sendfile", "--block", BLOCK, "--spread",
                                      "--workers", min(self.bench.options.readers),
                                      "--seconds", self.seconds, "--rate", PACE,
                                      at.path("file")])
            sample["extra"] = {"peak MiB": left.peak / (1 << 20),
                               "after MiB": left.after / (1 << 20)}
            return sample


def names_for(options, state, readers):
    more = MORE if state == "fresh" and readers <= 100 else []
    return presets.peers(options, "many", FEW + more)


def plan(options):
    total = 0
    for state in presets.conditions(options, "many"):
        for _, readers, _ in cases(options, state):
            total += len(names_for(options, state, readers)) * options.rounds
        if state == "fresh":
            total += len(presets.peers(options, "many", PACED)) * paced_rounds(options)
    return total


def write_files(bench, source):
    options = bench.options
    bench.file(os.path.join(source, "file"), options.file_size)
    for readers in options.readers:
        os.mkdir(os.path.join(source, f"{readers}"))
        size = max(BLOCK, options.file_size // readers // BLOCK * BLOCK)
        for number in range(readers):
            bench.file(os.path.join(source, f"{readers}", str(number)), size, sync=False)
    os.sync()


def run(bench):
    options = bench.options
    room = options.file_size * (1 + len(options.readers)) + (64 << 20)
    with device.backing(bench, options.device, room) as source, bench.on(source):
        write_files(bench, source)
        for state in condition.conditions(bench, "many"):
            key = {"suite": "many", "condition": state.name, "device": options.device}
            for case, readers, shared in cases(options, state.name):
                one = Readers(bench, source, state, readers, shared)
                yield from compare.compare(bench, {**key, "case": case},
                                           names_for(options, state.name, readers), one.measure)
            if state.name == "fresh":
                one = Paced(bench, source, state)
                yield from compare.compare(bench, {**key, "case": paced(options)},
                                           presets.peers(options, "many", PACED), one.measure,
                                           rounds=paced_rounds(options))
