# SPDX-License-Identifier: MIT
"""Attributes: every setattr field, access, statfs, inode flags, inode numbers, handles."""
import errno
import mmap
import os
import stat
import time

import pytest

import util_sys
from util import NOBODY, as_user, pattern, read_file, run, wait_for, write_file
from util_sys import UTIME_NOW, UTIME_OMIT, utimensat


@pytest.fixture
def f(m):
    write_file(m.join("f"), pattern(10000))
    return m.join("f")


def twice(m, name="f"):
    """The attributes as the mount and as the backing gives them, which must agree."""
    ours, theirs = os.lstat(m.join(name)), os.lstat(m.backing(name))
    for field in ("st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_rdev",
                  "st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_blocks", "st_blksize"):
        assert getattr(ours, field) == getattr(theirs, field), field
    return ours


@pytest.mark.parametrize("mode", [0o644, 0o000, 0o777, 0o1755, 0o2755, 0o4711, 0o7777])
def test_chmod(m, f, mode):
    os.chmod(f, mode)
    assert stat.S_IMODE(twice(m).st_mode) == mode


def test_fchmod_and_fchown(m, f):
    with open(f, "r+b") as stream:
        os.fchmod(stream.fileno(), 0o611)
        os.fchown(stream.fileno(), 5001, 6001)
        found = os.fstat(stream.fileno())
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o611, 5001, 6001)
    twice(m)


def test_chown_each_part(m, f):
    os.chown(f, 5001, -1)
    os.chown(f, -1, 6001)
    found = twice(m)
    assert (found.st_uid, found.st_gid) == (5001, 6001)
    os.symlink("f", m.join("l"))
    os.lchown(m.join("l"), 5002, 6002)
    assert (twice(m, "l").st_uid, twice(m).st_uid) == (5002, 5001)


def test_ctime_moves_with_every_change(m, f):
    def changed(action):
        before = os.stat(f).st_ctime_ns
        time.sleep(0.01)
        action()
        assert twice(m).st_ctime_ns > before, action

    changed(lambda: os.chmod(f, 0o600))
    changed(lambda: os.chown(f, 1, 1))
    changed(lambda: os.link(f, m.join("g")))
    changed(lambda: os.unlink(m.join("g")))
    changed(lambda: os.rename(f, m.join("h")) or os.rename(m.join("h"), f))
    changed(lambda: os.truncate(f, 3))
    changed(lambda: os.setxattr(f, "user.a", b"b"))
    changed(lambda: os.utime(f, ns=(5, 5)))


@pytest.mark.whole
def test_directory_times_move(m):
    def changed(action, path=None):
        before = os.stat(m.path)
        time.sleep(0.01)
        action()
        after = os.stat(m.path)
        assert after.st_mtime_ns > before.st_mtime_ns and after.st_ctime_ns > before.st_ctime_ns

    changed(lambda: os.mkdir(m.join("d")))
    changed(lambda: write_file(m.join("x"), b""))
    changed(lambda: os.symlink("x", m.join("s")))
    changed(lambda: os.mknod(m.join("p"), stat.S_IFIFO | 0o600))
    changed(lambda: os.link(m.join("x"), m.join("y")))
    changed(lambda: os.rename(m.join("x"), m.join("d", "x")))
    changed(lambda: os.unlink(m.join("y")))
    changed(lambda: os.unlink(m.join("d", "x")) or os.rmdir(m.join("d")))
    assert os.stat(m.path).st_mtime_ns == os.stat(m.source).st_mtime_ns


@pytest.mark.parametrize("seconds, nanoseconds", [(0, 0), (1, 999999999), (1700000000, 123456789),
                                                  (-1, 500000000), (4000000000, 7)])
def test_times_to_the_nanosecond(m, f, seconds, nanoseconds):
    utimensat(f, (seconds, nanoseconds), (seconds + 3, 1))
    found = twice(m)
    assert found.st_atime_ns == seconds * 10**9 + nanoseconds
    assert found.st_mtime_ns == (seconds + 3) * 10**9 + 1


def test_utime_now_and_omit(m, f):
    utimensat(f, (10, 1), (20, 2))
    start = time.time_ns() - 50_000_000
    utimensat(f, (0, UTIME_NOW), (0, UTIME_OMIT))
    found = twice(m)
    assert found.st_atime_ns >= start and found.st_mtime_ns == 20 * 10**9 + 2
    utimensat(f, (30, 3), (0, UTIME_NOW))
    found = twice(m)
    assert found.st_atime_ns == 30 * 10**9 + 3 and found.st_mtime_ns >= start
    before = twice(m).st_mtime_ns
    utimensat(f, (0, UTIME_OMIT), (0, UTIME_OMIT))
    assert twice(m).st_mtime_ns == before
    with open(f, "rb") as stream:
        util_sys.futimens(stream.fileno(), (0, UTIME_OMIT), (40, 4))
    found = twice(m)
    assert (found.st_atime_ns, found.st_mtime_ns) == (30 * 10**9 + 3, 40 * 10**9 + 4)


def test_times_of_a_symlink(m, f):
    os.symlink("f", m.join("l"))
    before = os.stat(f).st_mtime_ns
    utimensat(m.join("l"), (5, 5), (6, 6), 0x100)
    assert twice(m, "l").st_mtime_ns == 6 * 10**9 + 6
    assert os.stat(f).st_mtime_ns == before


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 9999, 10001, 70000, 1 << 33])
def test_truncate(m, f, size):
    expected = (pattern(10000) + bytes(min(size, 100000)))[:min(size, 100000)]
    os.truncate(f, size)
    assert twice(m).st_size == size
    with open(f, "rb") as ours, open(m.backing("f"), "rb") as theirs:
        assert ours.read(100000)[:len(expected)] == expected
        assert theirs.read(100000)[:len(expected)] == expected


def test_truncate_with_a_handle(m, f):
    with open(f, "r+b", buffering=0) as stream:
        os.ftruncate(stream.fileno(), 5)
        assert os.fstat(stream.fileno()).st_size == 5
        os.ftruncate(stream.fileno(), 9)
        assert stream.read() == pattern(10000)[:5] + bytes(4)
        os.unlink(f)
        os.ftruncate(stream.fileno(), 2)
        assert os.fstat(stream.fileno()).st_size == 2


def test_truncate_needs_a_writable_file(m, f):
    with open(f, "rb") as stream:
        with pytest.raises(OSError) as caught:
            os.ftruncate(stream.fileno(), 0)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(IsADirectoryError):
        os.truncate(m.path, 0)


def test_access(m, f):
    os.chmod(f, 0o640)
    os.chown(f, 5001, 5001)

    def answers():
        return [os.access(f, mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)]

    assert answers() == [True, True, True, False]
    assert as_user(5001, answers) == [True, True, True, False]
    assert as_user(5002, answers, groups=[5001]) == [True, True, False, False]
    assert as_user(NOBODY, answers) == [True, False, False, False]
    assert not os.access(m.join("none"), os.F_OK)


@pytest.mark.whole
def test_statfs(m, f):
    ours, theirs = os.statvfs(m.path), os.statvfs(m.source)
    for field in ("f_bsize", "f_frsize", "f_blocks", "f_files", "f_namemax"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert abs(ours.f_bavail - theirs.f_bavail) * theirs.f_frsize < 64 << 20
    assert os.statvfs(f).f_blocks == theirs.f_blocks


@pytest.mark.daemon
@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_inode_numbers_of_filesystems_below(mount, scratch, passthrough):
    """Two that number their files alike: programs would take one file for the other."""
    source = scratch.directory("source")
    tops = [os.path.join(source, name) for name in ("a", "b")]
    write_file(os.path.join(source, "own"), b"")
    try:
        for top in tops:
            os.mkdir(top)
            run("mount", "-t", "tmpfs", "none", top)
            os.mkdir(os.path.join(top, "d"))
            write_file(os.path.join(top, "d", "f"), top.encode())
        below = [os.stat(os.path.join(top, "d", "f")).st_ino for top in tops]
        assert below[0] == below[1], "this kernel numbers them otherwise"
        m = mount(f"passthrough={passthrough}", source=source)
        paths = [m.join(name, "d", "f") for name in "ab"]
        assert os.stat(m.join("own")).st_ino == os.stat(os.path.join(source, "own")).st_ino
        assert not os.path.samefile(*paths)
        for path in paths:
            shown = os.stat(path).st_ino
            assert shown < 1 << 63
            with open(path) as stream:
                assert os.fstat(stream.fileno()).st_ino == shown
            with os.scandir(os.path.dirname(path)) as entries:
                assert [entry.inode() for entry in entries] == [shown]
        assert run("cp", paths[0], paths[1]).returncode == 0
        assert read_file(os.path.join(tops[1], "d", "f")) == tops[0].encode()
        assert m.close() == []
    finally:
        for top in tops:
            run("umount", "-l", top, check=False)


@pytest.mark.whole
def test_inode_numbers_are_the_backing_ones(m, f):
    os.mkdir(m.join("d"))
    assert os.stat(m.path).st_ino == os.stat(m.source).st_ino
    for name in ("f", "d"):
        assert os.stat(m.join(name)).st_ino == os.stat(m.backing(name)).st_ino
    with os.scandir(m.path) as entries:
        for entry in entries:
            assert entry.inode() == os.stat(m.join(entry.name)).st_ino


def test_generation(m, f):
    """FS_IOC_GETVERSION, as lsattr -v shows it."""
    native = run("lsattr", "-v", m.backing("f")).stdout.split()[:2]
    assert native[0].isdecimal()
    assert run("lsattr", "-v", f).stdout.split()[:2] == native


def test_inode_flags(m, f):
    with open(f, "rb") as stream, open(m.backing("f"), "rb") as backing:
        before = util_sys.get_flags(stream.fileno())
        assert before == util_sys.get_flags(backing.fileno())
        util_sys.set_flags(stream.fileno(), before | util_sys.FS_NODUMP_FL)
        assert util_sys.get_flags(backing.fileno()) == before | util_sys.FS_NODUMP_FL
        assert util_sys.get_flags(stream.fileno()) == before | util_sys.FS_NODUMP_FL
    os.mkdir(m.join("d"))
    run("chattr", "+d", m.join("d"))
    assert "d" in run("lsattr", "-d", m.backing("d")).stdout.split()[0]
    assert run("lsattr", "-d", m.join("d")).stdout.split()[0] == \
        run("lsattr", "-d", m.backing("d")).stdout.split()[0]


def test_append_only_and_immutable(m, f):
    run("chattr", "+a", f)
    try:
        for flags in (os.O_WRONLY, os.O_WRONLY | os.O_TRUNC | os.O_APPEND):
            with pytest.raises(PermissionError):
                os.open(f, flags)
        with open(f, "ab", buffering=0) as stream:
            stream.write(b"end")
        with pytest.raises(PermissionError):
            os.unlink(f)
        run("chattr", "-a", "+i", f)
        assert "i" in run("lsattr", f).stdout.split()[0]
        for action in (lambda: os.open(f, os.O_WRONLY | os.O_APPEND), lambda: os.chmod(f, 0o600),
                       lambda: os.rename(f, m.join("g")), lambda: os.link(f, m.join("g"))):
            with pytest.raises(PermissionError):
                action()
    finally:
        run("chattr", "-ai", m.backing("f"))
    assert read_file(f) == pattern(10000) + b"end"


@pytest.mark.parametrize("beside", [False, True])
def test_append_only_file_is_not_changed_by_a_mapping(m, f, beside):
    """mmap(2) refuses it natively, which does not know of the attribute here."""
    run("chattr", "+a", f)
    reader = os.open(f, os.O_RDONLY) if beside else -1
    try:
        try:
            fd = os.open(f, os.O_RDWR | os.O_APPEND)
        except PermissionError:
            # Where others read it in passthrough.
            assert beside
        else:
            os.write(fd, b"end")
            with pytest.raises(OSError):
                with mmap.mmap(fd, 4096) as view:
                    view[:3] = b"bad"
                    view.flush()
            os.close(fd)
            assert read_file(m.backing("f"))[10000:] == b"end"
        assert read_file(m.backing("f"))[:10000] == pattern(10000)
        wait_for(lambda: read_file(f)[:3] == pattern(10000)[:3], 5, "what was stored is not seen")
    finally:
        if beside:
            os.close(reader)
        run("chattr", "-a", m.backing("f"))
        # The next syncfs(2) of the mount is told, too.
        run("sync", "-f", m.path, check=False)


def test_ioctl_of_no_meaning(m, f):
    import fcntl
    with open(f, "rb") as stream:
        with pytest.raises(OSError) as caught:
            fcntl.ioctl(stream.fileno(), 0x5401, bytes(64))
        assert caught.value.errno == errno.ENOTTY


def test_fsync_of_everything(m, f):
    os.mkdir(m.join("d"))
    with open(f, "r+b", buffering=0) as stream:
        stream.write(b"x")
        os.fsync(stream.fileno())
        os.fdatasync(stream.fileno())
    fd = os.open(m.join("d"), os.O_RDONLY)
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    run("sync", "-f", m.path)


def test_open_file_by_handle_after_caches_were_dropped(m, f):
    os.makedirs(m.join("a", "b"))
    write_file(m.join("a", "b", "g"), b"by handle")
    handles = [util_sys.name_to_handle_at(m.join(name)) for name in ("f", "a", "a/b/g")]
    m.shrink()
    root = os.open(m.path, os.O_RDONLY)
    try:
        fd = util_sys.open_by_handle_at(root, handles[2], os.O_RDONLY)
        assert os.read(fd, 100) == b"by handle"
        assert os.fstat(fd).st_ino == os.stat(m.backing("a", "b", "g")).st_ino
        os.close(fd)
        fd = util_sys.open_by_handle_at(root, handles[1], os.O_RDONLY | os.O_DIRECTORY)
        assert os.listdir(fd) == ["b"]
        os.close(fd)
        os.unlink(f)
        m.shrink()
        with pytest.raises(OSError) as caught:
            util_sys.open_by_handle_at(root, handles[0], os.O_RDONLY)
        assert caught.value.errno == errno.ESTALE
    finally:
        os.close(root)
