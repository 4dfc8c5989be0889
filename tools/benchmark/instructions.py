# SPDX-License-Identifier: MIT
"""Instructions of hot paths, counted by callgrind in a running daemon: a number that is the same
on every machine with this compiler."""
import os
import re
import shutil
import subprocess
import time

from . import device, system
from .build import Failure
from .suite_small import make_files

TITLE = "Instructions of hot paths"

READ = 128 << 10
FILE = 64 << 20
SMALL, COUNT = 8 << 10, 400

# what is done, and {function: what it is} that this shows
RUNS = (
    ("stream", {"window_read": "a READ of 128K answered from the window",
                "request_reply": "its reply"}),
    ("others", {"policy_decide": "the decision at an open",
                "op_open": "an open",
                "io_read": "a READ of 4K that goes to the backing file",
                "read_reply": "its reply"}),
)


def plan(options):
    return len(RUNS)


def parse(path):
    """{function: (calls, inclusive instructions)} of a callgrind output file."""
    names, totals, callee = {}, {}, None
    calls = 0
    with open(path) as stream:
        for line in stream:
            found = re.match(r"(c?)fn=\((\d+)\)(?: (.*))?$", line)
            if found:
                if found[3]:
                    names[found[2]] = found[3]
                if found[1]:
                    callee = names[found[2]]
                continue
            found = re.match(r"calls=(\d+)", line)
            if found:
                calls = int(found[1])
                # The next line has the cost of these calls with all they call.
                cost = int(next(stream).split()[1])
                before = totals.get(callee, (0, 0))
                totals[callee] = before[0] + calls, before[1] + cost
    return totals


def run(bench):
    if not shutil.which("valgrind"):
        bench.progress.say("left out: instructions: valgrind is not installed: "
                           "apt-get install valgrind")
        return
    with device.backing(bench, "disk", FILE * 2) as source:
        bench.file(os.path.join(source, "file"), FILE)
        make_files(os.path.join(source, "small"), COUNT, SMALL)
        yield from rows(bench, source)


def loads(run, target):
    if run == "stream":
        return [["read", "--block", READ, os.path.join(target, "file")]]
    return [["openclose", "--block", SMALL, os.path.join(target, "small")],
            ["random", "--block", 4096, "--count", COUNT, os.path.join(target, "file")]]


def rows(bench, source):
    for run_name, paths in RUNS:
        bench.progress.step(f"instructions: {run_name}, under callgrind")
        counted = count(bench, source, run_name)
        for function, what in paths.items():
            yield row_of(function, what, *counted.get(function, (0, 0)))


def row_of(function, what, calls, cost):
    row = {"suite": "instructions", "case": what, "condition": "", "device": "",
           "contender": function, "unit": "instructions",
           "date": time.strftime("%Y-%m-%d %H:%M")}
    if not calls:
        return {**row, "failed": f"no call of {function}() was seen"}
    return {**row, "median": cost / calls, "spread": 0, "values": [cost / calls], "against": {},
            "cpu_against": {}, "extra": {"calls": calls}}


def count(bench, source, run_name):
    target = os.path.join(bench.scratch, f"mount.{bench.guard.number()}")
    out = os.path.join(bench.scratch, "callgrind.out")
    argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--quiet",
            bench.build.lanefs, "-f", "-o", "lane=auto,transport=dev,state=off", source, target]
    os.mkdir(target)
    shim = os.path.join(bench.build.path, "tools", "libbench-callgrind.so")
    with bench.guard.step("mount", target, lambda: take_down(target)), \
         bench.guard.process(argv, None, env={**os.environ, "LD_PRELOAD": shim},
                             stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while not system.mounted(target):
            if process.poll() is not None or time.monotonic() > end:
                raise Failure("lanefs does not mount under valgrind")
            time.sleep(0.1)
        system.drop_caches()
        for argv in loads(run_name, target):
            bench.load(argv)
        subprocess.run(["umount", target], check=False, timeout=60)
        process.wait(60)
    return parse(out)


def take_down(target):
    while system.mounted(target) and system.detach(target):
        pass
    os.rmdir(target)
