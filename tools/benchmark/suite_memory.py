# SPDX-License-Identifier: MIT
"""What a daemon keeps for every inode the kernel knows of."""
import os

from . import compare, device, presets, system
from .condition import Fresh
from .session import session

TITLE = "Memory of the daemon for known inodes"
# passthrough_ll looks through a list of all inodes at every lookup: a million take it hours.
PEERS = ["auto", "passthrough_hp", "bindfs", "mergerfs"]
PER_DIRECTORY = 10000


def describe(inodes):
    return f"{inodes:,} inodes"


def make_files(source, count):
    for number in range(-(-count // PER_DIRECTORY)):
        path = os.path.join(source, "tree", f"{number:04}")
        os.makedirs(path)
        at = os.open(path, os.O_RDONLY)
        try:
            for name in range(min(count - number * PER_DIRECTORY, PER_DIRECTORY)):
                os.close(os.open(f"{name:05}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=at))
        finally:
            os.close(at)


class Memory:
    def __init__(self, bench, source):
        self.bench, self.source = bench, source

    def measure(self, contender):
        with session(self.bench, contender, self.source, Fresh(self.bench)) as at:
            self.bench.sponge.let_go()
            system.drop_caches()
            tree = at.path("tree")
            directories = sorted(os.listdir(tree))
            before = at.served.memory()
            sample = at.measured(["stat", at.path("tree", directories[0])])
            for name in directories[1:]:
                result = self.bench.load(["stat", at.path("tree", name)])
                sample["calls"] += result["calls"]
                sample["seconds"] += result["seconds"]
            grown = at.served.memory() - before
            sample["value"] = grown / self.bench.options.inodes
            sample["extra"] = {"MiB": grown / (1 << 20),
                               "descriptors": len(os.listdir(f"/proc/{at.served.pid}/fd")),
                               "stat/s": sample["calls"] / sample["seconds"]}
            return sample


def plan(options):
    return len(presets.peers(options, "memory", PEERS))


def run(bench):
    options = bench.options
    names = [name for name in presets.peers(options, "memory", PEERS) if name != "native"]
    with device.backing(bench, "disk", 64 << 20) as source, bench.on(source):
        bench.progress.say(f"making {options.inodes:,} files")
        make_files(source, options.inodes)
        os.sync()
        key = {"suite": "memory", "case": describe(options.inodes), "condition": "",
               "device": "disk"}
        yield from compare.compare(bench, key, names, Memory(bench, source).measure,
                                   unit="B/inode", rounds=1)
