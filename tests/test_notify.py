# SPDX-License-Identifier: MIT
"""notify=on: what changes in the backing directory shows on the mount at once, whatever the kernel
was told to keep.  attr-timeout=60, so that no test passes by waiting."""
import mmap
import os
import random
import signal
import statistics
import time

import pytest

import util_sys
from util import Child, clock, need, pattern, read_file, run, sysctl, unmount, wait_for, write_file
from util_mount import lanectl_on_all

pytestmark = pytest.mark.daemon

# Far below the timeout and the second of the ordinary rules, far above what it takes.
SOON = 0.5
OPTIONS = ("notify=on", "attr-timeout=60")
WAYS = {
    "ext4-dev": ("ext4", False, ("transport=dev", "lane=cached", "passthrough=off")),
    "ext4-over": ("ext4", True, ("transport=io_uring", "lane=direct")),
    "xfs": ("xfs", False, ("transport=io_uring", "lane=cached", "passthrough=off")),
    "xfs-over": ("xfs", True, ("transport=dev", "lane=direct", "passthrough=off")),
    "btrfs": ("btrfs", False, ("transport=dev", "lane=direct")),
    "btrfs-over": ("btrfs", True, ("transport=io_uring", "lane=cached")),
}


def soon(condition, what=""):
    wait_for(condition, SOON, f"seen: {what}", 0.001)


def notice(m):
    return m.stats()["notify"]


@pytest.fixture(params=list(WAYS))
def m(request, mount):
    backing, over, options = WAYS[request.param]
    one = mount(*OPTIONS, *options, backing=backing, over=over)
    assert notice(one)["means"] == "fanotify", notice(one)
    return one


@pytest.fixture
def inotify(mount):
    with sysctl("fs.fanotify.max_user_groups", 0):
        one = mount(*OPTIONS, "passthrough=off", "lane=cached")
    assert notice(one)["means"] == "inotify" and "fanotify" in notice(one)["reason"]
    return one


@pytest.fixture(params=["fanotify", "inotify"])
def either(request, mount):
    if request.param == "inotify":
        return request.getfixturevalue("inotify")
    return mount(*OPTIONS, "passthrough=off", "lane=cached")


def known(m, *names):
    """The kernel has it, and would not ask again for a minute."""
    return os.stat(m.join(*names))


def test_without_it_nothing_is_seen(mount):
    """What the other tests see is no accident."""
    m = mount("attr-timeout=60")
    write_file(m.backing("f"), b"old")
    known(m, "f")
    os.chmod(m.backing("f"), 0o600)
    time.sleep(SOON)
    assert os.stat(m.join("f")).st_mode & 0o777 == 0o644
    assert notice(m) == {"means": "off", "reason": ""}


def test_contents(m):
    """Overwritten, grown, cut and grown again under a reader that stays open."""
    data = pattern(300000)
    write_file(m.backing("f"), data)
    with open(m.join("f"), "rb", buffering=0) as reader, \
            open(m.backing("f"), "r+b", buffering=0) as outside:
        fd = reader.fileno()

        def seen(expected):
            soon(lambda: os.pread(fd, 1 << 20, 0) == expected)
            soon(lambda: os.fstat(fd).st_size == os.stat(m.join("f")).st_size == len(expected))

        seen(data)
        for turn in range(5):
            os.pwrite(outside.fileno(), b"%d" % turn * 5000, 100000)
            data = data[:100000] + b"%d" % turn * 5000 + data[105000:]
            seen(data)
        os.pwrite(outside.fileno(), b"tail" * 1000, len(data))
        data += b"tail" * 1000
        seen(data)
        os.ftruncate(outside.fileno(), 70001)
        seen(data[:70001])
        os.ftruncate(outside.fileno(), 90000)
        data = data[:70001] + bytes(19999)
        seen(data)
        util_sys.fallocate(outside.fileno(), util_sys.FALLOC_PUNCH_HOLE | util_sys.FALLOC_KEEP_SIZE,
                           10000, 20000)
        data = data[:10000] + bytes(20000) + data[30000:]
        seen(data)


def test_contents_in_kernel_pages(m):
    """What sendfile and a mapping have left in page caches is not served again."""
    data = pattern(300000)
    write_file(m.backing("f"), data)
    with open(m.join("f"), "rb") as reader, \
            mmap.mmap(reader.fileno(), 300000, prot=mmap.PROT_READ) as view:
        def sent():
            with open(m.backing("copy"), "wb") as out:
                assert os.sendfile(out.fileno(), reader.fileno(), 0, 300000) == 300000
            return read_file(m.backing("copy"))

        assert view[:] == data == sent()
        for turn in range(3):
            data = bytes(turn + 1) + data[turn + 1:150000] + pattern(150000, turn)
            with open(m.backing("f"), "r+b") as outside:
                outside.write(data)
            soon(lambda: view[:] == data, "mapping")
            soon(lambda: sent() == data, "sendfile")


def test_contents_in_windows(mount):
    """A stream through the windows of the direct lane goes on in what is there now."""
    m = mount(*OPTIONS, "lane=direct", backing="ext4")
    write_file(m.backing("f"), b"a" * (8 << 20))
    with open(m.join("f"), "rb", buffering=0) as stream:
        def read_on():
            if stream.tell() > 6 << 20:
                stream.seek(0)
            assert stream.read(65536) == b"a" * 65536
            return m.stats(m.join("f"))["window"]["hits"] > 5

        wait_for(read_on, 20, "reads that find what was read ahead")
        for fill in (b"b", b"c"):
            write_file(m.backing("f"), fill * (8 << 20))
            at = stream.tell()
            # What is read by itself is new before what was read ahead has gone.
            soon(lambda: all(os.pread(stream.fileno(), 65536, at + piece * 65536) == fill * 65536
                             for piece in range(12)))
            for _ in range(10):
                assert stream.read(65536) == fill * 65536


def test_attributes(m):
    write_file(m.backing("f"), b"x")
    os.mkdir(m.backing("d"))
    for name in ("f", "d"):
        known(m, name)
        os.chmod(m.backing(name), 0o500)
        soon(lambda: os.stat(m.join(name)).st_mode & 0o777 == 0o500, "mode")
        os.chown(m.backing(name), 5001, 6001)
        soon(lambda: os.stat(m.join(name)).st_uid == 5001, "owner")
        os.utime(m.backing(name), (1000, 2000))
        soon(lambda: os.stat(m.join(name)).st_mtime == 2000, "times")
    os.chmod(m.backing(), 0o711)
    soon(lambda: os.stat(m.path).st_mode & 0o777 == 0o711, "the root itself")


@pytest.mark.parametrize("backing", ["ext4", "xfs", "btrfs"])
def test_stored_policy(mount, backing):
    m = mount(*OPTIONS, "transport=dev", backing=backing)
    write_file(m.backing("f"), b"x")
    assert m.lane(m.join("f")) == "cached"
    os.setxattr(m.backing("f"), "user.lanefs.policy", b"direct")
    soon(lambda: m.lane(m.join("f")) == "direct")
    os.mkdir(m.backing("d"))
    write_file(m.backing("d/f"), b"x")
    assert m.lane(m.join("d/f")) == "cached"
    os.setxattr(m.backing("d"), "user.lanefs.policy", b"stream")
    soon(lambda: m.lane(m.join("d/f")) in ("stream", "direct"))
    os.removexattr(m.backing("f"), "user.lanefs.policy")
    soon(lambda: m.lane(m.join("f")) == "cached")


def test_names(m):
    os.mkdir(m.backing("d"))
    for name in ("gone", "moved", "replaced"):
        write_file(m.backing("d", name), name.encode())
        known(m, "d", name)
    before = known(m, "d")
    assert sorted(os.listdir(m.join("d"))) == ["gone", "moved", "replaced"]
    write_file(m.backing("d", "new"), b"12345")
    soon(lambda: os.path.exists(m.join("d", "new")))
    soon(lambda: os.stat(m.join("d", "new")).st_size == 5)
    soon(lambda: os.stat(m.join("d")).st_mtime_ns > before.st_mtime_ns, "mtime of the directory")
    os.unlink(m.backing("d", "gone"))
    soon(lambda: not os.path.exists(m.join("d", "gone")))
    os.rename(m.backing("d", "moved"), m.backing("elsewhere"))
    soon(lambda: not os.path.exists(m.join("d", "moved")))
    soon(lambda: os.path.exists(m.join("elsewhere")))
    write_file(m.backing("temporary"), b"the other")
    os.rename(m.backing("temporary"), m.backing("d", "replaced"))
    soon(lambda: os.stat(m.join("d", "replaced")).st_size == 9)
    assert read_file(m.join("d", "replaced")) == b"the other"
    util_sys.renameat2(m.backing("d", "replaced"), m.backing("elsewhere"), util_sys.RENAME_EXCHANGE)
    soon(lambda: os.stat(m.join("elsewhere")).st_size == 9)
    soon(lambda: os.stat(m.join("d", "replaced")).st_size == 5)
    assert sorted(os.listdir(m.join("d"))) == ["new", "replaced"]


def test_directories_move(m):
    os.makedirs(m.backing("a", "b", "c"))
    write_file(m.backing("a", "b", "c", "f"), b"1")
    known(m, "a", "b", "c", "f")
    links = known(m).st_nlink
    os.rename(m.backing("a", "b"), m.backing("z"))
    soon(lambda: not os.path.exists(m.join("a", "b")))
    soon(lambda: os.path.exists(m.join("z", "c", "f")))
    soon(lambda: os.stat(m.path).st_nlink == os.stat(m.backing()).st_nlink)
    assert links <= os.stat(m.path).st_nlink
    os.mkdir(m.backing("a", "b"))
    soon(lambda: os.path.exists(m.join("a", "b")))
    assert os.listdir(m.join("a", "b")) == []
    os.rmdir(m.backing("a", "b"))
    soon(lambda: not os.path.exists(m.join("a", "b")))


def test_hard_links(m):
    os.mkdir(m.backing("d"))
    write_file(m.backing("one"), b"1")
    os.link(m.backing("one"), m.backing("d", "two"))
    assert known(m, "one").st_nlink == known(m, "d", "two").st_nlink == 2
    os.link(m.backing("one"), m.backing("three"))
    soon(lambda: os.stat(m.join("one")).st_nlink == 3)
    write_file(m.backing("three"), b"changed")
    for name in ("one", "d/two", "three"):
        soon(lambda: os.stat(m.join(name)).st_size == 7, name)
    os.unlink(m.backing("three"))
    soon(lambda: os.stat(m.join("d", "two")).st_nlink == 2)
    write_file(m.backing("other"), b"of another size")
    os.rename(m.backing("other"), m.backing("d", "two"))
    soon(lambda: os.stat(m.join("d", "two")).st_size == 15)
    soon(lambda: os.stat(m.join("one")).st_nlink == 1)


def test_deleted_while_open(m):
    write_file(m.backing("f"), b"1" * 5000)
    with open(m.join("f"), "rb", buffering=0) as stream:
        assert os.fstat(stream.fileno()).st_nlink == 1
        os.unlink(m.backing("f"))
        soon(lambda: os.fstat(stream.fileno()).st_nlink == 0)
        assert stream.read(10000) == b"1" * 5000


def test_how_soon(either):
    """The median of many single changes, with pauses as people make them."""
    write_file(either.backing("f"), b"")
    known(either, "f")
    took = []
    for turn in range(1, 40):
        with open(either.backing("f"), "ab", buffering=0) as outside:
            outside.write(b"x")
        start = time.monotonic()
        soon(lambda: os.stat(either.join("f")).st_size == turn)
        took.append(time.monotonic() - start)
        time.sleep(0.01)
    assert statistics.median(took) < 0.05, took


def test_below_another_mount(mount, scratch):
    """A filesystem mounted below SOURCE is covered from when it is met."""
    source = scratch.directory("source")
    os.mkdir(os.path.join(source, "other"))
    run("mount", "-t", "tmpfs", "none", os.path.join(source, "other"))
    try:
        m = mount(*OPTIONS, source=source)
        write_file(m.backing("other", "f"), b"1")
        known(m, "other", "f")
        write_file(m.backing("other", "f"), b"123")
        soon(lambda: os.stat(m.join("other", "f")).st_size == 3)
        m.shrink()
    finally:
        run("umount", "-l", os.path.join(source, "other"))


def test_lookups_race_with_changes(either):
    """A lookup whose answer is on its way brings nothing old that would stay for a minute."""
    path, chance = either.join("f"), random.Random(7)
    write_file(either.backing("f"), b"")
    turns = mmap.mmap(-1, 4096)

    def look():
        """Once in every turn, as the first after the kernel has forgotten the file."""
        seen = 0
        while seen != 255:
            if turns[0] != seen:
                seen = turns[0]
                os.stat(path)

    with Child(look) as looker, open(either.backing("f"), "ab", buffering=0) as outside:
        for turn in range(1, 500):
            either.shrink()
            turns[0] = turn % 250 + 1
            start, pause = time.perf_counter(), chance.uniform(0, 0.0003)
            while time.perf_counter() < start + pause:
                pass
            outside.write(b"x")
            soon(lambda: os.stat(path).st_size == turn, f"turn {turn}")
        turns[0] = 255
        looker.result()


def test_overflow(mount):
    """Events that were lost are made up for by asking for everything again."""
    with sysctl("fs.fanotify.max_queued_events", 16):
        m = mount(*OPTIONS, "passthrough=off", "lane=cached")
    os.mkdir(m.backing("d"))
    names = [f"d/f{index}" for index in range(300)]
    for name in names:
        write_file(m.backing(name), b"old")
        assert known(m, name).st_size == 3
    os.link(m.backing("d", "f0"), m.backing("linked"))
    assert known(m, "linked").st_nlink == 2
    with open(m.join("d", "f7"), "rb", buffering=0) as reader:
        assert reader.read() == b"old"
        for turn in range(2):
            # However fast it is.
            os.kill(m.pid, signal.SIGSTOP)
            for name in names:
                write_file(m.backing("new"), b"changed" + b"!" * turn)
                os.rename(m.backing("new"), m.backing(name))
            os.kill(m.pid, signal.SIGCONT)
            write_file(m.backing("new"), b"another")
            os.rename(m.backing("new"), m.backing("linked"))
            for name in names + ["linked"]:
                size = os.stat(m.backing(name)).st_size
                wait_for(lambda: os.stat(m.join(name)).st_size == size, 2, name)
        assert os.fstat(reader.fileno()).st_nlink == 0
    assert notice(m)["overflows"] > 0


@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_own_changes_cause_no_storm(mount, passthrough):
    """What is done through the mount is known already."""
    m = mount(*OPTIONS, f"passthrough={passthrough}")
    before = notice(m)
    for index in range(200):
        write_file(m.join(f"f{index}"), b"x")
        os.chmod(m.join(f"f{index}"), 0o600)
        os.rename(m.join(f"f{index}"), m.join("g"))
    with open(m.join("g"), "wb", buffering=0) as stream:
        for _ in range(20000):
            stream.write(b"y" * 100)
    time.sleep(0.05)
    wait_for(lambda: notice(m)["own"] > before["own"], 2, "its own are met")
    after = notice(m)
    told = after["invalidations"] - before["invalidations"]
    # A passthrough writer's writes are its own, not the daemon's, but merged.
    assert told <= 600 if passthrough == "auto" else told == 0, after


def test_attributes_stay_cached(mount):
    """What nobody changed is not asked for again."""
    m = mount(*OPTIONS)
    os.mkdir(m.backing("busy"))
    write_file(m.backing("f"), b"x")
    known(m, "f")
    for index in range(500):
        write_file(m.backing("busy", f"{index}"), b"x")
    time.sleep(0.05)
    assert notice(m)["invalidations"] <= 20, notice(m)


def test_directory_in_use_keeps_its_name(either):
    """Made through the mount or confirmed from outside: who works there is not put out."""
    def work():
        for index in range(20):
            os.mkdir(either.join(f"w{index}"))
            os.chdir(either.join(f"w{index}"))
            write_file("f", b"x")
            os.utime(either.backing(f"w{index}"))
            time.sleep(0.02)
            os.stat(either.join(f"w{index}", "f"))
            assert os.getcwd() == either.join(f"w{index}")
        os.chdir("/")

    with Child(work) as child:
        child.result()


def pour(directory):
    """Changes without end."""
    index = 0
    while True:
        index += 1
        path = os.path.join(directory, f"f{index % 50}")
        write_file(path, b"x" * (index % 1000))
        os.rename(path, path + ".moved")


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_unmount_while_events_pour_in(mount, transport):
    for lane in ("cached", "direct"):
        m = mount(*OPTIONS, f"transport={transport}", f"lane={lane}", "passthrough=off")
        with Child(pour, m.backing()) as one, Child(pour, m.backing()) as other:
            end = time.monotonic() + 1
            while time.monotonic() < end:
                for name in os.listdir(m.path):
                    try:
                        read_file(m.join(name))
                    except OSError:
                        pass
            start = clock()
            unmount(m.path)
            assert m.wait_end() == 0
            assert clock() - start < 5
            one.close()
            other.close()


def test_inotify_sees_names_and_contents(inotify):
    m = inotify
    os.makedirs(m.backing("d", "e"))
    write_file(m.backing("d", "e", "f"), b"old")
    assert known(m, "d", "e", "f").st_size == 3
    assert notice(m)["watches"] == 3
    with open(m.join("d", "e", "f"), "rb", buffering=0) as reader:
        assert reader.read() == b"old"
        with open(m.backing("d", "e", "f"), "r+b") as outside:
            outside.write(b"new!")
        soon(lambda: os.pread(reader.fileno(), 10, 0) == b"new!")
    os.chmod(m.backing("d", "e", "f"), 0o600)
    soon(lambda: os.stat(m.join("d", "e", "f")).st_mode & 0o777 == 0o600)
    write_file(m.backing("other"), b"other")
    os.rename(m.backing("other"), m.backing("d", "e", "f"))
    soon(lambda: os.stat(m.join("d", "e", "f")).st_size == 5)
    os.rename(m.backing("d", "e"), m.backing("g"))
    soon(lambda: not os.path.exists(m.join("d", "e")))
    soon(lambda: os.path.exists(m.join("g", "f")))
    os.unlink(m.backing("g", "f"))
    soon(lambda: not os.path.exists(m.join("g", "f")))
    os.rmdir(m.backing("g"))
    soon(lambda: not os.path.exists(m.join("g")))
    m.shrink()
    wait_for(lambda: notice(m)["watches"] == 2, 5, "the watch goes with its directory")


def test_inotify_in_a_subvolume(mount, scratch):
    """fanotify covers no subvolume of btrfs."""
    need("btrfs")
    source = scratch.directory("sub", "btrfs") + "/volume"
    run("btrfs", "subvolume", "create", source)
    m = mount(*OPTIONS, source=source)
    assert notice(m)["means"] == "inotify" and "subvolume" in notice(m)["reason"]
    write_file(m.backing("f"), b"1")
    known(m, "f")
    write_file(m.backing("f"), b"123")
    soon(lambda: os.stat(m.join("f")).st_size == 3)


def test_inotify_runs_out_of_watches(mount):
    with sysctl("fs.fanotify.max_user_groups", 0):
        m = mount(*OPTIONS)
    m.allowed.append("fs.inotify.max_user_watches")
    for name in ("a", "b"):
        os.mkdir(m.backing(name))
        write_file(m.backing(name, "f"), b"1")
    known(m, "a", "f")
    with sysctl("fs.inotify.max_user_watches", 0):
        known(m, "b", "f")
    assert notice(m)["unwatched"] > 0
    assert "fs.inotify.max_user_watches" in m.log()
    write_file(m.backing("a", "f"), b"123")
    soon(lambda: os.stat(m.join("a", "f")).st_size == 3)
    assert read_file(m.join("b", "f")) == b"1"


def test_inotify_a_name_that_comes_back(inotify):
    """The name it is known by is of before: by that name the kernel has another one now."""
    m = inotify
    write_file(m.backing("log"), b"1")
    with open(m.join("log"), "rb"):
        os.rename(m.backing("log"), m.backing("log.1"))
        write_file(m.backing("log"), b"123")
        soon(lambda: known(m, "log").st_size == 3)
        os.rename(m.backing("log.1"), m.backing("log"))
        soon(lambda: known(m, "log").st_size == 1)


def test_neither(mount):
    with sysctl("fs.fanotify.max_user_groups", 0), sysctl("fs.inotify.max_user_instances", 0):
        m = mount("notify=on")
    m.allowed.append("changes from outside are seen only when")
    status = notice(m)
    assert status["means"] == "none"
    assert "fanotify: " in status["reason"] and "inotify: " in status["reason"]
    assert status["reason"] in m.log()
    text = lanectl_on_all(m.path, "status").stdout
    assert f"{m.path}: no fanotify: {status['reason']}" in text
    write_file(m.backing("f"), b"1")
    known(m, "f")
    write_file(m.backing("f"), b"123")
    assert read_file(m.join("f")) == b"123"
    wait_for(lambda: os.stat(m.join("f")).st_size == 3, 1.5, "by the ordinary rules")


def test_no_descriptor_is_left(m):
    """One descriptor each for the two of them, whatever is met."""
    before = m.descriptors()[1]
    assert sum(name == "anon_inode:[fanotify]" for name in before) == 1
    assert sum(name in ("anon_inode:inotify", "anon_inode:[inotify]") for name in before) == 1
    for index in range(100):
        os.makedirs(m.backing(f"d{index}", "e"))
        known(m, f"d{index}", "e")
        os.rename(m.backing(f"d{index}", "e"), m.backing(f"d{index}", "g"))
    run("rm", "-r", *[m.backing(f"d{index}") for index in range(100)])
    m.shrink()
    wait_for(lambda: m.stats()["inodes"]["known"] <= 1, 5, "all inodes forgotten")
    assert len([name for name in m.descriptors()[1] if "notify" in name]) == 2
