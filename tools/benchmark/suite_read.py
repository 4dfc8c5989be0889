# SPDX-License-Identifier: MIT
"""Reading a large file once, from beginning to end: read, sendfile and mmap of a cold one, and
read of one that is in memory."""
import os
import time

from . import compare, condition, contenders, device, presets, sizes, system
from .session import session

TITLE = "Sequential reading of a large file"
PEERS = ["native", "direct", "stream"]
# Only where they say something: an untrimmed passthrough beside stream, and others where the size
# of a read says nothing about them.
MORE = {
    ("read 128K", "fresh"): ["auto", "cached", "direct:transport=dev", "auto:passthrough=off",
                             "passthrough_hp", "passthrough_hp+direct", "passthrough_ll", "bindfs",
                             "mergerfs", "mergerfs+direct"],
    ("read 128K", "steady"): ["auto"],
    ("read 1M", "fresh"): ["fio"],
    ("sendfile", "fresh"): ["auto", "cached", "passthrough_hp", "mergerfs"],
    ("read 128K, in memory", ""): ["auto", "passthrough_hp"],
}
# Less and more than programs read at once: in one condition, the one that waits for no memory.
EXTREME = ("read 4K", "read 4M")
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


def names_for(options, case, state):
    names = presets.peers(options, "read", PEERS + MORE.get((case, state), []))
    return [name for name in names if name != "fio" or case == "read 1M"]


def states(options, case):
    """The conditions of memory that a case is measured in."""
    if case == HOT:
        return [""]
    named = presets.conditions(options, "read")
    return named[-1:] if case in EXTREME else named


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
            self.bench.sponge.let_go()
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


def counted(case, state):
    """Whether page cache is counted, in a pass of its own: memory that is full already shows
    nothing of what is added to it."""
    return state == "fresh" and case not in EXTREME


def plan(options):
    return sum(len(names_for(options, case, state)) * (options.rounds + counted(case, state))
               for case, _ in cases(options) for state in states(options, case))


def run(bench):
    options = bench.options
    size = options.file_size
    with device.backing(bench, options.device, size + WARM) as source, bench.on(source):
        bench.progress.say(f"writing {sizes.show(size)} of data ({options.device})")
        bench.file(os.path.join(source, "file"), size)
        bench.file(os.path.join(source, "warm"), min(WARM, size))
        for case, argv in cases(options):
            for name in states(options, case):
                key = {"suite": "read", "case": case, "condition": name,
                       "device": options.device}
                yield from compare_in(bench, source, key, argv)


def compare_in(bench, source, key, argv):
    case, state = key["case"], key["condition"]
    reading = Reading(bench, source, condition.named(bench, state or "fresh"), argv)
    yield from compare.compare(bench, key, names_for(bench.options, case, state),
                               reading.hot if case == HOT else reading.measure,
                               reading.footprint if counted(case, state) else None)
