# SPDX-License-Identifier: MIT
"""What one thread spends on sending a cold file of 320 MB to one client: the case that lanefs began
with."""
import os
import re
import shutil

from . import compare, device, presets, system
from .condition import Fresh
from .session import session

TITLE = "320 MB to one client, by one thread"
PEERS = ["native", "auto", "direct", "stream"]
LENGTH = 320 * 1000 * 1000
WARM = 16 << 20

# name, bench-load's arguments
LOOPS = (("read+write 32K", ["copy", "--block", 32 << 10]),
         ("sendfile", ["sendfile", "--block", 1 << 20]))


class Loop:
    def __init__(self, bench, source, argv):
        self.bench, self.source, self.argv = bench, source, argv

    def measure(self, contender):
        with session(self.bench, contender, self.source, Fresh(self.bench)) as at:
            at.warm([*self.argv, at.path("warm")])
            at.cold()
            sample = at.measured([*self.argv, at.path("320")])
            sample["extra"] = {"server switches": sample["own_switches"],
                               "all switches": sample["switches"],
                               "server CPU ms": sample["own_cpu"] * 1000,
                               "all CPU ms": sample["cpu"] * 1000}
            return sample

    def count(self, contender):
        """In passes of their own, since looking makes it slow."""
        row = {}
        with session(self.bench, contender, self.source, Fresh(self.bench), True) as at:
            at.warm([*self.argv, at.path("warm")])
            system.drop_caches()
            left = at.footprint()
            with left.watch():
                self.bench.load([*self.argv, at.path("320")], at.group)
            row.update(peak=left.peak, after=left.after)
        calls = self.syscalls(contender)
        return {**row, "extra": {"server syscalls": calls}} if calls else row

    def syscalls(self, contender):
        if not shutil.which("strace"):
            return None
        counts = os.path.join(self.bench.scratch, "syscalls")
        with session(self.bench, contender, self.source, Fresh(self.bench)) as at:
            self.bench.run(["strace", "-f", "-c", "-o", counts, self.bench.build.load,
                            *map(str, self.argv), at.path("320")])
        return server_calls(system.read(counts))


def server_calls(text):
    """Of what strace -c counted, those the serving thread makes for the file; the client's own
    receiving is not the server's."""
    total = 0
    for line in text.splitlines():
        found = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+.*?(\w+)$", line)
        if found and found[2] in ("read", "write", "sendfile", "lseek"):
            total += int(found[1])
    return total


def plan(options):
    return len(presets.peers(options, "loop", PEERS)) * (options.rounds + 1) * len(LOOPS)


def run(bench):
    options = bench.options
    names = presets.peers(options, "loop", PEERS)
    with device.backing(bench, options.device, LENGTH + WARM) as source, bench.on(source):
        bench.file(os.path.join(source, "320"), LENGTH)
        bench.file(os.path.join(source, "warm"), WARM)
        for case, argv in LOOPS:
            key = {"suite": "loop", "case": case, "condition": "fresh",
                   "device": options.device}
            loop = Loop(bench, source, argv)
            yield from compare.compare(bench, key, names, loop.measure, loop.count)
