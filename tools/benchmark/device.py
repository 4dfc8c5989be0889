# SPDX-License-Identifier: MIT
"""What the files lie on: the disk of a directory, or one made for the time being whose speed does
not depend on what else the disk does."""
import contextlib
import os

from . import cgroup, system
from .build import Failure, run
from .guard import insist

SLOW = 200 * 1000 * 1000

KINDS = {
    "disk": "the disk of --backing",
    "zram": "xfs on a zram disk of incompressible data: what software costs",
    "ram": "xfs on a loop device with direct I/O over tmpfs",
    "slow": "as zram, reading limited to 200 MB/s: read-ahead and protection show",
}


def _mount(bench, stack, path, *argv):
    def undo():
        if system.mounted(path):
            insist(lambda: system.unmount(path))
        os.rmdir(path)

    os.mkdir(path)
    stack.enter_context(bench.guard.step("mount", path, undo))
    run(["mount", *argv, path])


def _zram(bench, stack, size):
    if not os.path.exists("/sys/class/zram-control"):
        run(["modprobe", "zram"])
    number = system.read("/sys/class/zram-control/hot_add").strip()
    if not number:
        raise Failure("no zram device: this kernel has none")

    def remove():
        insist(lambda: system.write(f"/sys/block/zram{number}/reset", 1))
        insist(lambda: system.write("/sys/class/zram-control/hot_remove", number))

    stack.enter_context(bench.guard.step("zram", number, remove))
    # Data is incompressible, so what the cheapest algorithm does is a copy.
    with contextlib.suppress(OSError):
        system.write(f"/sys/block/zram{number}/comp_algorithm", "lz4")
    system.write(f"/sys/block/zram{number}/disksize", size)
    return f"/dev/zram{number}"


def _ram(bench, stack, size, scratch):
    base = os.path.join(scratch, "tmpfs")
    _mount(bench, stack, base, "-t", "tmpfs", "-o", f"size={size + (64 << 20)}", "none")
    image = os.path.join(base, "image")
    with open(image, "wb") as stream:
        stream.truncate(size)
    device = run(["losetup", "--find", "--show", "--direct-io=on", image]).strip()
    stack.enter_context(bench.guard.step("loop", device, lambda: run(["losetup", "-d", device])))
    name = os.path.basename(device)
    if system.read(f"/sys/block/{name}/loop/dio").strip() != "1":
        raise Failure("the kernel's tmpfs takes no direct I/O from a loop device")
    return device


def _throttle(bench, stack, device, rate):
    number = os.stat(device).st_rdev
    stack.enter_context(cgroup.slow_device(bench.guard, f"{os.major(number)}:{os.minor(number)}",
                                           rate))


@contextlib.contextmanager
def backing(bench, kind, size):
    """An empty directory on such a device, with room for size bytes of files."""
    with contextlib.ExitStack() as stack:
        path = os.path.join(bench.scratch, f"device.{bench.guard.number()}")
        if kind == "disk":
            os.mkdir(path)
            space = os.statvfs(path)
            if space.f_bavail * space.f_frsize < size:
                raise Failure(f"{bench.scratch} has no room for {size >> 20} MiB: "
                              "give --backing or a smaller --file-size")
            yield path
            return
        room = size + size // 16 + (512 << 20)
        if room > system.memory() * 0.6:
            raise Failure(f"a device of {room >> 20} MiB in memory is too much for this "
                          "machine: give a smaller --file-size")
        device = _ram(bench, stack, room, bench.scratch) if kind == "ram" else \
            _zram(bench, stack, room)
        run(["mkfs.xfs", "-q", "-f", "-K", device])
        _mount(bench, stack, path, "-t", "xfs", device)
        if kind == "slow":
            _throttle(bench, stack, device, SLOW)
        yield path
