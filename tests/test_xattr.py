# SPDX-License-Identifier: MIT
"""Extended attributes: the backing file's, and lanefs's own."""
import errno
import json
import os

import pytest

import util_sys
from util import NOBODY, as_user, need, pattern, run, write_file

COMPUTED = {"file": ["lane", "why", "explain", "stats"], "root": ["stats", "config"]}


@pytest.fixture
def f(m):
    write_file(m.join("f"), pattern(1000))
    return m.join("f")


def refused(number, function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    assert caught.value.errno == number, (args, caught.value)


@pytest.mark.parametrize("name", ["user.a", "trusted.a", "security.a", "user." + "n" * 250])
@pytest.mark.parametrize("value", [b"", b"x", b"\0\xff" * 500, b"v" * 3000],
                         ids=["empty", "short", "binary", "long"])
def test_every_namespace(m, f, name, value):
    os.setxattr(f, name, value)
    assert os.getxattr(f, name) == value == os.getxattr(m.backing("f"), name)
    assert sorted(os.listxattr(f)) == sorted(os.listxattr(m.backing("f"))) == [name]
    os.removexattr(f, name)
    refused(errno.ENODATA, os.getxattr, f, name)
    assert os.listxattr(f) == []


def test_flags(m, f):
    refused(errno.ENODATA, os.setxattr, f, "user.a", b"1", os.XATTR_REPLACE)
    os.setxattr(f, "user.a", b"1", os.XATTR_CREATE)
    refused(errno.EEXIST, os.setxattr, f, "user.a", b"2", os.XATTR_CREATE)
    os.setxattr(f, "user.a", b"3", os.XATTR_REPLACE)
    assert os.getxattr(f, "user.a") == b"3"
    refused(errno.ENODATA, os.removexattr, f, "user.b")
    refused(errno.EOPNOTSUPP, os.setxattr, f, "nonsense.a", b"1")


def test_sizes(m, f):
    """Size 0 asks for the size, too small a buffer is ERANGE."""
    libc = util_sys.libc
    import ctypes
    os.setxattr(f, "user.a", b"0123456789")
    path, buffer = os.fsencode(f), ctypes.create_string_buffer(100)
    assert libc.getxattr(path, b"user.a", None, 0) == 10
    assert libc.getxattr(path, b"user.a", buffer, 10) == 10
    assert libc.getxattr(path, b"user.a", buffer, 9) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert libc.listxattr(path, None, 0) == 7
    assert libc.listxattr(path, buffer, 7) == 7 and buffer.raw[:7] == b"user.a\0"
    assert libc.listxattr(path, buffer, 6) == -1
    assert ctypes.get_errno() == errno.ERANGE
    with pytest.raises(OSError) as caught:
        os.setxattr(f, "user.big", b"x" * 70000)
    assert caught.value.errno == errno.E2BIG


def test_counters_may_grow_after_their_size_was_asked_for(mount):
    """Programs ask for the size first, and say ERANGE if that was too little."""
    import ctypes
    m = mount()
    asked = util_sys.libc.getxattr(os.fsencode(m.path), b"user.lanefs.stats", None, 0)
    before = m.stats()
    for i in range(120):
        write_file(m.join(f"f{i}"), pattern(1000))
        with open(m.join(f"f{i}"), "rb") as stream:
            assert len(stream.read()) == 1000
    assert len(m.attribute("stats")) > len(json.dumps(before, separators=(",", ":")))
    buffer = ctypes.create_string_buffer(asked)
    got = util_sys.libc.getxattr(os.fsencode(m.path), b"user.lanefs.stats", buffer, asked)
    assert 0 < got <= asked and json.loads(buffer.raw[:got])


def test_more_files_are_open_after_the_size_was_asked_for(mount):
    import ctypes
    m = mount()
    for i in range(30):
        write_file(m.join(f"f{i}"), pattern(1000))
    asked = util_sys.libc.getxattr(os.fsencode(m.path), b"user.lanefs.top", None, 0)
    fds = [os.open(m.join(f"f{i}"), os.O_RDONLY) for i in range(30)]
    buffer = ctypes.create_string_buffer(asked)
    got = util_sys.libc.getxattr(os.fsencode(m.path), b"user.lanefs.top", buffer, asked)
    assert len(json.loads(buffer.raw[:got])["files"]) == 30
    for fd in fds:
        os.close(fd)


def test_too_large_for_the_backing(m, f, native):
    write_file(os.path.join(native, "f"), b"")
    from util import outcome
    for size in (4000, 20000, 65536):
        assert (outcome(os.setxattr, f, "user.a", b"x" * size) ==
                outcome(os.setxattr, os.path.join(native, "f"), "user.a", b"x" * size)), size


@pytest.mark.whole
def test_directories_and_symlinks(m):
    os.mkdir(m.join("d"))
    os.symlink("d", m.join("l"))
    os.setxattr(m.join("d"), "user.a", b"dir")
    assert os.getxattr(m.join("l"), "user.a") == b"dir"
    os.setxattr(m.join("l"), "trusted.a", b"link", follow_symlinks=False)
    assert os.getxattr(m.backing("l"), "trusted.a", follow_symlinks=False) == b"link"
    refused(errno.EPERM, lambda: os.setxattr(m.join("l"), "user.a", b"x", follow_symlinks=False))
    refused(errno.ENODATA, os.getxattr, m.join("d"), "trusted.a")
    os.setxattr(m.path, "user.root", b"r")
    assert os.listxattr(m.path) == ["user.root"] == os.listxattr(m.source)


def test_fifo_has_no_user_attributes(m):
    os.mkfifo(m.join("p"))
    refused(errno.EPERM, os.setxattr, m.join("p"), "user.a", b"x")
    os.setxattr(m.join("p"), "trusted.a", b"x")
    assert os.getxattr(m.backing("p"), "trusted.a") == b"x"
    refused(errno.EPERM, os.setxattr, m.join("p"), "user.lanefs.policy", b"cached")


def test_acl_attributes_pass_through(m, f):
    need("setfacl")
    run("setfacl", "-m", "u:5001:rw", f)
    name = "system.posix_acl_access"
    assert os.getxattr(f, name) == os.getxattr(m.backing("f"), name)
    value = os.getxattr(f, name)
    os.removexattr(f, name)
    refused(errno.ENODATA, os.getxattr, m.backing("f"), name)
    os.setxattr(f, name, value)
    assert os.getxattr(m.backing("f"), name) == value
    refused(errno.EACCES, os.setxattr, f, "system.posix_acl_default", value)
    refused(errno.EINVAL, os.setxattr, f, name, b"\x02\0\0\0nonsense")


def test_descriptor(m, f):
    with open(f, "r+b") as stream:
        os.setxattr(stream.fileno(), "user.a", b"1")
        assert os.listxattr(stream.fileno()) == ["user.a"]
        os.removexattr(stream.fileno(), "user.a")


@pytest.mark.daemon
@pytest.mark.whole
def test_computed_are_readable_and_hidden(m, f):
    for where, path in (("file", f), ("root", m.path)):
        for name in COMPUTED[where]:
            value = os.getxattr(path, f"user.lanefs.{name}")
            assert value and b"\0" not in value
            if name in ("lane", "why"):
                assert b"\n" not in value
            else:
                json.loads(value)
        assert os.listxattr(path) == []
    os.setxattr(f, "user.mine", b"1")
    assert os.listxattr(f) == ["user.mine"]
    assert not [name for name in os.listxattr(m.backing("f")) if "lanefs" in name]


@pytest.mark.daemon
@pytest.mark.whole
def test_computed_where_they_do_not_apply(m, f):
    os.mkdir(m.join("d"))
    os.symlink("f", m.join("l"))
    for name in ("lane", "why", "explain", "stats"):
        refused(errno.ENODATA, os.getxattr, m.join("d"), f"user.lanefs.{name}")
    for name in ("lane", "why"):
        refused(errno.ENODATA, os.getxattr, m.path, f"user.lanefs.{name}")
    refused(errno.ENODATA, os.getxattr, f, "user.lanefs.config")
    refused(errno.ENODATA, os.getxattr, m.join("d"), "user.lanefs.config")
    refused(errno.ENODATA, os.getxattr, f, "user.lanefs.nonsense")
    for name in ("user.lanefs.nonsense", "user.lanefs.Policy"):
        refused(errno.EINVAL, os.setxattr, f, name, b"stream")


@pytest.mark.daemon
@pytest.mark.whole
def test_computed_cannot_be_written(m, f):
    for where, path in (("file", f), ("root", m.path)):
        for name in COMPUTED[where]:
            before = os.getxattr(path, "user.lanefs.lane") if path == f else None
            refused(errno.EPERM, os.setxattr, path, f"user.lanefs.{name}", b"cached")
            refused(errno.EPERM, os.removexattr, path, f"user.lanefs.{name}")
            assert before is None or os.getxattr(path, "user.lanefs.lane") == before
    assert os.listxattr(m.backing("f")) == [] == os.listxattr(m.source)


@pytest.mark.daemon
@pytest.mark.parametrize("value", ["auto", "cached", "direct", "stream"])
def test_policy_is_stored_on_the_backing(m, f, value):
    os.mkdir(m.join("d"))
    for path, backing in ((f, "f"), (m.join("d"), "d")):
        os.setxattr(path, "user.lanefs.policy", value.encode())
        assert os.getxattr(m.backing(backing), "user.lanefs.policy") == value.encode()
        assert os.getxattr(path, "user.lanefs.policy") == value.encode()
        assert os.listxattr(path) == ["user.lanefs.policy"]
        os.removexattr(path, "user.lanefs.policy")
        refused(errno.ENODATA, os.getxattr, path, "user.lanefs.policy")
        refused(errno.ENODATA, os.removexattr, path, "user.lanefs.policy")


@pytest.mark.daemon
def test_bad_values_change_nothing(m, f):
    os.mkdir(m.join("d"))
    os.setxattr(f, "user.lanefs.policy", b"stream")
    os.setxattr(m.join("d"), "user.lanefs.threshold", b"3M")
    for value in (b"", b"fast", b"Direct", b"direct\n", b"direct\0", b" direct", b"directx"):
        refused(errno.EINVAL, os.setxattr, f, "user.lanefs.policy", value)
        refused(errno.EINVAL, os.setxattr, m.join("d"), "user.lanefs.policy", value)
    for value in (b"", b"M", b"-1", b"1.5M", b"1X", b"12MB", b"99999999999999999999", b"1 M",
                  b"0" * 70 + b"1M"):
        refused(errno.EINVAL, os.setxattr, m.join("d"), "user.lanefs.threshold", value)
    assert os.getxattr(m.backing("f"), "user.lanefs.policy") == b"stream"
    assert os.getxattr(m.backing("d"), "user.lanefs.threshold") == b"3M"
    refused(errno.ENODATA, os.getxattr, m.backing("d"), "user.lanefs.policy")
    for value in (b"0", b"1", b"5k", b"5M", b"1g", b"2T", b"auto"):
        os.setxattr(m.join("d"), "user.lanefs.threshold", value)
        assert os.getxattr(m.backing("d"), "user.lanefs.threshold") == value


@pytest.mark.daemon
def test_threshold_is_for_directories(m, f):
    refused(errno.EINVAL, os.setxattr, f, "user.lanefs.threshold", b"1M")
    refused(errno.ENODATA, os.getxattr, m.backing("f"), "user.lanefs.threshold")


@pytest.mark.daemon
def test_flags_of_stored_ones(m, f):
    name = "user.lanefs.policy"
    refused(errno.ENODATA, os.setxattr, f, name, b"cached", os.XATTR_REPLACE)
    os.setxattr(f, name, b"cached", os.XATTR_CREATE)
    refused(errno.EEXIST, os.setxattr, f, name, b"direct", os.XATTR_CREATE)
    assert os.getxattr(f, name) == b"cached"


@pytest.mark.daemon
def test_who_may_set_the_policy(m, f):
    refused(errno.EACCES, as_user, NOBODY, os.setxattr, f, "user.lanefs.policy", b"direct")
    refused(errno.ENODATA, os.getxattr, m.backing("f"), "user.lanefs.policy")
    os.chown(f, NOBODY, NOBODY)
    as_user(NOBODY, os.setxattr, f, "user.lanefs.policy", b"direct")
    assert os.getxattr(m.backing("f"), "user.lanefs.policy") == b"direct"


@pytest.mark.daemon
@pytest.mark.parametrize("program", ["cp", "rsync", "tar"])
def test_copies_take_the_stored_ones_only(m, program, native):
    need(program)
    os.mkdir(m.join("d"))
    write_file(m.join("d", "f"), pattern(5000))
    os.setxattr(m.join("d", "f"), "user.lanefs.policy", b"direct")
    os.setxattr(m.join("d"), "user.lanefs.threshold", b"7M")
    os.setxattr(m.join("d", "f"), "user.other", b"kept")

    def copy(source, target):
        if program == "cp":
            run("cp", "-a", source, target)
        elif program == "rsync":
            run("rsync", "-aX", source, target)
        else:
            os.makedirs(target, exist_ok=True)
            run("sh", "-c", f"tar -C {os.path.dirname(source)} --xattrs --xattrs-include='*' "
                            f"-cf - d | tar -C {target} --xattrs --xattrs-include='*' -xf -")

    copy(m.join("d"), native)
    copied = os.path.join(native, "d")
    assert sorted(os.listxattr(copied + "/f")) == ["user.lanefs.policy", "user.other"]
    assert os.getxattr(copied + "/f", "user.lanefs.policy") == b"direct"
    assert os.listxattr(copied) == ["user.lanefs.threshold"]
    os.mkdir(m.join("back"))
    copy(copied, m.join("back"))
    assert os.getxattr(m.join("back", "d"), "user.lanefs.threshold") == b"7M"
    assert sorted(os.listxattr(m.backing("back", "d", "f"))) == ["user.lanefs.policy",
                                                                "user.other"]
