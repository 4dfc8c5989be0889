# SPDX-License-Identifier: MIT
"""Where programs end without any configuration: each opens nine files of a kind first, and is
measured on the tenth, in auto and in the lanes forced."""
import contextlib
import os
import shutil
import sqlite3

from . import compare, condition, device, presets, programs, sizes
from .contenders import Lanefs
from .session import session

TITLE = "What auto makes of programs, at their tenth open"
PEERS = ["native", "auto"]  # and the lanes of the program
OPENS = 9
# lanefs learns by classes of size; these two are of one.
FILE, LESSON = 256 << 20, 128 << 20


def names_for(options, program, state):
    """Which lane is the fastest, is asked in the first condition."""
    lanes = list(program.lanes) if state == presets.conditions(options, "adapt")[0] else []
    return presets.peers(options, "adapt", PEERS + lanes)


class Adapting:
    def __init__(self, bench, source, state, program):
        self.bench, self.source, self.state, self.program = bench, source, state, program

    def measure(self, contender):
        kind = self.program.kind
        with session(self.bench, contender, self.source, self.state) as at, \
             self.program.ready(self.bench, at) as run:
            if isinstance(contender, Lanefs) and contender.name.startswith("auto"):
                for number in range(OPENS):
                    run(at.group, f"lessons/{number}{kind}")
            else:
                # Its own program and libraries count as nobody's.
                run(at.group, f"lessons/0{kind}")
            at.cold()
            self.program.warm(self.bench, at.group)
            before = at.served.stats()
            sample = at.measured(None, lambda group: run(group, f"file{kind}"))
            sample["extra"] = {"lane": lane_between(before, at.served.stats())}
            return sample


def lane_between(before, after):
    """The lane of what was opened in between; None where there are no lanes."""
    if not before:
        return None
    opened = {lane: count["opens"] - before["lanes"][lane]["opens"]
              for lane, count in after["lanes"].items()}
    return max(opened, key=opened.get)


def make_database(path, size):
    """One table of about so many bytes, to be scanned."""
    database = sqlite3.connect(path, isolation_level=None)
    with contextlib.closing(database):
        database.execute("pragma journal_mode=off")
        database.execute("pragma synchronous=off")
        database.execute("create table t (n integer primary key, filler blob)")
        database.execute("begin")
        for _ in range(size // 4096):
            # Fits a page with little to spare.
            database.execute("insert into t (filler) values (randomblob(3900))")
        database.execute("commit")


def make_files(bench, source, size, lesson):
    os.mkdir(os.path.join(source, "lessons"))
    bench.file(os.path.join(source, "file"), size)
    make_database(os.path.join(source, "file.db"), size)
    make_database(os.path.join(source, "lessons", "0.db"), lesson)
    for number in range(OPENS):
        bench.file(os.path.join(source, "lessons", str(number)), lesson)
        if number:
            shutil.copy(os.path.join(source, "lessons", "0.db"),
                        os.path.join(source, "lessons", f"{number}.db"))
    os.sync()


def plan(options):
    return sum(len(names_for(options, program, state)) for program in programs.ALL
               for state in presets.conditions(options, "adapt")) * options.rounds


def run(bench):
    options = bench.options
    size = min(options.file_size, FILE)
    lesson = min(LESSON, size)
    with device.backing(bench, options.device, (size + lesson * OPENS) * 2) as source, \
         bench.on(source):
        bench.progress.say(f"making files and databases of {sizes.show(size)}")
        make_files(bench, source, size, lesson)
        for program in programs.ALL:
            for state in condition.conditions(bench, "adapt"):
                key = {"suite": "adapt", "case": program.name, "condition": state.name,
                       "device": options.device}
                one = Adapting(bench, source, state, program)
                yield from compare.compare(bench, key, names_for(options, program, state.name),
                                           one.measure)
