# SPDX-License-Identifier: MIT
"""Backing directories and mounts of lanefs over them."""
import contextlib
import fcntl
import gc
import json
import os
import re
import resource
import signal
import subprocess
import tempfile
import time

import pytest

import util_sys
from util import need, patience, run, wait_for

NATIVE = os.environ.get("LANEFS_NATIVE") == "1"
BUILD = os.environ.get("LANEFS_BUILD", "")
LANEFS = os.path.join(BUILD, "fs", "lanefs")
LANECTL = os.path.join(BUILD, "tools", "lanectl")

MODULE = "/sys/module/fuse/parameters/enable_uring"
COMPLAINT = re.compile(r"WARNING|CRITICAL|ERROR\b|runtime error|Sanitizer|Assertion|double free")

# Of one mount, after which a descriptor is waited for that is open although it should not be.
PATIENT_TESTS = 5

FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048,
         "relatime": 1 << 21}

IMAGES = {
    "ext4": (1024, ["mkfs.ext4", "-q", "-F"]),
    "xfs": (1024, ["mkfs.xfs", "-q", "-f"]),
    "btrfs": (1024, ["mkfs.btrfs", "-q", "-f"]),
}


@contextlib.contextmanager
def uring_parameter(operation=fcntl.LOCK_SH):
    """While a mount begins the parameter stays as it is; who changes it takes LOCK_EX."""
    if not os.path.exists(MODULE):
        yield
        return
    with open(MODULE) as stream:
        fcntl.flock(stream, operation)
        yield


def mount_table():
    """(mountpoint, type, source, mount options) of every mount, without touching any."""
    table = []
    with open("/proc/self/mountinfo", "rb") as stream:
        for line in stream:
            left, right = line.rstrip(b"\n").split(b" - ", 1)
            left, right = left.split(b" "), right.split(b" ")
            words = [re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), word)
                     for word in (left[4], right[0], right[1], left[5])]
            table.append(tuple(map(os.fsdecode, words)))
    return table


def mount_root(path):
    """What of the filesystem on top is mounted there."""
    with open("/proc/self/mountinfo") as stream:
        lines = [line.split(" ") for line in stream]
    return [words[3] for words in lines if words[4] == path][-1]


def lanefs_mounts(path):
    return [source for point, fstype, source, _ in mount_table()
            if point == path and fstype == "fuse.lanefs"]


def lanectl_on_all(near, *args, **kwargs):
    """
    lanectl on all mounts there are, of those that lie next to near.  Who unmounts one while it is
    being asked gets EBUSY; the tests that run beside this one are to be spared that.
    """
    scratch = os.path.dirname(near) + "/"

    def others():
        return [point for point, fstype, _, _ in mount_table()
                if fstype == "fuse.lanefs" and not point.startswith(scratch)]

    return run(LANECTL, *args, check=False, preexec_fn=lambda: util_sys.own_mounts(others), **kwargs)


def sanitized():
    """Whether lanefs was built with a sanitizer, whose memory is not lanefs's."""
    with open(LANEFS, "rb") as stream:
        program = stream.read()
    return b"libasan.so" in program or b"libtsan.so" in program


class Scratch:
    """A temporary directory of the session, with loop images of other filesystems in it."""

    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="lanefs-", dir=os.environ.get("LANEFS_TMP",
                                                                          "/var/tmp"))
        os.chmod(self.base, 0o755)
        # What daemons learn stays with the tests.
        os.environ["STATE_DIRECTORY"] = os.path.join(self.base, "state")
        self.mounted = {}
        self.count = 0

    def directory(self, name, backing="disk"):
        """A new empty directory, readable by everyone, on that kind of filesystem."""
        self.count += 1
        path = os.path.join(self.filesystem(backing), f"{name}.{self.count}")
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)
        return path

    def filesystem(self, backing):
        if backing == "disk":
            return self.base
        if backing not in self.mounted:
            path = os.path.join(self.base, f"{backing}.mount")
            os.mkdir(path, 0o755)
            if backing == "tmpfs":
                run("mount", "-t", "tmpfs", "-o", "size=512M,mode=755", "none", path)
            else:
                self.image(backing, path)
            self.mounted[backing] = path
        return self.mounted[backing]

    def image(self, fstype, path, megabytes=None, options="loop"):
        """A new filesystem in a sparse file, mounted at path; the image's name."""
        if fstype not in open("/proc/filesystems").read().split():
            run("modprobe", fstype, check=False)
            if fstype not in open("/proc/filesystems").read().split():
                pytest.skip(f"this kernel has no {fstype}")
        size, argv = IMAGES[fstype]
        need(argv[0])
        image = path + ".img"
        with open(image, "wb") as stream:
            stream.truncate((megabytes or size) << 20)
        run(*argv, image)
        for _ in range(3):
            done = run("mount", "-t", fstype, "-o", options, image, path, check=False)
            if not done.returncode:
                break
            # Another may have taken the loop device.
            time.sleep(0.3)
        else:
            pytest.skip(f"cannot mount a loop image: {done.stderr.strip()}")
        os.chmod(path, 0o755)
        return image

    def close(self):
        for path in self.mounted.values():
            run("umount", "-l", path)
        run("rm", "-rf", self.base, check=False, timeout=300)


class Mount:
    """One running lanefs, or with LANEFS_NATIVE=1 the plain directory in its place.

    path is the mount, source the backing directory as seen without it.
    """

    def __init__(self, watchdog, scratch, options=(), over=False, backing="disk", argv=(),
                 nofile=None, enter=None, source=None):
        self.watchdog = watchdog
        self.options = [option for option in options if option]
        self.over = over
        self.problems = []
        self.allowed = []
        self.parts = 0
        self.late = 0
        self.log_seen = 0
        self.may_die = False
        self.process = None
        self.view = None
        self.kept = source is not None
        base = source or scratch.directory("source", backing)
        self.base = base
        if NATIVE:
            self.path = self.source = base
            return
        self.log_path = os.path.join(scratch.base, f"log.{scratch.count}")
        if over:
            self.path = base
            self.source = self.view = scratch.directory("view")
            run("mount", "--bind", base, self.view)
        else:
            self.path = scratch.directory("mount")
            self.source = base
        self.argv = [LANEFS, "-f", *argv]
        if self.options:
            self.argv += ["-o", ",".join(self.options)]
        self.argv += [base] if over else [base, self.path]
        self.nofile, self.enter = nofile, enter
        self.start()

    def _prepare(self):
        if self.nofile:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.nofile, self.nofile))
        if self.enter:
            self.enter()

    def start(self):
        with uring_parameter():
            self._start()

    def _start(self):
        # With a function to call, Popen copies the whole of this process.
        prepare = self._prepare if self.nofile or self.enter else None
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=prepare)
        self.watchdog.say("mount", self.pid, self.path)
        try:
            wait_for(lambda: self.process.poll() is not None or lanefs_mounts(self.path), 20,
                     "lanefs mounts")
            if self.process.poll() is not None:
                raise AssertionError(f"{self.argv} gave {self.process.returncode}: {self.log()}")
            os.stat(self.path)
            self.stats()
        except BaseException:
            self.process.kill()
            self.unmount_lazily()
            self.watchdog.say("unmount", self.path)
            raise
        self.first_descriptors = self.descriptors()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, errors="replace") as stream:
            return stream.read()

    def join(self, *names):
        return os.path.join(self.path, *names)

    def backing(self, *names):
        return os.path.join(self.source, *names)

    def attribute(self, name, path=None):
        return os.getxattr(path or self.path, f"user.lanefs.{name}").decode()

    def stats(self, path=None):
        return json.loads(self.attribute("stats", path))

    def lane(self, path):
        return self.attribute("lane", path)

    def why(self, path):
        return self.attribute("why", path)

    @property
    def passthrough(self):
        return not NATIVE and self.stats()["passthrough"]["available"]

    def descriptors(self):
        """What the daemon has open of the backing, and its other descriptors."""
        files, others = [], []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                name = os.readlink(f"/proc/{self.pid}/fd/{fd}")
            except OSError:
                continue
            own = re.match(r"/dev/fuse|anon_inode:|pipe:|socket:|/dev/null", name)
            (others if own else files).append(name)
        return sorted(files), sorted(others)

    def how_open(self, wanted):
        """With what flags (octal) the daemon has such files open."""
        found = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                if os.readlink(f"/proc/{self.pid}/fd/{fd}") in wanted:
                    with open(f"/proc/{self.pid}/fdinfo/{fd}") as stream:
                        found += re.findall(r"flags:\s*(\d+)", stream.read())
            except OSError:
                pass
        return found

    def threads(self):
        """Where each thread of the daemon waits."""
        found = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                texts = []
                for name in ("comm", "stat", "stack"):
                    with open(f"/proc/{self.pid}/task/{task}/{name}") as stream:
                        texts.append(stream.read())
            except OSError:
                continue
            state = texts[1].rpartition(")")[2].split()[0]
            calls = re.findall(r"\] (\w+)", texts[2])
            found.append(f"{texts[0].strip()} {state} in {' < '.join(calls[:6])}")
        return found

    def memory(self):
        """Resident bytes of the daemon."""
        with open(f"/proc/{self.pid}/statm") as stream:
            return int(stream.read().split()[1]) * util_sys.PAGE

    def shrink(self):
        """Drop the kernel's unused names and inodes of this mount only; it then forgets them."""
        if not NATIVE:
            util_sys.mount(None, self.path, None, util_sys.MS_REMOUNT | self._flags(), None)

    def _flags(self):
        options = [words for point, _, _, words in mount_table() if point == self.path][-1]
        return sum(FLAGS.get(option, 0) for option in options.split(","))

    def unmount_lazily(self):
        for _ in lanefs_mounts(self.path):
            try:
                util_sys.umount2(self.path, util_sys.MNT_DETACH)
            except OSError:
                break

    def _unmount(self):
        """As an administrator would; what goes wrong is a problem."""
        end = time.monotonic() + patience(5)
        while lanefs_mounts(self.path):
            done = subprocess.run(["umount", self.path], capture_output=True, timeout=20)
            if done.returncode == 0:
                continue
            if b"busy" in done.stderr and time.monotonic() < end:
                time.sleep(0.05)
                continue
            self.problems.append(f"umount: {done.stderr.decode().strip()}")
            self.unmount_lazily()
            break

    def part(self):
        self.parts += 1
        return Part(self, f"part.{self.parts}")

    def _check_leaks(self, at_once=True):
        """What is closed a moment later is not waited for after each of the tests that share the
        mount; but what is still not after several of them, or the last."""
        files = others = None
        first_files, first_others = self.first_descriptors

        def back():
            nonlocal files, others
            self.shrink()
            files, others = self.descriptors()
            return len(files) <= len(first_files)

        if not at_once and self.late < PATIENT_TESTS:
            self.late = 0 if back() else self.late + 1
            return
        self.late = 0
        gc.collect()
        try:
            wait_for(back, 15, "descriptors closed")
        except AssertionError:
            extra = [name for name in files if name not in first_files]
            self.problems.append(f"{len(files)} descriptors of the backing stay open, "
                                 f"{len(first_files)} at the start: {extra[:8]}, with flags "
                                 f"{self.how_open(extra)[:8]}; {self.stats()['files']}; "
                                 f"{self.threads()}")
        # Threads come with load and have descriptors of their own.
        if len(others) > len(first_others) + 64:
            self.problems.append(f"{len(others)} other descriptors, {len(first_others)} at the "
                                 f"start: {others[::10]}")

    def wait_end(self, seconds=10):
        return self.process.wait(patience(seconds))

    def close(self):
        """Unmount and say what was left behind or complained about."""
        if NATIVE:
            return []
        try:
            self._check_mounted()
            self._unmount()
            try:
                status = self.wait_end()
            except subprocess.TimeoutExpired:
                self.problems.append("the daemon does not end after its unmount: " +
                                     "; ".join(self.threads()))
                self.process.send_signal(signal.SIGABRT)
                try:
                    self.process.wait(10)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                status = None
            if status and not self.may_die:
                self.problems.append(f"the daemon ended with status {status}")
        finally:
            self.watchdog.say("unmount", self.path)
            if self.view:
                run("umount", "-l", self.view, check=False)
        self._check_log()
        return self.problems

    def remove(self):
        """What the closed mount was of, before the disk has to write it."""
        if not self.kept and not any(path.startswith(self.base) for path, *_ in mount_table()):
            run("rm", "-rf", "--one-file-system", self.base, check=False, timeout=300)

    def check(self):
        """What was left behind or complained about since the last time."""
        if NATIVE:
            return []
        self.problems = []
        if self.process.poll() is not None:
            self.problems.append(f"the daemon ended with status {self.process.returncode}")
        self._check_mounted(at_once=False)
        self._check_log()
        if self.problems and self.process.poll() is None:
            self.first_descriptors = self.descriptors()
        return self.problems

    def _check_mounted(self, at_once=True):
        if self.process.poll() is None and lanefs_mounts(self.path):
            try:
                self._check_leaks(at_once)
            except OSError as error:
                self.problems.append(f"the mount does not answer: {error}")

    def _check_log(self):
        log = self.log()
        for line in log[self.log_seen:].splitlines():
            if COMPLAINT.search(line) and not any(text in line for text in self.allowed):
                self.problems.append(line)
        self.log_seen = len(log)


class Part:
    """A directory of a mount, for a test that does not care whose the rest is.

    What it does not have itself is the mount's.
    """

    def __init__(self, mount, name):
        self.mount = mount
        self.path, self.source = mount.join(name), mount.backing(name)
        os.mkdir(self.source, 0o755)
        os.chmod(self.source, 0o755)

    def __getattr__(self, name):
        return getattr(self.mount, name)

    def join(self, *names):
        return os.path.join(self.path, *names)

    def backing(self, *names):
        return os.path.join(self.source, *names)


def need_uring():
    """Turn FUSE-over-io_uring on; skip where it cannot be had."""
    if NATIVE:
        return
    if not os.path.exists(MODULE):
        pytest.skip("this kernel has no FUSE-over-io_uring")
    try:
        with uring_parameter(), open(MODULE, "w") as stream:
            stream.write("Y")
    except OSError as error:
        pytest.skip(f"FUSE-over-io_uring cannot be turned on: {error}")
