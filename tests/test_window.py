# SPDX-License-Identifier: MIT
"""Read-ahead of the lane direct: right bytes whatever happens to the file, and no more of them read
from the backing file than are wanted."""
import contextlib
import errno
import mmap
import os
import random
import resource
import subprocess
import threading
import time

import pytest

import util_sys
from util import (Child, clock, idle, pattern, run, sha256, unmount, wait_for, write_file,
                  write_large)
from util_battery import concurrent_model
from util_mount import BUILD, sanitized

pytestmark = pytest.mark.daemon

K, M = 1 << 10, 1 << 20
WAYS = [(transport, passthrough) for transport in ("io_uring", "dev")
        for passthrough in ("auto", "off")]


@pytest.fixture(params=["io_uring", "dev"])
def m(request, mount):
    return mount("lane=direct", f"transport={request.param}")


@pytest.fixture(scope="module")
def large(scratch):
    """A directory with files that are only read, named by their sizes: to write them anew for each
    test would take most of its time.  Its path, and the SHA-256 of each file by its name."""
    path = scratch.directory("large")
    digests = {name: write_large(os.path.join(path, name), size) for name, size in
               (("64M", 64 * M), ("96M+", 96 * M + 12345), ("128M", 128 * M), ("256M", 256 * M))}
    settle(*[os.path.join(path, name) for name in digests])
    yield path, digests
    run("rm", "-r", path)


@pytest.fixture
def over_large(mount, large):
    """over_large(option, ...) gives a mount of that directory, which knows nothing of earlier ones."""
    return lambda *options: mount(*options, "state=off", source=large[0])


@pytest.fixture(params=["io_uring", "dev"])
def reading(request, over_large):
    return over_large("lane=direct", f"transport={request.param}")


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_very_many_readers_of_one_file_hold_nobody_up(over_large, transport):
    """What they have read, and what they want, is looked for among a thousand of them."""
    m = over_large("lane=direct", f"transport={transport}")
    load = subprocess.Popen(
        [os.path.join(BUILD, "tools", "bench-load"), "read", "--workers=1000", "--spread", "--block=32768",
         "--seconds=6", m.join("256M")], stdout=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000)))
    took = []
    try:
        wait_for(lambda: m.stats()["lanes"]["direct"]["open"] >= 1000, 10, "all are there")
        time.sleep(0.5)
        end = clock() + 3
        while clock() < end:
            begin = clock()
            fd = os.open(m.join("64M"), os.O_RDONLY)
            os.pread(fd, 64 * K, 0)
            os.close(fd)
            took.append(clock() - begin)
        assert load.wait(30) == 0
    finally:
        load.kill()
        load.wait()
    assert len(took) >= (1 if sanitized() else 10), took


def settle(*paths):
    """Old enough that its times tell it from any later version."""
    for path in paths:
        os.utime(path, (1000000000, 1000000000))
    time.sleep(0.02)


def cost(m, before):
    """Bytes asked and bytes read from the backing file since."""
    wait_for(lambda: m.stats()["reads"]["in_flight"] == 0, 5, "no request in flight")
    now = m.stats()["reads"]
    return now["bytes"] - before["bytes"], now["backing_bytes"] - before["backing_bytes"]


@pytest.mark.parametrize("size", [8 * K, 100000, 128 * K, 1 * M, 3 * M])
def test_sequential_reads_each_byte_once(reading, large, size):
    m = reading
    before = m.stats()["reads"]
    assert sha256(m.join("96M+"), size) == large[1]["96M+"]
    asked, read = cost(m, before)
    assert asked == 96 * M + 12345
    assert read <= 1.05 * asked
    window = m.stats()["window"]
    assert window["hits"] + window["waits"] > 0
    wait_for(lambda: m.stats()["pool"]["in_use"] == 0, 5, "the pool is free")


@pytest.mark.parametrize("size", [4 * K, 64 * K, 256 * K, 4 * M])
def test_random_reads_cost_what_they_ask(reading, size):
    m = reading
    chance = random.Random(size)
    before = m.stats()["reads"]
    with open(m.join("256M"), "rb", buffering=0) as stream:
        for _ in range(max(60, min(1000, 64 * M // size))):
            stream.seek(chance.randrange(0, 256 * M - size, 4 * K))
            assert len(stream.read(size)) == size
    asked, read = cost(m, before)
    assert read <= 1.1 * asked


def test_ten_readers_in_step_read_once(reading):
    m = reading
    before = m.stats()["reads"]
    fds = [os.open(m.join("64M"), os.O_RDONLY) for _ in range(10)]
    with open(m.backing("64M"), "rb") as other:
        while expected := other.read(128 * K):
            for fd in fds:
                assert os.read(fd, 128 * K) == expected
    for fd in fds:
        os.close(fd)
    asked, read = cost(m, before)
    assert asked == 10 * 64 * M
    assert read <= 1.1 * 64 * M


@pytest.mark.limit(120)
def test_a_hundred_readers(mount):
    m = mount("lane=direct", "transport=io_uring", "pool=16M", "read-ahead=8M")
    digests = [write_large(m.backing(f"f{i}"), 6 * M, i) for i in range(100)]
    children = [Child(sha256, m.join(f"f{i}")) for i in range(100)]
    most = 0
    while any(child.poll() is None for child in children):
        most = max(most, m.stats()["pool"]["in_use"])
        time.sleep(0.02)
    assert [child.result(60) for child in children] == digests
    assert most <= 16 * M
    window = m.stats()["window"]
    assert window["hits"] + window["waits"] > 0


def test_stride(reading):
    m = reading
    before = m.stats()["reads"]
    with open(m.join("256M"), "rb", buffering=0) as stream, open(m.backing("256M"), "rb") as other:
        for offset in range(0, 250 * M, M):
            assert os.pread(stream.fileno(), 64 * K, offset) == \
                os.pread(other.fileno(), 64 * K, offset)
    asked, read = cost(m, before)
    assert read <= 1.1 * asked
    assert m.stats()["window"]["hits"] + m.stats()["window"]["waits"] > 200


def test_interleaved_streams_on_one_descriptor(reading):
    m = reading
    before = m.stats()["reads"]
    with open(m.join("128M"), "rb", buffering=0) as stream, open(m.backing("128M"), "rb") as other:
        for offset in range(0, 24 * M, 128 * K):
            for place in (0, 31 * M, 70 * M + 1234, 101 * M):
                assert os.pread(stream.fileno(), 128 * K, place + offset) == \
                    os.pread(other.fileno(), 128 * K, place + offset)
    asked, read = cost(m, before)
    assert read <= 2 * asked
    assert m.stats()["window"]["hits"] + m.stats()["window"]["waits"] > 600


def test_short_reads_at_the_end(m):
    for size in (0, 1, 4095, 4096, 128 * K, 1 * M + 1, 5 * M, 5 * M + 4097):
        data = pattern(size, size)
        write_file(m.backing("f"), data)
        settle(m.backing("f"))
        fd = os.open(m.join("f"), os.O_RDONLY)
        got = b""
        while piece := os.read(fd, 128 * K):
            got += piece
        assert got == data
        assert os.read(fd, 1) == b"" == os.pread(fd, 100, size + 10 * M)
        os.close(fd)


def test_read_at_the_largest_offset(m):
    """The end of the file, however a read is rounded; and the descriptor is read with O_DIRECT on."""
    digest = write_large(m.backing("f"), 32 * M)
    util_sys.drop_pages(m.backing("f"))
    with open(m.join("f"), "rb", buffering=0) as stream:
        for offset, length in ((2 ** 63 - 2, 1), (2 ** 63 - 4096, 4095), (2 ** 63 - 4097, 4096)):
            assert os.pread(stream.fileno(), length, offset) == b""
        assert sha256(m.join("f")) == digest
        assert util_sys.resident(m.backing("f")) <= M


@pytest.mark.limit(180)
@pytest.mark.parametrize("transport, passthrough", WAYS)
def test_model(mount, transport, passthrough):
    """Every byte right for processes that read while one of them writes, truncates, copies..."""
    m = mount("lane=direct", f"transport={transport}", f"passthrough={passthrough}")
    # With passthrough the daemon does not see what is written, and nobody reads ahead meanwhile.
    more = ["--late-writers", "--map"] if m.passthrough else []
    concurrent_model(m, "--operations", os.environ.get("LANEFS_TURNS", "50000"), *more)
    assert m.stats()["reads"]["errors"] == 0
    # How long windows are closed for mappings there is a matter of chance.
    stats = m.stats()
    assert (stats["reads"]["requests"] if m.passthrough else stats["window"]["hits"]) > 500


@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_writer_in_another_process_under_a_stream(mount, passthrough):
    """Each write is seen by a stream that was read ahead past it."""
    m = mount("lane=direct", "transport=io_uring", f"passthrough={passthrough}")
    write_file(m.backing("f"), bytes(32 * M))
    settle(m.backing("f"))
    reader = os.open(m.join("f"), os.O_RDONLY)
    at = 0
    for turn in range(1, 200):
        for _ in range(10):
            os.pread(reader, 64 * K, at)
            at = (at + 64 * K) % (24 * M)
        place = at + turn * 4096 % M

        def write():
            fd = os.open(m.join("f"), os.O_WRONLY)
            os.pwrite(fd, turn.to_bytes(4, "little"), place)
            os.close(fd)

        if turn % 20:
            write()
        else:
            Child(write).result(10)
        assert int.from_bytes(os.pread(reader, 4, place), "little") == turn
    os.close(reader)


def test_mapped_writer_under_a_stream(m):
    if not m.passthrough:
        pytest.skip("no passthrough")
    write_file(m.backing("f"), bytes(32 * M))
    settle(m.backing("f"))
    reader = os.open(m.join("f"), os.O_RDONLY)
    for at in range(0, 8 * M, 128 * K):
        assert os.pread(reader, 128 * K, at) == bytes(128 * K)
    with open(m.join("f"), "r+b") as stream, mmap.mmap(stream.fileno(), 32 * M) as view:
        for turn in range(1, 100):
            view[9 * M + turn * 5000] = turn
            assert os.pread(reader, 1, 9 * M + turn * 5000) == bytes([turn])
    for turn in range(1, 100):
        assert os.pread(reader, 1, 9 * M + turn * 5000) == bytes([turn])
    os.close(reader)


def test_outside_changes_are_seen_within_a_second(m):
    write_file(m.backing("f"), b"a" * (16 * M))
    settle(m.backing("f"))
    fd = os.open(m.join("f"), os.O_RDONLY)
    for fill in b"bcd":
        for at in range(0, 4 * M, 64 * K):
            os.pread(fd, 64 * K, at)
        with open(m.backing("f"), "r+b", buffering=0) as stream:
            stream.write(bytes([fill]) * (16 * M))
        time.sleep(1)
        for at in range(4 * M, 12 * M, 64 * K):
            assert os.pread(fd, 64 * K, at) == bytes([fill]) * (64 * K)
    os.close(fd)


def test_closed_window_waits_for_a_reopening_then_goes(reading):
    m = reading
    met = 0
    for _ in range(5):
        fd = os.open(m.join("64M"), os.O_RDONLY)
        for at in range(0, 8 * M, 128 * K):
            os.pread(fd, 128 * K, at)
        os.close(fd)
        fd = os.open(m.join("64M"), os.O_RDONLY)
        before = m.stats()["window"]
        os.pread(fd, 128 * K, 8 * M)
        after = m.stats()["window"]
        os.close(fd)
        met += after["hits"] + after["waits"] - before["hits"] - before["waits"]
    # A busy machine may be too slow for some of them.
    assert met > 0
    wait_for(lambda: m.stats()["pool"]["in_use"] == 0, 4, "the window goes")


@pytest.mark.parametrize("transport", ["io_uring", "dev"])
def test_rotten_block(mount, scratch, transport):
    """EIO where the block is, data before and behind it, though all was read ahead together."""
    path = scratch.directory("rotten")
    image = scratch.image("btrfs", path, megabytes=256)
    data = pattern(32 * M)
    rotten = 20 * M
    write_file(path + "/f", data)
    run("sync", "-f", path)
    with open(image, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as view:
        at = view.find(data[rotten:rotten + 4096])
        assert at >= 0
        while at >= 0:
            view[at:at + 16] = bytes(16)
            at = view.find(data[rotten:rotten + 4096], at)
    m = mount("lane=direct", f"transport={transport}", source=path)
    util_sys.drop_pages(path + "/f")
    for size in (128 * K, 1 * M):
        fd = os.open(m.join("f"), os.O_RDONLY)
        for at in range(0, 32 * M, size):
            if at == rotten:
                with pytest.raises(OSError) as caught:
                    os.pread(fd, 4096, at)
                assert caught.value.errno == errno.EIO
            else:
                assert os.pread(fd, size, at) == data[at:at + size]
        os.close(fd)
    assert m.stats()["reads"]["errors"] == 2
    assert m.close() == []
    unmount(path)
    os.unlink(image)


def test_pool_exhausted(mount):
    """Far more streams than the pool has room for."""
    m = mount("lane=direct", "transport=io_uring", "pool=2M", "read-ahead=2M")
    digests = [write_large(m.backing(f"f{i}"), 8 * M, i) for i in range(24)]
    children = [Child(sha256, m.join(f"f{i}"), 1 * M if i % 2 else 20 * K) for i in range(24)]
    assert [child.result(60) for child in children] == digests
    assert m.stats()["pool"]["in_use"] <= 2 * M


@pytest.mark.parametrize("transport", ["io_uring", "dev"])
def test_unmount_with_reads_in_flight(over_large, transport):
    for turn in range(5):
        m = over_large("lane=direct", f"transport={transport}")
        util_sys.drop_pages(m.backing("64M"))

        def read():
            try:
                while True:
                    sha256(m.join("64M"))
            except OSError as error:
                return error.errno

        children = [Child(read) for _ in range(4)]
        time.sleep(0.1 + 0.03 * turn)
        run("umount", "-f", "-l", m.path, check=False)
        for child in children:
            assert child.result(20)
        m.wait_end(10)


def test_threads_on_one_descriptor(reading):
    m = reading
    with open(m.backing("64M"), "rb") as stream:
        content = stream.read()
    fd = os.open(m.join("64M"), os.O_RDONLY)
    wrong, lock, place = [], threading.Lock(), [0]

    def read():
        while True:
            with lock:
                at = place[0]
                place[0] += 256 * K
            if at >= 64 * M:
                return
            if os.pread(fd, 256 * K, at) != content[at:at + 256 * K]:
                wrong.append(at)

    before = m.stats()["reads"]
    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    os.close(fd)
    assert not wrong
    asked, read_bytes = cost(m, before)
    assert read_bytes <= 1.3 * asked


def cached_pages(*files):
    return sum(util_sys.cachestat(stream.fileno()) for stream in files)


@pytest.mark.parametrize("how", ["sendfile", "mmap"])
@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_nothing_is_left_in_page_caches(over_large, how, passthrough):
    m = over_large("lane=direct", "transport=io_uring", f"passthrough={passthrough}")
    util_sys.drop_pages(m.backing("128M"))
    most = 0
    with open(m.backing("128M"), "rb") as native:
        with open(m.join("128M"), "rb") as stream:
            if how == "sendfile":
                ends = os.pipe()
                at = 0
                while done := os.splice(stream.fileno(), ends[1], 64 * K, offset_src=at):
                    assert len(os.read(ends[0], done)) == done
                    at += done
                    most = max(most, cached_pages(stream, native) * util_sys.PAGE)
                    idle(0.001)
                for end in ends:
                    os.close(end)
                assert at == 128 * M and most < 64 * M
            else:
                with mmap.mmap(stream.fileno(), 128 * M, prot=mmap.PROT_READ) as view:
                    assert sum(view[at] for at in range(0, 128 * M, 4 * K)) > 0

        def left():
            # All goes with the last close only, and looking opens it.
            time.sleep(0.2)
            with open(m.join("128M"), "rb") as stream:
                return cached_pages(stream, native) * util_sys.PAGE

        wait_for(lambda: left() < 2 * M, 2, "dropped")


def test_nothing_is_left_next_to_a_cached_open(mount):
    """Where that has its pages in the backing file."""
    m = mount("threshold=1M")
    if not m.passthrough:
        pytest.skip(m.stats()["passthrough"]["reason"])
    write_large(m.backing("f"), 96 * M)
    util_sys.drop_pages(m.backing("f"))
    out = os.open("/dev/null", os.O_WRONLY)
    ours, theirs = os.pipe()
    most = at = 0
    with open(m.join("f"), "rb") as stream:
        os.setxattr(m.join("f"), "user.lanefs.policy", b"cached")
        with open(m.join("f"), "rb") as cached:
            assert m.stats()["lanes"]["cached"]["open"] == m.stats()["lanes"]["direct"]["open"] == 1
            while sent := os.sendfile(theirs, stream.fileno(), at, 64 << 10):
                at += os.splice(ours, out, sent)
                most = max(most, util_sys.resident(cached.fileno()))
                idle(0.001)
            assert at == 96 * M and most < 64 * M
            stream.close()
            wait_for(lambda: util_sys.resident(cached.fileno()) == 0, 5, "dropped")
    for end in (out, ours, theirs):
        os.close(end)


@pytest.mark.parametrize("transport", ["transport=dev", "transport=io_uring"])
def test_sendfile_asks_in_large_requests(mount, transport):
    """Already for the first file that is opened: the mount's read-ahead is set by then."""
    m = mount("lane=direct", "passthrough=off", transport)
    size = 32 << 20
    write_large(m.backing("f"), size)
    out = os.open("/dev/null", os.O_WRONLY)
    ours, theirs = os.pipe()
    with open(m.join("f"), "rb") as stream:
        at = 0
        while at < size:
            sent = os.sendfile(theirs, stream.fileno(), at, 64 << 10)
            assert sent > 0
            at += os.splice(ours, out, sent)
    os.close(ours)
    os.close(theirs)
    os.close(out)
    reads = m.stats()["reads"]["requests"]
    assert reads <= size // (512 << 10), reads


@pytest.mark.parametrize("transport", ["io_uring", "dev"])
def test_appends_beside_a_reader(mount, transport):
    """What was read ahead is still what is there."""
    m = mount("lane=direct", "passthrough=off", f"transport={transport}")
    write_large(m.backing("f"), 64 * M)
    settle(m.backing("f"))
    before = m.stats()["reads"]
    with open(m.join("f"), "rb", buffering=0) as reader, open(m.join("f"), "ab", buffering=0) as log:
        for _ in range(48 * 8):
            assert len(reader.read(128 * K)) == 128 * K
            # Who asks for the size before, as programs do, waits no longer.
            os.fstat(log.fileno())
            log.write(b"line\n")
    asked, read = cost(m, before)
    assert asked == 48 * M and read <= asked + 24 * M


def test_small_appends_do_not_wait(mount):
    """For parts before them, which there are only of asynchronous ones."""
    m = mount("lane=direct", "passthrough=off")
    write_file(m.join("f"), b"x" * 100000)
    with open(m.join("f"), "ab", buffering=0) as log, open(m.backing("f"), "ab", buffering=0) as outside:
        begun = clock()
        for _ in range(20):
            os.fstat(log.fileno())
            outside.write(b"y" * 1000)
            log.write(b"z")
        assert clock() - begun < 3
    assert os.path.getsize(m.backing("f")) == 100000 + 20 * 1001


def affinities(m):
    """The processors that each worker may run on; they end when they have nothing to do for a second."""
    fd = os.open(m.join("f"), os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    with mmap.mmap(-1, 1 * M) as data:
        os.write(fd, data)
    os.close(fd)
    found = []
    for task in os.listdir(f"/proc/{m.pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{m.pid}/task/{task}/comm") as stream:
            if stream.read().startswith("lanefs-worker"):
                found.append(os.sched_getaffinity(int(task)))
    return found


def test_workers_run_on_any_processor(mount):
    """Those that a thread of a queue has started, too."""
    m = mount("lane=direct", "passthrough=off", "transport=io_uring")
    found = wait_for(lambda: affinities(m), 20, "there are workers")
    assert all(one == os.sched_getaffinity(0) for one in found), found


def test_old_data_of_a_filesystem_below(mount, scratch):
    """Whether it has changed is found out by a worker there, who reads meanwhile."""
    source = scratch.directory("source")
    os.mkdir(f"{source}/below")
    run("mount", "-t", "tmpfs", "none", f"{source}/below")
    try:
        m = mount("lane=direct", source=source)
        write_file(m.backing("below/f"), b"a" * (24 * M))
        settle(m.backing("below/f"))
        with open(m.join("below/f"), "rb", buffering=0) as stream:
            for _ in range(80):
                assert stream.read(128 * K) == b"a" * (128 * K)
            write_file(m.backing("below/f"), b"b" * (24 * M))
            for pause in (1.2, 3):
                time.sleep(pause)
                for _ in range(8):
                    assert stream.read(128 * K) == b"b" * (128 * K)
        m.close()
    finally:
        run("umount", "-l", f"{source}/below")
