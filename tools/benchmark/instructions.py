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

TITLE = "Instructions of hot paths"

# function, what it is
PATHS = {
    "policy_decide": "decide the lane of an open",
    "window_read": "a READ that finds its data in the window",
    "backing_read_start": "start a read of the backing file",
}
READ = 128 << 10
FILE = 64 << 20


def plan(options):
    return 1


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
    bench.progress.step("instructions: lanefs under callgrind")
    with device.backing(bench, "disk", FILE) as source:
        bench.file(os.path.join(source, "file"), FILE)
        counted = count(bench, source)
    for function, what in PATHS.items():
        calls, cost = counted.get(function, (0, 0))
        row = {"suite": "instructions", "case": what, "condition": "", "device": "",
               "contender": function, "unit": "instructions",
               "date": time.strftime("%Y-%m-%d %H:%M")}
        if calls:
            row.update(median=cost / calls, spread=0, values=[cost / calls], against={},
                       cpu_against={}, extra={"calls": calls})
        else:
            row["failed"] = f"no call of {function}() was seen"
        yield row


def count(bench, source):
    target = os.path.join(bench.scratch, f"mount.{bench.guard.number()}")
    out = os.path.join(bench.scratch, "callgrind.out")
    argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--quiet",
            bench.build.lanefs, "-f", "-o", "lane=auto,transport=dev", source, target]
    os.mkdir(target)
    with bench.guard.step("mount", target, lambda: take_down(target)), \
         bench.guard.process(argv, None, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while not system.mounted(target):
            if process.poll() is not None or time.monotonic() > end:
                raise Failure("lanefs does not mount under valgrind")
            time.sleep(0.1)
        system.drop_caches()
        bench.load(["read", "--block", READ, os.path.join(target, "file")])
        subprocess.run(["umount", target], check=False, timeout=60)
        process.wait(60)
    return parse(out)


def take_down(target):
    while system.mounted(target) and system.detach(target):
        pass
    os.rmdir(target)
