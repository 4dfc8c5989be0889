# SPDX-License-Identifier: MIT
"""Reading a large file once, from beginning to end: read, sendfile and mmap of a cold one, and
read of one that is in memory."""
import os
import time

from . import compare, condition, contenders, device, presets, sizes, system
from .condition import Fresh
from .session import session

TITLE = "Sequential reading of a large file"
PEERS = ["native", "direct", "stream"]
# Only where the size of a read says nothing about them.
MORE = {
    "read 8K": ["cached"],
    "read 128K": ["auto", "cached", "passthrough_hp", "mergerfs"],
    "read 1M": ["fio"],
    "sendfile": ["auto", "cached", "passthrough_hp", "mergerfs"],
    "read 128K, in memory": ["auto"],
}
WARM = 64 << 20
HOT = "read 128K, in memory"


def cases(options):
    """(name, what bench-load does); the block of sendfile is what a server asks at once, and that
    of mmap means nothing."""
    for how in options.how:
        if how == "read":
            for size in options.sizes:
                yield f"read {sizes.show(size)}", ["read", "--block", size]
        elif how == "hot":
            if options.file_size < system.memory() / 3:
                yield HOT, ["read", "--block", 128 << 10]
        else:
            yield how, [how, "--block", 1 << 20]


def names_for(options, case):
    names = presets.peers(options, "read", PEERS + MORE.get(case, []))
    return [name for name in names if name != "fio" or case == "read 1M"]


class Reading:
    """One case in one condition."""

    def __init__(self, bench, source, state, argv):
        self.bench, self.source, self.state, self.argv = bench, source, state, argv

    def measure(self, contender):
        with session(self.bench, contender, self.source, self.state) as at:
            at.warm([*self.argv, at.path("warm")])
            at.cold()
            return at.reads(self.argv, at.path("file"))

    def footprint(self, contender):
        if isinstance(contender, contenders.Fio):
            return {}
        with session(self.bench, contender, self.source, self.state, True) as at:
            at.warm([*self.argv, at.path("warm")])
            at.cold()
            left = at.footprint()
            with left.watch():
                at.reads(self.argv, at.path("file"))
            return {"peak": left.peak, "after": left.after, "series": left.series}

    def hot(self, contender):
        """Of a file that was read natively just before."""
        path = os.path.join(self.source, "file")
        with session(self.bench, contender, self.source, self.state) as at:
            system.drop_caches()
            for _ in range(2):
                self.bench.load([*self.argv, path])
            sample = at.measured([*self.argv, at.path("file")])
            time.sleep(0.5)
        fd = os.open(path, os.O_RDONLY)
        try:
            found = system.resident(fd)
        finally:
            os.close(fd)
        if found:
            sample["extra"] = {"still in memory": found[0] / os.stat(path).st_size}
        return sample


def plan(options):
    total = 0
    for case, _ in cases(options):
        names = len(names_for(options, case))
        for state in presets.conditions(options, "read") if case != HOT else ("",):
            total += names * (options.rounds + (state == "fresh"))
    return total


def run(bench):
    options = bench.options
    size = options.file_size
    with device.backing(bench, options.device, size + WARM) as source, bench.on(source):
        bench.progress.say(f"writing {sizes.show(size)} of data ({options.device})")
        bench.file(os.path.join(source, "file"), size)
        bench.file(os.path.join(source, "warm"), min(WARM, size))
        for case, argv in cases(options):
            key = {"suite": "read", "case": case, "device": options.device}
            names = names_for(options, case)
            if case == HOT:
                reading = Reading(bench, source, Fresh(bench), argv)
                yield from compare.compare(bench, {**key, "condition": ""}, names, reading.hot)
                continue
            for state in condition.conditions(bench, "read"):
                reading = Reading(bench, source, state, argv)
                # Memory that is full already shows nothing of what is added to it.
                finish = reading.footprint if state.name == "fresh" else None
                yield from compare.compare(bench, {**key, "condition": state.name}, names,
                                           reading.measure, finish)
