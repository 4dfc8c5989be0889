# SPDX-License-Identifier: MIT
"""One contender serving the files of a case in one condition, ready to be measured."""
import contextlib
import json
import os

from . import meter, system
from .contenders import Fio


class Session:
    """group is the cgroup of everyone who takes part, or None."""

    def __init__(self, bench, contender, served, group, state):
        self.bench, self.contender, self.served = bench, contender, served
        self.group, self.state = group, state

    def path(self, *names):
        return os.path.join(self.served.path, *names)

    def warm(self, argv):
        """Let reader and daemon do it once, so that they have the buffers they keep."""
        self.bench.load(argv, self.group)

    def cold(self):
        """Bring memory into the condition; nothing of the files is in it afterwards."""
        self.state.prepare(self.group)

    def measured(self, argv, command=None):
        return meter.measured(self.bench, self.served, argv, self.group, command)

    def fio(self, path):
        """What fio makes of the file, as a sample."""
        self.contender.warm(self.bench, self.group)
        argv = self.contender.command(path, os.stat(path).st_size)
        return self.measured(None, lambda group: self.contender.result(
            json.loads(self.bench.run(argv, group))))

    def reads(self, argv, path):
        if isinstance(self.contender, Fio):
            return self.fio(path)
        return self.measured([*argv, *self.contender.flags, path])

    def footprint(self, without=None):
        return meter.Footprint(self.group, without)


@contextlib.contextmanager
def session(bench, contender, source, state, counted=False):
    """counted: page cache will be asked for, so a cgroup is needed to count it in."""
    with state.group(counted) as group, contender.serve(bench, source, group) as served:
        yield Session(bench, contender, served, group, state)
        # The unmount gives back what a contender caches itself.
        bench.sponge.low = system.free_memory()
