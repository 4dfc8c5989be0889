# SPDX-License-Identifier: MIT
"""Scarcity: descriptors, memory, space, a failing device.  Errors go to their caller only."""
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import util_sys
from util import Child, clock, outcome, pattern, read_file, run, sha256, unmount, wait_for, write_file, write_large
from util_cgroup import memory_cgroup
from util_mount import sanitized
from util_stream import without_system_call

pytestmark = pytest.mark.daemon

SYS_OPEN_BY_HANDLE_AT = {"x86_64": 304}.get(os.uname().machine, 265)
SYS_UNSHARE = {"x86_64": 272}.get(os.uname().machine, 97)
SYS_MBIND = {"x86_64": 237}.get(os.uname().machine, 235)
SYS_IO_URING_ENTER, SYS_IO_URING_REGISTER = 426, 427

TREE = [(f"d{major:02d}", [f"f{minor:03d}" for minor in range(200)]) for major in range(100)]


def make_tree(base, directories=100):
    """200 small files in each of the directories."""
    for directory, names in TREE[:directories]:
        os.mkdir(os.path.join(base, directory))
        for name in names:
            fd = os.open(os.path.join(base, directory, name), os.O_CREAT | os.O_WRONLY, 0o644)
            os.write(fd, name.encode())
            os.close(fd)


@pytest.fixture(scope="module")
def tree(scratch):
    """A directory with all of the tree, for tests that change nothing in it."""
    path = scratch.directory("tree")
    make_tree(path)
    yield path
    run("rm", "-rf", path)


def walk(base, read_every=1):
    seen = 0
    for directory, _, names in os.walk(base):
        for index, name in enumerate(names):
            path = os.path.join(directory, name)
            assert os.lstat(path).st_size == 4
            if index % read_every == 0:
                assert read_file(path) == name.encode()
            seen += 1
    return seen


def test_descriptor_limit_is_raised(mount):
    def lower():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))

    m = mount(enter=lower)
    with open(f"/proc/{m.pid}/limits") as stream:
        words = [line.split() for line in stream if line.startswith("Max open files")][0]
    assert words[3] == words[4] != "200"


@pytest.mark.limit(120)
def test_few_descriptors_and_many_files(mount, tree):
    m = mount(nofile=256, source=tree)
    assert walk(m.path) == 20000
    assert sum(map(len, m.descriptors())) <= 256
    assert walk(m.path, 10) == 20000


@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_more_open_files_than_descriptors(mount, passthrough):
    """The caller, who has not too many, gets ENFILE, and all is well after closing."""
    m = mount(f"passthrough={passthrough}", nofile=256)
    for index in range(400):
        write_file(m.backing(f"f{index}"), b"%d" % index)

    def open_many():
        fds, refused = [], 0
        for index in range(400):
            try:
                fds.append((index, os.open(m.join(f"f{index}"), os.O_RDONLY)))
            except OSError as error:
                assert error.errno in (errno.ENFILE, errno.ENOMEM), error
                refused += 1
        # What keeps no descriptor goes on, and what fails has made nothing.
        made = []
        with pytest.raises(OSError) as failed:
            for index in range(400):
                made.append(os.open(m.join(f"made{index}"), os.O_CREAT | os.O_WRONLY))
        assert failed.value.errno in (errno.ENFILE, errno.ENOMEM)
        assert not os.path.exists(m.backing(f"made{len(made)}"))
        os.mkdir(m.join("d"))
        os.rename(m.join("d"), m.join("e"))
        os.chmod(m.join("e"), 0o700)
        assert os.listdir(m.join("e")) == []
        os.rmdir(m.join("e"))
        for fd in made:
            os.close(fd)
        for index, fd in fds:
            assert os.read(fd, 10) == b"%d" % index
            os.close(fd)
        return len(fds), refused

    with Child(open_many) as child:
        opened, refused = child.result()
    assert opened >= 100 and opened + refused == 400
    for index in range(400):
        assert read_file(m.join(f"f{index}")) == b"%d" % index
    write_file(m.join("new"), b"works")


def test_threads_come_and_go(mount):
    """What a thread that has ended had answered is still there for others."""
    m = mount("transport=io_uring")
    names = [m.join(f"f{i}") for i in range(8)]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    def sync_all():
        """Each is answered by a thread of its own."""
        with ThreadPoolExecutor(len(names)) as pool:
            fds = [os.open(name, os.O_RDWR | os.O_CREAT, 0o644) for name in names]
            for fd in fds:
                os.write(fd, b"data")
            list(pool.map(os.fsync, fds))
        return fds

    try:
        fds = sync_all()
        # Longer than an idle thread waits for work (fs/worker.c).
        time.sleep(1.6)
        with ThreadPoolExecutor(2 * len(names)) as pool:
            found = {outcome(os.stat, m.join(f"none{i}")) for i in range(4)}
            found.update(pool.map(lambda i: outcome(os.stat, m.join(f"none{i}")), range(200)))
    finally:
        os.sched_setaffinity(0, range(os.cpu_count()))
    assert found == {os.strerror(errno.ENOENT)}
    for fd in fds:
        os.close(fd)


@pytest.mark.limit(120)
@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_everything_is_given_back(mount, passthrough):
    """After a walk, a removal and a dropped dcache all is where it began."""
    m = mount(f"passthrough={passthrough}")
    memory = []
    for turn in range(4):
        os.mkdir(m.join("t"))
        make_tree(m.join("t"), 10)
        assert walk(m.join("t")) == 2000
        assert m.stats()["inodes"]["known"] > 100
        run("rm", "-r", m.join("t"))
        m.shrink()
        wait_for(lambda: m.stats()["inodes"]["known"] <= 1, 10, "all inodes forgotten")
        wait_for(lambda: m.stats()["backing_ids"] == 0, 10, "all backing ids given back")
        wait_for(lambda: m.descriptors()[0] == m.first_descriptors[0], 10, "descriptors closed")
        # The tables of what is learned fill for as long as files come; they have a bound of their own.
        memory.append(m.memory() - json.loads(m.attribute("report"))["memory"])
    if not sanitized():
        # 6,000 inodes more; what the allocator and the transport's buffers settle at is less.
        assert max(memory[1:]) <= memory[0] + (2 << 20), memory


@pytest.mark.limit(120)
@pytest.mark.parametrize("named", [False, True], ids=["tmpfile", "second-name"])
def test_open_file_without_a_name_and_without_handles(mount, named):
    """It cannot be found again, so it stays known, however many others are met."""
    m = mount(nofile=256, enter=lambda: without_system_call(SYS_OPEN_BY_HANDLE_AT, errno.EPERM))
    assert not m.stats()["handles"]["available"]
    make_tree(m.backing(), 5)
    if named:
        write_file(m.join("a"), b"data")
        os.link(m.join("a"), m.join("b"))
        fd = os.open(m.join("a"), os.O_RDWR)
        assert os.stat(m.join("b")).st_nlink == 2
        os.unlink(m.join("b"))
    else:
        fd = os.open(m.path, os.O_TMPFILE | os.O_RDWR, 0o600)
        os.write(fd, b"data")
    assert walk(m.join("d00")) + walk(m.join("d01")) + walk(m.join("d02")) == 600
    assert os.fstat(fd).st_nlink == named
    os.ftruncate(fd, 2)
    assert os.fstat(fd).st_size == 2
    util_sys.linkat_fd(fd, m.join("c"))
    os.close(fd)
    assert read_file(m.join("c")) == b"da"


@pytest.mark.parametrize("how", ["renamed", "deleted"])
@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_open_file_that_leaves_in_source_without_handles(mount, how, passthrough):
    m = mount(f"passthrough={passthrough}", nofile=256,
              enter=lambda: without_system_call(SYS_OPEN_BY_HANDLE_AT, errno.EPERM))
    make_tree(m.backing(), 5)
    write_file(m.backing("a"), b"data")
    write_file(m.backing("b"), b"data")
    fds = [os.open(m.join("a"), os.O_RDONLY), os.open(m.join("b"), os.O_RDWR)]
    for name in ("a", "b"):
        if how == "deleted":
            os.unlink(m.backing(name))
        else:
            os.rename(m.backing(name), m.backing(f"{name}.1"))
    assert walk(m.join("d00")) + walk(m.join("d01")) + walk(m.join("d02")) == 600
    # What the kernel knows of them has run out.
    time.sleep(1.1)
    for fd in fds:
        assert os.fstat(fd).st_size == 4 and os.pread(fd, 10, 0) == b"data"
    os.ftruncate(fds[1], 2)
    assert os.fstat(fds[1]).st_size == 2
    for fd in fds:
        os.close(fd)


def test_deleted_in_source_without_handles(mount):
    """Its space is given back, though the kernel knows it still."""
    m = mount(enter=lambda: without_system_call(SYS_OPEN_BY_HANDLE_AT, errno.EPERM))
    for name in ("a", "b"):
        write_file(m.backing(name), b"x")
        os.stat(m.join(name))
    os.unlink(m.backing("a"))
    assert any("(deleted)" in name for name in m.descriptors()[0])
    wait_for(lambda: not any("(deleted)" in name for name in m.descriptors()[0]), 30, "it is let go of")
    assert os.stat(m.join("b")).st_size == 1


def create_all(directory, mask, count):
    os.umask(mask)
    for number in range(count):
        os.close(os.open(f"{directory}/{number}", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(f"{directory}/{number}.d", 0o777)
    return {(mask, os.stat(f"{directory}/{number}{suffix}").st_mode & 0o777)
            for number in range(count) for suffix in ("", ".d")}


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_modes_where_threads_share_a_umask(mount, transport):
    """As in containers that forbid unshare(2)."""
    m = mount(f"transport={transport}", enter=lambda: without_system_call(SYS_UNSHARE, errno.EPERM))
    children, masks = [], (0o077, 0, 0o022, 0o007)
    for mask in masks:
        os.mkdir(m.join(f"{mask}"))
        children.append(Child(create_all, m.join(f"{mask}"), mask, 300))
    for child, mask in zip(children, masks):
        assert child.result() == {(mask, 0o666 & ~mask), (mask, 0o777 & ~mask)}


@pytest.mark.parametrize("number", [SYS_IO_URING_ENTER, SYS_IO_URING_REGISTER, SYS_MBIND],
                         ids=["io_uring_enter", "io_uring_register", "mbind"])
def test_half_of_io_uring(mount, number):
    """As where a container allows io_uring_setup(2) alone, or no choice of the memory's node."""
    m = mount("transport=auto", enter=lambda: without_system_call(number, errno.EPERM))
    write_large(m.backing("f"), 20 << 20)
    assert sha256(m.join("f")) == sha256(m.backing("f"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: write_file(m.join(f"{i}"), b"x"), range(200)))
    if number != SYS_MBIND:
        assert m.stats()["transport"]["name"] == "dev"
    assert "mbind" not in m.log()


@pytest.mark.limit(120)
def test_very_deep_without_handles(mount):
    """What is deep is found by all the names above it, whose descriptors were closed long ago."""
    def enter():
        # Threads get as much stack.
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.RLIM_INFINITY))
        without_system_call(SYS_OPEN_BY_HANDLE_AT, errno.EPERM)

    m = mount("transport=dev", "attr-timeout=0", nofile=256, enter=enter)
    fds, depth = {0: os.open(m.path, os.O_PATH)}, 6000
    deepest = fds[0]
    for level in range(1, depth + 1):
        os.mkdir("x", dir_fd=deepest)
        below = os.open("x", os.O_PATH, dir_fd=deepest)
        if deepest not in fds.values():
            os.close(deepest)
        deepest = below
        if level in (1000, 1900, depth):
            fds[level] = below
    try:
        for _ in range(3):
            for level in (1000, 1900):
                assert os.fstat(fds[level]).st_nlink == 3
        # By then the descriptors of those above it are gone, too.
        for level in (1000, 1900, depth):
            try:
                os.fstat(fds[level])
            except OSError as error:
                assert level == depth and error.errno == errno.ESTALE
        os.mkdir("y", dir_fd=fds[1900])
        assert sorted(os.listdir(f"/proc/self/fd/{fds[1900]}")) == ["x", "y"]
    finally:
        for fd in fds.values():
            os.close(fd)
    assert os.listdir(m.path) == ["x"]
    run("rm", "-rf", m.backing("x"))


@pytest.mark.limit(120)
def test_memory_of_a_known_file(mount, tree):
    """A large tree costs under 300 bytes per known inode, and descriptors within the limit."""
    m = mount(nofile=1000, source=tree)
    if not m.stats()["handles"]["available"]:
        pytest.skip("no file handles: " + m.stats()["handles"]["reason"])
    read_file(m.join("d00", "f000"))
    known, first, before = 0, None, None
    for directory, _, names in os.walk(m.path):
        for name in names:
            os.lstat(os.path.join(directory, name))
        # The machine may take some back meanwhile.
        known = max(known, m.stats()["inodes"]["known"])
        # By then threads that were started have what memory they need for themselves.
        if first is None and known > 2000:
            first, before = known, m.memory()
    assert known - first > 1000
    assert sum(map(len, m.descriptors())) < 1000
    if not sanitized():
        assert (m.memory() - before) / (known - first) < 300


@pytest.mark.limit(90)
@pytest.mark.parametrize("lane", ["direct", "cached"])
@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_reader_in_a_small_cgroup(mount, lane, transport):
    """A program confined to 8 MiB reads a large file whole, whatever the lane."""
    m = mount(f"lane={lane}", f"transport={transport}")
    digest = write_large(m.backing("f"), 64 << 20)
    util_sys.drop_pages(m.backing("f"))
    with memory_cgroup("reader", 24 << 20) as group:
        def read():
            group.enter()
            return sha256(m.join("f"))

        with Child(read) as child:
            assert child.result(60) == digest
        assert group.kills() == 0
        util_sys.drop_pages(m.backing("f"))


@pytest.mark.limit(90)
@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_daemon_in_a_small_cgroup(mount, transport):
    """The daemon in 8 MiB: serves, or refuses with an errno; it is not killed for its memory."""
    if sanitized():
        pytest.skip("a sanitizer needs more memory than that for itself")
    with memory_cgroup("daemon", 8 << 20) as group:
        m = mount("lane=direct", f"transport={transport}", enter=group.enter)
        digest = write_large(m.backing("f"), 64 << 20)
        util_sys.drop_pages(m.backing("f"))

        def read():
            try:
                return sha256(m.join("f"), 1 << 20)
            except OSError as error:
                return error.errno

        children = [Child(read) for _ in range(6)]
        for child in children:
            assert child.result(60) in (digest, errno.ENOMEM, errno.EIO)
        assert sha256(m.join("f")) == digest
        for index in range(500):
            write_file(m.join(f"n{index}"), b"x")
        assert len(os.listdir(m.path)) == 501
        assert group.kills() == 0
        assert m.close() == []


@pytest.mark.limit(90)
@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_many_readers_of_a_daemon_in_a_small_cgroup(mount, transport):
    """As many requests as programs care to make at once have room, and nothing is kept of them."""
    if sanitized():
        pytest.skip("a sanitizer needs more memory than that for itself")
    with memory_cgroup("daemon", 8 << 20) as group:
        m = mount("lane=direct", f"transport={transport}", enter=group.enter)
        digest = write_large(m.backing("f"), 8 << 20)
        util_sys.drop_pages(m.backing("f"))
        with ThreadPoolExecutor(40) as pool:
            found = list(pool.map(lambda _: outcome(sha256, m.join("f")), range(120)))
        assert set(found) == {digest}
        assert sha256(m.join("f")) == digest
        assert group.kills() == 0
        assert "nothing is read ahead or learned" in m.log()
        report = json.loads(m.attribute("report"))
        assert report["memory"] < 512 << 10 and not report["learn"]
        assert m.close() == []


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_signals_that_meet_requests_take_no_memory(mount, transport):
    """The kernel tells of each, which over io_uring libfuse remembered for ever."""
    m = mount("lane=direct", f"transport={transport}")

    def anonymous():
        with open(f"/proc/{m.process.pid}/status") as stream:
            return next(int(line.split()[1]) << 10 for line in stream if line.startswith("RssAnon"))

    def load(name, seconds):
        signal.signal(signal.SIGALRM, lambda *_: None)
        fd = os.open(m.join(name), os.O_RDWR | os.O_CREAT)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        end = clock() + seconds
        while clock() < end:
            os.pwrite(fd, bytes(4096), 0)
            os.fdatasync(fd)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def loads(seconds):
        for child in [Child(load, f"f{number}", seconds) for number in range(4)]:
            with child:
                child.result(60)

    loads(1)
    before = anonymous()
    loads(3)
    assert anonymous() - before < 512 << 10


@pytest.mark.parametrize("kind", ["flock", "posix"])
def test_locks_waited_for_of_a_small_daemon(mount, kind):
    """Over /dev/fuse each takes a thread."""
    if sanitized():
        pytest.skip("a sanitizer needs more memory than that for itself")

    def wait_for_lock(path):
        with open(path, "r+b") as stream:
            if kind == "flock":
                return outcome(fcntl.flock, stream, fcntl.LOCK_EX)
            return outcome(fcntl.lockf, stream, fcntl.LOCK_EX)

    with memory_cgroup("daemon", 8 << 20) as group:
        m = mount("transport=dev", enter=group.enter)
        write_file(m.join("f"), b"x")
        with open(m.join("f"), "r+b") as stream:
            (fcntl.flock if kind == "flock" else fcntl.lockf)(stream, fcntl.LOCK_EX)
            children = [Child(wait_for_lock, m.join("f")) for _ in range(40)]
            wait_for(lambda: sum(child.poll() is not None for child in children) >= 8, 20, "some were refused")
            time.sleep(0.3)
            assert sum(child.poll() is None for child in children) == 32
            # As others do.
            write_file(m.join("g"), b"x")
            (fcntl.flock if kind == "flock" else fcntl.lockf)(stream, fcntl.LOCK_UN)
        found = [child.result(20) for child in children]
        assert sorted(str(one) for one in found) == ["No locks available"] * 8 + ["None"] * 32
        assert outcome(wait_for_lock, m.join("f")) is None
        assert group.kills() == 0
        assert m.close() == []


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_large_attribute_of_a_small_daemon(mount, transport):
    """Its requests are small, too, but not smaller than the largest attribute."""
    with memory_cgroup("attribute", 200 << 20) as group:
        m = mount(f"transport={transport}", backing="xfs", enter=group.enter)
        write_file(m.join("f"), b"")
        value = pattern(65536)
        os.setxattr(m.join("f"), "user." + "n" * 250, value)
        assert os.getxattr(m.backing("f"), "user." + "n" * 250) == value
        assert os.getxattr(m.join("f"), "user." + "n" * 250) == value
        assert m.close() == []


def free_blocks(path):
    return os.statvfs(path).f_bfree * os.statvfs(path).f_frsize


def test_full_filesystem(small_disk, mount):
    m = mount(source=small_disk)
    block = pattern(1 << 20)

    def fill():
        fd = os.open(m.join("fill"), os.O_WRONLY | os.O_CREAT)
        try:
            done = 0
            while True:
                done += os.write(fd, block)
        except OSError as error:
            return error.errno, done
        finally:
            os.close(fd)

    number, done = fill()
    assert number == errno.ENOSPC
    assert os.stat(m.join("fill")).st_size == done > 10 << 20
    with pytest.raises(OSError) as caught:
        write_file(m.join("more"), block)
        fd = os.open(m.join("more"), os.O_WRONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    assert caught.value.errno == errno.ENOSPC
    fd = os.open(m.join("more"), os.O_RDWR)
    with pytest.raises(OSError) as caught:
        util_sys.fallocate(fd, 0, 0, 20 << 20)
    assert caught.value.errno == errno.ENOSPC
    os.close(fd)
    assert os.statvfs(m.path).f_bavail * os.statvfs(m.path).f_frsize < 1 << 20
    os.unlink(m.join("fill"))
    wait_for(lambda: free_blocks(m.path) > 8 << 20, 1, "the space is free again")
    write_file(m.join("after"), block)
    assert read_file(m.join("after")) == block


@pytest.mark.parametrize("passthrough", ["auto", "off"])
@pytest.mark.parametrize("lane", ["cached", "direct"])
def test_space_of_a_deleted_file_is_free_soon(small_disk, mount, lane, passthrough):
    m = mount(f"lane={lane}", f"passthrough={passthrough}", source=small_disk)
    before = free_blocks(small_disk)

    def used(size):
        return lambda: before - free_blocks(small_disk) < size

    data = pattern(8 << 20)
    write_file(m.join("f"), data)
    assert read_file(m.join("f")) == data
    os.unlink(m.join("f"))
    wait_for(used(1 << 20), 1, "closed, then removed: free at once")
    write_file(m.join("f"), data)
    fd = os.open(m.join("f"), os.O_RDONLY)
    os.unlink(m.join("f"))
    assert os.pread(fd, 9 << 20, 0) == data
    assert not used(1 << 20)()
    os.close(fd)
    wait_for(used(1 << 20), 1, "removed while open: free at the last close")
    write_file(m.join("f"), data)
    read_file(m.join("f"))
    write_file(m.join("g"), b"")
    os.rename(m.join("g"), m.join("f"))
    wait_for(used(1 << 20), 1, "replaced by a rename: free at once")
    write_file(m.join("h"), data)
    read_file(m.join("h"))
    os.unlink(m.backing("h"))
    wait_for(used(1 << 20), 10, "removed from outside: free after a short while")


@pytest.fixture
def bad_block(scratch):
    """A file on btrfs whose block 100 of 256 has rotted on the disk: (its directory, data)."""
    path = scratch.directory("bad")
    image = scratch.image("btrfs", path, megabytes=128)
    data = pattern(1 << 20)
    write_file(path + "/f", data)
    write_file(path + "/good", data)
    run("sync", "-f", path)
    with open(image, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
        at = view.find(data[100 * 4096:101 * 4096])
        while at >= 0:
            view[at:at + 16] = bytes(16)
            at = view.find(data[100 * 4096:101 * 4096], at)
    write_file(path + "/good", data)
    yield path, data
    unmount(path)
    os.unlink(image)


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
@pytest.mark.parametrize("lane, passthrough", [("direct", "auto"), ("direct", "off"),
                                               ("cached", "auto"), ("cached", "off")])
def test_failing_device(bad_block, mount, lane, passthrough, transport):
    """EIO to the reader of the bad block, and to no other read."""
    path, data = bad_block
    m = mount(f"lane={lane}", f"passthrough={passthrough}", f"transport={transport}", source=path)
    for name in ("f", "good"):
        util_sys.drop_pages(f"{path}/{name}")
    for name in (path + "/f", m.join("f")):
        fd = os.open(name, os.O_RDONLY)
        for turn in range(3):
            with pytest.raises(OSError) as caught:
                os.pread(fd, 4096, 100 * 4096)
            assert caught.value.errno == errno.EIO
            assert os.pread(fd, 40960, 0) == data[:40960]
            assert os.pread(fd, 65536, 600000) == data[600000:665536]
        os.close(fd)
    assert read_file(m.join("good")) == data
    with pytest.raises(OSError) as caught:
        read_file(m.join("f"))
    assert caught.value.errno == errno.EIO
    write_file(m.join("f"), data)
    assert read_file(m.join("f")) == data


@pytest.mark.parametrize("lane, passthrough", [("direct", "auto"), ("direct", "off"),
                                               ("cached", "auto"), ("cached", "off")])
def test_backing_file_changed_under_a_reader(mount, lane, passthrough):
    """Truncated, deleted and made unreadable from outside while it is being read."""
    m = mount(f"lane={lane}", f"passthrough={passthrough}")
    data = pattern(4 << 20)
    write_file(m.backing("f"), data)
    util_sys.drop_pages(m.backing("f"))
    fd = os.open(m.join("f"), os.O_RDONLY)
    assert os.pread(fd, 65536, 0) == data[:65536]
    os.chmod(m.backing("f"), 0)
    assert os.pread(fd, 65536, 1 << 20) == data[1 << 20:(1 << 20) + 65536]
    os.truncate(m.backing("f"), (2 << 20) + 100)
    time.sleep(1.2)
    assert os.pread(fd, 65536, 2 << 20) == data[2 << 20:(2 << 20) + 100]
    assert os.pread(fd, 65536, 3 << 20) == b""
    os.unlink(m.backing("f"))
    assert os.pread(fd, 65536, (1 << 20) + 65536) == data[(1 << 20) + 65536:(1 << 20) + 131072]
    os.close(fd)
    assert not os.path.exists(m.join("f")) or wait_for(
        lambda: not os.path.exists(m.join("f")), 2, "the removal shows")


def test_backing_without_write_permission(mount, scratch):
    """The backing is mounted read-only: EROFS for the writer, reading goes on."""
    source = scratch.directory("read-only")
    write_file(os.path.join(source, "f"), b"there")
    run("mount", "--bind", source, source)
    try:
        run("mount", "-o", "remount,bind,ro", source)
        m = mount(source=source)
        assert read_file(m.join("f")) == b"there"
        for action in (lambda: write_file(m.join("f"), b"x"), lambda: os.mkdir(m.join("d")),
                       lambda: os.chmod(m.join("f"), 0o600), lambda: os.unlink(m.join("f")),
                       lambda: os.setxattr(m.join("f"), "user.lanefs.policy", b"direct")):
            with pytest.raises(OSError) as caught:
                action()
            assert caught.value.errno == errno.EROFS
        assert m.close() == []
    finally:
        unmount(source)
