# SPDX-License-Identifier: MIT
"""Unmodified programs on the mount."""
import glob
import os
import shutil
import sqlite3
import stat
import sys
import time

import pytest

from util import Child, need, pattern, read_file, run, write_file
from util_mount import BUILD, NATIVE
from util_servers import apache, check_served, nginx

SOURCE_TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIZES = {"tiny": 13, "page": 4096, "small": 70001, "medium": 1 << 20, "large": (9 << 20) + 777}


def site(m):
    """Files for a web server, some below the threshold and some above; name to contents."""
    files = {}
    for name, size in SIZES.items():
        files[name] = pattern(size, name)
        write_file(m.backing(name), files[name])
    return files


@pytest.fixture(params=["auto", "off"] if not NATIVE else ["native"])
def served(request, mount):
    if NATIVE:
        return mount()
    return mount("threshold=1M", f"passthrough={request.param}", over=request.param == "auto")


@pytest.mark.parametrize("use_mmap", ["On", "Off"])
@pytest.mark.parametrize("sendfile", ["On", "Off"])
def test_apache(served, scratch, sendfile, use_mmap):
    files = site(served)
    with apache(scratch.directory("apache"), served.path, sendfile, use_mmap) as port:
        check_served(port, files)


def test_nginx(served, scratch):
    files = site(served)
    with nginx(scratch.directory("nginx"), served.path) as port:
        check_served(port, files)


def make_tree(base):
    """A tree with everything that rsync, cp and tar can keep."""
    os.makedirs(f"{base}/dir/sub")
    write_file(f"{base}/dir/file", pattern(100000))
    os.link(f"{base}/dir/file", f"{base}/dir/sub/hard link")
    os.symlink("../dir/file", f"{base}/dir/link")
    os.symlink("nowhere", f"{base}/dangling")
    os.mkfifo(f"{base}/fifo", 0o640)
    os.mknod(f"{base}/socket", stat.S_IFSOCK | 0o600)
    os.mknod(f"{base}/char", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    fd = os.open(f"{base}/holes", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"start", 0)
    os.pwrite(fd, b"end", 20 << 20)
    os.close(fd)
    for name in (b"new\nline", b"\xff\xfe", b"sp ace", b"-dash", b"q'\"\\", b"n" * 255):
        write_file(os.fsencode(base) + b"/" + name, name)
    write_file(f"{base}/large", pattern(3 << 20))
    write_file(f"{base}/empty", b"")
    os.setxattr(f"{base}/dir/file", "user.note", b"value\0binary")
    os.setxattr(f"{base}/dir", "trusted.note", b"t")
    run("setfacl", "-m", "u:5001:rw,g:6001:r", f"{base}/large")
    run("setfacl", "-d", "-m", "u:5001:rwx", f"{base}/dir/sub")
    write_file(f"{base}/dir/sub/inherits", b"x")
    os.chown(f"{base}/large", 5001, 6001)
    os.chmod(f"{base}/empty", 0o4755)
    os.chmod(f"{base}/dir/sub", 0o1777)
    for index in range(200):
        write_file(f"{base}/dir/many{index}", b"%d" % index * (index % 7))
    for path in (f"{base}/large", f"{base}/dir/sub", f"{base}/dir", base):
        os.utime(path, ns=(1_500_000_000_123456789, 1_400_000_000_987654321))


def picture(base, dated=None):
    """Everything that must be equal in a copy of the tree.

    dated: the kinds of object whose times count, None for all.
    """
    found, inodes = {}, {}
    for directory, names, files in os.walk(os.fsencode(base)):
        for name in [b"."] + names + files:
            path = os.path.join(directory, name)
            seen = os.lstat(path)
            key = os.path.relpath(path, os.fsencode(base))
            kind = stat.S_IFMT(seen.st_mode)
            content = None
            if kind == stat.S_IFREG:
                content = read_file(path)
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            attributes = {} if kind not in (stat.S_IFREG, stat.S_IFDIR) else {
                attr: os.getxattr(path, attr) for attr in os.listxattr(path)}
            first = inodes.setdefault(seen.st_ino, key) if kind != stat.S_IFDIR else None
            found[key] = (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_rdev, content,
                          seen.st_mtime_ns if dated is None or kind in dated else None,
                          sorted(attributes.items()), first,
                          seen.st_size if kind != stat.S_IFDIR else None)
    return found


# rsync 3.5 leaves the times of symlinks, fifos and devices as they come, on any filesystem.
RSYNC_DATES = (stat.S_IFREG, stat.S_IFDIR)


@pytest.fixture
def tree(m, native):
    need("rsync", "setfacl", "getfattr")
    os.mkdir(native + "/tree")
    make_tree(native + "/tree")
    return native + "/tree"


def kept(base):
    return picture(base, RSYNC_DATES)


def transferred(text):
    lines = [line for line in text.splitlines() if "files transferred" in line]
    return int(lines[0].split(":")[1].replace(",", ""))


def test_rsync_into_and_out_of_the_mount(m, tree, native):
    rsync = ["rsync", "-aHAXS", "--delete", "--stats"]
    os.mkdir(m.join("in"))
    write_file(m.join("in", "extra"), b"must go")
    expected = kept(tree)
    run(*rsync, tree + "/", m.join("in/"))
    assert kept(m.join("in")) == expected
    assert kept(m.backing("in")) == expected
    assert os.stat(m.backing("in", "holes")).st_blocks < 100
    again = run(*rsync, "-i", tree + "/", m.join("in/"))
    assert transferred(again.stdout) == 0
    assert not [line for line in again.stdout.splitlines() if line.startswith((">", "c", "."))]
    os.mkdir(native + "/out")
    write_file(native + "/out/extra", b"must go")
    run(*rsync, m.join("in/"), native + "/out/")
    assert kept(native + "/out") == expected
    assert transferred(run(*rsync, m.join("in/"), native + "/out/").stdout) == 0
    assert transferred(run(*rsync, "--checksum", m.join("in/"), native + "/out/").stdout) == 0
    write_file(tree + "/dir/file", pattern(100001, 9))
    shutil.rmtree(tree + "/dir/sub")
    for path in ("/dir/file", "/dir", ""):
        os.utime(tree + path, ns=(5, 1_300_000_000_000000000))
    assert transferred(run(*rsync, tree + "/", m.join("in/")).stdout) == 1
    run(*rsync, "--inplace", "--no-whole-file", m.join("in/"), native + "/out/")
    assert kept(native + "/out") == kept(tree) == kept(m.join("in"))


def test_cp(m, tree, native):
    expected = picture(tree)
    run("cp", "-a", tree, m.join("in"))
    assert picture(m.join("in")) == expected
    run("cp", "-a", m.join("in"), native + "/out")
    assert picture(native + "/out") == expected
    run("cp", "-a", m.join("in"), m.join("within"))
    assert picture(m.join("within")) == expected
    run("cp", "--sparse=auto", "--reflink=auto", m.join("in/holes"), m.join("holes"))
    assert os.stat(m.backing("holes")).st_blocks < 100


def test_tar(m, tree, native):
    os.unlink(tree + "/socket")
    os.utime(tree, ns=(1, 1_400_000_000_987654321))
    expected = picture(tree)
    flags = ["--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--format=posix"]
    archive = m.join("archive.tar")
    run("tar", *flags, "-C", os.path.dirname(tree), "-cf", archive, "tree")
    os.mkdir(m.join("in"))
    run("tar", *flags, "-C", m.join("in"), "-xpf", archive)
    assert picture(m.join("in", "tree")) == expected
    run("tar", *flags, "-C", m.join("in"), "-df", archive)
    run("tar", *flags, "-C", m.join("in"), "-cf", native + "/again.tar", "tree")
    os.mkdir(native + "/out")
    run("tar", *flags, "-C", native + "/out", "-xpf", native + "/again.tar")
    assert picture(native + "/out/tree") == expected


def test_find_and_remove(m, tree):
    run("cp", "-a", tree, m.join("in"))
    ours = run("find", m.join("in"), "-printf", "%P %i %y %n %m\\0").stdout
    theirs = run("find", m.backing("in"), "-printf", "%P %i %y %n %m\\0").stdout
    assert sorted(ours.split("\0")) == sorted(theirs.split("\0"))
    du = [run("du", "-s", "--block-size=1", base).stdout.split()[0]
          for base in (m.join("in"), m.backing("in"))]
    assert du[0] == du[1]
    run("rm", "-r", m.join("in"))
    assert os.listdir(m.source) == []


def test_git(m, native):
    need("git")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
           "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}

    def git(*argv, where):
        return run("git", "-C", where, *argv, env=env).stdout

    origin = native + "/origin"
    os.mkdir(origin)
    git("init", "-q", "-b", "main", where=origin)
    for turn in range(20):
        for index in range(20):
            write_file(f"{origin}/f{index}", pattern(500 + turn * index, turn))
        write_file(f"{origin}/big", pattern(200000, turn))
        git("add", "-A", where=origin)
        git("commit", "-q", "-m", f"turn {turn}", where=origin)
    git("clone", "-q", "file://" + origin, m.join("clone"), where=native)
    clone = m.join("clone")
    git("fsck", "--full", "--strict", where=clone)
    assert git("status", "--porcelain", where=clone) == ""
    assert git("rev-parse", "HEAD", where=clone) == git("rev-parse", "HEAD", where=origin)
    git("checkout", "-q", "-b", "work", "HEAD~10", where=clone)
    write_file(clone + "/new", pattern(1000))
    git("add", "-A", where=clone)
    git("commit", "-q", "-m", "new", where=clone)
    git("merge", "-q", "-m", "merge", "main", where=clone)
    git("gc", "-q", "--aggressive", "--prune=now", where=clone)
    git("fsck", "--full", "--strict", where=clone)
    assert git("status", "--porcelain", where=clone) == ""
    assert read_file(clone + "/big") == pattern(200000, 19)


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_sqlite(m, journal):
    """Several processes write one database; every transaction is there, the file is sound."""
    path = m.join("db")

    def connect():
        database = sqlite3.connect(path, timeout=30, isolation_level=None)
        database.execute("pragma synchronous=normal")
        return database

    setup = connect()
    assert setup.execute(f"pragma journal_mode={journal}").fetchone() == (journal,)
    setup.execute("create table t (who integer, n integer, filler blob, primary key (who, n))")
    setup.close()

    def writer(who):
        database = connect()
        for n in range(60):
            database.execute("begin immediate")
            database.execute("insert into t values (?, ?, randomblob(900))", (who, n))
            total = database.execute("select count(*) from t where who=?", (who,)).fetchone()[0]
            assert total == n + 1
            database.execute("commit")
        database.close()

    def reader():
        database = connect()
        last = 0
        while last < 240:
            count = database.execute("select count(*) from t").fetchone()[0]
            assert count >= last
            last = count
            time.sleep(0.01)
        database.close()
        return last

    children = [Child(writer, who) for who in range(4)] + [Child(reader)]
    try:
        for child in children:
            child.result(50)
    finally:
        for child in children:
            child.close()
    for where in (path, m.backing("db")):
        database = sqlite3.connect(where)
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        assert database.execute("select who, count(*) from t group by who").fetchall() == [
            (who, 60) for who in range(4)]
        database.close()


@pytest.mark.limit(240)
def test_build_of_lanefs_on_the_mount(mount):
    """Its own sources and build directory both on the mount."""
    need("meson", "ninja", "rsync", "cc", "pkg-config")
    if (run("pkg-config", "--atleast-version=3.18.3", "fuse3", check=False).returncode and
            not glob.glob(SOURCE_TREE + "/subprojects/*/include/fuse_lowlevel.h")):
        pytest.skip("no libfuse 3.18.3 here: run tools/bootstrap")
    m = mount("threshold=1M", over=True) if not NATIVE else mount()
    run("rsync", "-a", "--exclude=.git", "--exclude=/build*/", SOURCE_TREE + "/", m.join("src/"))
    built = m.join("build")
    run("meson", "setup", "--buildtype=debug", "-Doptimization=0", built, m.join("src"),
        timeout=100)
    # The policy and what simulates it, which is a third of it.
    run("ninja", "-C", built, "tools/lanesim", timeout=200)
    argv = ["--workload", "web", "--length", "3000", "--memory", "64M"]
    done = run(os.path.join(built, "tools", "lanesim"), *argv)
    assert "%" in done.stdout
    assert "no work to do" in run("ninja", "-C", built, "tools/lanesim").stdout
    if BUILD and not NATIVE:
        assert done.stdout == run(os.path.join(BUILD, "tools", "lanesim"), *argv).stdout


@pytest.mark.parametrize("engine, direct", [("libaio", 1), ("io_uring", 1), ("io_uring", 0),
                                            ("psync", 0), ("mmap", 0)])
def test_fio_verifies_what_it_wrote(m, engine, direct):
    """Random writes, many in flight at once, each checked against its own checksum."""
    need("fio")
    done = run("fio", "--name=verify", f"--filename={m.join('f')}", "--size=8M", "--rw=randwrite",
               "--bs=4k,4k", "--iodepth=16", f"--ioengine={engine}", f"--direct={direct}",
               "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--numjobs=1",
               "--randseed=7", "--fallocate=none", "--eta=never", "--verify_state_save=0",
               check=False, timeout=50)
    if "engine not loadable" in done.stdout + done.stderr:
        pytest.skip(f"fio has no {engine}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "err= 0" in done.stdout


def test_python_from_the_mount(m):
    """Modules are compiled, cached and imported again."""
    os.mkdir(m.join("package"))
    for index in range(30):
        write_file(m.join("package", f"m{index}.py"), b"value = %d\n" % index)
    write_file(m.join("package", "__init__.py"), b"")
    script = ("import sys; sys.path.insert(0, sys.argv[1])\n"
              "from importlib import import_module\n"
              "print(sum(import_module(f'package.m{n}').value for n in range(30)))")
    environment = {key: value for key, value in os.environ.items()
                   if key != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2):
        assert run(sys.executable, "-c", script, m.path, env=environment).stdout == "435\n"
    assert os.listdir(m.join("package", "__pycache__"))
