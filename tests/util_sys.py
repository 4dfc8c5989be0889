# SPDX-License-Identifier: MIT
"""System calls that Python's os module lacks, as functions that raise OSError."""
import ctypes
import errno
import fcntl
import mmap
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4

FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE = 1, 2
FALLOC_COLLAPSE_RANGE, FALLOC_ZERO_RANGE, FALLOC_INSERT_RANGE = 8, 16, 32

UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2

MS_REMOUNT, MS_REC, MS_PRIVATE = 32, 0x4000, 0x40000
MNT_FORCE, MNT_DETACH = 1, 2

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
FS_APPEND_FL, FS_IMMUTABLE_FL, FS_NODUMP_FL, FS_NOATIME_FL = 0x20, 0x10, 0x40, 0x80

PAGE = mmap.PAGESIZE
SYS_CACHESTAT = 451
CLONE_FS = 0x200
CLONE_NEWNS = 0x20000
PR_SET_DUMPABLE = 4


def _check(value, what=None):
    if value < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return value


def _path(path):
    return os.fsencode(path) if path is not None else None


def renameat2(old, new, flags):
    _check(libc.renameat2(AT_FDCWD, _path(old), AT_FDCWD, _path(new), ctypes.c_uint(flags)), old)


def fallocate(fd, mode, offset, length):
    _check(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def linkat_fd(fd, path):
    """Give an O_TMPFILE file a name."""
    _check(libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, _path(path),
                       AT_SYMLINK_FOLLOW), path)


def mount(source, target, fstype, flags, data):
    _check(libc.mount(_path(source), _path(target), _path(fstype), ctypes.c_ulong(flags),
                      _path(data)), target)


def umount2(target, flags):
    """Does not look at the mount, so it cannot hang in it."""
    _check(libc.umount2(_path(target), flags), target)


class _Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def utimensat(path, atime, mtime, flags=0):
    """atime and mtime: (seconds, nanoseconds), nanoseconds may be UTIME_NOW or UTIME_OMIT."""
    times = (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))
    _check(libc.utimensat(AT_FDCWD, _path(path), times, flags), path)


def futimens(fd, atime, mtime):
    times = (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))
    _check(libc.futimens(fd, times))


class _Cachestat(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in
                ("cache", "dirty", "writeback", "evicted", "recently_evicted")]


def cachestat_all(fd, offset=0, length=0):
    """What the page cache has of fd's file, in pages (length 0: to the end); None on kernels before
    6.5."""
    span = (ctypes.c_uint64 * 2)(offset, length)
    result = _Cachestat()
    try:
        _check(libc.syscall(SYS_CACHESTAT, fd, span, ctypes.byref(result), 0))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return None
        raise
    return result


def cachestat(fd, offset=0, length=0):
    """Pages of fd's file in the page cache (length 0: to the end); None on kernels before 6.5."""
    result = cachestat_all(fd, offset, length)
    return result and result.cache


def map_file(fd, length, protection=mmap.PROT_READ):
    """The address of a shared mapping; unlike that of the module mmap, it keeps no descriptor open."""
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(None, ctypes.c_size_t(length), protection, mmap.MAP_SHARED, fd,
                        ctypes.c_long(0))
    if address == ctypes.c_void_p(-1).value:
        _check(-1)
    return address


def unmap(address, length):
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length))


def mincore(fd, length):
    """Resident pages by mincore(2), for kernels without cachestat."""
    if length == 0:
        return 0
    address = map_file(fd, length)
    try:
        pages = (length + PAGE - 1) // PAGE
        vector = (ctypes.c_ubyte * pages)()
        _check(libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(length), vector))
        return sum(byte & 1 for byte in vector)
    finally:
        unmap(address, length)


def resident(file):
    """Bytes of a file (path or descriptor) in its page cache."""
    if not isinstance(file, int):
        fd = os.open(file, os.O_RDONLY | os.O_NOATIME)
        try:
            return resident(fd)
        finally:
            os.close(fd)
    pages = cachestat(file)
    if pages is None:
        pages = mincore(file, os.fstat(file).st_size)
    return pages * PAGE


def drop_pages(path):
    """Write a file back and drop its pages from the page cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


class FileHandle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]


def name_to_handle_at(path):
    handle = FileHandle(bytes=128)
    mount_id = ctypes.c_int()
    _check(libc.name_to_handle_at(AT_FDCWD, _path(path), ctypes.byref(handle),
                                  ctypes.byref(mount_id), 0), path)
    return handle


def open_by_handle_at(mount_fd, handle, flags):
    return _check(libc.open_by_handle_at(mount_fd, ctypes.byref(handle), flags))


def get_flags(fd):
    value = bytearray(8)
    fcntl.ioctl(fd, FS_IOC_GETFLAGS, value)
    return struct.unpack_from("i", value)[0]


def set_flags(fd, flags):
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("q", flags))


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_uint16),
                ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]


def getdents(fd, size):
    """The bytes that getdents64(2) fills of so many."""
    buffer = ctypes.create_string_buffer(size)
    got = libc.syscall({"x86_64": 217}.get(os.uname().machine, 61), fd, buffer, size)
    _check(got)
    return got


class Directory:
    """opendir(3) with readdir, telldir, seekdir and rewinddir."""

    def __init__(self, path):
        libc.opendir.restype = ctypes.c_void_p
        libc.readdir.restype = ctypes.POINTER(Dirent)
        libc.telldir.restype = ctypes.c_long
        self.stream = libc.opendir(_path(path))
        if not self.stream:
            _check(-1, path)

    def read(self):
        """The next (name, d_ino, d_type), or None at the end."""
        ctypes.set_errno(0)
        entry = libc.readdir(ctypes.c_void_p(self.stream))
        if not entry:
            if ctypes.get_errno():
                _check(-1)
            return None
        return entry.contents.name, entry.contents.ino, entry.contents.type

    def __iter__(self):
        return iter(self.read, None)

    def tell(self):
        return libc.telldir(ctypes.c_void_p(self.stream))

    def seek(self, position):
        libc.seekdir(ctypes.c_void_p(self.stream), ctypes.c_long(position))

    def rewind(self):
        libc.rewinddir(ctypes.c_void_p(self.stream))

    def close(self):
        if self.stream:
            libc.closedir(ctypes.c_void_p(self.stream))
            self.stream = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def own_mounts(without):
    """
    A mount namespace for this process alone, in which the mountpoints that without() names are
    detached.  It is called there, so that what was mounted meanwhile is among them.
    """
    _check(libc.unshare(CLONE_NEWNS))
    mount(None, "/", None, MS_REC | MS_PRIVATE, None)
    for path in without():
        try:
            umount2(path, MNT_DETACH)
        except OSError:
            pass  # it has ended meanwhile


def become(uid, gid, groups, umask):
    """This thread alone, and its children, for good; umask None: as it was."""
    setgroups, setresgid, setresuid = {"x86_64": (116, 119, 117)}.get(os.uname().machine,
                                                                      (159, 149, 147))
    if umask is not None:
        _check(libc.unshare(CLONE_FS))
        os.umask(umask)
    ids = (ctypes.c_uint32 * len(groups))(*groups)
    _check(libc.syscall(setgroups, len(groups), ids))
    _check(libc.syscall(setresgid, gid, gid, gid))
    _check(libc.syscall(setresuid, uid, uid, uid))


def set_dumpable():
    """What become() has taken from the whole process: others may look at it."""
    _check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))


def _flock_record(kind, start, length):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


def posix_lock(fd, kind, start=0, length=0, wait=False):
    fcntl.fcntl(fd, fcntl.F_SETLKW if wait else fcntl.F_SETLK,
                _flock_record(kind, start, length))


def ofd_lock(fd, kind, start=0, length=0, wait=False):
    fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK,
                _flock_record(kind, start, length))


def lock_conflict(fd, kind, start=0, length=0, command=fcntl.F_GETLK):
    """(type, start, length, pid) of the lock that keeps kind from being taken, or None."""
    answer = fcntl.fcntl(fd, command, _flock_record(kind, start, length))
    found, _, first, span, pid = struct.unpack_from("hhqqi", answer)
    return None if found == fcntl.F_UNLCK else (found, first, span, pid)


def aligned(size):
    """A page-aligned writable buffer, for O_DIRECT."""
    return mmap.mmap(-1, max(PAGE, (size + PAGE - 1) // PAGE * PAGE))


def read_direct(fd, size, offset):
    with aligned(size) as buffer, memoryview(buffer)[:size] as view:
        count = os.preadv(fd, [view], offset)
        return bytes(view[:count])


def write_direct(fd, data, offset):
    with aligned(len(data)) as buffer, memoryview(buffer)[:len(data)] as view:
        view[:] = data
        return os.pwritev(fd, [view], offset)
