# SPDX-License-Identifier: MIT
"""Reading a large file once, cold, from beginning to end: read, sendfile, mmap."""
import os

from . import compare, condition, contenders, device, sizes
from .session import session

TITLE = "Sequential reading of a cold file"
PEERS = ["native", "auto", "direct", "stream", "cached", "fio"]
SIZES = [sizes.parse(text) for text in ("8K", "32K", "128K", "1M")]
WARM = 64 << 20


def cases(options):
    """(how, block size) of every row; the block of sendfile is what a server asks at once, and
    that of mmap means nothing."""
    for how in options.how or ("read", "sendfile", "mmap"):
        if how == "read":
            for size in options.sizes or SIZES:
                yield how, size
        else:
            yield how, 1 << 20


def label(how, size):
    return f"{how} {sizes.show(size)}" if how == "read" else how


class Reading:
    """One case in one condition."""

    def __init__(self, bench, source, state, how, size):
        self.bench, self.source, self.state = bench, source, state
        self.argv = [how, "--block", size]

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
            return {"peak": left.peak, "after": left.after}


def names_for(options, how, size):
    return [name for name in options.peers or PEERS
            if contenders.contender(name).takes(how, size)]


def plan(options):
    total = 0
    for how, size in cases(options):
        for state in options.conditions:
            total += len(names_for(options, how, size)) * (options.rounds + (state == "fresh"))
    return total


def run(bench):
    options = bench.options
    size = options.file_size
    with device.backing(bench, options.device, size + WARM) as source, bench.on(source):
        bench.progress.say(f"writing {sizes.show(size)} of data ({options.device})")
        bench.file(os.path.join(source, "file"), size)
        bench.file(os.path.join(source, "warm"), min(WARM, size))
        for how, block in cases(options):
            for state in condition.conditions(bench):
                reading = Reading(bench, source, state, how, block)
                key = {"suite": "read", "case": label(how, block), "condition": state.name,
                       "device": options.device}
                # Memory that is full already shows nothing of what is added to it.
                finish = reading.footprint if state.name == "fresh" else None
                yield from compare.compare(bench, key, names_for(options, how, block),
                                           reading.measure, finish)
