# SPDX-License-Identifier: MIT
"""A process that ends a hung mount, because the test that hangs in it cannot.

Commands on stdin, one per line: "arm SECONDS NAME", "disarm", "mount PID PATH",
"unmount PATH".  When the time is up it writes to stderr where every thread of the daemons
waits, aborts their connections and kills them; system calls in the mounts then return errors.
If the test is not over after as much time again, it interrupts pytest.  When stdin ends with
mounts left, pytest has died, and it removes them.
"""
import mmap
import os
import select
import signal
import subprocess
import sys
import threading
import time

import util_sys

# A watchdog that has been killed is no machine that stands still.
PAUSE, LATE, DEAD = 0.01, 0.02, 60


class Beat:
    """
    A clock in shared memory that the watchdog moves on.  A thread on each processor wakes up all the
    time: when one is late, nothing else could go on there either, and the clock stands.  On virtual
    machines one processor may be away for a second, and the other goes on.
    """

    def __init__(self, fd):
        # Value and last beat, each read and written as a whole: struct.pack_into() clears them first.
        self._memory = memoryview(mmap.mmap(fd, mmap.PAGESIZE)).cast("d")
        self._set(time.monotonic(), time.monotonic())

    def time(self):
        value, last = self._memory[0], self._memory[1]
        return value + max(0, time.monotonic() - last - DEAD)

    def late(self):
        return PAUSE + LATE < time.monotonic() - self._memory[1] < DEAD

    def start(self):
        self._lock = threading.Lock()
        self._seen = dict.fromkeys(os.sched_getaffinity(0), time.monotonic())
        for cpu in list(self._seen):
            threading.Thread(target=self._run, args=(cpu,), daemon=True).start()

    def _set(self, value, last):
        self._memory[0] = value
        self._memory[1] = last

    def _run(self, cpu):
        os.sched_setaffinity(0, {cpu})
        while True:
            time.sleep(PAUSE)
            with self._lock:
                before = min(self._seen.values())
                self._seen[cpu] = time.monotonic()
                last = min(self._seen.values())
                self._set(self.time() + min(last - before, PAUSE + LATE), last)


# None in who has no watchdog.
beat = None


class Watchdog:
    """pytest's end of it."""

    def __init__(self):
        global beat
        memory = os.memfd_create("beat")
        os.ftruncate(memory, mmap.PAGESIZE)
        self.process = subprocess.Popen([sys.executable, __file__, str(memory)],
                                        stdin=subprocess.PIPE, pass_fds=[memory])
        beat = Beat(memory)
        os.close(memory)

    def say(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode("utf-8"))
        self.process.stdin.flush()

    def close(self):
        global beat
        beat = None
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
    Beat(int(sys.argv[1])).start()
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
