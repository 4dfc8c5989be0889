# SPDX-License-Identifier: MIT
"""What every suite works with: the options, the scratch directory, the programs."""
import contextlib
import json
import os
import shutil
import subprocess
import tempfile

from . import system
from .build import Build, Failure
from .condition import Sponge
from .guard import Guard
from .progress import Progress


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
        self.sponge = Sponge()

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
