# SPDX-License-Identifier: MIT
"""Programs that read one large file, as people run them.

A program is made ready on the files of a session, which gives run(group, name): it reads the file
of that name once, and the answer is {"seconds", "bytes"} of that.
"""
import contextlib
import json
import os
import shutil
import time

from . import servers
from .build import Failure


# Lanes that may be the fastest; others are hopeless for such programs.
LANES = ("direct", "stream")
SMALL_READS = ("stream",)


class Program:
    kind = ""  # extension of its files

    def __init__(self, name, lanes=LANES):
        self.name, self.lanes = name, lanes

    def warm(self, bench, group):
        """Have what it needs besides the file in memory."""


class Command(Program):
    """An ordinary command; in argv, {} is the file and {empty} an empty directory."""

    def __init__(self, name, *argv, kind="", warm=None, lanes=LANES):
        super().__init__(name, lanes)
        self.argv, self.kind = argv, kind
        self.warm_argv = warm or [argv[0], "--version"]

    def warm(self, bench, group):
        bench.run(self.warm_argv, group)

    @contextlib.contextmanager
    def ready(self, bench, at):
        if not shutil.which(self.argv[0]):
            raise Failure(f"{self.argv[0]} is not installed: tools/bootstrap --bench")
        empty = os.path.join(bench.scratch, "empty")
        os.makedirs(empty, exist_ok=True)

        def run(group, name):
            path = at.path(name)
            argv = [word.format(path, empty=empty) for word in self.argv]
            begin = time.monotonic()
            bench.run(argv, group)
            return {"seconds": time.monotonic() - begin, "bytes": os.stat(path).st_size}

        yield run


class Load(Program):
    """What bench-load does, under a name of its own, since lanefs knows programs by name."""

    def __init__(self, name, called, *argv, lanes=LANES):
        super().__init__(name, lanes)
        self.called, self.argv = called, argv

    @contextlib.contextmanager
    def ready(self, bench, at):
        program = os.path.join(bench.scratch, self.called)
        if not os.path.exists(program):
            os.symlink(bench.build.load, program)
        yield lambda group, name: json.loads(
            bench.run([program, *map(str, self.argv), at.path(name)], group))


class Web(Program):
    """A server that sends it to one client."""

    def __init__(self, name, server, how="sendfile", lanes=LANES):
        super().__init__(name, lanes)
        self.server, self.how = server, how

    @contextlib.contextmanager
    def ready(self, bench, at):
        with servers.serving(bench, self.server, at.served.path, at.group, how=self.how) as url:
            yield lambda group, name: servers.fetch(f"{url}/{name}")


ALL = (
    Command("dd bs=8k", "dd", "if={}", "of=/dev/null", "bs=8k", "status=none",
            lanes=SMALL_READS),
    Command("cp", "cp", "{}", "/dev/null"),
    # It reads all of the file, and writes nothing anywhere.
    Command("rsync", "rsync", "--dry-run", "--checksum", "{}", "{empty}/"),
    Web("apache, sendfile", "apache"),
    Web("apache, mmap", "apache", "mmap"),
    Web("apache, read", "apache", "read", lanes=SMALL_READS),
    Web("nginx", "nginx"),
    Command("sqlite3, scan", "sqlite3", "-readonly", "{}", "select sum(length(filler)) from t",
            kind=".db", warm=["sqlite3", ":memory:", "select 1"], lanes=SMALL_READS),
    Load("32K reader", "player", "read", "--block", 32 << 10),
    Load("mmap reader", "mapper", "mmap", "--block", 1 << 20),
    Load("random reader", "sampler", "random", "--block", 64 << 10, "--count", 2000,
         lanes=("direct", "cached")),
)
