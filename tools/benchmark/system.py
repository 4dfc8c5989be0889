# SPDX-License-Identifier: MIT
"""The machine as the kernel shows it: what it is, what its counters say, and its page cache."""
import ctypes
import os
import platform
import time

libc = ctypes.CDLL(None, use_errno=True)

TICKS = os.sysconf("SC_CLK_TCK")
CPUS = os.sysconf("SC_NPROCESSORS_ONLN")
MIB, GIB = 1 << 20, 1 << 30
MNT_DETACH = 2
SYS_CACHESTAT = 451


def read(path, default=""):
    try:
        with open(path) as stream:
            return stream.read()
    except OSError:
        return default


def write(path, text):
    with open(path, "w") as stream:
        stream.write(str(text))


def drop_caches():
    """Of the whole machine; with LANEFS_BENCH_DROP those of the files below that directory, for tests
    that others run beside."""
    only = os.environ.get("LANEFS_BENCH_DROP")
    if not only:
        os.sync()
        write("/proc/sys/vm/drop_caches", 3)
        return
    for directory, names, files in os.walk(only):
        names[:] = [name for name in names if not mounted(os.path.join(directory, name))]
        for name in files:
            try:
                fd = os.open(os.path.join(directory, name),
                             os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                found = resident(fd)
                if not found or found[1]:
                    os.fdatasync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def memory():
    """Bytes of memory in the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free_memory():
    for line in read("/proc/meminfo").splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1]) << 10
    return 0


def unmount(path):
    if libc.umount2(os.fsencode(path), 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)


def detach(path):
    """Unmount without looking at the mount, which may not answer."""
    return libc.umount2(os.fsencode(path), MNT_DETACH) == 0


class _Cachestat(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in
                ("cache", "dirty", "writeback", "evicted", "recently_evicted")]


def resident(fd):
    """(bytes in the page cache, bytes of these dirty) of an open file; None where the kernel
    cannot say (before 6.5)."""
    span = (ctypes.c_uint64 * 2)(0, 0)
    found = _Cachestat()
    if libc.syscall(SYS_CACHESTAT, fd, span, ctypes.byref(found), 0) != 0:
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    return found.cache * page, (found.dirty + found.writeback) * page


class Counters:
    """Of the whole machine and of one disk, at one moment; the difference of two is a load."""

    def __init__(self, device=None):
        self.time = time.monotonic()
        idle = switches = 0
        for line in read("/proc/stat").splitlines():
            words = line.split()
            if words[0] == "cpu":
                # idle and iowait are exact where ticks stop; stolen time is not ours either.
                idle = sum(int(words[i]) for i in (4, 5, 8)) / TICKS
            elif words[0] == "ctxt":
                switches = int(words[1])
        self.idle, self.switches = idle, switches
        words = read(f"/sys/dev/block/{device}/stat").split() if device else []
        self.disk_read = int(words[2]) * 512 if words else None
        self.disk_written = int(words[6]) * 512 if words else None

    def since(self, before):
        wall = self.time - before.time
        difference = {
            "wall": wall,
            "cpu": max(0.0, wall * CPUS - (self.idle - before.idle)),
            "switches": self.switches - before.switches,
        }
        if self.disk_read is not None:
            difference["disk_read"] = self.disk_read - before.disk_read
            difference["disk_written"] = self.disk_written - before.disk_written
        return difference


def process_cpu(pid):
    """Seconds of CPU of a process, to the nanosecond, with those of its threads that have ended."""
    try:
        # clock_getcpuclockid(3): CPUCLOCK_SCHED of that process.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0


def process_memory(pid):
    """Resident bytes of a process."""
    total = 0
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith(("VmRSS:", "HugetlbPages:")):
            total += int(line.split()[1]) << 10
    return total


def device_of(path):
    """MAJOR:MINOR of the disk a directory is on, None where it is on none."""
    number = os.stat(path).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    return name if os.path.exists(f"/sys/dev/block/{name}/stat") else None


def mounted(path, fstype=None):
    for line in read("/proc/self/mountinfo").splitlines():
        left, right = line.split(" - ", 1)
        if left.split()[4] == path and fstype in (None, right.split()[0]):
            return True
    return False


def describe():
    """What a reader of the figures has to know of the machine."""
    model = [line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines()
             if line.startswith("model name")]
    release = dict(line.split("=", 1) for line in read("/etc/os-release").splitlines()
                   if "=" in line)
    return {
        "cpu": model[0] if model else platform.machine(),
        "cpus": CPUS,
        "memory": memory(),
        "kernel": platform.release(),
        "system": release.get("PRETTY_NAME", "").strip('"'),
    }
