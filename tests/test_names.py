# SPDX-License-Identifier: MIT
"""Names: creating, linking, renaming and removing every kind of object."""
import errno
import os
import socket
import stat

import pytest

import util_sys
from util import Child, pattern, read_file, run, wait_for, write_file
from util_sys import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, renameat2

ODD_NAMES = [
    b"with space", b" lead", b"trail ", b"new\nline", b"tab\t", b"quote'\"", b"back\\slash",
    b"-dash", b"...", b"\xff\xfe not utf-8", "umlaut ü".encode(), b"a" * 255, b"\x01\x02\x7f",
    b"$HOME `x`", b"*?[", b"comma,=", b":colon", b"#hash"]


def same(mounted, backing):
    """The object as seen through the mount is the backing one."""
    ours, theirs = os.lstat(mounted), os.lstat(backing)
    for field in ("st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_rdev",
                  "st_mtime_ns", "st_ctime_ns"):
        assert getattr(ours, field) == getattr(theirs, field), field


@pytest.mark.parametrize("make", ["directory", "file", "tmpfile", "fifo"])
def test_number_of_an_unnamed_file_is_given_again_at_once(m, make):
    """Within the tick of a clock not even the birth time tells the new file from the old one."""
    for turn in range(40):
        os.close(os.open(m.path, os.O_TMPFILE | os.O_RDWR, 0o600))
        path = m.join(f"{make}{turn}")
        if make == "directory":
            os.mkdir(path)
            os.mkdir(path + "/below")
        elif make == "file":
            write_file(path, b"x")
            os.truncate(path, 5)
            os.chmod(path, 0o640)
        elif make == "fifo":
            os.mkfifo(path)
            os.chmod(path, 0o640)
        else:
            fd = os.open(m.path, os.O_TMPFILE | os.O_RDWR, 0o600)
            os.fchmod(fd, 0o640)
            assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o640
            os.close(fd)


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_odd_names(m, name):
    path, backing = os.fsencode(m.path) + b"/" + name, os.fsencode(m.source) + b"/" + name
    write_file(path, name)
    assert read_file(backing) == name
    same(path, backing)
    assert os.listdir(os.fsencode(m.path)) == [name]
    os.rename(path, path[:-1] + b"~")
    os.mkdir(path)
    os.rmdir(path)
    os.unlink(path[:-1] + b"~")
    assert os.listdir(m.source) == []


def test_name_too_long(m):
    for function in (os.mkdir, os.stat, lambda p: os.open(p, os.O_CREAT | os.O_WRONLY)):
        with pytest.raises(OSError) as caught:
            function(m.join("x" * 256))
        assert caught.value.errno == errno.ENAMETOOLONG


def test_mkdir_and_rmdir(m):
    os.mkdir(m.join("a"), 0o751)
    os.mkdir(m.join("a", "b"))
    same(m.join("a"), m.backing("a"))
    assert os.stat(m.join("a")).st_nlink == 3
    assert stat.S_IMODE(os.stat(m.join("a")).st_mode) == 0o751
    for path, number in (("a", errno.EEXIST), ("no/b", errno.ENOENT)):
        with pytest.raises(OSError) as caught:
            os.mkdir(m.join(path))
        assert caught.value.errno == number
    with pytest.raises(OSError) as caught:
        os.rmdir(m.join("a"))
    assert caught.value.errno == errno.ENOTEMPTY
    os.rmdir(m.join("a", "b"))
    assert os.stat(m.join("a")).st_nlink == 2
    os.rmdir(m.join("a"))
    with pytest.raises(FileNotFoundError):
        os.stat(m.join("a"))


def test_wrong_kinds(m):
    write_file(m.join("f"), b"x")
    os.mkdir(m.join("d"))
    cases = [(os.rmdir, ("f",), errno.ENOTDIR), (os.unlink, ("d",), errno.EISDIR),
             (os.rename, ("d", "f"), errno.ENOTDIR), (os.rename, ("f", "d"), errno.EISDIR),
             (os.rename, ("d", "d/e"), errno.EINVAL), (os.stat, ("f/x",), errno.ENOTDIR),
             (os.readlink, ("f",), errno.EINVAL), (os.listdir, ("f",), errno.ENOTDIR)]
    for function, names, number in cases:
        with pytest.raises(OSError) as caught:
            function(*(m.join(name) for name in names))
        assert caught.value.errno == number, (function, names)
    with pytest.raises(OSError) as caught:
        os.open(m.join("d"), os.O_RDWR)
    assert caught.value.errno == errno.EISDIR


def test_create_exclusive(m):
    os.close(os.open(m.join("f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
    same(m.join("f"), m.backing("f"))
    with pytest.raises(FileExistsError):
        os.open(m.join("f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.symlink("nowhere", m.join("l"))
    with pytest.raises(FileExistsError):
        os.open(m.join("l"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)


def test_create_read_only_mode_but_writable_descriptor(m):
    fd = os.open(m.join("f"), os.O_CREAT | os.O_RDWR, 0o000)
    assert os.write(fd, b"data") == 4
    assert os.pread(fd, 9, 0) == b"data"
    os.close(fd)
    assert stat.S_IMODE(os.stat(m.backing("f")).st_mode) == 0


def test_open_truncates(m):
    write_file(m.join("f"), b"0123456789")
    os.close(os.open(m.join("f"), os.O_WRONLY | os.O_TRUNC))
    assert os.stat(m.join("f")).st_size == 0
    assert read_file(m.backing("f")) == b""


def test_symlinks(m):
    write_file(m.join("target"), b"there")
    for text in ("target", "/nonexistent/absolute", "..", "x" * 4000):
        os.symlink(text, m.join("l"))
        assert os.readlink(m.join("l")) == text == os.readlink(m.backing("l"))
        assert os.lstat(m.join("l")).st_size == len(text)
        same(m.join("l"), m.backing("l"))
        os.unlink(m.join("l"))
    os.symlink("target", m.join("l"))
    assert read_file(m.join("l")) == b"there"
    with pytest.raises(OSError) as caught:
        os.open(m.join("l"), os.O_RDONLY | os.O_NOFOLLOW)
    assert caught.value.errno == errno.ELOOP
    os.link(m.join("l"), m.join("l2"), follow_symlinks=False)
    assert os.readlink(m.join("l2")) == "target"
    os.symlink("loop", m.join("loop"))
    with pytest.raises(OSError) as caught:
        os.stat(m.join("loop"))
    assert caught.value.errno == errno.ELOOP


def test_symlink_out_is_the_callers_to_follow(m, native):
    """The kernel resolves it as the caller; nothing outside changes through the mount itself."""
    write_file(os.path.join(native, "outside"), b"outside")
    os.symlink(os.path.join(native, "outside"), m.join("l"))
    assert read_file(m.join("l")) == b"outside"
    os.unlink(m.join("l"))
    assert read_file(os.path.join(native, "outside")) == b"outside"
    assert os.path.lexists(m.backing("l")) is False


def test_name_replaced_by_symlink_from_outside(m, native):
    """What the mount knew as a file or directory became a symlink: never followed by the
    daemon."""
    write_file(os.path.join(native, "secret"), b"secret")
    os.mkdir(m.join("d"))
    write_file(m.join("d", "secret"), b"inside")
    assert read_file(m.join("d", "secret")) == b"inside"
    os.rename(m.backing("d"), m.backing("moved"))
    os.symlink(native, m.backing("d"))
    wait_for(lambda: stat.S_ISLNK(os.lstat(m.join("d")).st_mode), 3, "the symlink shows")
    with pytest.raises(OSError) as caught:
        os.open(m.join("d"), os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert read_file(m.join("moved", "secret")) == b"inside"


def test_hard_links_are_one_inode(m):
    write_file(m.join("a"), b"one")
    os.mkdir(m.join("d"))
    os.link(m.join("a"), m.join("d", "b"))
    a, b = os.stat(m.join("a")), os.stat(m.join("d", "b"))
    assert (a.st_ino, a.st_nlink) == (b.st_ino, b.st_nlink) == (os.stat(m.backing("a")).st_ino, 2)
    fd = os.open(m.join("a"), os.O_RDWR)
    os.pwrite(fd, b"two", 0)
    assert read_file(m.join("d", "b")) == b"two"
    os.unlink(m.join("a"))
    assert os.fstat(fd).st_nlink == 1 == os.stat(m.join("d", "b")).st_nlink
    os.close(fd)
    with pytest.raises(FileExistsError):
        os.link(m.join("d", "b"), m.join("d"))
    with pytest.raises(PermissionError):
        os.link(m.join("d"), m.join("d2"))


def test_links_made_outside_are_one_inode(m):
    write_file(m.backing("a"), b"one")
    os.link(m.backing("a"), m.backing("b"))
    with open(m.join("a"), "r+b", buffering=0) as a, open(m.join("b"), "rb", buffering=0) as b:
        assert os.path.sameopenfile(a.fileno(), b.fileno())
        a.write(b"new")
        assert b.read() == b"new"


def test_rename_replaces(m):
    write_file(m.join("a"), b"a")
    write_file(m.join("b"), b"b")
    with open(m.join("b"), "rb", buffering=0) as old:
        os.rename(m.join("a"), m.join("b"))
        assert read_file(m.join("b")) == b"a"
        assert old.read() == b"b"
        assert os.fstat(old.fileno()).st_nlink == 0
    assert os.listdir(m.source) == ["b"]


def test_rename_directory_with_open_files_below(m):
    os.makedirs(m.join("d", "e"))
    write_file(m.join("d", "e", "f"), b"before")
    os.mkdir(m.join("other"))
    with open(m.join("d", "e", "f"), "r+b", buffering=0) as stream:
        os.rename(m.join("d"), m.join("other", "d"))
        stream.write(b"AFTER")
        assert read_file(m.join("other", "d", "e", "f")) == b"AFTERe"
    assert not os.path.exists(m.join("d", "e", "f"))
    same(m.join("other", "d", "e"), m.backing("other", "d", "e"))
    assert os.stat(m.join("other", "d", "..")).st_ino == os.stat(m.join("other")).st_ino


def test_rename_onto_hard_link_of_itself_does_nothing(m):
    write_file(m.join("a"), b"x")
    os.link(m.join("a"), m.join("b"))
    os.rename(m.join("a"), m.join("b"))
    assert sorted(os.listdir(m.path)) == ["a", "b"]


def test_rename_noreplace(m):
    write_file(m.join("a"), b"a")
    write_file(m.join("b"), b"b")
    with pytest.raises(FileExistsError):
        renameat2(m.join("a"), m.join("b"), RENAME_NOREPLACE)
    renameat2(m.join("a"), m.join("c"), RENAME_NOREPLACE)
    assert sorted(os.listdir(m.source)) == ["b", "c"]


def test_rename_exchange(m):
    write_file(m.join("a"), b"a")
    os.mkdir(m.join("d"))
    write_file(m.join("d", "x"), b"x")
    inodes = os.stat(m.join("a")).st_ino, os.stat(m.join("d")).st_ino
    renameat2(m.join("a"), m.join("d"), RENAME_EXCHANGE)
    assert (os.stat(m.join("d")).st_ino, os.stat(m.join("a")).st_ino) == inodes
    assert read_file(m.join("d")) == b"a"
    assert read_file(m.join("a", "x")) == b"x"
    with pytest.raises(FileNotFoundError):
        renameat2(m.join("a"), m.join("none"), RENAME_EXCHANGE)


def test_rename_whiteout(m, native):
    write_file(m.join("a"), b"a")
    write_file(os.path.join(native, "a"), b"a")
    renameat2(os.path.join(native, "a"), os.path.join(native, "b"), RENAME_WHITEOUT)
    renameat2(m.join("a"), m.join("b"), RENAME_WHITEOUT)
    left = os.lstat(m.join("a"))
    assert stat.S_ISCHR(left.st_mode) and left.st_rdev == 0
    assert read_file(m.join("b")) == b"a"


@pytest.mark.parametrize("flags", [RENAME_NOREPLACE | RENAME_EXCHANGE, 64])
def test_rename_bad_flags(m, flags):
    write_file(m.join("a"), b"a")
    with pytest.raises(OSError) as caught:
        renameat2(m.join("a"), m.join("b"), flags)
    assert caught.value.errno == errno.EINVAL


def test_mknod_every_kind(m):
    for name, mode, device in (("fifo", stat.S_IFIFO | 0o640, 0),
                               ("socket", stat.S_IFSOCK | 0o600, 0),
                               ("file", stat.S_IFREG | 0o604, 0),
                               ("char", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
                               ("block", stat.S_IFBLK | 0o660, os.makedev(253, 70000))):
        os.mknod(m.join(name), mode, device)
        found = os.stat(m.join(name))
        assert stat.S_IFMT(found.st_mode) == stat.S_IFMT(mode)
        assert found.st_rdev == device
        same(m.join(name), m.backing(name))


def test_fifo(m):
    os.mkfifo(m.join("fifo"))

    def writer():
        with open(m.join("fifo"), "wb", buffering=0) as stream:
            for index in range(100):
                stream.write(b"%04d" % index)

    with Child(writer) as child:
        assert read_file(m.join("fifo")) == b"".join(b"%04d" % index for index in range(100))
        child.result()


def test_unix_socket(m):
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        here = os.open(m.path, os.O_RDONLY)
        address = f"/proc/self/fd/{here}/socket"
        server.bind(address)
        server.listen()
        client.connect(address)
        os.close(here)
        peer, _ = server.accept()
        with peer:
            client.sendall(b"hello")
            assert peer.recv(9) == b"hello"
    same(m.join("socket"), m.backing("socket"))


def test_tmpfile(m):
    fd = os.open(m.path, os.O_TMPFILE | os.O_RDWR, 0o640)
    assert os.fstat(fd).st_nlink == 0
    data = pattern(300000)
    os.write(fd, data)
    assert os.pread(fd, 100, 250000) == data[250000:250100]
    assert os.listdir(m.path) == []
    util_sys.linkat_fd(fd, m.join("named"))
    assert os.fstat(fd).st_nlink == 1
    os.pwrite(fd, b"LATER", 5)
    os.close(fd)
    assert read_file(m.backing("named")) == data[:5] + b"LATER" + data[10:]
    same(m.join("named"), m.backing("named"))


def test_unnamed_file_changed_by_path_descriptor(m):
    """It is not open, and has no name: that does not mean that it is gone."""
    fd = os.open(m.path, os.O_TMPFILE | os.O_RDWR, 0o600)
    path = os.open(f"/proc/self/fd/{fd}", os.O_PATH)
    os.close(fd)
    os.chmod(f"/proc/self/fd/{path}", 0o640)
    os.chown(f"/proc/self/fd/{path}", 1, 2)
    os.truncate(f"/proc/self/fd/{path}", 10)
    util_sys.linkat_fd(path, m.join("linked"))
    found = os.stat(m.join("linked"))
    assert (found.st_uid, found.st_gid, found.st_size, found.st_nlink) == (1, 2, 10, 1)
    os.close(path)


def test_tmpfile_exclusive_gets_no_name(m):
    fd = os.open(m.path, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    with pytest.raises(FileNotFoundError):
        util_sys.linkat_fd(fd, m.join("named"))
    os.close(fd)


def test_unlinked_while_open(m):
    data = pattern(200000)
    write_file(m.join("f"), data)
    fd = os.open(m.join("f"), os.O_RDWR)
    os.unlink(m.join("f"))
    assert os.listdir(m.source) == []
    assert os.fstat(fd).st_nlink == 0
    assert os.pread(fd, 200000, 0) == data
    os.pwrite(fd, b"more", 200000)
    os.ftruncate(fd, 200002)
    os.fchmod(fd, 0o600)
    os.utime(fd, ns=(1, 2))
    os.setxattr(fd, "user.x", b"y")
    assert os.getxattr(fd, "user.x") == b"y"
    found = os.fstat(fd)
    assert (found.st_size, stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (200002, 0o600, 2)
    assert os.pread(fd, 9, 199999) == data[-1:] + b"mo"
    write_file(m.join("f"), b"another")
    assert os.pread(fd, 9, 0) == data[:9]
    os.close(fd)


def test_removed_directory_still_open(m):
    os.mkdir(m.join("d"))
    fd = os.open(m.join("d"), os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(m.join("d"))
    assert os.fstat(fd).st_nlink == 0
    assert os.listdir(fd) == []
    with pytest.raises(FileNotFoundError):
        os.mkdir("x", dir_fd=fd)
    os.close(fd)


def test_working_directory_in_the_mount(m):
    os.makedirs(m.join("d", "e"))
    run("sh", "-c", "echo x > f && mv f ../g && cd .. && cat g && pwd -P | grep -q 'd$'",
        cwd=m.join("d", "e"))
    assert read_file(m.backing("d", "g")) == b"x\n"


def test_reuse_of_names_gives_new_objects(m):
    """A name removed and made again, as another kind each time, is never the old object."""
    for round in range(30):
        write_file(m.join("n"), b"%d" % round)
        assert read_file(m.join("n")) == b"%d" % round
        os.unlink(m.join("n"))
        os.mkdir(m.join("n"))
        write_file(m.join("n", "in"), b"x")
        assert stat.S_ISDIR(os.stat(m.join("n")).st_mode)
        os.unlink(m.join("n", "in"))
        os.rmdir(m.join("n"))
        os.symlink("x", m.join("n"))
        assert stat.S_ISLNK(os.lstat(m.join("n")).st_mode)
        os.unlink(m.join("n"))


def test_changes_from_outside_show(m):
    write_file(m.join("f"), b"old")
    assert read_file(m.join("f")) == b"old"
    write_file(m.backing("new"), b"fresh")
    os.rename(m.backing("new"), m.backing("f"))
    assert read_file(m.join("f")) in (b"old", b"fresh")
    wait_for(lambda: read_file(m.join("f")) == b"fresh", 2, "the outside rename shows")
    os.unlink(m.backing("f"))
    wait_for(lambda: not os.path.exists(m.join("f")), 2, "the outside removal shows")


def test_deep_tree(m):
    path = m.path
    for _ in range(60):
        path = os.path.join(path, "d" * 20)
        os.mkdir(path)
    write_file(os.path.join(path, "leaf"), b"deep")
    m.shrink()
    assert read_file(os.path.join(path, "leaf")) == b"deep"
    run("rm", "-r", m.join("d" * 20))
    assert os.listdir(m.source) == []
