# SPDX-License-Identifier: MIT
"""Starting and mounting: what is accepted, what is refused, and in which words."""
import contextlib
import errno
import fcntl
import functools
import json
import mmap
import os
import re
import resource
import signal
import stat
import subprocess
import time

import pytest

import util_mount
import util_sys
from util import (NOBODY, Child, as_user, clock, need, outcome, read_file, run, sysctls_stay, unmount,
                  wait_for, write_file)
from util_mount import LANECTL, LANEFS, lanefs_mounts
from util_stream import without_system_call

pytestmark = pytest.mark.daemon


@pytest.fixture
def ends(scratch):
    """Two empty directories, source and mountpoint; nothing may be left mounted on either."""
    source, point = scratch.directory("source"), scratch.directory("point")
    yield source, point
    left = lanefs_mounts(source) + lanefs_mounts(point)
    for path in (source, point):
        while lanefs_mounts(path):
            util_mount.util_sys.umount2(path, util_mount.util_sys.MNT_DETACH)
    assert left == []


def lanefs(*argv, **kwargs):
    return run(LANEFS, *argv, check=False, timeout=20, **kwargs)


def refused(status, *argv, **kwargs):
    """lanefs fails with that status and one line on stderr, which is returned."""
    done = lanefs(*argv, **kwargs)
    assert done.returncode == status, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("lanefs: ")
    return lines[0]


def daemon_of(path):
    """The pid of the lanefs mounted there, by its own word."""
    return json.loads(os.getxattr(path, "user.lanefs.stats"))["pid"]


def unmount_and_wait(path, pid):
    unmount(path)
    wait_for(lambda: not alive(pid), 5, "the daemon ends")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_missing_source(ends):
    line = refused(1, ends[0] + "/none", ends[1])
    assert line == f"lanefs: {ends[0]}/none: No such file or directory"


def test_source_is_a_file(ends):
    write_file(ends[0] + "/f", b"")
    assert refused(1, ends[0] + "/f", ends[1]) == f"lanefs: {ends[0]}/f: Not a directory"


def test_source_unreadable(ends):
    os.chmod(ends[0], 0o700)
    line = refused(1, ends[0], ends[1], user=NOBODY, group=NOBODY, extra_groups=[])
    assert line.startswith(f"lanefs: {ends[0]}: Permission denied")


def test_missing_mountpoint(ends):
    line = refused(1, ends[0], ends[1] + "/none")
    assert line == f"lanefs: {ends[1]}/none: No such file or directory"


def test_mountpoint_is_a_file(ends):
    write_file(ends[1] + "/f", b"")
    assert refused(1, ends[0], ends[1] + "/f") == f"lanefs: {ends[1]}/f: Not a directory"


@pytest.mark.parametrize("argv", [[], ["a", "b", "c"], ["--nonsense", "a"], ["-o"]], ids=str)
def test_usage(argv):
    done = lanefs(*argv)
    assert done.returncode == 2
    assert done.stderr.startswith("lanefs: ") and done.stdout == ""


def test_version_and_help():
    done = lanefs("--version")
    assert done.returncode == 0
    assert re.match(r"lanefs (version )?\d+\.\d+\.\d+", done.stdout), done.stdout
    done = lanefs("--help")
    assert done.returncode == 0
    for word in ("SOURCE", "MOUNTPOINT", "threshold", "transport", "passthrough", "lane"):
        assert word in done.stdout


@pytest.mark.parametrize("option, words", [
    ("nonsense", ["nonsense"]),
    ("nonsense=1", ["nonsense"]),
    ("threshold=12Q", ["threshold", "12Q", "auto"]),
    ("threshold=", ["threshold"]),
    ("threshold=-1", ["threshold", "-1"]),
    ("threshold=99999999999999999999", ["threshold", "99999999999999999999"]),
    ("lane=fast", ["lane", "fast", "auto", "cached", "direct", "stream"]),
    ("read-ahead=lots", ["read-ahead", "lots"]),
    ("pool=1X", ["pool", "1X"]),
    ("stream-window=x", ["stream-window", "x"]),
    ("transport=carrier", ["transport", "carrier", "auto", "dev", "io_uring"]),
    ("passthrough=maybe", ["passthrough", "maybe", "auto", "off"]),
    ("attr-timeout=soon", ["attr-timeout", "soon"]),
    ("attr-timeout=-1", ["attr-timeout", "-1"]),
    ("ro,threshold=3Z,noatime", ["threshold", "3Z"]),
])
def test_bad_options(ends, option, words):
    line = refused(2, "-o", option, *ends)
    for word in words:
        assert word in line, line


@pytest.fixture
def as_helper(scratch):
    """The name that mount(8) calls it by."""
    link = os.path.join(scratch.directory("helper"), "mount.fuse.lanefs")
    os.symlink(LANEFS, link)
    return link


def test_sloppy_skips_what_is_unknown_alone(ends, as_helper):
    """mount -s: with a bad value of an option that there is skipped it would be another mount."""
    for option in ("ro=true", "nosuid=1", "fsname=", "threshold=12Q"):
        done = run(as_helper, *ends, "-s", "-o", option, check=False)
        assert done.returncode == 2 and option.split("=")[0] in done.stderr, done
    run(as_helper, *ends, "-s", "-o", "nonsense=1,ro,state=off")
    try:
        assert os.statvfs(ends[1]).f_flag & os.ST_RDONLY
    finally:
        unmount(ends[1])


def test_daemon_has_its_name_whatever_it_is_called(ends, as_helper):
    """lanectl reload of a read-only mount goes by the name."""
    run(as_helper, *ends, "-o", "ro,state=off")
    try:
        stats = json.loads(os.getxattr(ends[1], "user.lanefs.stats"))
        with open(f"/proc/{stats['pid']}/comm") as stream:
            assert stream.read() == "lanefs\n"
        assert run(LANECTL, "reload", ends[1]).stderr == ""
    finally:
        unmount(ends[1])


def test_user_namespace_is_no_privilege(ends):
    """Of root in one the kernel takes no backing file: known before the first open, and said."""
    need("unshare", "getfattr")
    script = """
        trap 'umount "$2" 2>/dev/null || :' EXIT
        "$0" -o state=off "$1" "$2" || exit
        getfattr --only-values -n user.lanefs.stats "$2"
        printf '\\n'
        getfattr --only-values -n user.lanefs.lane "$2/f"
        printf '\\n'
        cat "$2/f"
        umount "$2"
    """
    write_file(ends[0] + "/f", b"data")
    done = run("unshare", "-r", "-m", "sh", "-c", script, LANEFS, *ends, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    stats, lane, data = done.stdout.splitlines()
    passthrough = json.loads(stats)["passthrough"]
    assert not passthrough["available"] and passthrough["reason"], passthrough
    assert lane == "cached" and data == "data"


def test_threads_are_limited(ends):
    """Said before anything is mounted."""
    group = f"/sys/fs/cgroup/pids/lanefs-test-{os.getpid()}"
    try:
        os.mkdir(group)
    except OSError as error:
        pytest.skip(f"no control group of processes: {error}")
    try:
        write_file(group + "/pids.max", b"6")
        done = subprocess.run(
            ["sh", "-c", 'echo $$ >"$0"/cgroup.procs; exec "$@"', group, LANEFS, *ends],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "pids.max" in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1 and not os.path.ismount(ends[1])
    finally:
        wait_for(lambda: run("rmdir", group, check=False).returncode == 0, 5, "the end of its processes")


@pytest.mark.parametrize("text, words", [
    ("[mount]\nnonsense=1\n", ["[mount]", "nonsense"]),
    ("[policy]\nthreshold=12Q\n", ["[policy]", "threshold", "12Q"]),
    ("[mount]\nthreshold=1M\n", ["[mount]", "threshold", "[policy]"]),
    ("[policy]\nlane=fast\n", ["[policy]", "lane", "fast"]),
    ("[nonsense]\nx=1\n", ["[nonsense]"]),
    ("[rule a]\npath=*\nlane=fast\n", ["[rule a]", "lane", "fast"]),
    ("[rule a]\npath=*\ncolour=red\nlane=direct\n", ["[rule a]", "colour"]),
    ("[mount]\nthis is no key file\n", []),
])
def test_bad_config_file(ends, scratch, text, words):
    config = os.path.join(scratch.base, "bad.conf")
    write_file(config, text.encode())
    line = refused(2, "-c", config, *ends)
    for word in [config] + words:
        assert word in line, line


def test_missing_config_file(ends):
    done = lanefs("-c", ends[0] + "/none.conf", *ends)
    assert done.returncode in (1, 2)
    assert "none.conf: No such file or directory" in done.stderr


def test_already_mounted(mount, ends):
    for over in (False, True):
        m = mount(over=over)
        argv = [m.path] if over else [m.source, m.path]
        line = refused(1, *argv)
        assert m.path in line and "already" in line
        assert len(lanefs_mounts(m.path)) == 1
        write_file(m.join("f"), b"still works")
        assert read_file(m.join("f")) == b"still works"


def private_namespace(script, *argv):
    """In a mount namespace of its own, so that /dev/fuse can be changed there only.

    What other tests have mounted is not to be kept alive in it."""
    need("unshare")
    return run("unshare", "-m", "--propagation", "private", "sh", "-c",
               f"umount -l -a -t fuse.lanefs; {script}", "sh", *argv, check=False)


def test_root_directory(ends):
    """Over it nobody sees what is mounted, and the next setns(2) meets what is left of it."""
    done = private_namespace('"$@"; code=$?; grep -c "fuse.lanefs" /proc/self/mountinfo; exit $code',
                             LANEFS, ends[0], "/")
    assert done.returncode == 1 and done.stdout == "0\n", done
    assert done.stderr.startswith("lanefs: /: cannot be mounted over"), done.stderr


def test_no_dev_fuse(ends, scratch):
    empty = scratch.directory("empty")
    done = private_namespace(f"mount --bind {empty} /dev && exec \"$@\"", LANEFS, *ends)
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1
    assert "/dev/fuse" in done.stderr and "modprobe fuse" in done.stderr, done.stderr


def test_dev_fuse_without_permission(ends, scratch):
    need("setpriv")
    node = os.path.join(scratch.base, "fuse-node")
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(10, 229))
    os.chown(ends[1], NOBODY, NOBODY)
    done = private_namespace(f"mount --bind {node} /dev/fuse && exec setpriv --reuid {NOBODY} "
                             f"--regid {NOBODY} --clear-groups \"$@\"", LANEFS, *ends)
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1
    assert "/dev/fuse: Permission denied" in done.stderr or "fusermount3" in done.stderr


def test_io_uring_turned_off(ends):
    """transport=io_uring says how to turn it on; auto mounts without it."""
    util_mount.need_uring()
    with util_mount.uring_parameter(fcntl.LOCK_EX):
        refused_and_done_without(ends)


def refused_and_done_without(ends):
    with open(util_mount.MODULE, "w") as stream:
        stream.write("N")
    try:
        line = refused(1, "-o", "transport=io_uring", *ends)
        assert "enable_uring" in line, line
        done = lanefs(*ends)
        assert done.returncode == 0, done
        pid = daemon_of(ends[1])
        transport = json.loads(os.getxattr(ends[1], "user.lanefs.stats"))["transport"]
        assert transport["name"] == "dev" and "enable_uring" in transport["reason"]
        unmount_and_wait(ends[1], pid)
    finally:
        with open(util_mount.MODULE, "w") as stream:
            stream.write("Y")


@pytest.mark.parametrize("options", [[], ["-o", "acl=off"]], ids=["", "as-usual"])
def test_mountpoint_that_is_led_elsewhere(scratch, options):
    """By who may rename what is in the directory it is in: what is mounted over another is not his."""
    above, victim = scratch.directory("above"), scratch.directory("victim")
    point, link = f"{above}/media", f"{above}/link"
    os.mkdir(point)
    os.symlink(victim, link)

    def swap():
        while True:
            util_mount.util_sys.renameat2(point, link, util_mount.util_sys.RENAME_EXCHANGE)
            time.sleep(0.002)

    swapping = Child(swap)
    try:
        for _ in range(25):
            lanefs(*options, point)
            assert set(lanefs_mounts(victim)) <= {victim}
            for path in (point, link, victim):
                while lanefs_mounts(path):
                    util_mount.util_sys.umount2(path, util_mount.util_sys.MNT_DETACH)
    finally:
        swapping.close()
        while lanefs_mounts(victim):
            util_mount.util_sys.umount2(victim, util_mount.util_sys.MNT_DETACH)


def test_returns_when_the_mount_answers(ends):
    """In the background: status 0, nothing printed, and the very next call works."""
    for turn in range(5):
        done = lanefs(*ends)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        write_file(f"{ends[1]}/f{turn}", b"x")
        assert os.path.exists(f"{ends[0]}/f{turn}")
        unmount_and_wait(ends[1], daemon_of(ends[1]))


def test_background_daemon_is_detached(ends):
    done = lanefs(*ends)
    assert done.returncode == 0
    pid = daemon_of(ends[1])
    assert os.getsid(pid) != os.getsid(0)
    for number in (0, 1, 2):
        assert os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    unmount_and_wait(ends[1], pid)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_start_without_standard_descriptors(ends, closed):
    done = run("sh", "-c", f'exec "$0" "$@" {closed}', LANEFS, *ends, check=False, timeout=20)
    assert done.returncode == 0, done
    write_file(f"{ends[1]}/f", b"x")
    assert read_file(f"{ends[0]}/f") == b"x"
    unmount_and_wait(ends[1], daemon_of(ends[1]))


def test_background_daemon_keeps_nothing_of_the_caller(ends, scratch):
    """Neither a lock nor the end of a pipe."""
    lock = os.path.join(scratch.directory("lock"), "lock")
    run("sh", "-c", 'exec 9>"$0" && flock -n 9 && "$@" && exec 9>&- && flock -n "$0" true', lock, LANEFS, *ends,
        timeout=20)
    pid = daemon_of(ends[1])
    assert lock not in [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    unmount_and_wait(ends[1], pid)


def test_foreground(mount):
    m = mount()
    assert m.stats()["pid"] == m.pid
    unmount(m.path)
    assert m.wait_end(5) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_end(mount, number):
    m = mount()
    start = clock()
    m.process.send_signal(number)
    assert m.wait_end(5) == 0
    assert clock() - start < 2
    assert lanefs_mounts(m.path) == []


def test_signal_where_the_mount_has_another_name(scratch):
    """It was moved with a directory above it; what is stored in mappings is written first."""
    source, above = scratch.directory("source"), scratch.directory("above")
    os.mkdir(f"{above}/before")
    os.mkdir(f"{above}/before/m p")
    done = lanefs("-o", "passthrough=off", source, f"{above}/before/m p")
    assert done.returncode == 0, done
    pid = daemon_of(f"{above}/before/m p")
    write_file(f"{source}/f", bytes(8192))
    os.rename(f"{above}/before", f"{above}/after")
    fd = os.open(f"{above}/after/m p/f", os.O_RDWR)
    with mmap.mmap(fd, 8192) as view:
        view[4096] = 1
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not alive(pid), 5, "the daemon ends")
        assert read_file(f"{source}/f") == bytes(4096) + b"\1" + bytes(4095)
    outcome(os.close, fd)
    assert lanefs_mounts(f"{above}/after/m p") == [] and os.listdir(f"{above}/after/m p") == []


def test_signals_that_do_not(mount):
    m = mount()
    for number in (signal.SIGHUP, signal.SIGPIPE):
        m.process.send_signal(number)
    time.sleep(0.2)
    write_file(m.join("f"), b"x")
    assert m.process.poll() is None


def test_debug_tells_every_open(mount):
    m = mount("threshold=1M", argv=["-d"])
    write_file(m.backing("f"), bytes(2 << 20))
    util_mount.util_sys.drop_pages(m.backing("f"))
    with open(m.join("f"), "rb"):
        wait_for(lambda: re.search(r"\bf\b.*direct|direct.*\bf\b", m.log()), 5,
                 "a line with file and lane")


def test_mount_table(mount):
    m = mount("fsname=media")
    assert lanefs_mounts(m.path) == ["media"]
    other = mount()
    assert lanefs_mounts(other.path) == [other.source]


@pytest.mark.parametrize("name", ["with space", "comma,in,name", "back\\slash", "ümlaut"])
def test_odd_paths(scratch, mount, name):
    source = os.path.join(scratch.directory("odd"), name)
    os.mkdir(source)
    for over in (True, False):
        m = mount(over=over, source=source)
        write_file(m.join("f"), b"x")
        assert read_file(m.backing("f")) == b"x"
        m.close()
        assert m.problems == []


def test_relative_and_symlinked_paths(ends):
    os.symlink(ends[0], ends[1] + "/link")
    os.mkdir(ends[1] + "/point")
    done = lanefs("link", "point/", cwd=ends[1])
    assert done.returncode == 0, done
    point = ends[1] + "/point"
    write_file(point + "/f", b"x")
    assert os.listdir(ends[0]) == ["f"]
    unmount_and_wait(point, daemon_of(point))


def test_over_itself(mount):
    m = mount(over=True)
    write_file(m.backing("before"), b"b")
    os.makedirs(m.join("d", "e"))
    write_file(m.join("d", "e", "f"), b"through")
    assert read_file(m.backing("d", "e", "f")) == b"through"
    assert read_file(m.join("before")) == b"b"
    assert sorted(os.listdir(m.path)) == ["before", "d"]
    assert os.stat(m.path).st_ino == os.stat(m.source).st_ino
    assert m.stats()["source"] == m.stats()["mountpoint"] == m.path


@pytest.fixture
def requests(scratch):
    """What the kernel asks of a mount while a function runs: the names of the requests."""
    trace = scratch.directory("trace")
    try:
        util_sys.mount("none", trace, "tracefs", 0, None)
    except OSError:
        pytest.skip("no tracefs")
    instance = f"{trace}/instances/lanefs-{os.getpid()}"
    try:
        os.mkdir(instance)
    except OSError:
        unmount(trace)
        pytest.skip("no trace instances")
    event = instance + "/events/fuse/fuse_request_send"

    def set_event(name, text):
        with open(event + name, "w") as stream:
            stream.write(text)

    def during(path, function):
        set_event("/filter", f"connection == {os.minor(os.stat(path).st_dev)}")
        set_event("/enable", "1")
        try:
            function()
        finally:
            set_event("/enable", "0")
        with open(instance + "/trace") as stream:
            return re.findall(r"opcode \d+ \(FUSE_(\w+)\)", stream.read())

    try:
        if not os.path.exists(event):
            pytest.skip("before Linux 6.12")
        yield during
    finally:
        os.rmdir(instance)
        unmount(trace)


# The first kernel that does not keep a root's ACL by itself, and needs another id for that.
NEEDS_OTHER_ROOT = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 2)
ROOT = "/.lanefs-root"
SYS_UNSHARE = {"x86_64": 272}.get(os.uname().machine, 97)
SYS_OPEN_TREE, SYS_MOVE_MOUNT = 428, 429


@pytest.mark.parametrize("options", [(), ("transport=dev", "passthrough=off")])
def test_the_kernel_keeps_the_roots_acl(mount, requests, options):
    """Who does not own it opens a file without asking for that each time; what it says holds."""
    need("setfacl")
    m = mount("attr-timeout=60", *options)
    assert m.stats()["root_acl"] == {"kept": True, "reason": ""}
    assert util_mount.mount_root(m.path) == (ROOT if NEEDS_OTHER_ROOT else "/")
    os.chmod(m.path, 0o750)
    run("setfacl", "-m", f"u:{NOBODY}:x", m.path)
    # Without permissions for the group it has no ACL to be asked for itself.
    write_file(m.join("f"), b"x", 0o604)

    def read_often():
        for _ in range(100):
            assert read_file(m.join("f")) == b"x"

    as_user(NOBODY, read_often)
    asked = requests(m.path, lambda: as_user(NOBODY, read_often))
    assert asked.count("OPEN") == 100
    assert asked.count("GETXATTR") < 5, asked
    run("setfacl", "-x", f"u:{NOBODY}", m.path)
    assert as_user(NOBODY, outcome, os.stat, m.join("f")) == "Permission denied"


def test_the_root_is_one_directory(mount):
    """Whichever of its ids it is known by, and its second name is not there."""
    m = mount("notify=on", "attr-timeout=60", over=True)
    name = ".lanefs-root"
    assert not os.path.exists(m.join(name)) and os.listdir(m.path) == []
    write_file(m.backing(name), b"a file of that name")
    wait_for(lambda: os.path.exists(m.join(name)), 10, "it is there")
    assert read_file(m.join(name)) == b"a file of that name"
    os.unlink(m.join(name))
    os.mkdir(m.join(name))
    assert os.stat(m.join(name, "..")).st_ino == os.stat(m.path).st_ino
    assert os.stat(m.join(name)).st_ino != os.stat(m.path).st_ino
    os.chmod(m.backing(), 0o711)
    wait_for(lambda: stat.S_IMODE(os.stat(m.path).st_mode) == 0o711, 10, "the mode is seen")
    handle = util_sys.name_to_handle_at(m.path)
    where = os.open(m.path, os.O_RDONLY | os.O_DIRECTORY)
    again = util_sys.open_by_handle_at(where, handle, os.O_RDONLY)
    assert os.path.samestat(os.fstat(where), os.fstat(again))
    os.close(again)
    os.close(where)


def test_handle_of_the_root(mount):
    """It outlives the mount; that of another kind of root, which it may be, leads nowhere."""
    m = mount()
    os.makedirs(m.backing("d/e"))
    handle = util_sys.name_to_handle_at(m.path)
    m.close()
    m.start()
    where = os.open(m.path, os.O_RDONLY | os.O_DIRECTORY)
    again = util_sys.open_by_handle_at(where, handle, os.O_RDONLY)
    assert os.path.samestat(os.fstat(where), os.fstat(again))
    os.close(again)
    os.close(where)
    if not NEEDS_OTHER_ROOT:
        return
    plain = mount("acl=off", source=m.source)
    other = util_sys.name_to_handle_at(plain.path)
    for one, its in ((plain, handle), (m, other)):
        where = os.open(one.path, os.O_RDONLY | os.O_DIRECTORY)
        inside = os.open(one.join("d", "e"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = util_sys.open_by_handle_at(where, its, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            assert error.errno == errno.ESTALE
        else:
            assert outcome(os.stat, f"/proc/self/fd/{found}/d") == "Stale file handle"
            assert outcome(os.listdir, found) == "Stale file handle"
            os.close(found)
        assert os.readlink(f"/proc/self/fd/{inside}") == one.join("d", "e")
        os.close(inside)
        os.close(where)
    plain.close()


def test_source_below_itself(mount, scratch):
    """It is no entry of itself, by whatever id."""
    source = scratch.directory("source")
    os.mkdir(source + "/d")
    run("mount", "--bind", source, source + "/d")
    try:
        m = mount(source=source)
        for _ in range(2):
            assert [entry.name for entry in os.scandir(m.path)] == ["d"]
            assert outcome(os.stat, m.join("d")) == "Input/output error"
        m.close()
    finally:
        run("umount", "-l", source + "/d")


def check_plain_root(m):
    kept = m.stats()["root_acl"]
    assert kept["kept"] != NEEDS_OTHER_ROOT
    if NEEDS_OTHER_ROOT:
        line = f"{m.path}: no ACL of the root kept by the kernel: {kept['reason']}"
        assert line in util_mount.lanectl_on_all(m.path, "status").stdout.splitlines()
    assert util_mount.mount_root(m.path) == "/"
    assert not os.path.exists(m.join(".lanefs-root"))
    write_file(m.backing("f"), b"1")
    wait_for(lambda: os.path.exists(m.join("f")), 10, "the file is there")
    os.unlink(m.backing("f"))
    wait_for(lambda: not os.path.exists(m.join("f")), 10, "the file is gone")


@pytest.mark.parametrize("call", [SYS_OPEN_TREE, SYS_UNSHARE])
def test_mounted_as_usual_where_it_cannot_be_otherwise(mount, call):
    """In a container, say, which refuses a system call."""
    refuse = functools.partial(without_system_call, call, errno.EPERM)
    check_plain_root(mount("notify=on", "attr-timeout=60", enter=refuse))


def test_mounted_as_usual_where_the_root_counts(mount):
    check_plain_root(mount("notify=on", "attr-timeout=60", "auto_unmount"))


def test_mountpoint_with_a_very_long_name(ends):
    """Of which no entry can be named."""
    deep = os.path.join(ends[1], *["d" * 200] * 19)
    deep = os.path.join(deep, "d" * (4085 - len(deep) - 1))
    os.makedirs(deep)
    done = lanefs(ends[0], deep)
    assert done.returncode == 0, done
    pid = daemon_of(deep)
    try:
        assert json.loads(os.getxattr(deep, "user.lanefs.stats"))["root_acl"]["kept"] != NEEDS_OTHER_ROOT
        assert util_mount.mount_root(deep) == "/"
        write_file(deep + "/f", b"x")
        assert read_file(ends[0] + "/f") == b"x"
        for name in (".", ".."):
            assert os.path.isdir(f"{deep}/{name}")
    finally:
        unmount_and_wait(deep, pid)


def test_that_it_cannot_be_mounted_is_said(ends):
    if not NEEDS_OTHER_ROOT:
        pytest.skip("mounted by mount(2)")
    refuse = functools.partial(without_system_call, SYS_MOVE_MOUNT, errno.ENOMEM)
    for argv in (ends, ("-f", *ends)):
        done = lanefs(*argv, preexec_fn=refuse)
        assert done.returncode == 1, done
        assert done.stderr == f"lanefs: {ends[1]}: Cannot allocate memory\n"
        assert lanefs_mounts(ends[1]) == []


def has_begun(process):
    """Whether it has mounted, be it where nobody sees it."""
    try:
        return any(os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/fuse"
                   for fd in os.listdir(f"/proc/{process.pid}/fd"))
    except FileNotFoundError:
        return False


def test_another_is_mounted_meanwhile(mount, ends):
    """That one stays, and who comes too late says so."""
    if not NEEDS_OTHER_ROOT:
        pytest.skip("mounted at once")
    slow = mount("transport=dev", "attr-timeout=0")
    for _ in range(20):
        process = subprocess.Popen([LANEFS, "-f", slow.path, ends[1]], stderr=subprocess.PIPE, text=True)
        wait_for(lambda: has_begun(process) or process.poll() is not None, 20, "it mounts", longest=0.001)
        os.kill(slow.pid, signal.SIGSTOP)
        late = not lanefs_mounts(ends[1])
        if late:
            done = lanefs(*ends)
        os.kill(slow.pid, signal.SIGCONT)
        if late:
            break
        process.terminate()
        process.communicate(timeout=20)
    assert late and done.returncode == 0, done
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 1 and said.endswith(f"lanefs: {ends[1]}: Device or resource busy\n")
    assert lanefs_mounts(ends[1]) == [ends[0]]
    unmount_and_wait(ends[1], daemon_of(ends[1]))


def test_mount_all(helper, ends, scratch):
    """Once more, mount -a has nothing to do; another source in the way is an error."""
    table = os.path.join(scratch.base, "fstab")
    for name in ("", "fsname=media,"):
        write_file(table, f"{ends[0]} {ends[1]} fuse.lanefs {name}attr-timeout=2 0 0\n".encode())
        for _ in range(2):
            assert run("mount", "-a", "-T", table).stderr == ""
            assert len(lanefs_mounts(ends[1])) == 1
        assert "already mounted" in run("mount", "-v", "-a", "-T", table).stderr
        other = scratch.directory("other")
        write_file(table, f"{other} {ends[1]} fuse.lanefs defaults 0 0\n".encode())
        done = run("mount", "-a", "-T", table, check=False)
        assert done.returncode != 0 and "already mounted" in done.stderr, done
        for options in ("ro", "fsname=media"):
            source = other if "=" in options else ends[0]
            done = run("mount", "-t", "fuse.lanefs", "-o", options, source, ends[1], check=False)
            assert done.returncode != 0 and "already mounted" in done.stderr, done
        assert "already" in refused(1, *ends)
        unmount_and_wait(ends[1], daemon_of(ends[1]))


def test_mount_all_of_what_is_read_only(helper, ends, scratch):
    """It is mounted so without being asked."""
    table = os.path.join(scratch.base, "fstab")
    write_file(table, f"{ends[0]} {ends[1]} fuse.lanefs defaults 0 0\n".encode())
    run("mount", "--bind", ends[0], ends[0])
    try:
        run("mount", "-o", "remount,bind,ro", ends[0])
        for _ in range(2):
            assert run("mount", "-a", "-T", table).stderr == ""
        unmount_and_wait(ends[1], daemon_of(ends[1]))
    finally:
        unmount(ends[0])


def test_mounted_in_other_namespaces_too(scratch, ends):
    """What is mounted where mounts are shared is one mount in each, and goes from each."""
    need("unshare")
    shared = scratch.directory("shared")
    done = private_namespace('''
        mount -t tmpfs none "$1" && mount --make-shared "$1" && mkdir "$1"/m "$1"/fifo &&
        mkfifo "$1"/fifo/1 "$1"/fifo/2 && echo data >"$3"/f
        unshare -m --propagation shared sh -e -c '
            echo >"$1"/fifo/1
            read _ <"$1"/fifo/2
            grep -c " $1/m " /proc/self/mountinfo
            cat "$1"/m/f
            echo >"$1"/fifo/1
            read _ <"$1"/fifo/2
            grep -c " $1/m " /proc/self/mountinfo || true' sh "$1" &
        read _ <"$1"/fifo/1
        "$2" "$3" "$1"/m
        grep -c " $1/m " /proc/self/mountinfo
        echo >"$1"/fifo/2
        read _ <"$1"/fifo/1
        umount "$1"/m
        echo >"$1"/fifo/2
        wait''', shared, LANEFS, ends[0])
    assert done.stdout.split() == ["1", "1", "data", "0"], done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_while_it_is_mounted(scratch, number):
    """At any moment: what was there before stays, and no process is left behind."""
    point = scratch.directory("point")
    run("mount", "-t", "tmpfs", "none", point)

    def start():
        return subprocess.Popen([LANEFS, "-f", point], stderr=subprocess.DEVNULL)

    def end(process):
        process.send_signal(number)
        status = process.wait(20)
        found = lanefs_mounts(point)
        if number == signal.SIGKILL and found:
            run("umount", "-l", point)
        assert lanefs_mounts(point) == []
        assert os.listdir(point) == ["f"]
        wait_for(lambda: not run("pgrep", "-f", f"{LANEFS} -f {point}", check=False).stdout, 5,
                 "no process is left")
        # Also before it asks for signals to wait.
        assert status in (0, -number)
        return bool(found)

    try:
        write_file(point + "/f", b"x")
        begin = time.monotonic()
        process = start()
        wait_for(lambda: lanefs_mounts(point), 20, "it is mounted", longest=0.001)
        takes = time.monotonic() - begin
        end(process)
        mounted = set()
        turns = max(8, min(60, int(4 / takes)))
        for turn in range(turns):
            process = start()
            time.sleep(takes * 1.5 * turn / turns)
            mounted.add(bool(lanefs_mounts(point)))
            end(process)
        assert mounted == {False, True}
    finally:
        run("umount", "-l", point)


def test_parent_of_the_root_is_outside(mount):
    """A handle or .. cannot lead above SOURCE."""
    m = mount()
    os.mkdir(m.join("d"))
    root = os.open(m.path, os.O_RDONLY)
    os.chdir(m.join("d"))
    try:
        assert os.listdir("..") == ["d"]
        assert os.stat("../..").st_ino == os.stat(os.path.dirname(m.path)).st_ino
    finally:
        os.chdir("/")
        os.close(root)


def test_mounts_below_the_source_are_not_crossed_wrongly(mount):
    """Another filesystem mounted below SOURCE: seen, or as an empty directory, never mixed up."""
    m = mount()
    os.mkdir(m.backing("sub"))
    run("mount", "-t", "tmpfs", "-o", "size=4M", "none", m.backing("sub"))
    try:
        write_file(m.backing("sub", "f"), b"inner")
        write_file(m.backing("g"), b"outer")
        assert os.listdir(m.join("sub")) in (["f"], [])
        if os.listdir(m.join("sub")):
            assert read_file(m.join("sub", "f")) == b"inner"
        assert read_file(m.join("g")) == b"outer"
        os.mkdir(m.join("sub", "made"))
        assert os.path.isdir(m.join("sub", "made"))
        os.rmdir(m.join("sub", "made"))
    finally:
        m.shrink()
        wait_for(lambda: run("umount", m.backing("sub"), check=False).returncode == 0, 5,
                 "the inner mount is let go")


@pytest.fixture
def helper():
    """mount(8)'s helper for the type, for the time of the test."""
    link = "/sbin/mount.fuse.lanefs"
    saved = None
    if os.path.lexists(link):
        saved = link + ".test-saved"
        os.rename(link, saved)
    os.symlink(LANEFS, link)
    yield
    os.unlink(link)
    if saved:
        os.rename(saved, link)


def test_mount_command(helper, ends):
    run("mount", "-t", "fuse.lanefs", "-o", "threshold=3M,noatime,nodev", *ends)
    config = json.loads(os.getxattr(ends[1], "user.lanefs.config"))
    assert config["threshold"]["value"] == "3M"
    unmount_and_wait(ends[1], daemon_of(ends[1]))
    done = run("mount", "-t", "fuse.lanefs", "-o", "threshold=3X", *ends, check=False)
    assert done.returncode != 0 and "3X" in done.stderr
    done = run("mount", "-t", "fuse.lanefs", ends[0] + "/none", ends[1], check=False)
    assert done.returncode != 0 and "No such file" in done.stderr


def test_mount_command_keeps_ro(helper, ends, scratch):
    """mount(8) always says rw."""
    table = os.path.join(scratch.base, "conf")
    write_file(table, b"[mount]\nro=true\n")
    run("mount", "-t", "fuse.lanefs", "-o", f"config={table}", *ends)
    with pytest.raises(OSError, match="Read-only"):
        write_file(ends[1] + "/f", b"")
    unmount_and_wait(ends[1], daemon_of(ends[1]))
    run("mount", "--bind", ends[0], ends[0])
    try:
        run("mount", "-o", "remount,bind,ro", ends[0])
        run("mount", "-t", "fuse.lanefs", *ends)
        with pytest.raises(OSError, match="Read-only"):
            write_file(ends[1] + "/f", b"")
        assert os.statvfs(ends[1]).f_flag & os.ST_RDONLY
        unmount_and_wait(ends[1], daemon_of(ends[1]))
    finally:
        run("umount", "-l", ends[0])


@pytest.mark.parametrize("words", ["defaults", "noauto,nofail,_netdev,x-systemd.automount,user,"
                                   "comment=x,threshold=5M,allow_other,ro"])
def test_fstab(helper, ends, scratch, words):
    table = os.path.join(scratch.base, "fstab")
    write_file(table, f"{ends[0]} {ends[1]} fuse.lanefs {words} 0 0\n".encode())
    run("mount", "-T", table, ends[1])
    assert lanefs_mounts(ends[1]) == [ends[0]]
    if "ro" in words.split(","):
        with pytest.raises(OSError, match="Read-only"):
            write_file(ends[1] + "/f", b"")
    unmount_and_wait(ends[1], daemon_of(ends[1]))


def as_ordinary_user(prepare, script, *argv, scratch):
    """A shell script as an ordinary user for whom /dev/fuse is open, as distributions have it;
    prepare is what root does before, in the same mount namespace.  What it mounts on $2 goes with
    it, and with that the daemon, also where it fails."""
    need("setpriv")
    node = os.path.join(scratch.base, "open-fuse-node")
    if not os.path.exists(node):
        os.mknod(node, stat.S_IFCHR, os.makedev(10, 229))
        os.chmod(node, 0o666)
    user = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups"
    script = f"""trap "fusermount3 -u -z \\"$2\\" 2>/dev/null || :" EXIT
        {script}"""
    return private_namespace(f"mount --bind {node} /dev/fuse && {prepare} && "
                             f"exec {user} sh -e -c '{script}' sh \"$@\"", *argv)


def test_mount_by_an_ordinary_user(ends, scratch):
    """Through fusermount3: without passthrough and file handles, for the user alone."""
    need("fusermount3", "getfattr")
    for path in ends:
        os.chown(path, NOBODY, NOBODY)
    write_file(ends[0] + "/secret", b"x", 0o600)
    done = as_ordinary_user("true", f"""
        {LANEFS} "$1" "$2"
        echo hello > "$2"/f
        cat "$2"/f
        mkdir "$2"/d
        mv "$2"/f "$2"/d/g
        cat "$2"/secret 2>/dev/null && exit 9
        getfattr --only-values -n user.lanefs.lane "$2"/d/g
        getfattr --only-values -n user.lanefs.stats "$2"
        fusermount3 -u "$2"
        """, *ends, scratch=scratch)
    assert done.returncode == 0, done
    assert done.stdout.startswith("hello\ncached{"), done.stdout
    stats = json.loads(done.stdout[len("hello\ncached"):])
    assert not stats["passthrough"]["available"] and stats["passthrough"]["reason"]
    if NEEDS_OTHER_ROOT:
        assert not stats["root_acl"]["kept"] and "CAP_SYS_ADMIN" in stats["root_acl"]["reason"]
    assert read_file(ends[0] + "/d/g") == b"hello\n"
    assert os.stat(ends[0] + "/d/g").st_uid == NOBODY
    wait_for(lambda: not alive(stats["pid"]), 5, "the daemon ends")


def test_directory_that_an_ordinary_user_cannot_watch(ends, scratch):
    """inotify(7) needs to read it; the next one is watched all the same, at once."""
    need("fusermount3", "getfattr")
    for name in ("closed", "open"):
        os.mkdir(ends[0] + "/" + name)
        write_file(f"{ends[0]}/{name}/f", b"1")
    for path in (*ends, *(f"{ends[0]}/{name}" for name in ("closed", "open", "open/f"))):
        os.chown(path, NOBODY, NOBODY)
    os.chmod(ends[0] + "/closed", 0o311)
    with sysctls_stay("fs.fanotify.max_user_groups", "fs.inotify.max_user_instances",
                      "fs.inotify.max_user_watches"):
        done = as_ordinary_user("true", f"""
        {LANEFS} -o notify=on,attr-timeout=60 "$1" "$2"
        stat -c %s "$2"/closed/f "$2"/open/f
        printf 123 >"$1"/open/f
        for i in $(seq 50); do
            [ $(stat -c %s "$2"/open/f) = 3 ] && break
            sleep 0.1
        done
        stat -c %s "$2"/open/f
        getfattr --only-values -n user.lanefs.stats "$2"
        fusermount3 -u "$2"
        """, *ends, scratch=scratch)
    assert done.returncode == 0, done
    assert done.stdout.startswith("1\n1\n3\n{"), done.stdout
    notify = json.loads(done.stdout[len("1\n1\n3\n"):])["notify"]
    assert notify["means"] == "inotify" and notify["unwatched"] == 1, notify


def test_ordinary_user_without_fusermount3(ends, scratch):
    """Says what is missing instead of libfuse's own several lines."""
    for path in ends:
        os.chown(path, NOBODY, NOBODY)
    hidden = scratch.directory("hidden")
    os.mkdir(hidden + "/work")
    os.mkdir(hidden + "/upper")
    hide = (f"mount -t overlay -o lowerdir=/usr/bin,upperdir={hidden}/upper,"
            f"workdir={hidden}/work none /usr/bin && rm -f /usr/bin/fusermount3")
    done = as_ordinary_user(hide, f"{LANEFS} \"$@\"", *ends, scratch=scratch)
    if "overlay" in done.stderr:
        pytest.skip("no overlay to hide fusermount3 with")
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1 and "fusermount3" in done.stderr, done.stderr


@pytest.mark.whole
def test_handle_of_an_earlier_mount(mount):
    """Inodes are numbered anew: it is stale, and never another file."""
    m = mount()
    for name in ("first", "second"):
        write_file(m.backing(name), name.encode())
    handle = util_sys.name_to_handle_at(m.join("first"))
    unmount(m.path)
    m.wait_end()
    m.start()
    assert read_file(m.join("second")) == b"second"
    root = os.open(m.path, os.O_RDONLY)
    try:
        with pytest.raises(OSError) as caught:
            util_sys.open_by_handle_at(root, handle, os.O_RDONLY)
        assert caught.value.errno == errno.ESTALE
    finally:
        os.close(root)


def test_file_size_limit_of_the_daemon(mount):
    """Its own is no reason to die."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    m = mount("passthrough=off", enter=limit)
    with open(m.join("f"), "wb", buffering=0) as stream:
        assert stream.write(bytes(1 << 19)) == 1 << 19
        with pytest.raises(OSError) as caught:
            for _ in range(3):
                stream.write(bytes(1 << 19))
        assert caught.value.errno == errno.EFBIG
        # That is what comes with a signal, also where io_uring's writes do not.
        with pytest.raises(OSError) as caught:
            os.truncate(m.join("f"), 2 << 20)
        assert caught.value.errno == errno.EFBIG
    assert os.stat(m.join("f")).st_size == 1 << 20


def switches(m, name):
    """How often threads of the daemon with that name have waited."""
    count = 0
    for task in os.listdir(f"/proc/{m.pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{m.pid}/task/{task}/status") as stream:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)
            if fields["Name"] == name:
                count += int(fields["voluntary_ctxt_switches"])
    return count


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_requests_wake_those_who_serve_them(mount, transport):
    """Not who looks after the mount: that costs as much as the request."""
    m = mount(f"transport={transport}", "attr-timeout=0")
    before = switches(m, "supervisor")
    for turn in range(1000):
        os.utime(m.source, ns=(turn, turn))
        # From the daemon, each time.
        assert os.stat(m.path).st_mtime_ns == turn
    assert switches(m, "supervisor") <= before + 50
