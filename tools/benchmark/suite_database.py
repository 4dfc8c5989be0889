# SPDX-License-Identifier: MIT
"""Transactions of database servers whose data lies on the mount."""
import os
import shutil

from . import compare, databases, device, presets, system
from .build import Failure, run as command
from .condition import Fresh
from .session import session

TITLE = "Transactions of databases"
PEERS = ["native", "auto", "auto:passthrough=off", "passthrough_hp", "bindfs"]
AS_ROOT = "the files a server makes as a user of its own belong to root"
# Tried, and why it is no use to try again.
CANNOT = {
    (databases.Postgres, "passthrough_hp"): AS_ROOT,
    (databases.MariaDB, "passthrough_hp"): AS_ROOT,
    (databases.MariaDB, "mergerfs"): "it fails writes of O_DIRECT (EINVAL), and the server hangs",
}
# A disk that is waited for twice in a transaction takes a while to show its mean.
LONGER = 2
ROOM = 3 << 30


class Transactions:
    def __init__(self, bench, source, server):
        self.bench, self.source, self.server = bench, source, server
        self.seconds = max(1, round(bench.options.seconds * LONGER))
        self.pristine = os.path.join(source, "pristine")

    def measure(self, contender):
        """From the same data each time, however the last one left its own."""
        reason = CANNOT.get((type(self.server), contender.name))
        if reason:
            raise Failure(reason)
        data = os.path.join(self.source, "data")
        command(["cp", "-a", self.pristine, data])
        system.drop_caches()
        try:
            with session(self.bench, contender, self.source, Fresh(self.bench)) as at, \
                 self.server.running(at.path("data")):
                self.server.load(1)
                return self.sample(at)
        finally:
            shutil.rmtree(data)

    def sample(self, at):
        done = []

        def load(_group):
            done[:] = self.server.load(self.seconds)
            return {"seconds": done[1], "bytes": 0}

        sample = at.measured(None, load)
        count, seconds = done
        if not count:
            raise Failure("no transaction was done")
        sample["value"] = count / seconds
        sample["extra"] = {"CPU us each": sample["cpu"] / count * 1e6,
                           "switches each": sample["switches"] / count,
                           "KiB written each": (sample.get("disk_written") or 0) / count / 1024}
        return sample


def plan(options):
    return len(presets.peers(options, "database", PEERS)) * options.rounds * \
        len(databases.SERVERS)


def run(bench):
    options = bench.options
    names = presets.peers(options, "database", PEERS)
    for kind in databases.SERVERS:
        key = {"suite": "database", "case": kind.name, "condition": "", "device": options.device}
        try:
            server = kind(bench)
        except Failure as error:
            bench.progress.say(f"left out: {kind.name}: {error}")
            bench.progress.plan(-len(names) * options.rounds)
            continue
        with device.backing(bench, options.device, ROOM) as source, bench.on(source):
            bench.progress.say(f"making a database ({kind.name})")
            one = Transactions(bench, source, server)
            server.create(one.pristine)
            yield from compare.compare(bench, key, names, one.measure, unit="/s")
        server.close()
