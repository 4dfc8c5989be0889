# SPDX-License-Identifier: MIT
"""Where programs end without any configuration: each opens ten files first, and is measured on the
next one, in auto and in every lane forced."""
import json
import os

from . import compare, condition, device, presets
from .session import session

TITLE = "What auto makes of programs, after ten opens"
PEERS = ["native", "auto", "direct", "stream", "cached"]
OPENS = 10
LESSON = 64 << 20
LARGEST = 1 << 30

# name of the program, what it does
PROGRAMS = {
    "dd8k": ["read", "--block", 8 << 10],
    "player": ["read", "--block", 32 << 10],
    "copier": ["read", "--block", 128 << 10],
    "sender": ["sendfile", "--block", 1 << 20],
    "mapper": ["mmap", "--block", 1 << 20],
    "sampler": ["random", "--block", 64 << 10, "--count", 2000],
}


def describe(program):
    how = PROGRAMS[program]
    block = f" {int(how[2]) >> 10}K" if how[0] in ("read", "random") else ""
    return f"{program} ({how[0]}{block})"


class Adapting:
    def __init__(self, bench, source, state, program):
        self.bench, self.source, self.state = bench, source, state
        # lanefs knows programs by name, so each has one of its own.
        self.program = os.path.join(bench.scratch, program)
        self.argv = PROGRAMS[program]
        if not os.path.exists(self.program):
            os.symlink(bench.build.load, self.program)

    def _run(self, group, path):
        return json.loads(self.bench.run([self.program, *map(str, self.argv), path], group))

    def measure(self, contender):
        with session(self.bench, contender, self.source, self.state) as at:
            for number in range(OPENS):
                self._run(at.group, at.path("lessons", str(number)))
            at.cold()
            before = at.served.stats()
            sample = at.measured(None, lambda group: self._run(group, at.path("file")))
            sample["extra"] = {"lane": lane_between(before, at.served.stats())}
            return sample


def lane_between(before, after):
    """The lane of what was opened in between; None where there are no lanes."""
    if not before:
        return None
    opened = {lane: count["opens"] - before["lanes"][lane]["opens"]
              for lane, count in after["lanes"].items()}
    return max(opened, key=opened.get)


def plan(options):
    names = presets.peers(options, "adapt", PEERS)
    return len(names) * options.rounds * len(PROGRAMS) * \
        len(presets.conditions(options, "adapt"))


def run(bench):
    options = bench.options
    names = presets.peers(options, "adapt", PEERS)
    size = min(options.file_size, LARGEST)
    lesson = min(LESSON, size)
    with device.backing(bench, options.device, size + lesson * OPENS) as source, \
         bench.on(source):
        bench.file(os.path.join(source, "file"), size)
        os.mkdir(os.path.join(source, "lessons"))
        for number in range(OPENS):
            bench.file(os.path.join(source, "lessons", str(number)), lesson)
        for program in PROGRAMS:
            for state in condition.conditions(bench, "adapt"):
                key = {"suite": "adapt", "case": describe(program), "condition": state.name,
                       "device": options.device}
                one = Adapting(bench, source, state, program)
                yield from compare.compare(bench, key, names, one.measure)
