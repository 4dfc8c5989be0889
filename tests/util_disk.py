# SPDX-License-Identifier: MIT
"""Filesystems on loop devices that fail: cut short, refusing writes, shut down, full."""
import errno
import fcntl
import os
import struct

import pytest

import util_sys
from util import need, run, unmount, wait_for

LOOP_CONFIGURE, LOOP_CTL_GET_FREE, LOOP_GET_STATUS64 = 0x4C0A, 0x4C82, 0x4C05
LO_FLAGS_AUTOCLEAR = 4
F_SEAL_GROW, F_SEAL_FUTURE_WRITE = 4, 16
FS_IOC_FIEMAP = 0xC020660B
# The same number for ext4 and xfs; the second as XFS_FSOP_GOING_FLAGS_NOLOGFLUSH.
SHUTDOWN, SHUTDOWN_NOW = 0x8004587D, 2

# No blocks reserved for root, which passthrough would leave alone.
KINDS = {
    "ext4": (64, ["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", "nodiscard"]),
    "xfs": (320, ["mkfs.xfs", "-q", "-f", "-K"]),
}


class Disk:
    """
    A filesystem at path on a loop device whose image is in memory, so that sealing it makes
    the device fail for good; or in a file of another one's, image.
    """

    def __init__(self, scratch, fstype, megabytes=None, image=None):
        size, argv = KINDS[fstype]
        need(argv[0])
        self.fstype = fstype
        self.gone = False
        self.path = scratch.directory(fstype)
        self.image = os.open(image, os.O_RDWR | os.O_CREAT) if image else \
            os.memfd_create("image", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.image, (megabytes or size) << 20)
        try:
            device, name = self._attach()
        except BaseException:
            os.close(self.image)
            raise
        self.device = name
        try:
            run(*argv, name)
            run("mount", "-t", fstype, name, self.path)
        finally:
            os.close(device)
        os.chmod(self.path, 0o755)

    def _attach(self):
        """The loop device, which goes with its last user."""
        try:
            control = os.open("/dev/loop-control", os.O_RDWR)
        except OSError as error:
            pytest.skip(f"no loop devices: {error}")
        try:
            while True:
                name = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
                device = os.open(name, os.O_RDWR)
                try:
                    fcntl.ioctl(device, LOOP_CONFIGURE, struct.pack(
                        "II 52xI 176x64x", self.image, 0, LO_FLAGS_AUTOCLEAR))
                    return device, name
                except OSError as error:
                    os.close(device)
                    if error.errno != errno.EBUSY:
                        raise
        finally:
            os.close(control)

    def _detached(self):
        """Whether the device is not of this image any more."""
        try:
            with open(self.device, "rb") as device:
                answer = fcntl.ioctl(device, LOOP_GET_STATUS64, bytes(232))
        except OSError:
            return True
        return struct.unpack_from("QQ", answer)[1] != os.fstat(self.image).st_ino

    def place(self, name, offset=0):
        """Where on the device the file's byte at offset lies, once that was written."""
        fd = os.open(os.path.join(self.path, name), os.O_RDONLY)
        try:
            answer = bytearray(struct.pack("QQIIII", offset, 1, 0, 0, 1, 0) + bytes(56))
            fcntl.ioctl(fd, FS_IOC_FIEMAP, answer)
        finally:
            os.close(fd)
        logical, physical = struct.unpack_from("QQ", answer, 32)
        return physical + offset - logical

    def cut(self, at):
        """What lies behind that byte is lost: reads and writes there fail."""
        os.ftruncate(self.image, at)
        fcntl.fcntl(self.image, fcntl.F_ADD_SEALS, F_SEAL_GROW)

    def refuse_writes(self):
        fcntl.fcntl(self.image, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE)

    def shut_down(self):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", SHUTDOWN_NOW))
        finally:
            os.close(fd)

    def again(self):
        """Unmounted and mounted again: what was not on the device is gone."""
        unmount(self.path)
        wait_for(self._detached, 10, "unmounted where mounts were copied meanwhile")
        device, name = self._attach()
        self.device = name
        try:
            run("mount", "-t", self.fstype, name, self.path)
        finally:
            os.close(device)

    def leave(self):
        """Unmounts it for good; OSError where it is busy."""
        util_sys.umount2(self.path, 0)
        self.gone = True

    def close(self):
        if not self.gone:
            unmount(self.path)
        os.close(self.image)
