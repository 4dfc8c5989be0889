# SPDX-License-Identifier: MIT
"""The programs that are measured and those that measure."""
import functools
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Failure(Exception):
    """Something that ends the benchmark with one line."""


def run(argv, **kwargs):
    """A command that has to succeed; its standard output."""
    kwargs.setdefault("timeout", 900)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, **kwargs)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"{argv[0]}: {error}") from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "failed").splitlines()
        raise Failure(f"{' '.join(argv[:6])}: {words[-1]} (status {done.returncode})")
    return done.stdout


class Build:
    """A Meson build directory: that of LANEFS_BUILD, or build-bench/ of the source, made when it
    is not there."""

    def __init__(self, say):
        self.path = os.path.abspath(os.environ.get("LANEFS_BUILD") or "")
        if not os.environ.get("LANEFS_BUILD"):
            self.path = os.path.join(ROOT, "build-bench")
            self._make(say)
        self.lanefs = os.path.join(self.path, "fs", "lanefs")
        self.load = os.path.join(self.path, "tools", "bench-load")
        for program in (self.lanefs, self.load):
            if not os.access(program, os.X_OK):
                raise Failure(f"{program} is not there: build first, or unset LANEFS_BUILD")

    def _make(self, say):
        if not os.path.exists(os.path.join(self.path, "build.ninja")):
            say("installing what the build needs (tools/bootstrap), and building")
            run([os.path.join(ROOT, "tools", "bootstrap"), "--bench"])
            run(["meson", "setup", self.path, ROOT])
        run(["ninja", "-C", self.path])

    @functools.cached_property
    def version(self):
        commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                                capture_output=True, text=True, check=False).stdout.strip()
        # The first line is its own, the next those of libraries.
        own = run([self.lanefs, "--version"]).splitlines()[0]
        return f"{own} {commit}".strip()
