# SPDX-License-Identifier: MIT
"""Writing a large file: write(2), cp and rsync, until it is on the disk."""
import contextlib
import os
import shutil
import time

from . import compare, device, presets
from .build import Failure
from .condition import Fresh
from .session import session

TITLE = "Writing a large file"
FEW = ["native", "auto"]

# name: command, contenders
CASES = {
    "write 1M": (None, FEW + ["passthrough_hp", "mergerfs"]),
    "cp": (["cp"], FEW + ["passthrough_hp"]),
    "rsync": (["rsync"], FEW),
}


def synced(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove(path):
    """Also where nothing was written: why not is being raised."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


class Writing:
    def __init__(self, bench, source, original, argv):
        self.bench, self.source, self.original, self.argv = bench, source, original, argv

    def _command(self, target):
        """cp or rsync, and the fsync that they leave to others."""
        def copy(group):
            begin = time.monotonic()
            self.bench.run([*self.argv, self.original, target], group)
            synced(target)
            return {"seconds": time.monotonic() - begin,
                    "bytes": os.stat(self.original).st_size}
        return copy

    def _write(self, at):
        target = at.path("target")
        if self.argv:
            if not shutil.which(self.argv[0]):
                raise Failure(f"{self.argv[0]} is not installed")
            return at.measured(None, self._command(target))
        return at.measured(["write", "--block", 1 << 20, "--sync", "--length",
                            self.bench.options.file_size, target])

    def measure(self, contender):
        with session(self.bench, contender, self.source, Fresh(self.bench)) as at:
            at.cold()
            try:
                return self._write(at)
            finally:
                remove(os.path.join(self.source, "target"))

    def footprint(self, contender):
        """Of what is written: what a copy reads, natively, does not count."""
        with session(self.bench, contender, self.source, Fresh(self.bench), True) as at:
            at.cold()
            left = at.footprint(self.original if self.argv else None)
            try:
                with left.watch():
                    self._write(at)
            finally:
                remove(os.path.join(self.source, "target"))
            return {"peak": left.peak, "after": left.after, "series": left.series,
                    "extra": {"dirty peak MiB": left.dirty / (1 << 20)}}


def plan(options):
    return sum(len(presets.peers(options, "write", names)) for _, names in CASES.values()) * \
        (options.rounds + 1)


def run(bench):
    options = bench.options
    with device.backing(bench, options.device, options.file_size * 2) as source, \
         bench.on(source):
        original = os.path.join(source, "original")
        bench.file(original, options.file_size)
        for case, (argv, names) in CASES.items():
            key = {"suite": "write", "case": case, "condition": "fresh",
                   "device": options.device}
            one = Writing(bench, source, original, argv)
            yield from compare.compare(bench, key, presets.peers(options, "write", names),
                                       one.measure, one.footprint)
