# SPDX-License-Identifier: MIT
"""Reading a large file once, cold, from beginning to end: read, sendfile, mmap."""
import json
import os

from . import compare, condition, contenders, device, sizes
from .meter import Footprint, measured

TITLE = "Sequential reading of a cold file"
SIZES = [sizes.parse(text) for text in ("8K", "32K", "128K", "1M")]
WARM = 64 << 20


def cases(options):
    """(how, block size) of every row; the block of sendfile is what a server asks at once, and
    that of mmap means nothing."""
    for how in options.how:
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
        self.how, self.size = how, size

    def _argv(self, path):
        return [self.how, "--block", self.size, path]

    def _run(self, contender, counted):
        bench = self.bench
        with self.state.group(counted) as group, \
             contender.serve(bench, self.source, group) as served:
            # A daemon that has run for a while has its buffers.
            bench.load(self._argv(os.path.join(served.path, "warm")), group)
            self.state.prepare(group)
            path = os.path.join(served.path, "file")
            command = None
            if isinstance(contender, contenders.Fio):
                contender.warm(bench, group)
                argv = contender.command(path, os.stat(path).st_size)
                command = lambda cgroup: contender.result(json.loads(bench.run(argv, cgroup)))
            if not counted:
                return measured(bench, served, self._argv(path), group, command)
            print_ = Footprint(group)
            with print_.watch():
                measured(bench, served, self._argv(path), group, command)
            return {"peak": print_.peak, "after": print_.after}

    def measure(self, contender):
        return self._run(contender, False)

    def footprint(self, contender):
        return self._run(contender, True)


def plan(options):
    names = {name: contenders.contender(name) for name in options.peers}
    total = 0
    for how, size in cases(options):
        taking = sum(1 for one in names.values() if one.takes(how, size))
        for state in options.conditions:
            total += taking * (options.rounds + (state == "fresh"))
    return total


def run(bench):
    options = bench.options
    size = options.file_size
    with device.backing(bench, options.device, size + WARM) as source, bench.on(source):
        bench.progress.say(f"writing {sizes.show(size)} of data ({options.device})")
        bench.file(os.path.join(source, "file"), size)
        bench.file(os.path.join(source, "warm"), min(WARM, size))
        for how, block in cases(options):
            names = [name for name in options.peers
                     if contenders.contender(name).takes(how, block)]
            for state in condition.conditions(bench):
                reading = Reading(bench, source, state, how, block)
                key = {"suite": "read", "case": label(how, block), "condition": state.name,
                       "device": options.device}
                # Memory that is full already shows nothing of what is added to it.
                finish = reading.footprint if state.name == "fresh" else None
                yield from compare.compare(bench, key, names, reading.measure, finish)
