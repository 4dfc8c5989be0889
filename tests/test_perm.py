# SPDX-License-Identifier: MIT
"""Permissions and ownership: exactly those of a native directory, for every user."""
import ctypes
import errno
import fcntl
import os
import stat
import struct
import time

import pytest

import util_sys
from util import (GROUP_X, NOBODY, USER_A, USER_B, Child, as_user, need, outcome, pattern,
                  read_file, run, write_file)

# A version 2 capability blob: cap_net_raw, effective and permitted.
# linux/prctl.h, linux/capability.h
FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, FS_XFLAG_NODUMP = 0x801C581F, 0x401C5820, 0x80
RENAME_EXCHANGE = 2
PR_CAPBSET_DROP, CAP_SETGID, CAP_SETUID = 24, 6, 7
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


@pytest.fixture
def open_dir(m):
    os.mkdir(m.join("d"))
    os.chmod(m.join("d"), 0o777)
    return m.join("d")


def owner(path):
    found = os.lstat(path)
    return found.st_uid, found.st_gid


def make_everything(path):
    """One object of every kind that an ordinary user may make."""
    os.mkdir(path + "/dir")
    os.symlink("x", path + "/symlink")
    os.mkfifo(path + "/fifo")
    os.mknod(path + "/socket", stat.S_IFSOCK | 0o666)
    os.mknod(path + "/node", stat.S_IFREG | 0o666)
    os.close(os.open(path + "/file", os.O_CREAT | os.O_WRONLY, 0o666))
    fd = os.open(path, os.O_TMPFILE | os.O_WRONLY, 0o666)
    util_sys.linkat_fd(fd, path + "/tmpfile")
    os.close(fd)


@pytest.mark.parametrize("uid, gid", [(NOBODY, NOBODY), (USER_A, GROUP_X)])
def test_objects_belong_to_their_maker(m, open_dir, uid, gid):
    as_user(uid, make_everything, open_dir, gid=gid, umask=0o027)
    names = sorted(os.listdir(open_dir))
    assert names == ["dir", "fifo", "file", "node", "socket", "symlink", "tmpfile"]
    for name in names:
        assert owner(os.path.join(open_dir, name)) == (uid, gid), name
        assert owner(m.backing("d", name)) == (uid, gid), name
        if name != "symlink":
            mode = stat.S_IMODE(os.lstat(m.backing("d", name)).st_mode)
            assert mode == (0o750 if name == "dir" else 0o640), name


def test_two_users_at_once(m, open_dir):
    """The identity of one request never leaks into another's."""
    def churn(uid):
        for index in range(150):
            path = f"{open_dir}/{uid}-{index}"
            (os.mkdir if index % 3 == 0 else lambda p: write_file(p, b"x"))(path)

    users = [USER_A, USER_B, NOBODY, 5003]
    children = [Child(churn, uid, uid=uid) for uid in users]
    churn(0)
    for child in children:
        child.result(60)
    for name in os.listdir(open_dir):
        uid = int(name.split("-")[0])
        assert owner(m.backing("d", name)) == (uid, uid), name


def test_supplementary_groups(m):
    write_file(m.join("f"), b"x")
    os.chown(m.join("f"), 0, GROUP_X)
    os.chmod(m.join("f"), 0o640)
    os.mkdir(m.join("g"))
    os.chown(m.join("g"), 0, GROUP_X)
    os.chmod(m.join("g"), 0o770)
    with pytest.raises(PermissionError):
        as_user(USER_A, read_file, m.join("f"))
    assert as_user(USER_A, read_file, m.join("f"), groups=[7001, GROUP_X]) == b"x"
    as_user(USER_A, write_file, m.join("g", "n"), b"", groups=[GROUP_X])
    assert owner(m.backing("g", "n")) == (USER_A, USER_A)


def test_set_gid_directory(m, open_dir):
    os.chown(open_dir, 0, GROUP_X)
    os.chmod(open_dir, 0o2777)
    as_user(USER_A, make_everything, open_dir, umask=0)
    for name in os.listdir(open_dir):
        assert owner(m.backing("d", name)) == (USER_A, GROUP_X), name
    assert os.stat(open_dir + "/dir").st_mode & stat.S_ISGID
    as_user(USER_A, os.mkdir, open_dir + "/dir/below")
    assert owner(open_dir + "/dir/below") == (USER_A, GROUP_X)


def test_set_gid_is_not_for_those_outside_the_group(m, open_dir, native):
    """A file made or changed to set-gid by someone outside the group loses the bit."""
    os.chmod(native, 0o2777)
    os.chown(native, 0, GROUP_X)
    os.chmod(native, 0o2777)
    os.chown(open_dir, 0, GROUP_X)
    os.chmod(open_dir, 0o2777)

    def make(path):
        os.close(os.open(path + "/f", os.O_CREAT | os.O_WRONLY, 0o2775))
        made = stat.S_IMODE(os.stat(path + "/f").st_mode)
        os.chmod(path + "/f", 0o2775)
        return made, stat.S_IMODE(os.stat(path + "/f").st_mode)

    for groups in ((), (GROUP_X,)):
        expected = as_user(USER_A, make, native, groups=groups, umask=0)
        assert as_user(USER_A, make, open_dir, groups=groups, umask=0) == expected
        os.unlink(native + "/f")
        os.unlink(open_dir + "/f")


def drop_from_bounding_set(*capabilities):
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in capabilities:
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.daemon
@pytest.mark.parametrize("missing", [CAP_SETUID, CAP_SETGID])
def test_daemon_that_cannot_act_for_others(mount, missing):
    """What they create belongs to root, and so it must not be theirs to run as root."""
    m = mount(enter=lambda: drop_from_bounding_set(missing))
    m.allowed.append("CAP_SETUID")
    assert "what other users create belongs to root" in m.log()
    os.chmod(m.path, 0o777)

    def make():
        os.close(os.open(m.join("f"), os.O_CREAT | os.O_WRONLY, 0o6755))
        os.mknod(m.join("g"), stat.S_IFREG | 0o6755)
    as_user(USER_A, make, umask=0)
    for name in ("f", "g"):
        assert owner(m.join(name)) == (0, 0)
        assert stat.S_IMODE(os.stat(m.backing(name)).st_mode) == 0o755
    os.close(os.open(m.join("own"), os.O_CREAT | os.O_WRONLY, 0o4755))
    assert stat.S_IMODE(os.stat(m.join("own")).st_mode) == 0o4755 & ~os.umask(os.umask(0))


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6777, 0o2644, 0o755])
def test_chown_with_nothing_to_change(m, open_dir, native, mode):
    """Clears set-ID bits, for the owner only."""
    def change(path, owner_id):
        write_file(path, b"x")
        os.chown(path, owner_id, GROUP_X)
        os.chmod(path, mode)
        found = []
        for groups in ((), (GROUP_X,)):
            found += [as_user(USER_A, outcome, os.chown, path, -1, -1, groups=groups),
                      stat.S_IMODE(os.stat(path).st_mode)]
        with open(path, "rb") as stream:
            found.append(as_user(USER_A, outcome, os.chown, stream.fileno(), -1, -1))
        os.unlink(path)
        return found

    os.chmod(native, 0o777)
    for owner_id in (0, USER_A, USER_B):
        assert change(open_dir + "/f", owner_id) == change(native + "/f", owner_id)


@pytest.mark.parametrize("writes", [False, True])
def test_chown_while_another_writes(m, open_dir, writes):
    """Set-ID bits are cleared for who writes; not for who only asks for it meanwhile."""
    path = open_dir + "/f"
    write_file(path, b"x")
    writer = os.open(path, os.O_WRONLY)
    os.chmod(path, 0o6777)

    def change():
        if not writes:
            return outcome(os.chown, path, -1, -1)
        with open(path, "r+b") as stream:
            os.write(stream.fileno(), b"y")
        return None
    child = Child(lambda: (os.close(writer), change())[1], uid=USER_A)
    found = child.result(60)
    os.close(writer)
    assert found == (None if writes else os.strerror(errno.EPERM))
    assert stat.S_IMODE(os.stat(m.backing("d/f")).st_mode) == (0o777 if writes else 0o6777)


@pytest.mark.daemon
def test_flags_clear_set_id_as_natively(mount, scratch):
    """xfs does that to who may not set the bits."""
    m = mount(backing="xfs")
    native = scratch.directory("native", "xfs")

    def change(path):
        with open(path, "rb") as stream:
            attributes = bytearray(28)
            fcntl.ioctl(stream.fileno(), FS_IOC_FSGETXATTR, attributes)
            struct.pack_into("I", attributes, 0, FS_XFLAG_NODUMP)
            fcntl.ioctl(stream.fileno(), FS_IOC_FSSETXATTR, bytes(attributes))
        return stat.S_IMODE(os.stat(path).st_mode)

    for uid in (0, USER_A):
        found = []
        for path in (native, m.path):
            os.chmod(path, 0o777)
            write_file(path + "/f", b"x")
            os.chown(path + "/f", uid, GROUP_X)
            os.chmod(path + "/f", 0o6755)
            found.append(as_user(uid, change, path + "/f"))
            os.unlink(path + "/f")
        assert found[0] == found[1]


def suid_changes():
    """Actions on a set-id file by name of what they do; each must drop the bits."""
    def write(path):
        with open(path, "r+b", buffering=0) as stream:
            stream.write(b"!")

    def direct_write(path):
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        util_sys.write_direct(fd, b"d" * 4096, 0)
        os.close(fd)

    def append(path):
        with open(path, "ab", buffering=0) as stream:
            stream.write(b"!")

    def fallocate(path):
        with open(path, "r+b") as stream:
            util_sys.fallocate(stream.fileno(), 0, 0, 100000)

    def punch(path):
        with open(path, "r+b") as stream:
            util_sys.fallocate(stream.fileno(), 3, 0, 4096)

    def truncate_open(path):
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))

    def handle_truncate(path):
        with open(path, "r+b") as stream:
            os.ftruncate(stream.fileno(), 77)

    def copy_range(path):
        with open(path, "r+b") as stream:
            os.copy_file_range(stream.fileno(), stream.fileno(), 100, 0, 5000)

    return {"write": write, "direct write": direct_write, "append": append,
            "truncate": lambda path: os.truncate(path, 5), "open truncate": truncate_open,
            "ftruncate": handle_truncate, "fallocate": fallocate, "punch": punch,
            "copy_file_range": copy_range}


@pytest.mark.parametrize("action", list(suid_changes()))
@pytest.mark.parametrize("mode", [0o6777, 0o4666, 0o2767])
def test_set_id_bits_fall_with_a_change(m, open_dir, native, action, mode):
    results = []
    for path in (native + "/f", open_dir + "/f"):
        write_file(path, pattern(16384))
        os.chmod(path, mode)
        as_user(NOBODY, suid_changes()[action], path)
        results.append(oct(stat.S_IMODE(os.stat(path).st_mode)))
    assert results[1] == results[0]
    assert results[0] != oct(mode) or mode == 0o2767
    assert stat.S_IMODE(os.stat(m.backing("d", "f")).st_mode) == int(results[0], 8)


def test_set_id_bits_stay_for_root(m):
    write_file(m.join("f"), b"x")
    os.chmod(m.join("f"), 0o6755)
    suid_changes()["write"](m.join("f"))
    assert stat.S_IMODE(os.stat(m.join("f")).st_mode) == 0o6755


@pytest.mark.parametrize("mode", [0o6755, 0o6745, 0o4644])
def test_set_id_bits_fall_with_chown(m, open_dir, native, mode):
    results = []
    for path in (native + "/f", open_dir + "/f"):
        write_file(path, b"x")
        os.chown(path, USER_A, USER_A)
        os.chmod(path, mode)
        as_user(USER_A, os.chown, path, -1, GROUP_X, groups=[GROUP_X])
        by_owner = oct(os.stat(path).st_mode)
        os.chmod(path, mode)
        os.chown(path, USER_B, -1)
        results.append((by_owner, oct(os.stat(path).st_mode)))
    assert results[0] == results[1]


def test_set_id_bits_fall_while_open_elsewhere(m, open_dir):
    write_file(open_dir + "/f", pattern(8192))
    with open(open_dir + "/f", "rb", buffering=0) as reader:
        os.chmod(open_dir + "/f", 0o4777)
        assert os.fstat(reader.fileno()).st_mode & stat.S_ISUID
        as_user(NOBODY, suid_changes()["write"], open_dir + "/f")
        assert not os.fstat(reader.fileno()).st_mode & stat.S_ISUID


@pytest.mark.parametrize("action", ["write", "direct write", "truncate", "fallocate"])
def test_capability_falls_with_a_change(m, action):
    write_file(m.join("f"), pattern(16384), 0o755)
    os.setxattr(m.join("f"), "security.capability", CAPABILITY)
    assert os.getxattr(m.backing("f"), "security.capability") == CAPABILITY
    suid_changes()[action](m.join("f"))
    for path in (m.join("f"), m.backing("f")):
        assert outcome(os.getxattr, path, "security.capability") == "No data available"


def test_sticky_directory(m, open_dir):
    os.chmod(open_dir, 0o1777)
    as_user(USER_A, write_file, open_dir + "/a", b"a")
    for action in (lambda: os.unlink(open_dir + "/a"),
                   lambda: os.rename(open_dir + "/a", open_dir + "/b")):
        with pytest.raises(PermissionError):
            as_user(USER_B, action)
    as_user(USER_A, os.rename, open_dir + "/a", open_dir + "/b")
    as_user(USER_A, os.unlink, open_dir + "/b")
    assert os.listdir(open_dir) == []


def other_in_its_place(there):
    """Somebody else's, since the kernel looked."""
    os.rmdir(there + "/x") if os.path.isdir(there + "/x") else os.unlink(there + "/x")
    if os.path.exists(there + "/other"):
        os.rename(there + "/other", there + "/x")
    else:
        write_file(there + "/x", b"theirs")
    os.chown(there + "/x", USER_B, USER_B)


def exchange(one, other):
    util_sys.renameat2(one, other, RENAME_EXCHANGE)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("way", ["remove", "rename", "exchange"])
def test_sticky_directory_that_others_change_in_source(m, open_dir, known, kind, way):
    os.chmod(open_dir, 0o1777)
    make, remove = (os.mkdir, os.rmdir) if kind == "directory" else (lambda path: write_file(path, b""),
                                                                      os.unlink)
    if known:
        make(open_dir + "/other")
        os.stat(open_dir + "/other")

    def act():
        make(open_dir + "/x")
        if way == "exchange":
            make(open_dir + "/mine")
        os.stat(open_dir + "/x")
        os.write(asked, b"x")
        os.read(changed, 1)
        if way == "rename":
            os.rename(open_dir + "/x", open_dir + "/y")
        elif way == "exchange":
            exchange(open_dir + "/mine", open_dir + "/x")
        else:
            remove(open_dir + "/x")

    told, asked = os.pipe()
    changed, tell = os.pipe()
    with Child(as_user, USER_A, act) as child:
        os.close(asked)
        os.read(told, 1)
        other_in_its_place(m.backing("d"))
        os.write(tell, b"x")
        with pytest.raises(OSError) as caught:
            child.result(10)
    # Another kind of entry is no longer what the program asked to be removed.
    assert caught.value.errno in (errno.EPERM, errno.EACCES, errno.ENOTDIR)
    assert "y" not in os.listdir(m.backing("d"))
    assert owner(m.backing("d", "x")) == (USER_B, USER_B)


def tree_for_denials(path):
    for name, mode, uid in (("open", 0o777, 0), ("closed", 0o700, 0), ("list", 0o744, 0),
                            ("enter", 0o711, 0), ("own", 0o755, USER_A)):
        os.mkdir(f"{path}/{name}")
        write_file(f"{path}/{name}/f", b"x")
        os.chmod(f"{path}/{name}/f", 0o644)
        os.chmod(f"{path}/{name}", mode)
        os.chown(f"{path}/{name}", uid, uid)
    for name, mode, uid in (("private", 0o600, 0), ("mine", 0o600, USER_A), ("none", 0, USER_A),
                            ("exec", 0o711, 0), ("group", 0o060, 0)):
        write_file(f"{path}/{name}", b"x")
        os.chown(f"{path}/{name}", uid, GROUP_X)
        os.chmod(f"{path}/{name}", mode)


DENIALS = {
    "read": lambda p: read_file(p),
    "write": lambda p: write_file(p, b"y"),
    "list": lambda p: sorted(os.listdir(p)),
    "chmod": lambda p: os.chmod(p, 0o700),
    "chown": lambda p: os.chown(p, USER_B, -1),
    "utime": lambda p: os.utime(p, ns=(1, 1)),
    "touch": lambda p: os.utime(p),
    "truncate": lambda p: os.truncate(p, 0),
    "setxattr": lambda p: os.setxattr(p, "user.t", b"1"),
    "getxattr": lambda p: os.getxattr(p, "user.t"),
    "trusted": lambda p: os.setxattr(p, "trusted.t", b"1"),
    "create below": lambda p: write_file(p + "/new", b""),
    "mkdir below": lambda p: os.mkdir(p + "/newdir"),
    "read below": lambda p: read_file(p + "/f"),
    "stat below": lambda p: os.stat(p + "/f").st_size,
    "device below": lambda p: os.mknod(p + "/dev", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "chroot": lambda p: os.chroot(p),
    "access": lambda p: [os.access(p, mode) for mode in (4, 2, 1)],
    "noatime": lambda p: os.close(os.open(p, os.O_RDONLY | os.O_NOATIME)),
    "link": lambda p: os.link(p, p + ".link"),
    "rename": lambda p: os.rename(p, p + ".new") or os.rename(p + ".new", p),
    "unlink": lambda p: os.unlink(p),
    "rmdir": lambda p: os.rmdir(p),
}


@pytest.mark.parametrize("uid, groups", [(USER_A, ()), (USER_B, ()), (USER_B, (GROUP_X,))],
                         ids=["owner", "other", "group"])
def test_denied_and_allowed_as_natively(m, native, uid, groups):
    """Every action on every kind of object, side by side with a native directory."""
    os.mkdir(m.join("t"))
    os.mkdir(native + "/t")
    trees = native + "/t", m.join("t")
    for tree in trees:
        tree_for_denials(tree)
    os.chmod(trees[0], 0o755)
    os.chmod(trees[1], 0o755)
    names = sorted(os.listdir(trees[0]))

    def attempt(tree):
        return [(action, name, outcome(DENIALS[action], f"{tree}/{name}"))
                for action in DENIALS for name in names]

    expected = as_user(uid, attempt, trees[0], groups=groups)
    for ours, theirs in zip(as_user(uid, attempt, trees[1], groups=groups), expected):
        assert ours == theirs
    assert len({result for *_, result in expected if isinstance(result, str)}) >= 5


def acl(path):
    lines = run("getfacl", "-np", "--omit-header", path).stdout.split("\n")
    return [line.split("\t")[0] for line in lines if line]


def mode_of(path):
    return oct(stat.S_IMODE(os.stat(path).st_mode))


def test_mode_right_after_setfacl(m):
    need("setfacl")
    write_file(m.join("f"), b"")
    os.chmod(m.join("f"), 0o640)
    assert mode_of(m.join("f")) == "0o640"
    run("setfacl", "-m", f"u:{USER_A}:rwx", m.join("f"))
    assert mode_of(m.join("f")) == "0o670" == mode_of(m.backing("f"))
    run("setfacl", "-m", "m::r", m.join("f"))
    assert mode_of(m.join("f")) == "0o640"
    os.chmod(m.join("f"), 0o600)
    assert "mask::---" in acl(m.join("f"))
    run("setfacl", "-b", m.join("f"))
    assert acl(m.join("f")) == acl(m.backing("f"))
    assert outcome(os.getxattr, m.join("f"), "system.posix_acl_access") == "No data available"


def test_acl_decides(m):
    need("setfacl")
    write_file(m.join("f"), b"x")
    os.chmod(m.join("f"), 0o600)
    with pytest.raises(PermissionError):
        as_user(USER_A, read_file, m.join("f"))
    run("setfacl", "-m", f"u:{USER_A}:r,g:{GROUP_X}:rw", m.join("f"))
    assert as_user(USER_A, read_file, m.join("f")) == b"x"
    with pytest.raises(PermissionError):
        as_user(USER_A, write_file, m.join("f"), b"y")
    as_user(USER_B, write_file, m.join("f"), b"y", groups=[GROUP_X])
    run("setfacl", "-x", f"u:{USER_A}", m.join("f"))
    with pytest.raises(PermissionError):
        as_user(USER_A, read_file, m.join("f"))


@pytest.mark.parametrize("default", [f"u::rwx,g::r-x,o::---,u:{USER_A}:rwx",
                                     "u::rwx,g::rwx,o::rwx", "u::rwx,g::-,o::r,m::r,g:7001:rwx"])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_default_acl_is_inherited(m, native, default, umask):
    need("setfacl")
    os.mkdir(m.join("d"))
    os.mkdir(native + "/d")
    found = []
    for path in (native + "/d", m.join("d")):
        os.chmod(path, 0o777)
        run("setfacl", "-d", "-m", default, path)
        as_user(USER_B, make_everything, path, umask=umask)
        as_user(USER_B, os.mkdir, path + "/dir/below", umask=umask)
        found.append([(name, mode_of(f"{path}/{name}"), acl(f"{path}/{name}"))
                      for name in ("dir", "dir/below", "file", "fifo", "node", "socket",
                                   "tmpfile")])
    assert found[1] == found[0]
    assert acl(m.backing("d", "file")) == dict((name, rest) for name, _, rest in found[0])["file"]


def test_umask_without_acl(m, open_dir):
    for umask in (0o000, 0o022, 0o137):
        as_user(USER_A, write_file, f"{open_dir}/{umask}", b"", 0o777, umask=umask)
        assert mode_of(f"{open_dir}/{umask}") == oct(0o777 & ~umask)


@pytest.mark.daemon
def test_ordinary_mount_options(mount, native):
    m = mount("ro")
    for action in (lambda: write_file(m.join("f"), b""), lambda: os.mkdir(m.join("d"))):
        with pytest.raises(OSError, match="Read-only"):
            action()
    assert os.statvfs(m.path).f_flag & os.ST_RDONLY and not os.access(m.path, os.W_OK)
    other = mount("noexec", "nodev", "nosuid")
    run("cp", "/bin/true", other.join("true"))
    with pytest.raises(PermissionError):
        run(other.join("true"))


@pytest.mark.daemon
def test_read_only_source(mount, scratch):
    """Who asks before it writes is told, as natively."""
    source = scratch.directory("read-only")
    write_file(source + "/f", b"x")
    run("mount", "--bind", "-o", "ro", source, source)
    try:
        m = mount(source=source)
        for path in (source, m.path):
            assert os.statvfs(path).f_flag & os.ST_RDONLY
            assert not os.access(path + "/f", os.W_OK)
            with pytest.raises(OSError, match="Read-only"):
                write_file(path + "/f", b"y")
        assert not os.statvfs(mount("rw", source=source).path).f_flag & os.ST_RDONLY
    finally:
        run("umount", "-l", source)


@pytest.mark.daemon
def test_root_mount_admits_everyone(mount):
    """As root, allow_other and default_permissions come without being asked for."""
    m = mount()
    write_file(m.join("f"), b"x")
    assert as_user(NOBODY, read_file, m.join("f")) == b"x"
    os.chmod(m.join("f"), 0o600)
    with pytest.raises(PermissionError):
        as_user(NOBODY, read_file, m.join("f"))


@pytest.mark.daemon
def test_devices_and_set_id_programs_where_asked_for(mount):
    m = mount("dev", "suid")
    os.mknod(m.join("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    write_file(m.join("null"), b"x")
    assert read_file(m.join("null")) == b""
    run("cp", "/usr/bin/id", m.join("id"))
    os.chmod(m.join("id"), 0o4755)
    assert as_user(USER_A, lambda: run(m.join("id"), "-u").stdout) == "0\n"
    guarded = mount("nodev", "nosuid", source=m.source)
    with pytest.raises(PermissionError):
        read_file(guarded.join("null"))
    assert as_user(USER_A, lambda: run(guarded.join("id"), "-u").stdout) == f"{USER_A}\n"


@pytest.mark.daemon
def test_without_acls_mode_bits_decide(mount):
    """acl=off, as ext4's noacl: the group of a file that has an ACL may do what its mask allows."""
    need("setfacl")
    name = "system.posix_acl_access"
    m = mount("acl=off")
    write_file(m.backing("f"), b"x", 0o640)
    os.chown(m.backing("f"), 0, GROUP_X)
    run("setfacl", "-m", f"u:{USER_A}:r,g::-,m::r", m.backing("f"))
    value = os.getxattr(m.backing("f"), name)
    with pytest.raises(PermissionError):
        as_user(USER_A, read_file, m.join("f"))
    assert as_user(USER_B, read_file, m.join("f"), groups=[GROUP_X]) == b"x"
    for call in ((os.getxattr, name), (os.setxattr, name, value), (os.removexattr, name)):
        assert outcome(call[0], m.join("f"), *call[1:]) == os.strerror(errno.EOPNOTSUPP)
    assert name in os.listxattr(m.backing("f")) and name not in os.listxattr(m.join("f"))
    assert os.getxattr(m.backing("f"), name) == value
    run("setfacl", "-d", "-m", f"u:{USER_A}:r", m.source)
    write_file(m.join("new"), b"x")
    assert f"user:{USER_A}:r--" in acl(m.backing("new"))
    assert m.close() == []


@pytest.mark.daemon
def test_backing_without_acls(mount, scratch):
    """Mode bits alone decide there, and for everybody."""
    path = scratch.directory("plain")
    run("mount", "-t", "ramfs", "none", path)
    try:
        os.chmod(path, 0o755)
        m = mount(source=path)
        for name, mode in (("open", 0o644), ("closed", 0o600)):
            write_file(m.join(name), b"x", mode)
            os.chown(m.join(name), USER_A, USER_A)
        os.mkdir(m.join("dir"))
        os.chown(m.join("dir"), USER_A, USER_A)
        write_file(m.join("dir", "f"), b"x")
        assert read_file(m.join("closed")) == b"x"
        assert as_user(USER_A, read_file, m.join("closed")) == b"x"
        assert as_user(NOBODY, read_file, m.join("open")) == b"x"
        assert as_user(NOBODY, read_file, m.join("dir", "f")) == b"x"
        with pytest.raises(PermissionError):
            as_user(NOBODY, read_file, m.join("closed"))
        with pytest.raises(OSError) as caught:
            os.setxattr(m.join("open"), "system.posix_acl_access", b"\2\0\0\0")
        assert caught.value.errno == errno.EOPNOTSUPP
        assert m.close() == []
    finally:
        run("umount", "-l", path)


@pytest.mark.daemon
def test_what_others_create_meanwhile_is_not_opened_unasked(m):
    """A name that was free when it was looked up, and a file of root's when it was to be created."""
    os.mkdir(m.join("d"))
    os.chmod(m.join("d"), 0o777)
    over = time.monotonic() + 3

    def create():
        owners = set()
        while time.monotonic() < over:
            try:
                fd = os.open(m.join("d", "x"), os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600)
                owners.add(os.fstat(fd).st_uid)
                os.close(fd)
                os.unlink(m.join("d", "x"))
            except OSError as error:
                # ESTALE: lost twice in a row.
                assert error.errno in (errno.EACCES, errno.ENOENT, errno.ESTALE), error
        return owners

    with Child(create, uid=NOBODY) as child:
        while time.monotonic() < over:
            try:
                fd = os.open(m.backing("d", "x"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                os.write(fd, b"secret")
                assert os.fstat(fd).st_size == 6
                os.close(fd)
                os.unlink(m.backing("d", "x"))
            except (FileExistsError, FileNotFoundError):
                pass
            time.sleep(0.0005)
        assert child.result(10) == {NOBODY}


@pytest.mark.daemon
@pytest.mark.parametrize("transport", ["io_uring", "dev"])
def test_umask_counts_where_there_are_no_acls(mount, transport):
    need("setfacl")
    m = mount("acl=off", f"transport={transport}", backing="ext4")
    os.mkdir(m.backing("d"))
    run("setfacl", "-d", "-m", "u::rwx,g::r-x,o::r-x", m.backing("d"))

    def make():
        os.umask(0o077)
        write_file(m.join("d/f"), b"", 0o666)
        os.mkdir(m.join("d/d"), 0o777)

    with Child(make) as child:
        child.result(10)
    assert [stat.S_IMODE(os.stat(m.join("d", name)).st_mode) for name in ("f", "d")] == [0o600, 0o700]
