# SPDX-License-Identifier: MIT
"""What people do with trees of small files: rsync, and untar, clone, build.

The tree is, unless told otherwise, that of the system's C headers, or as many of them as make 2,500
files, copied to the backing directory: a real one, and there is one wherever lanefs can be built.

On a disk what is made stays until the suite is over: ext4 passes over inode numbers that were in
use in the last minutes, and who makes files there after others were removed pays for them.
"""
import glob
import os
import shutil
import time

from . import compare, device, presets
from .build import ROOT, Failure, run as command
from .condition import Cold
from .session import session

PEERS = ["native", "auto", "bindfs", "mergerfs"]
FILES = 2500


class Tree:
    """One job, from a cold tree to a new directory beside it."""

    def __init__(self, bench, source, program, script):
        self.bench, self.source = bench, source
        self.program, self.script = program, script
        self.keep = bench.options.device == "disk"

    def measure(self, contender):
        if not shutil.which(self.program):
            raise Failure(f"{self.program} is not installed")
        made = os.path.join(self.source, "out")
        try:
            with session(self.bench, contender, self.source, Cold(self.bench)) as at:
                at.cold()
                sample = at.measured(None, lambda group: self._run(at, group))
        finally:
            # Also of one that has failed: the next makes its own.
            if self.keep and os.path.exists(made):
                os.rename(made, f"{made}.{self.bench.guard.number()}")
            else:
                shutil.rmtree(made, ignore_errors=True)
        sample["value"] = sample["seconds"]
        return sample

    def _run(self, at, group):
        begin = time.monotonic()
        self.bench.run(["sh", "-ec", f"cd {at.served.path}; mkdir out; {self.script}"], group)
        return {"seconds": time.monotonic() - begin, "bytes": 0}


class Suite:
    """A suite of such jobs; a module's worth of them twice."""

    def __init__(self, name, title, prepare, jobs):
        self.name, self.TITLE, self.prepare, self.jobs = name, title, prepare, jobs
        self.PEERS = PEERS

    def plan(self, options):
        names = presets.peers(options, self.name, PEERS)
        return len(names) * options.rounds * len(self.jobs)

    def run(self, bench):
        options = bench.options
        names = presets.peers(options, self.name, PEERS)
        room = (4 if options.device == "disk" else 1) << 30
        with device.backing(bench, options.device, room) as source, bench.on(source):
            bench.progress.say(f"copying {options.source_tree}")
            copy_tree(options.source_tree, os.path.join(source, "tree"))
            if self.prepare:
                self.prepare(source)
            os.sync()
            for case, (program, script) in self.jobs.items():
                key = {"suite": self.name, "case": case, "condition": "cold",
                       "device": options.device}
                yield from compare.compare(bench, key, names,
                                           Tree(bench, source, program, script).measure,
                                           unit="s", rounds=options.rounds)


def copy_tree(tree, to):
    """Its first files, with the directories they are in."""
    left = FILES
    for at, directories, names in os.walk(tree):
        directories.sort()
        made = os.path.join(to, os.path.relpath(at, tree))
        os.makedirs(made, exist_ok=True)
        for name in sorted(names)[:left]:
            shutil.copy2(os.path.join(at, name), made, follow_symlinks=False)
        left -= min(left, len(names))
        if not left:
            return


def pack_tree(source):
    """As an archive and as a git repository, and some programs to build."""
    tree, repository = os.path.join(source, "tree"), os.path.join(source, "repository")
    command(["tar", "-C", tree, "-cf", os.path.join(source, "tree.tar"), "."])
    command(["git", "init", "-q", "--bare", repository])
    git = ["git", f"--git-dir={repository}", f"--work-tree={tree}", "-c", "user.name=bench", "-c",
           "user.email=bench@localhost", "-c", "gc.auto=0", "-c", "core.bare=false"]
    command([*git, "add", "-A"])
    command([*git, "commit", "-qm", "tree"])
    code = os.path.join(source, "code")
    os.mkdir(code)
    for path in glob.glob(os.path.join(ROOT, "tools", "bench-load*.[ch]")):
        shutil.copy(path, code)


SYNC = Suite("sync", "rsync of a tree of small files", None, {
    "rsync, new": ("rsync", "rsync -a tree/ out/"),
    "rsync, nothing to do": ("rsync", "rsync -a --link-dest=../tree tree/ out/"),
})

META = Suite("meta", "Programs that work on names", pack_tree, {
    "untar": ("tar", "tar -C out -xf tree.tar"),
    "git clone": ("git", "git -c safe.directory='*' clone -q --no-local repository out/clone"),
    "build": ("gcc", "for f in code/*.c; do gcc -D_GNU_SOURCE -O1 -c $f -o out/$(basename $f).o; "
              "done; gcc -pthread -o out/program out/*.o"),
})
