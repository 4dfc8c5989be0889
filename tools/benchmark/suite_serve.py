# SPDX-License-Identifier: MIT
"""Serving files over a connection: Apache and nginx, and what one server thread spends on a
320 MB file."""
import os
import re
import shutil

from . import compare, device, presets, servers, system
from .condition import Fresh
from .session import session

TITLE = "Serving over loopback"
PEERS = ["native", "auto", "direct", "stream"]
WEB_PEERS = ["native", "auto"]
WEB_ROUNDS = 3
LENGTH = 320 * 1000 * 1000
SMALL, SMALL_SIZE = 1000, 16 << 10

# name, bench-load's arguments
LOOPS = (("320 MB, read+write 32K", ["copy", "--block", 32 << 10]),
         ("320 MB, sendfile", ["sendfile", "--block", 1 << 20]))


def web_cases():
    """(name, server, what is asked for, clients)"""
    for server in ("nginx", "apache"):
        yield f"{server}, small files, 64 clients", server, "small", 64
        yield f"{server}, 320 MB, 1 client", server, "320", 1
        yield f"{server}, 320 MB, 256 clients", server, "320", 256
        yield f"{server}, large file, 16 clients", server, "large", 16


class Loop:
    """One thread, one client, one cold file."""

    def __init__(self, bench, source, argv):
        self.bench, self.source, self.argv = bench, source, argv

    def measure(self, contender):
        with session(self.bench, contender, self.source, Fresh(self.bench)) as at:
            at.warm([*self.argv, "--length", 16 << 20, at.path("large")])
            at.cold()
            sample = at.measured([*self.argv, at.path("320")])
            sample["extra"] = {"server switches": sample["own_switches"],
                               "all switches": sample["switches"],
                               "CPU ms": sample["cpu"] * 1000}
            return sample

    def syscalls(self, contender):
        """In a pass of its own, since strace makes every call slow."""
        if not shutil.which("strace"):
            return {}
        counts = os.path.join(self.bench.scratch, "syscalls")
        with session(self.bench, contender, self.source, Fresh(self.bench)) as at:
            system.drop_caches()
            self.bench.run(["strace", "-f", "-c", "-o", counts, self.bench.build.load,
                            *map(str, self.argv), at.path("320")])
        total = 0
        for line in system.read(counts).splitlines():
            found = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+.*?(\w+)$", line)
            # The client's own receiving is not the server's.
            if found and found[2] in ("read", "write", "sendfile", "lseek"):
                total += int(found[1])
        return {"extra": {"server syscalls": total}}


class Web:
    """A real server; files are cold at first, and then as its lane leaves them."""

    def __init__(self, bench, source, server, what, clients):
        self.bench, self.source, self.server = bench, source, server
        self.what, self.clients = what, clients
        self.seconds = max(1, int(bench.options.seconds))

    def measure(self, contender):
        directio = contender.name == "native+directio"
        with session(self.bench, contender, self.source, Fresh(self.bench)) as at, \
             servers.serving(self.bench, self.server, at.served.path, at.group,
                             directio) as url:
            at.cold()
            names = ("small/", SMALL) if self.what == "small" else None
            sample = at.measured(None, lambda group: servers.ask(
                self.bench, f"{url}/{self.what}", self.clients, self.seconds, names))
            sample["extra"] = {"requests/s": sample["requests"]}
            return sample


def web_names(options, server):
    names = presets.peers(options, "serve", WEB_PEERS)
    return names + ["native+directio"] if server == "nginx" and not options.peers else names


def plan(options):
    total = len(presets.peers(options, "serve", PEERS)) * (options.rounds + 1) * len(LOOPS)
    rounds = min(WEB_ROUNDS, options.rounds)
    return total + sum(len(web_names(options, server)) * rounds
                       for _, server, _, _ in web_cases())


def run(bench):
    options = bench.options
    names = presets.peers(options, "serve", PEERS)
    room = options.file_size + LENGTH + SMALL * SMALL_SIZE * 2
    with device.backing(bench, options.device, room) as source, bench.on(source):
        bench.file(os.path.join(source, "320"), LENGTH)
        bench.file(os.path.join(source, "large"), options.file_size)
        os.mkdir(os.path.join(source, "small"))
        for number in range(SMALL):
            with open(os.path.join(source, "small", f"{number:06}"), "wb") as stream:
                stream.write(os.urandom(SMALL_SIZE))
        os.sync()
        key = {"suite": "serve", "condition": "fresh", "device": options.device}
        for case, argv in LOOPS:
            loop = Loop(bench, source, argv)
            yield from compare.compare(bench, {**key, "case": case}, names,
                                       loop.measure, loop.syscalls)
        for case, server, what, clients in web_cases():
            web = Web(bench, source, server, what, clients)
            yield from compare.compare(bench, {**key, "case": case}, web_names(options, server),
                                       web.measure, rounds=min(WEB_ROUNDS, options.rounds))
