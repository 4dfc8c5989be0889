# SPDX-License-Identifier: MIT
"""A process that ends a hung mount, because the test that hangs in it cannot.

Commands on stdin, one per line: "arm SECONDS NAME", "disarm", "mount PID PATH",
"unmount PATH".  When the time is up it writes to stderr where every thread of the daemons
waits, aborts their connections and kills them; system calls in the mounts then return errors.
If the test is not over after as much time again, it interrupts pytest.  When stdin ends with
mounts left, pytest has died, and it removes them.
"""
import os
import select
import signal
import subprocess
import sys
import time

import util_sys


class Watchdog:
    """pytest's end of it."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE)

    def say(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode("utf-8"))
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def report(pid):
    for task in sorted(os.listdir(f"/proc/{pid}/task")):
        try:
            with open(f"/proc/{pid}/task/{task}/comm") as stream:
                name = stream.read().strip()
            with open(f"/proc/{pid}/task/{task}/stack") as stream:
                stack = " < ".join(line.split()[1].split("+")[0] for line in stream)
        except (OSError, IndexError):
            continue
        print(f"  {task} {name}: {stack}", file=sys.stderr)


def abort(mounts):
    for path, pid in mounts.items():
        try:
            report(pid)
        except OSError as error:
            print(f"  daemon {pid}: {error}", file=sys.stderr)
        try:
            util_sys.umount2(path, util_sys.MNT_FORCE | util_sys.MNT_DETACH)
        except OSError:
            pass
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    sys.stderr.flush()


def main():
    mounts = {}
    deadline = limit = name = None
    stage = 0
    pending = b""
    while True:
        left = None if deadline is None else max(0, deadline - time.monotonic())
        if select.select([0], [], [], left)[0]:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                command, *rest = line.decode("utf-8").split(" ", 2)
                if command == "arm":
                    limit, name, stage = float(rest[0]), rest[1], 0
                    deadline = time.monotonic() + limit
                elif command == "disarm":
                    deadline = None
                elif command == "mount":
                    mounts[rest[1]] = int(rest[0])
                elif command == "unmount":
                    mounts.pop(" ".join(rest), None)
        elif stage == 0:
            print(f"\n{name}: not over after {limit:.0f} s, daemons:", file=sys.stderr)
            abort(mounts)
            stage, deadline = 1, time.monotonic() + limit
        else:
            print(f"\n{name}: hangs, interrupting pytest", file=sys.stderr)
            os.kill(os.getppid(), signal.SIGINT)
            deadline = time.monotonic() + limit
    abort(mounts)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
