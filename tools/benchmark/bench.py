# SPDX-License-Identifier: MIT
"""What every suite works with: the options, the scratch directory, the programs, progress."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from . import system
from .build import Build, Failure
from .guard import Guard


class Progress:
    """Says on standard error what is being measured and how long it will still take."""

    def __init__(self):
        self.done = self.total = 0
        self.begin = time.monotonic()
        self.live = sys.stderr.isatty()
        self._wide = 0

    def say(self, text):
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def plan(self, measurements):
        self.total += measurements

    def step(self, text):
        if self.done:
            left = (time.monotonic() - self.begin) / self.done * (self.total - self.done)
            when = f"{int(left) // 60}:{int(left) % 60:02d} left"
        else:
            when = "-:-- left"
        line = f"[{self.done + 1}/{self.total}, {when}] {text}"
        self.done += 1
        if self.live:
            self._clear()
            print(line, end="\r", file=sys.stderr, flush=True)
            self._wide = len(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def _clear(self):
        if self._wide:
            print(" " * self._wide, end="\r", file=sys.stderr)
            self._wide = 0


class Bench:
    def __init__(self, options, stack):
        self.options = options
        self.progress = Progress()
        self.guard = Guard()
        stack.callback(self.guard.close)
        self.build = Build(self.progress.say)
        self.scratch = tempfile.mkdtemp(prefix="lanefs-bench-", dir=options.backing)
        stack.enter_context(self.guard.step("directory", self.scratch, self._remove))
        os.chmod(self.scratch, 0o755)
        self.device = None
        self._filler = None

    def _remove(self):
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, argv, group=None, timeout=None):
        """A program that ends by itself; its standard output."""
        timeout = timeout or self.options.timeout
        with self.guard.process(argv, group, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                raise Failure(f"{argv[0]} {argv[1]}: not done after {timeout} s") from None
        if process.returncode:
            words = err.strip().splitlines() or ["failed"]
            raise Failure(f"{os.path.basename(argv[0])}: {words[-1]}")
        return out

    def load(self, argv, group=None):
        """A load of bench-load; its result."""
        return json.loads(self.run([self.build.load, *map(str, argv)], group))

    def file(self, path, size, sync=True):
        """Write a file of that size that nothing can compress."""
        self.load(["write", "--block", min(size, 8 << 20), "--length", size,
                   *(["--sync"] if sync else []), path])
        return path

    def filler(self, size):
        """A file that nobody measures, on the scratch disk, to fill memory with."""
        path = os.path.join(self.scratch, "filler")
        if not os.path.exists(path) or os.stat(path).st_size < size:
            self.file(path, size)
        return path

    @contextlib.contextmanager
    def on(self, directory):
        """Count the bytes of the disk that directory is on."""
        before, self.device = self.device, system.device_of(directory)
        try:
            yield
        finally:
            self.device = before
