# SPDX-License-Identifier: MIT
"""Apache and nginx, asked over loopback for small and large files by 1 to 256 clients."""
import os

from . import compare, device, presets, servers, sizes
from .condition import Cold
from .session import session

TITLE = "Serving over loopback"
LENGTH = 320 * 1000 * 1000
LARGE = 4 << 30
SMALL, SMALL_SIZE = 1000, 16 << 10

FEW = ["native", "auto"]
DIRECTIO = "native+directio"  # nginx with its own way around the page cache
ALL = FEW + [DIRECTIO, "passthrough_hp"]

# server, what is asked for, clients, by which contenders
CASES = (
    ("nginx", "small files", 64, FEW + ["passthrough_hp", "mergerfs"]),
    ("nginx", "320 MB", 1, FEW + [DIRECTIO]),
    ("nginx", "320 MB", 16, ALL),
    ("nginx", "320 MB", 256, FEW),
    ("nginx", "large", 16, FEW + [DIRECTIO]),
    ("apache", "small files", 64, FEW + ["auto:acl=off", "passthrough_hp", "mergerfs"]),
    ("apache", "320 MB", 16, FEW),
)
FILES = {"small files": "small", "320 MB": "320", "large": "large"}


def large_size(options):
    return min(LARGE, options.file_size * 2)


def describe(options, server, what, clients):
    if what == "large":
        what = sizes.show(large_size(options))
    return f"{server}, {what}, {clients} client{'s' if clients > 1 else ''}"


class Web:
    """Files are cold at first, and then as their lane leaves them."""

    def __init__(self, bench, source, server, what, clients):
        self.bench, self.source, self.server = bench, source, server
        self.what, self.clients = FILES[what], clients
        self.seconds = max(1, round(bench.options.seconds))

    def measure(self, contender):
        directio = contender.name == DIRECTIO
        with session(self.bench, contender, self.source, Cold(self.bench)) as at, \
             servers.serving(self.bench, self.server, at.served.path, at.group,
                             directio) as url:
            at.cold()
            names = ("small/", SMALL) if self.what == "small" else None
            sample = at.measured(None, lambda group: servers.ask(
                self.bench, f"{url}/{self.what}", self.clients, self.seconds, names))
            sample["extra"] = {"requests/s": sample["requests"]}
            return sample


def cases(options):
    """(server, what, clients, contenders)"""
    for server, what, clients, names in CASES:
        yield server, what, clients, presets.peers(options, "serve", names)


def plan(options):
    return sum(len(names) * options.rounds for _, _, _, names in cases(options))


def run(bench):
    options = bench.options
    large = large_size(options)
    room = large + LENGTH + SMALL * SMALL_SIZE * 2
    with device.backing(bench, options.device, room) as source, bench.on(source):
        bench.file(os.path.join(source, "320"), LENGTH)
        bench.file(os.path.join(source, "large"), large)
        os.mkdir(os.path.join(source, "small"))
        for number in range(SMALL):
            with open(os.path.join(source, "small", f"{number:06}"), "wb") as stream:
                stream.write(os.urandom(SMALL_SIZE))
        os.sync()
        for server, what, clients, names in cases(options):
            key = {"suite": "serve", "case": describe(options, server, what, clients),
                   "condition": "cold", "device": options.device}
            web = Web(bench, source, server, what, clients)
            yield from compare.compare(bench, key, names, web.measure)
