# SPDX-License-Identifier: MIT
"""Which lane an open gets, why, and that each lane keeps its promise about caches."""
import ctypes
import json
import mmap
import os
import time
import re

import pytest

import util_sys
from util import at_once, pattern, read_file, run, sha256, wait_for, write_file, write_large
from util_stream import read_ahead
from util_sys import resident

pytestmark = pytest.mark.daemon

MIB = 1 << 20
PASSTHROUGH = ["passthrough=auto", "passthrough=off"]
TRANSPORT = ["transport=dev", "transport=io_uring"]


def cold(m, name, data):
    """A file with nothing of it in the page cache."""
    write_file(m.backing(name), data)
    util_sys.drop_pages(m.backing(name))
    return m.join(name)


def test_lane_by_size(mount):
    m = mount("threshold=1M")
    for name, size, lane in (("empty", 0, "cached"), ("small", MIB - 1, "cached"),
                             ("exact", MIB, "direct"), ("large", 3 * MIB, "direct")):
        path = cold(m, name, bytes(size))
        assert m.lane(path) == lane, name
        why = m.why(path)
        assert lane in why or "threshold" in why
        assert "1 MiB" in why or "1M" in why or str(MIB) in why, why


def test_auto_threshold_leaves_small_files_cached(mount):
    m = mount()
    assert m.lane(cold(m, "f", pattern(100000))) == "cached"
    config = json.loads(m.attribute("config"))
    assert config["threshold"]["value"] == "auto"


def test_config_names_its_sources(mount):
    m = mount("threshold=24M", "lane=direct")
    config = json.loads(m.attribute("config"))
    assert config["threshold"]["value"] == "24M"
    assert config["lane"]["value"] == "direct"
    assert config["threshold"]["source"] != config["read-ahead"]["source"]
    for key in ("read-ahead", "pool", "stream-window", "transport", "passthrough",
                "attr-timeout", "rules"):
        assert key in config


@pytest.mark.parametrize("lane", ["cached", "direct", "stream"])
@pytest.mark.parametrize("passthrough", PASSTHROUGH)
def test_forced_lane(mount, lane, passthrough):
    m = mount(f"lane={lane}", passthrough)
    for name, size in (("small", 1000), ("large", 20 * MIB)):
        data = pattern(size)
        path = cold(m, name, data)
        if lane != "stream" or m.passthrough:
            assert m.lane(path) == lane
        else:
            assert m.lane(path) in ("direct", "cached")
            assert "stream" in m.why(path) and "passthrough" in m.why(path)
        assert read_file(path) == data
        opens = m.stats(path)["lanes"]
        assert opens[m.lane(path)]["opens"] >= 1, opens


def test_hot_large_file_is_cached(mount):
    m = mount("threshold=1M")
    path = cold(m, "f", pattern(8 * MIB))
    assert m.lane(path) == "direct"
    sha256(m.backing("f"))
    assert m.lane(path) == "cached"
    assert "resident" in m.why(path) or "page cache" in m.why(path), m.why(path)
    util_sys.drop_pages(m.backing("f"))
    assert m.lane(path) == "direct"


def test_explain_goes_through_the_rules(mount):
    m = mount("threshold=1M")
    path = cold(m, "f", bytes(2 * MIB))
    told = json.loads(m.attribute("explain", path))
    assert told["lane"] == "direct" == m.lane(path)
    assert told["why"] == m.why(path)
    assert told["threshold"] == MIB
    steps = {step["rule"]: step["matched"] for step in told["steps"]}
    assert steps["o_direct"] is False and steps["small"] is False
    assert [matched for matched in steps.values()].count(True) == 1
    os.setxattr(path, "user.lanefs.policy", b"cached")
    told = json.loads(m.attribute("explain", path))
    assert told["lane"] == "cached"
    assert None in [step["matched"] for step in told["steps"]]


def test_policy_of_the_file_and_of_directories(mount):
    m = mount("threshold=1M")
    os.makedirs(m.join("a", "b", "c"))
    small = cold(m, "a/b/c/small", pattern(1000))
    large = cold(m, "a/b/c/large", pattern(2 * MIB))
    assert (m.lane(small), m.lane(large)) == ("cached", "direct")
    os.setxattr(m.path, "user.lanefs.policy", b"direct")
    assert (m.lane(small), m.lane(large)) == ("direct", "direct")
    os.setxattr(m.join("a"), "user.lanefs.policy", b"cached")
    assert (m.lane(small), m.lane(large)) == ("cached", "cached")
    assert '"a"' in m.why(small), m.why(small)
    os.setxattr(m.join("a", "b", "c"), "user.lanefs.policy", b"direct")
    assert (m.lane(small), m.lane(large)) == ("direct", "direct")
    os.setxattr(small, "user.lanefs.policy", b"cached")
    assert (m.lane(small), m.lane(large)) == ("cached", "direct")
    os.removexattr(m.join("a", "b", "c"), "user.lanefs.policy")
    assert (m.lane(small), m.lane(large)) == ("cached", "cached")
    os.removexattr(m.join("a"), "user.lanefs.policy")
    os.removexattr(m.path, "user.lanefs.policy")
    os.removexattr(small, "user.lanefs.policy")
    assert (m.lane(small), m.lane(large)) == ("cached", "direct")


def test_threshold_of_a_directory(mount):
    m = mount("threshold=1M")
    os.makedirs(m.join("a", "b"))
    path = cold(m, "a/b/f", pattern(2 * MIB))
    assert m.lane(path) == "direct"
    os.setxattr(m.join("a"), "user.lanefs.threshold", b"4M")
    assert m.lane(path) == "cached"
    os.setxattr(m.join("a", "b"), "user.lanefs.threshold", b"2M")
    assert m.lane(path) == "direct"
    os.setxattr(m.join("a", "b"), "user.lanefs.threshold", b"2049K")
    assert m.lane(path) == "cached"
    os.removexattr(m.join("a", "b"), "user.lanefs.threshold")
    os.removexattr(m.join("a"), "user.lanefs.threshold")
    assert m.lane(path) == "direct"


def test_inheritance_follows_renames(mount):
    m = mount("threshold=1M")
    for name in ("direct", "plain"):
        os.mkdir(m.join(name))
    os.setxattr(m.join("direct"), "user.lanefs.policy", b"direct")
    os.mkdir(m.join("plain", "sub"))
    path = cold(m, "plain/sub/f", pattern(1000))
    assert m.lane(path) == "cached"
    os.rename(m.join("plain", "sub"), m.join("direct", "sub"))
    assert m.lane(m.join("direct", "sub", "f")) == "direct"
    os.rename(m.join("direct", "sub", "f"), m.join("plain", "f"))
    assert m.lane(m.join("plain", "f")) == "cached"


def test_policy_set_from_outside_counts_at_the_next_open(mount):
    m = mount("threshold=1M")
    os.mkdir(m.join("a"))
    path = cold(m, "a/f", pattern(1000))
    assert m.lane(path) == "cached"
    os.setxattr(m.backing("a"), "user.lanefs.policy", b"direct")
    wait_for(lambda: m.lane(path) == "direct", 2, "the policy from outside")
    os.removexattr(m.backing("a"), "user.lanefs.policy")
    wait_for(lambda: m.lane(path) == "cached", 2, "the policy gone from outside")


def test_policy_set_before_the_mount(mount, scratch):
    source = scratch.directory("prepared")
    os.mkdir(os.path.join(source, "d"))
    write_file(os.path.join(source, "d", "f"), pattern(1000))
    os.setxattr(os.path.join(source, "d"), "user.lanefs.policy", b"direct")
    m = mount(source=source)
    assert m.lane(m.join("d", "f")) == "direct"


def test_rules_of_the_config_file(mount, scratch):
    config = os.path.join(scratch.base, "rules.conf")
    write_file(config, b"[policy]\nthreshold=1M\n\n[rule iso]\npath=*.iso\nlane=direct\n\n"
                       b"[rule db]\npath=db/**\nlane=cached\n")
    m = mount(argv=["-c", config])
    os.mkdir(m.join("db"))
    assert m.lane(cold(m, "x.iso", pattern(100))) == "direct"
    assert "iso" in m.why(m.join("x.iso"))
    assert m.lane(cold(m, "db/big", pattern(2 * MIB))) == "cached"
    assert m.lane(cold(m, "x.bin", pattern(2 * MIB))) == "direct"


def test_rules_by_program_and_access(mount, scratch):
    config = os.path.join(scratch.base, "program.conf")
    write_file(config, b"[policy]\nthreshold=1M\n\n[rule backup]\nprogram=cat\nlane=direct\n\n"
                       b"[rule writers]\naccess=write\nlane=cached\n")
    m = mount(argv=["-c", config])
    path = cold(m, "f", pattern(1000))

    def opens():
        return {lane: found["opens"] for lane, found in m.stats(path)["lanes"].items()}

    run("cat", path)
    assert opens() == {"cached": 0, "direct": 1, "stream": 0}
    run("head", "-c", "10", path)
    assert opens() == {"cached": 1, "direct": 1, "stream": 0}
    os.truncate(m.backing("f"), 5 * MIB)
    with open(path, "r+b"):
        assert opens() == {"cached": 2, "direct": 1, "stream": 0}


@pytest.mark.parametrize("passthrough", PASSTHROUGH)
def test_writable_open_of_a_large_file(mount, passthrough):
    m = mount("threshold=1M", passthrough)
    path = cold(m, "f", bytes(2 * MIB))
    with open(path, "r+b"):
        lanes = m.stats(path)["lanes"]
        expected = "stream" if m.passthrough else "direct"
        assert [name for name in lanes if lanes[name]["open"]] == [expected]


def test_writable_open_of_a_file_in_memory(mount):
    m = mount("threshold=1M")
    path = cold(m, "f", bytes(2 * MIB))
    sha256(m.backing("f"))
    with open(path, "r+b"):
        assert m.stats(path)["lanes"]["cached"]["open"] == 1
    # Who only writes finds nothing there.
    with open(os.open(path, os.O_WRONLY), "wb"):
        wait_for(lambda: m.stats(path)["lanes"]["cached"]["open"] == 0, 5, "the first is released")


@pytest.mark.parametrize("transport", TRANSPORT)
@pytest.mark.parametrize("passthrough", PASSTHROUGH)
def test_large_file_leaves_the_page_cache_alone(mount, transport, passthrough):
    m = mount("threshold=16M", transport, passthrough)
    digest = write_large(m.backing("f"), 64 * MIB)
    util_sys.drop_pages(m.backing("f"))
    assert m.lane(m.join("f")) == "direct"
    ours, theirs = os.open(m.join("f"), os.O_RDONLY), os.open(m.backing("f"), os.O_RDONLY)
    before = resident(ours), resident(theirs)
    assert sha256(m.join("f")) == digest
    assert resident(ours) - before[0] <= MIB
    assert resident(theirs) - before[1] <= MIB
    os.close(ours)
    os.close(theirs)
    stats = m.stats(m.join("f"))
    assert stats["reads"]["bytes"] == 64 * MIB
    assert m.stats()["reads"]["errors"] == 0
    assert m.stats()["reads"]["in_flight"] == 0


@pytest.mark.parametrize("transport", TRANSPORT)
def test_small_file_read_twice_without_passthrough(mount, transport):
    """No second READ request, and the pages are the FUSE file's alone."""
    m = mount(transport, "passthrough=off")
    data = pattern(300000)
    path = cold(m, "f", data)
    # What was changed within the tick of the clock could change again unseen, and is not kept.
    time.sleep(0.1)
    assert read_file(path) == data
    first = m.stats()["reads"]["requests"]
    assert first > 0
    assert read_file(path) == data
    assert m.stats()["reads"]["requests"] == first
    fd = os.open(path, os.O_RDONLY)
    assert resident(fd) >= 300000
    os.close(fd)
    assert resident(m.backing("f")) == 0


@pytest.mark.parametrize("transport", TRANSPORT)
def test_small_file_read_twice_with_passthrough(mount, transport):
    """No READ request at all, and the pages are the backing file's alone."""
    m = mount(transport)
    if not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    data = pattern(300000)
    path = cold(m, "f", data)
    for _ in range(2):
        assert read_file(path) == data
    assert m.stats()["reads"]["requests"] == 0
    fd = os.open(path, os.O_RDONLY)
    assert resident(fd) == 0
    os.close(fd)
    assert resident(m.backing("f")) >= 300000


def read_after_fstat(path):
    """As programs do; in passthrough the read makes the kernel forget the time of access."""
    with open(path, "rb", buffering=0) as stream:
        os.fstat(stream.fileno())
        return stream.read(), resident(stream.fileno())


def made_hot(m, path, data):
    """Opened again and again while it is not changed, until it has pages of its own."""
    def is_hot():
        content, pages = read_after_fstat(path)
        assert content == data
        return pages >= len(data)

    wait_for(is_hot, 10, "the file has pages of its own")


def dirty(path):
    with open(path, "rb") as stream:
        found = util_sys.cachestat_all(stream.fileno())
    return found.dirty + found.writeback


def old(path):
    """Last changed a while ago, as far as anybody can tell."""
    wait_for(lambda: time.time() - os.stat(path).st_ctime > 3, 10, "its last change is past")


def test_small_file_opened_often_gets_pages_of_its_own(mount):
    """With passthrough each fstat(2) would be a request; the pages are never there twice."""
    ways = [mount(transport) for transport in TRANSPORT]
    for m in ways:
        if not m.passthrough:
            pytest.skip(m.stats()["passthrough"]["reason"])
    at_once(gets_pages_of_its_own, ways)


def gets_pages_of_its_own(m):
    data = pattern(100000)
    path, large = cold(m, "f", data), cold(m, "large", pattern(200000))
    old(m.backing("f"))
    assert read_after_fstat(path) == (data, 0)
    made_hot(m, path, data)
    assert m.lane(path) == "cached"
    wait_for(lambda: resident(m.backing("f")) == 0, 5, "the backing file's pages are dropped")
    requests = m.stats()["reads"]["requests"]
    for _ in range(5):
        assert read_after_fstat(path)[0] == data
    assert m.stats()["reads"]["requests"] == requests
    wait_for(lambda: m.stats()["backing_ids"] == 0, 30, "its backing id is given back")
    for _ in range(10):
        assert read_after_fstat(large)[1] == 0

    # Who keeps it open for long gets it once, and what is opened meanwhile; then it is earned anew.
    with open(path, "rb", buffering=0):
        time.sleep(1.2)
    assert read_after_fstat(path) == (data, 0)

    # Changed from outside, it is what it is now, and in passthrough until that is past.
    write_file(m.backing("f"), b"b" * 50000)
    assert read_after_fstat(path) == (b"b" * 50000, 0)
    old(m.backing("f"))
    # What is dirty would be in memory twice, and on the disk early.
    for _ in range(6):
        assert read_after_fstat(path)[1] == 0 or not dirty(m.backing("f"))
    with open(m.backing("f"), "rb") as stream:
        os.fsync(stream.fileno())
    made_hot(m, path, b"b" * 50000)
    # Who reads and who writes it at the same time see the same, whoever came first.
    with open(path, "rb", buffering=0) as reader, open(path, "r+b", buffering=0) as writer:
        writer.write(b"written")
        assert reader.read(10) == b"writtenbbb"
        mapped = mmap.mmap(writer.fileno(), 0)
        mapped[:7] = b"stored!"
        assert os.pread(reader.fileno(), 10, 0) == b"stored!bbb"
        mapped.flush()
        assert read_file(m.backing("f"))[:10] == b"stored!bbb"
        mapped.close()
    # Written, it is like any other file again.
    with open(path, "r+b", buffering=0) as writer:
        writer.write(b"once more")
        assert read_file(m.backing("f"))[:10] == b"once moreb"
    assert read_after_fstat(path) == (b"once more" + b"b" * 49991, 0)


def test_small_file_with_pages_of_its_own_stays_while_it_is_open(mount):
    """Deleted from outside, with its pages reclaimed and the daemon's spare descriptors closed."""
    m = mount("transport=dev", nofile=256)
    if not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    data = pattern(100000)
    path = cold(m, "f", data)
    old(m.backing("f"))
    made_hot(m, path, data)
    wait_for(lambda: m.stats()["backing_ids"] == 0, 30, "its backing id is given back")
    with open(path, "rb", buffering=0) as stream:
        os.unlink(m.backing("f"))
        for number in range(200):
            write_file(m.backing(str(number)), b"x")
        for _ in range(2):
            for number in range(200):
                os.stat(m.join(str(number)))
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert stream.read() == data


def test_small_file_with_a_mapping_left_gets_no_pages_of_its_own(mount):
    """Stores into a mapping of the backing file would not reach them."""
    m = mount()
    if not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    path = cold(m, "f", b"a" * 10000)
    fd = os.open(path, os.O_RDWR)
    address = util_sys.map_file(fd, 10000, mmap.PROT_READ | mmap.PROT_WRITE)
    os.close(fd)
    try:
        wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "the descriptor is closed")
        old(m.backing("f"))
        for turn in range(20):
            assert read_after_fstat(path)[1] == 0
        ctypes.memmove(address, b"store", 5)
        assert read_file(path)[:6] == b"storea"
    finally:
        util_sys.unmap(address, 10000)


def test_changed_small_file_is_read_again(mount):
    """FOPEN_KEEP_CACHE only while mtime, ctime and size are unchanged."""
    m = mount("passthrough=off")
    path = cold(m, "f", b"a" * 10000)
    assert read_file(path) == b"a" * 10000
    for turn, fill in enumerate((b"b", b"c", b"d")):
        write_file(m.backing("f"), fill * (10000 + turn))
        assert read_file(path) == fill * (10000 + turn)
    with open(m.backing("f"), "r+b", buffering=0) as stream:
        stream.write(b"same size")
    assert read_file(path)[:9] == b"same size"


def test_backing_identifier_is_kept_for_reopening(mount):
    """One backing id for any number of opens of an inode; all are given back in the end."""
    m = mount()
    if not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    path = cold(m, "f", pattern(1000))
    streams = [open(path, "rb") for _ in range(50)]
    stats = m.stats()
    assert stats["backing_ids"] == 1
    assert stats["files"]["open"] >= 50
    assert stats["lanes"]["cached"]["open"] >= 50
    for stream in streams:
        stream.close()
    wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "releases")
    os.unlink(path)
    wait_for(lambda: m.stats()["backing_ids"] == 0, 5, "the id of a removed file is given back")


@pytest.mark.parametrize("passthrough", PASSTHROUGH)
def test_application_with_o_direct(mount, passthrough):
    m = mount("threshold=1M", passthrough)
    data = pattern(4 * MIB)
    path = cold(m, "f", data)
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    before = resident(m.backing("f"))
    assert util_sys.read_direct(fd, MIB, MIB) == data[MIB:2 * MIB]
    assert util_sys.write_direct(fd, b"w" * 8192, 8192) == 8192
    assert util_sys.read_direct(fd, 4 * MIB, 0) == data[:8192] + b"w" * 8192 + data[16384:]
    assert resident(m.backing("f")) - before <= 65536
    os.close(fd)
    assert m.stats(path)["lanes"]["direct"]["opens"] >= 1


@pytest.mark.parametrize("passthrough", PASSTHROUGH)
@pytest.mark.parametrize("transport", TRANSPORT)
def test_lanes_mixed_on_one_inode(mount, passthrough, transport):
    """Opens of every lane at once, in every order: none fails, and each sees every write."""
    m = mount(transport, passthrough)
    size = 200000
    data = bytearray(pattern(size))
    write_file(m.backing("f"), data)
    path = m.join("f")
    orders = [("cached", "direct", "stream"), ("direct", "cached", "direct"),
              ("stream", "direct", "cached"), ("direct", "stream", "cached")]
    for order in orders:
        fds = []
        for lane in order:
            os.setxattr(path, "user.lanefs.policy", lane.encode())
            fds.append(os.open(path, os.O_RDWR))
        os.setxattr(path, "user.lanefs.policy", b"auto")
        fds.append(os.open(path, os.O_RDWR | os.O_DIRECT))
        views = [mmap.mmap(fd, size) for fd in fds[:3]]
        for turn, writer in enumerate(fds[:3] * 3):
            at, mark = 4096 * turn + turn, b"mark %d" % turn
            os.pwrite(writer, mark, at)
            data[at:at + len(mark)] = mark
            for fd in fds[:3]:
                assert os.pread(fd, size, 0) == data
            assert util_sys.read_direct(fds[3], 65536, 0) == data[:65536]
            for view in views:
                assert view[at:at + len(mark)] == mark
        for turn, view in enumerate(views):
            at, mark = 100000 + 5000 * turn, b"mapped %d" % turn
            view[at:at + len(mark)] = mark
            view.flush()
            data[at:at + len(mark)] = mark
            for fd in fds[:3]:
                assert os.pread(fd, size, 0) == data
            for other in views:
                assert other[at:at + len(mark)] == mark
        for view in views:
            view.close()
        for fd in fds:
            os.close(fd)
        assert read_file(m.backing("f")) == data


@pytest.mark.parametrize("passthrough", PASSTHROUGH)
def test_program_runs_while_open_in_every_lane(mount, passthrough):
    """No ETXTBSY or EIO for running what is also open for reading, in any lane."""
    m = mount(passthrough)
    run("cp", "/bin/echo", m.join("echo"))
    for lane in ("direct", "cached", "stream"):
        os.setxattr(m.join("echo"), "user.lanefs.policy", lane.encode())
        with open(m.join("echo"), "rb"):
            for other in ("cached", "direct", "stream"):
                os.setxattr(m.join("echo"), "user.lanefs.policy", other.encode())
                assert run(m.join("echo"), "fine").stdout == "fine\n"


def test_file_grows_past_the_threshold_while_written(mount):
    m = mount("threshold=1M")
    data = pattern(3 * MIB)
    fd = os.open(m.join("f"), os.O_RDWR | os.O_CREAT)
    for at in range(0, len(data), 100000):
        os.pwrite(fd, data[at:at + 100000], at)
    assert os.pread(fd, len(data), 0) == data
    os.close(fd)
    assert read_file(m.join("f")) == data
    util_sys.drop_pages(m.backing("f"))
    assert m.lane(m.join("f")) == "direct"
    assert read_file(m.join("f")) == data


@pytest.mark.parametrize("how", ["fadvise", "readahead"])
@pytest.mark.parametrize("lane", ["cached", "stream"])
@pytest.mark.parametrize("transport", TRANSPORT)
def test_read_ahead_that_is_asked_for(mount, transport, lane, how):
    """
    As databases do: what comes is in SOURCE's page cache, where it is read from, and nowhere else.
    A stream's would be dropped before it is wanted, and taken for hot when it comes again.
    """
    m = mount(f"lane={lane}", transport, backing="ext4")
    if not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    read_ahead(m)
    data = pattern(4 * MIB)
    fd = os.open(cold(m, "f", data), os.O_RDONLY)
    piece = 64 << 10
    for place in (MIB, 3 * MIB + 8192):
        before = resident(m.backing("f"))
        if how == "fadvise":
            os.posix_fadvise(fd, place, piece, os.POSIX_FADV_WILLNEED)
        else:
            assert util_sys.libc.readahead(fd, ctypes.c_long(place), ctypes.c_size_t(piece)) == 0
        if lane == "cached":
            wait_for(lambda: resident(m.backing("f")) >= before + piece, 5, "it is read")
        # The mount's own pages.
        wait_for(lambda: resident(fd) == 0, 5, "what came for the mount is dropped")
        # The last page of a file may come by itself.
        assert lane == "cached" or resident(m.backing("f")) <= before + 4096
        assert os.pread(fd, piece, place) == data[place:place + piece]
    os.close(fd)
    # What cannot be read has nothing ahead of it, and that is no error of the daemon's.
    fd = os.open(m.join("f"), os.O_WRONLY)
    os.posix_fadvise(fd, 0, piece, os.POSIX_FADV_WILLNEED)
    os.close(fd)
    assert m.stats()["reads"]["errors"] == 0


def test_why_is_one_line_of_plain_text(mount):
    m = mount("threshold=1M")
    for name in ("plain", "new\nline", "\x1b[31m"):
        why = m.why(cold(m, name, bytes(2 * MIB)))
        assert re.fullmatch(r"[ -~]+", why), why


def test_stats_of_the_mount(mount):
    m = mount("transport=dev", "lane=direct")
    stats = m.stats()
    assert stats["source"] == m.source and stats["mountpoint"] == m.path
    assert stats["pid"] == m.pid
    assert stats["transport"] == {"name": "dev", "reason": stats["transport"]["reason"]}
    assert stats["transport"]["reason"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", stats["version"])
    write_file(m.join("f"), pattern(50000))
    read_file(m.join("f"))
    after = m.stats()
    assert after["writes"]["bytes"] == 50000
    assert after["reads"]["bytes"] == 50000
    assert after["uptime"] >= stats["uptime"]
    assert after["inodes"]["known"] >= 2
    opens = sum(lane["opens"] for lane in after["lanes"].values())
    assert opens == 2 and sum(after["decision_latency"]) == opens
    with open(m.join("f"), "rb"):
        wait_for(lambda: m.stats()["lanes"]["direct"]["open"] == 1, 5, "the others are released")


def test_io_uring_transport_is_in_use(mount):
    m = mount("transport=io_uring")
    assert m.stats()["transport"] == {"name": "io_uring", "reason": ""}


def test_passthrough_off_says_so(mount):
    m = mount("passthrough=off")
    found = m.stats()["passthrough"]
    assert found["available"] is False and found["reason"]
