# SPDX-License-Identifier: MIT
"""A read that starts after a write returned sees it, between lanes, processes and from outside."""
import contextlib
import mmap
import os
import random
import re
import time

import pytest

import util_sys
from util import (Child, at_once, clock, idle, need, patience, pattern, read_file, run, wait_for,
                  write_file, write_large)

LANES = [("cached", "auto"), ("cached", "off"), ("direct", "auto"), ("direct", "off"),
         ("stream", "auto")]


@pytest.fixture(params=LANES, ids="-".join)
def m(request, part):
    lane, passthrough = request.param
    return part(f"lane={lane}", f"passthrough={passthrough}")


def test_names_that_are_swapped_outside(m):
    """The next open has what is there, also where it was there before, and only looked at since."""
    write_file(m.backing("live"), b"A")
    write_file(m.backing("spare"), b"B")

    def swap():
        util_sys.renameat2(m.backing("live"), m.backing("spare"), util_sys.RENAME_EXCHANGE)

    assert read_file(m.join("live")) == b"A"
    swap()
    assert read_file(m.join("live")) == b"B"
    swap()
    # What the kernel knows of the name has run out.
    time.sleep(1.1)
    os.stat(m.join("live"))
    swap()
    assert read_file(m.join("live")) == b"B"
    swap()
    assert read_file(m.join("live")) == b"A"


def test_file_that_is_replaced_very_often(m):
    """The kernel looks only once more for what was there; who opens or changes it gets some."""
    def replace():
        until = clock() + 1.5
        while clock() < until:
            write_file(m.backing("new"), b"data")
            os.rename(m.backing("new"), m.backing("f"))

    def read():
        until = clock() + 1
        while clock() < until:
            assert read_file(m.join("f")) == b"data"
            assert os.stat(m.join("f")).st_size == 4
            os.chmod(m.join("f"), 0o644)
            os.utime(m.join("f"))
            os.truncate(m.join("f"), 4)

    write_file(m.backing("f"), b"data")
    with Child(replace) as one, Child(read) as two, Child(read) as three:
        for child in (two, three, one):
            child.result(20)


def test_writer_and_reader_in_two_processes(m):
    """Each write is read back by another process through its own open before the next one."""
    write_file(m.join("f"), bytes(100000))
    ask, answer = os.pipe(), os.pipe()

    def reader():
        fd = os.open(m.join("f"), os.O_RDONLY)
        while place := os.read(ask[0], 8):
            offset = int.from_bytes(place, "little")
            os.write(answer[1], os.pread(fd, 8, offset))

    with Child(reader) as child:
        fd = os.open(m.join("f"), os.O_WRONLY)
        chance = random.Random(3)
        for turn in range(500):
            offset = chance.randrange(99992)
            os.pwrite(fd, turn.to_bytes(8, "little"), offset)
            os.write(ask[1], offset.to_bytes(8, "little"))
            assert int.from_bytes(os.read(answer[0], 8), "little") == turn
        os.close(fd)
        child.close()
    for end in ask + answer:
        os.close(end)


def test_size_seen_by_another_process_at_once(m):
    write_file(m.join("f"), b"")
    with open(m.join("f"), "ab", buffering=0) as writer, open(m.join("f"), "rb") as reader:
        for turn in range(1, 200):
            writer.write(b"x" * 100)
            assert os.fstat(reader.fileno()).st_size == os.stat(m.join("f")).st_size == turn * 100
            assert len(os.pread(reader.fileno(), 1 << 20, 0)) == turn * 100


def test_truncated_and_grown_again_reads_zeros(m):
    data = pattern(100000)
    write_file(m.join("f"), data)
    with open(m.join("f"), "r+b", buffering=0) as stream, open(m.join("f"), "rb") as other:
        assert stream.read() == data
        assert os.pread(other.fileno(), 200000, 0) == data
        os.ftruncate(stream.fileno(), 5001)
        assert os.pread(other.fileno(), 200000, 0) == data[:5001]
        os.truncate(m.join("f"), 20000)
        assert os.pread(other.fileno(), 200000, 0) == data[:5001] + bytes(14999)
        os.pwrite(stream.fileno(), b"end", 30000)
        assert os.pread(other.fileno(), 200000, 0) == data[:5001] + bytes(24999) + b"end"


def test_outside_change_is_seen_at_the_next_open(m):
    write_file(m.backing("f"), b"a" * 50000)
    assert read_file(m.join("f")) == b"a" * 50000
    for fill, size in ((b"b", 50000), (b"c", 70000), (b"d", 10), (b"e", 50000)):
        write_file(m.backing("f"), fill * size)
        assert read_file(m.join("f")) == fill * size


@pytest.mark.parametrize("linked", ["before", "by the mount", "and unlinked"])
def test_replaced_outside_under_one_of_two_names(m, linked):
    """OPEN does not say by which name."""
    write_file(m.backing("a"), b"old")
    if linked == "by the mount":
        assert read_file(m.join("a")) == b"old"
        os.link(m.join("a"), m.join("b"))
        # The kernel is told behind the answer.
        idle(0.1)
    else:
        os.link(m.backing("a"), m.backing("b"))
        assert read_file(m.join("a")) == read_file(m.join("b")) == b"old"
    if linked == "and unlinked":
        os.unlink(m.join("b"))
    write_file(m.backing("new"), b"new")
    os.replace(m.backing("new"), m.backing("a"))
    assert read_file(m.join("a")) == b"new"


def test_two_files_exchanged_outside_again_and_again(m):
    for name in ("f", "g"):
        write_file(m.backing(name), name.encode())
    for turn in range(6):
        assert read_file(m.join("f")) == b"fg"[turn % 2:turn % 2 + 1]
        util_sys.renameat2(m.backing("f"), m.backing("g"), util_sys.RENAME_EXCHANGE)


@pytest.fixture
def coarse(scratch):
    """A directory on a filesystem whose times move with the clock's tick, whatever the kernel."""
    path = scratch.directory("ramfs")
    run("mount", "-t", "ramfs", "none", path)
    yield path
    run("umount", "-l", path)


def test_two_changes_within_a_tick(coarse, mount):
    """The kernel's pages of the first are not kept for the second, whose times are the same."""
    m = mount("lane=cached", "passthrough=off", source=coarse)
    hits = 0
    with open(m.backing("f"), "wb", buffering=0) as outside:
        for turn in range(2000):
            os.pwrite(outside.fileno(), b"a%06d" % turn, 0)
            assert read_file(m.join("f")) == b"a%06d" % turn
            first = os.fstat(outside.fileno()).st_ctime_ns
            os.pwrite(outside.fileno(), b"b%06d" % turn, 0)
            hits += os.fstat(outside.fileno()).st_ctime_ns == first
            assert read_file(m.join("f")) == b"b%06d" % turn
            if hits == 20:
                break
    assert hits


@pytest.fixture
def seconds(scratch):
    """A directory on an ext4 whose times have no parts of a second."""
    path = scratch.directory("seconds")
    image = path + ".img"
    with open(image, "wb") as stream:
        stream.truncate(64 << 20)
    run("mkfs.ext4", "-q", "-F", "-I", "128", image)
    if run("mount", "-o", "loop", image, path, check=False).returncode:
        pytest.skip("no loop mounts here")
    yield path
    run("umount", "-l", path)
    os.unlink(image)


@pytest.mark.daemon
def test_number_of_a_file_deleted_outside_is_given_again(seconds, mount):
    """Where there is no birth time the new file looks like the old one, which lanefs remembers."""
    m = mount(source=seconds)
    for turn in range(20):
        write_file(m.backing("f"), b"old")
        number = os.stat(m.backing("f")).st_ino
        assert read_file(m.join("f")) == b"old"
        # All that holds it is let go.
        wait_for(lambda: m.backing("f") not in m.descriptors()[0], 15, "the end of idleness")
        os.unlink(m.backing("f"))
        run("sync", "-f", seconds)
        write_file(m.backing("f"), b"new")
        again = os.stat(m.backing("f")).st_ino == number
        assert read_file(m.join("f")) == b"new"
        if again:
            break
        os.unlink(m.backing("f"))
    else:
        pytest.skip("its number was never given again")


def write_early_in_a_second(path, data):
    """So that there is time for another change with the same timestamp; that."""
    time.sleep(1.02 - time.time() % 1)
    with open(path, "r+b", buffering=0) as outside:
        outside.write(data)
        stamp = os.fstat(outside.fileno())
    assert stamp.st_mtime_ns % 10 ** 9 == 0
    return stamp.st_mtime_ns, stamp.st_ctime_ns


BLOCK = 128 << 10


@pytest.mark.daemon
def test_two_changes_within_a_second(seconds, mount):
    ways = []
    for name, options in (("one", ("lane=cached", "passthrough=off")), ("other", ("lane=direct",))):
        os.mkdir(os.path.join(seconds, name))
        ways.append(mount(*options, source=os.path.join(seconds, name)))
    at_once(second_change_is_seen, ways)


def second_change_is_seen(m):
    path = m.backing("f")
    write_file(path, bytes(64 * BLOCK))
    for _ in range(5):
        stamps = write_early_in_a_second(path, b"a" * 64 * BLOCK)
        time.sleep(0.1)
        with open(m.join("f"), "rb", buffering=0) as stream:
            for _ in range(6):
                assert stream.read(BLOCK) == b"a" * BLOCK
            with open(path, "r+b", buffering=0) as outside:
                os.pwrite(outside.fileno(), b"b" * 64 * BLOCK, 0)
                now = os.fstat(outside.fileno())
            # Descriptors that were open have a second.
            time.sleep(patience(1.1))
            assert stream.read(BLOCK) == b"b" * BLOCK
        with open(m.join("f"), "rb", buffering=0) as stream:
            assert stream.read(BLOCK) == b"b" * BLOCK
        if (now.st_mtime_ns, now.st_ctime_ns) == stamps:
            break
    else:
        assert False, "never within one second"


PIECE = 16 << 10


def open_for_ever(path):
    while True:
        with open(path, "rb", buffering=0) as stream:
            stream.read(PIECE)
        os.stat(path)


@pytest.mark.limit(120)
@pytest.mark.parametrize("transport", ["io_uring", "dev"])
def test_write_is_seen_while_others_look(mount, transport):
    """What others' opens and new times make the kernel drop does not come back as it was."""
    m = mount(f"transport={transport}", "passthrough=off", "attr-timeout=0")
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 9):
        pytest.skip("before Linux 6.9")
    write_file(m.join("f"), bytes(PIECE))
    writer = os.open(m.join("f"), os.O_RDWR)
    reader = os.open(m.join("f"), os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Child(open_for_ever, m.join("f")))
        end = clock() + 4
        count = 0
        while clock() < end:
            count += 1
            data = count.to_bytes(8, "little") * (PIECE // 8)
            assert os.pwrite(writer, data, 0) == PIECE
            assert os.pread(reader, PIECE, 0) == data, count
    os.close(reader)
    os.close(writer)


def test_who_writes_leaves_pages_in_the_source(mount):
    """Without passthrough: what is read and written there is read from memory again."""
    m = mount("passthrough=off")
    size = 1 << 20
    write_large(m.backing("f"), size)
    fd = os.open(m.join("f"), os.O_RDWR)
    util_sys.drop_pages(m.backing("f"))
    for at in range(0, size, 32 << 10):
        assert len(os.pread(fd, 32 << 10, at)) == 32 << 10
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 9):
        assert util_sys.resident(m.backing("f")) == size
    os.close(fd)


def test_outside_change_is_seen_on_an_open_file_within_a_second(m):
    write_file(m.backing("f"), b"a" * 50000)
    with open(m.join("f"), "rb", buffering=0) as stream:
        fd = stream.fileno()
        assert os.pread(fd, 50000, 0) == b"a" * 50000
        for fill, size in ((b"b", 50000), (b"c", 70000), (b"d", 1000)):
            write_file(m.backing("f"), fill * size)
            end = clock() + 1.5
            while os.pread(fd, 100000, 0) != fill * size:
                assert clock() < end, (fill, size, os.fstat(fd).st_size)
                time.sleep(0.02)
            wait_for(lambda: os.fstat(fd).st_size == size, 1.5, "the size from outside")


def test_outside_change_shows_in_a_mapping_of_known_pages(part):
    """Nothing of it is read again: the open finds all of its pages in the kernel."""
    size = 64 << 10
    # One after the other in all lanes, after one wait for all of them.
    ways = [part(f"lane={lane}", f"passthrough={passthrough}") for lane, passthrough in LANES]
    for m in ways:
        write_file(m.backing("f"), b"a" * size)
    time.sleep(0.1)
    for m in ways:
        for turn in range(2):
            assert read_file(m.join("f")) == b"a" * size
    # By then nobody looks after what is closed.
    time.sleep(1.2)
    for m in ways:
        with open(m.join("f"), "rb") as stream:
            with mmap.mmap(stream.fileno(), size, prot=mmap.PROT_READ) as view:
                assert view[:] == b"a" * size
                with open(m.backing("f"), "r+b") as outside:
                    outside.write(b"b" * size)
                wait_for(lambda: view[:] == b"b" * size, 1.5, f"the change with {m.options}")


def test_outside_sees_every_write_at_once(m):
    fd = os.open(m.join("f"), os.O_RDWR | os.O_CREAT)
    with open(m.backing("f"), "rb", buffering=0) as outside:
        for turn in range(100):
            os.pwrite(fd, turn.to_bytes(4, "little") * 50, turn * 200)
            assert os.pread(outside.fileno(), 4, turn * 200 + 100) == turn.to_bytes(4, "little")
            assert os.fstat(outside.fileno()).st_size == (turn + 1) * 200
    os.close(fd)


def test_mmap_of_two_processes(m):
    write_file(m.join("f"), bytes(65536))

    def other():
        with open(m.join("f"), "r+b") as stream, mmap.mmap(stream.fileno(), 65536) as view:
            end = time.monotonic() + 10
            while view[0] != 1:
                assert time.monotonic() < end
            view[40000] = 2

    with Child(other) as child, open(m.join("f"), "r+b") as stream:
        with mmap.mmap(stream.fileno(), 65536) as view:
            view[0] = 1
            child.result(15)
            assert view[40000] == 2


def test_hole_punched_under_a_reader(m):
    import util_sys
    data = pattern(200000)
    write_file(m.join("f"), data)
    with open(m.join("f"), "r+b") as stream, open(m.join("f"), "rb") as other:
        with mmap.mmap(other.fileno(), 200000, prot=mmap.PROT_READ) as view:
            assert view[:] == data == os.pread(other.fileno(), 200000, 0)
            util_sys.fallocate(stream.fileno(), 3, 10000, 50000)
            expected = data[:10000] + bytes(50000) + data[60000:]
            assert os.pread(other.fileno(), 200000, 0) == expected
            assert view[:] == expected


def test_copy_range_under_a_reader(m):
    data = pattern(200000)
    write_file(m.join("f"), data)
    with open(m.join("f"), "r+b") as stream, open(m.join("f"), "rb") as other:
        with mmap.mmap(other.fileno(), 200000, prot=mmap.PROT_READ) as view:
            assert view[:] == data == os.pread(other.fileno(), 200000, 0)
            assert os.copy_file_range(stream.fileno(), stream.fileno(), 5000, 100, 100000) == 5000
            expected = data[:100000] + data[100:5100] + data[105000:]
            assert os.pread(other.fileno(), 200000, 0) == expected
            assert view[:] == expected


class Rotated:
    """A subvolume, a mount of where it lies, and the last snapshot of it."""

    def __init__(self, scratch, mount, options, same_name):
        self.source = scratch.directory("rotated", "btrfs")
        self.volume = os.path.join(self.source, "volume")
        run("btrfs", "subvolume", "create", self.volume)
        self.m = mount(*options, source=self.source)
        self.same_name, self.name, self.kept = same_name, "snapshot", None

    def rotate(self, turn, data):
        write_file(os.path.join(self.volume, "f"), data)
        if turn:
            run("btrfs", "subvolume", "delete", os.path.join(self.source, self.name))
            self.name = self.name if self.same_name else f"snapshot{turn}"
        run("btrfs", "subvolume", "snapshot", self.volume, os.path.join(self.source, self.name))

    def look(self, data):
        path = self.m.join(self.name, "f")
        assert read_file(path) == data
        assert os.stat(path).st_size == len(data)
        self.close()
        self.kept = os.open(path, os.O_RDWR | os.O_APPEND)
        os.write(self.kept, b", appended")
        assert read_file(os.path.join(self.source, self.name, "f")) == data + b", appended"

    def close(self):
        if self.kept is not None:
            os.close(self.kept)
            self.kept = None


def test_snapshots_that_are_rotated(scratch, mount):
    """btrfs gives the next snapshot the device number of the last one; its files have all the same."""
    # All in the same order each time, so that the numbers that are free come to whom they came from.
    all_ways = [Rotated(scratch, mount, options, same_name) for same_name in (True, False)
                for options in ((), ("transport=dev", "passthrough=off"))]
    for turn in range(3):
        data = f"turn {turn}".encode()
        for one in all_ways:
            one.rotate(turn, data)
        # The kernel may believe what it was told of the name for so long.
        time.sleep(1.1)
        for one in all_ways:
            one.look(data)
    for one in all_ways:
        one.close()


def test_file_that_a_filesystem_below_has_forgotten(scratch, mount):
    """It has another handle then; while it is open it stays one file, descriptors or not."""
    need("bindfs")
    base, source = scratch.directory("forgetful"), scratch.directory("passed")
    write_file(os.path.join(base, "f"), b"old")
    os.mkdir(os.path.join(base, "many"))
    for number in range(300):
        write_file(os.path.join(base, "many", str(number)), b"")
    try:
        run("bindfs", base, source)
        m = mount("passthrough=off", source=source, nofile=256)

        def close_idle():
            for _ in range(2):
                for entry in os.scandir(m.join("many")):
                    entry.stat()

        known = os.open(m.join("f"), os.O_PATH)
        close_idle()
        run("mount", "-i", "-o", "remount", source)
        with open(f"/proc/self/fd/{known}", "r+b", buffering=0) as one:
            close_idle()
            # Until the kernel asks for the name again.
            time.sleep(1.1)
            with open(m.join("f"), "r+b", buffering=0) as other, \
                 mmap.mmap(one.fileno(), 3) as stores, mmap.mmap(other.fileno(), 3) as loads:
                stores[:] = b"new"
                assert loads[:] == b"new"
        os.close(known)
        assert m.close() == []
    finally:
        run("umount", "-l", source, check=False)


def test_files_of_several_filesystems_passed_through_as_one(scratch, mount):
    """What a FUSE filesystem passes through has the numbers it has there, each of them several times."""
    need("bindfs")
    base, source = scratch.directory("several"), scratch.directory("passed")
    names = [os.path.join(base, name) for name in ("one", "other")]
    try:
        for name in names:
            os.mkdir(name)
            run("mount", "-t", "tmpfs", "none", name)
            write_file(os.path.join(name, "f"), os.path.basename(name).encode())
        run("bindfs", base, source)
        os.mkdir(os.path.join(base, "many"))
        for number in range(300):
            write_file(os.path.join(base, "many", str(number)), b"")
        m = mount(source=source, nofile=256)
        for _ in range(2):
            assert read_file(m.join("one", "f")) == b"one"
            # By then the daemon has no descriptor of it any more.
            for entry in os.scandir(m.join("many")):
                entry.stat()
            assert read_file(m.join("other", "f")) == b"other"
        with open(m.join("other", "f"), "ab") as stream:
            stream.write(b", more")
        assert read_file(os.path.join(names[1], "f")) == b"other, more"
        os.unlink(m.join("other", "f"))
        assert os.listdir(m.join("one")) == ["f"] and os.listdir(m.join("other")) == []
        assert m.close() == []
    finally:
        run("umount", "-l", source, check=False)
        for name in names:
            run("umount", "-l", name, check=False)
