# SPDX-License-Identifier: MIT
"""Who is compared: native, and lanefs in each lane.

A contender serves a directory: within `with contender.serve(bench, source, group) as served`,
served.path shows the files of source.
"""
import contextlib
import json
import os
import subprocess
import tempfile
import time

from . import system
from .build import Failure

# odirect: read with O_DIRECT; native+directio: nginx with its own way around the page cache
NATIVE = ("native", "odirect", "native+directio")
LANES = ("auto", "cached", "direct", "stream")


class Served:
    def __init__(self, path, pid=None):
        self.path, self.pid = path, pid

    def cpu(self):
        return system.process_cpu(self.pid) if self.pid else 0.0

    def memory(self):
        """Bytes of memory the daemon has, huge pages among them."""
        return system.process_memory(self.pid) if self.pid else 0

    def stats(self):
        """The counters of lanefs; None from anyone else."""
        try:
            return json.loads(os.getxattr(self.path, "user.lanefs.stats"))
        except OSError:
            return None

    def backing_bytes(self):
        """What lanefs has read of backing files so far."""
        stats = self.stats()
        return stats and stats["reads"]["backing_bytes"]


class Native:
    """The backing directory itself."""

    def __init__(self, name="native"):
        self.name = name
        # What the reader is told besides.
        self.flags = ["--direct"] if name == "odirect" else []

    @contextlib.contextmanager
    def serve(self, bench, source, group=None):
        yield Served(source)

    def takes(self, how, size):
        return True


class Fio(Native):
    """fio reading the backing file with O_DIRECT: what the device gives at best."""

    def takes(self, how, size):
        return how == "read" and size == 1 << 20

    @staticmethod
    def warm(bench, group):
        """fio's own libraries are many megabytes, which count as nobody's."""
        bench.run(["fio", "--version"], group)

    @staticmethod
    def command(path, length):
        # Its buffers are on huge pages as those of lanefs are, and no others are set aside for it:
        # lanefs would take them, which no machine has that nobody has set up for them.
        return ["env", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1", "fio", "--name=best",
                f"--filename={path}", f"--size={length}", "--rw=read",
                "--bs=1M", "--iodepth=8", "--ioengine=io_uring", "--direct=1", "--thread",
                "--iomem=malloc", "--invalidate=0", "--output-format=json"]

    @staticmethod
    def result(report):
        read = report["jobs"][0]["read"]
        return {"seconds": read["runtime"] / 1000, "bytes": read["io_bytes"],
                "calls": read["total_ios"]}


class Daemon:
    """A FUSE filesystem in the foreground."""

    flags = ()

    def __init__(self, name):
        self.name = name

    def takes(self, how, size):
        return True

    def command(self, bench, source, target):
        raise NotImplementedError

    @contextlib.contextmanager
    def serve(self, bench, source, group=None):
        target = os.path.join(bench.scratch, f"mount.{bench.guard.number()}")
        argv = self.command(bench, source, target)
        os.mkdir(target)
        with tempfile.TemporaryFile(dir=bench.scratch) as log, \
             bench.guard.step("mount", target, lambda: self._take_down(target)), \
             bench.guard.process(argv, group, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=log) as process:
            try:
                self._wait(process, target, log)
                yield Served(target, process.pid)
            finally:
                self._unmount(process, target)
            self.check_end(process)

    def _wait(self, process, target, log, patience=15):
        end = time.monotonic() + patience
        while not system.mounted(target):
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                words = log.read().decode(errors="replace").strip().splitlines()
                raise Failure(f"{self.name}: {words[-1] if words else 'does not mount'}")
            time.sleep(0.01)

    @staticmethod
    def _unmount(process, target):
        """In order: what it says at its end, and that it ends, are part of working."""
        for _ in range(20):
            # What was interrupted may still be closing its files.
            if not system.mounted(target) or not subprocess.run(
                    ["umount", target], check=False, timeout=30,
                    stderr=subprocess.DEVNULL).returncode:
                break
            time.sleep(0.1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)

    def check_end(self, process):
        """What its exit status says is its own affair."""

    @staticmethod
    def _take_down(target):
        while system.mounted(target) and system.detach(target):
            pass
        os.rmdir(target)


class Lanefs(Daemon):
    """NAME is a lane, options after colons: direct:transport=dev."""

    def __init__(self, name):
        super().__init__(name)
        lane, *options = name.split(":")
        self.options = [f"lane={lane}"] + options

    def check_end(self, process):
        if process.returncode:
            raise Failure(f"lanefs ended with status {process.returncode}")

    def steer_by_policy(self):
        """Leave the choice of lanes to the files' own policies; the lane that was meant."""
        lane = self.options[0].removeprefix("lane=")
        self.options[0] = "lane=auto"
        return lane

    def command(self, bench, source, target):
        options = list(self.options)
        if not any(option.startswith("transport=") for option in options):
            options.append(f"transport={bench.options.transport}")
        if not any(option.startswith("state=") for option in options):
            # What one measurement teaches it is not for the next to profit from.
            options.append("state=off")
        return [bench.build.lanefs, "-f", "-o", ",".join(options), source, target]


def contender(name):
    if name in NATIVE:
        return Native(name)
    if name == "fio":
        return Fio(name)
    if name.split(":")[0] in LANES:
        return Lanefs(name)
    from . import peers
    other = peers.peer(name)
    if other:
        return other
    raise Failure(f"unknown contender {name!r}: native, odirect, fio, a lane ({', '.join(LANES)}) "
                  "with mount options after colons as in direct:transport=dev, or one of "
                  f"{', '.join(peers.NAMES)}, each also with +direct")


def order(names, turn):
    """Everyone goes first in some round: what the first one pays, each pays once."""
    turn %= len(names)
    return names[turn:] + names[:turn]
