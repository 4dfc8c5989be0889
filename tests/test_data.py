# SPDX-License-Identifier: MIT
"""Data of one file: odd offsets, holes, allocation, copies inside the kernel, mmap, O_DIRECT."""
import errno
import mmap
import os
import signal
import subprocess

import pytest

import util_sys
from util import Child, outcome, pattern, read_file, run, write_file
from util_sys import (FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE, FALLOC_KEEP_SIZE,
                      FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate)


@pytest.fixture
def f(m):
    write_file(m.join("f"), b"")
    fd = os.open(m.join("f"), os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 4095, 4096, 4097, 131072, 1048577, 3000001])
def test_read_around_the_end(m, size):
    data = pattern(size, size)
    write_file(m.backing("f"), data)
    fd = os.open(m.join("f"), os.O_RDONLY)
    for offset in {0, 1, size // 2, max(0, size - 4097), max(0, size - 1), size, size + 1,
                   size + 4096, size + (1 << 40)}:
        for length in (1, 4095, 4096, 5000, 131072, 2000000):
            assert os.pread(fd, length, offset) == data[offset:offset + length], (offset, length)
    os.close(fd)
    assert read_file(m.join("f")) == data


def test_write_past_the_end_leaves_a_hole(m, f):
    os.pwrite(f, b"end", 5 << 20)
    assert os.fstat(f).st_size == (5 << 20) + 3
    assert os.stat(m.backing("f")).st_blocks < 100
    assert os.pread(f, 10, (5 << 20) - 5) == bytes(5) + b"end"
    assert os.pread(f, 100000, 0) == bytes(100000)


def test_vectors(m, f):
    assert os.pwritev(f, [b"abc", b"", b"d" * 5000, b"efg"], 7) == 5006
    first, second = bytearray(4), bytearray(5010)
    assert os.preadv(f, [first, second], 6) == 5007
    assert bytes(first) + bytes(second)[:5003] == b"\0abc" + b"d" * 5000 + b"efg"


def test_large_write_in_one_call(m, f):
    data = pattern(9 << 20)
    done = 0
    while done < len(data):
        done += os.pwrite(f, data[done:], done)
    assert read_file(m.backing("f")) == data
    assert read_file(m.join("f")) == data


def test_append(m):
    write_file(m.join("f"), b"start")
    fd = os.open(m.join("f"), os.O_RDWR | os.O_APPEND)
    with open(m.backing("f"), "ab", buffering=0) as outside:
        os.write(fd, b"-a")
        outside.write(b"-b")
        os.write(fd, b"-c")
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"-d")
    os.close(fd)
    assert read_file(m.join("f")) == b"start-a-b-c-d"


def test_data_and_holes(m, f):
    os.pwrite(f, b"x" * 65536, 1 << 20)
    os.ftruncate(f, 4 << 20)
    assert os.lseek(f, 0, os.SEEK_DATA) == 1 << 20
    assert os.lseek(f, 1 << 20, os.SEEK_HOLE) == (1 << 20) + 65536
    assert os.lseek(f, 0, os.SEEK_HOLE) == 0
    for offset in (3 << 20, 4 << 20, 5 << 20):
        with pytest.raises(OSError) as caught:
            os.lseek(f, offset, os.SEEK_DATA)
        assert caught.value.errno == errno.ENXIO
    assert os.lseek(f, -1, os.SEEK_END) == (4 << 20) - 1


def test_stores_into_a_mapping_are_data(m, f):
    """Not written back yet: cp and tar would take them for a hole."""
    os.ftruncate(f, 4 << 20)
    assert outcome(os.lseek, f, 0, os.SEEK_DATA) == os.strerror(errno.ENXIO)
    with mmap.mmap(f, 4 << 20) as area:
        area[1 << 20:(1 << 20) + 5] = b"store"
        assert os.lseek(f, 0, os.SEEK_DATA) == 1 << 20
        area[3 << 20] = 1
        assert os.lseek(f, 2 << 20, os.SEEK_DATA) == 3 << 20
        assert area[1 << 20:(1 << 20) + 5] == b"store" == os.pread(f, 5, 1 << 20)


def test_fallocate(m, f):
    data = pattern(1 << 20)
    os.pwrite(f, data, 0)
    fallocate(f, 0, 1 << 20, 1 << 20)
    assert os.fstat(f).st_size == 2 << 20
    assert os.stat(m.backing("f")).st_blocks >= (2 << 20) // 512
    fallocate(f, FALLOC_KEEP_SIZE, 4 << 20, 1 << 20)
    assert os.fstat(f).st_size == 2 << 20
    fallocate(f, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 65536, 65536)
    assert os.pread(f, 1 << 20, 0) == data[:65536] + bytes(65536) + data[131072:]
    assert os.lseek(f, 0, os.SEEK_HOLE) == 65536
    fallocate(f, FALLOC_ZERO_RANGE, 3, 100000)
    assert os.pread(f, 131072, 0) == data[:3] + bytes(131072 - 3)
    fallocate(f, FALLOC_ZERO_RANGE, 3 << 20, 100)
    assert os.fstat(f).st_size == (3 << 20) + 100
    fallocate(f, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 6 << 20, 100)
    assert os.fstat(f).st_size == (3 << 20) + 100
    assert read_file(m.backing("f"))[131072:1 << 20] == data[131072:]


@pytest.mark.parametrize("mode", [FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE])
def test_fallocate_that_moves_data(m, f, mode):
    """FUSE has no such request: refused, and nothing moves."""
    data = pattern(65536)
    os.pwrite(f, data, 0)
    try:
        fallocate(f, mode, 4096, 4096)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
        assert os.pread(f, 70000, 0) == data
    else:
        assert os.fstat(f).st_size == 65536 + (4096 if mode == FALLOC_INSERT_RANGE else -4096)


def test_fallocate_bad_arguments(m, f):
    for mode, offset, length, number in ((0, 0, 0, errno.EINVAL), (0, -1, 1, errno.EINVAL),
                                         (FALLOC_PUNCH_HOLE, 0, 1, errno.EOPNOTSUPP)):
        with pytest.raises(OSError) as caught:
            fallocate(f, mode, offset, length)
        assert caught.value.errno == number


def test_copy_file_range(m, f):
    data = pattern(3 << 20)
    os.pwrite(f, data, 0)
    write_file(m.join("g"), b"x" * 100)
    g = os.open(m.join("g"), os.O_RDWR)
    assert os.pread(g, 200, 0) == b"x" * 100

    def copy(source, target, length, start, end):
        done = 0
        while done < length:
            step = os.copy_file_range(source, target, length - done, start + done, end + done)
            if step == 0:
                break
            done += step
        return done

    assert copy(f, g, 2000001, 1001, 50) == 2000001
    assert os.pread(g, 3 << 20, 0) == b"x" * 50 + data[1001:2001002]
    assert copy(f, f, 5000, 0, 2 << 20) == 5000
    assert os.pread(f, 5000, 2 << 20) == data[:5000]
    assert copy(f, g, 100, (3 << 20) - 10, 0) == 10
    assert copy(f, g, 100, 9 << 20, 0) == 0
    with pytest.raises(OSError) as caught:
        os.copy_file_range(f, f, 100, 0, 50)
    assert caught.value.errno == errno.EINVAL
    os.close(g)
    assert read_file(m.backing("g"))[10:50] == b"x" * 40


def test_copy_file_range_out_of_and_into_the_mount(m, f, native):
    data = pattern(500000)
    os.pwrite(f, data, 0)
    other = os.open(os.path.join(native, "o"), os.O_RDWR | os.O_CREAT)
    try:
        done = 0
        while done < len(data):
            done += os.copy_file_range(f, other, len(data) - done, done, done)
        assert os.pread(other, len(data), 0) == data
        assert os.copy_file_range(other, f, 1000, 5, 600000) == 1000
        assert os.pread(f, 1000, 600000) == data[5:1005]
    except OSError as error:
        assert error.errno == errno.EXDEV
    os.close(other)


def test_sendfile_and_splice(m, native):
    data = pattern(2500001)
    write_file(m.backing("f"), data)
    source = os.open(m.join("f"), os.O_RDONLY)
    target = os.open(os.path.join(native, "o"), os.O_RDWR | os.O_CREAT)
    done = 0
    while step := os.sendfile(target, source, done, 300001):
        done += step
    assert os.pread(target, len(data) + 1, 0) == data
    read_end, write_end = os.pipe()
    os.lseek(target, 0, os.SEEK_SET)
    done = 0
    while step := os.splice(source, write_end, 50001, offset_src=done):
        left = step
        while left:
            left -= os.splice(read_end, target, left)
        done += step
    assert os.pread(target, len(data) + 1, 0) == data
    for fd in (source, target, read_end, write_end):
        os.close(fd)


def test_splice_into_the_mount(m, f):
    data = pattern(60000)
    read_end, write_end = os.pipe()
    os.write(write_end, data)
    done = 0
    while done < len(data):
        done += os.splice(read_end, f, len(data) - done, offset_dst=done)
    os.close(read_end)
    os.close(write_end)
    assert os.pread(f, 70000, 0) == data


def test_mmap_shared(m, f):
    data = bytearray(pattern(300000))
    os.pwrite(f, data, 0)
    with mmap.mmap(f, 300000) as view:
        assert view[:] == data
        view[4090:4100] = data[4090:4100] = b"0123456789"
        view[299990:] = data[299990:] = b"LASTBYTES!"
        view.flush()
        assert os.pread(f, 300000, 0) == data
        assert read_file(m.backing("f")) == data
        os.pwrite(f, b"written", 100000)
        data[100000:100007] = b"written"
        assert view[99990:100010] == data[99990:100010]
    assert read_file(m.join("f")) == data


def test_mmap_outlives_the_descriptor(m):
    write_file(m.join("f"), bytes(8192))
    fd = os.open(m.join("f"), os.O_RDWR)
    view = mmap.mmap(fd, 8192)
    os.close(fd)
    os.unlink(m.join("f"))
    view[5000] = 77
    view.flush()
    assert view[5000] == 77
    view.close()


def test_mmap_private_writes_stay_private(m, f):
    os.pwrite(f, b"a" * 4096, 0)
    with mmap.mmap(f, 4096, flags=mmap.MAP_PRIVATE) as view:
        view[0:5] = b"bbbbb"
        assert os.pread(f, 5, 0) == b"aaaaa"


def test_mmap_read_only_open(m):
    data = pattern(1500000)
    write_file(m.backing("f"), data)
    with open(m.join("f"), "rb") as stream:
        with mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
            assert view[:] == data


def test_mmap_past_a_truncation_is_sigbus(m, f):
    os.pwrite(f, b"a" * 16384, 0)

    def touch():
        with mmap.mmap(f, 16384) as view:
            os.ftruncate(f, 4096)
            assert view[10] == ord("a")
            return view[9000]

    with Child(touch) as child:
        child.wait()
        assert os.WTERMSIG(child.poll()) == signal.SIGBUS


def test_execute_a_program_from_the_mount(m):
    run("cp", "/bin/echo", m.join("echo"))
    assert run(m.join("echo"), "runs").stdout == "runs\n"
    write_file(m.join("script"), b"#!/bin/sh\nexec \"$(dirname $0)\"/echo script\n", 0o755)
    assert run(m.join("script")).stdout == "script\n"
    fd = os.open(m.join("echo"), os.O_RDONLY)
    assert run(m.join("echo"), "again").stdout == "again\n"
    os.close(fd)


def test_running_program_cannot_be_written(m):
    run("cp", "/bin/sleep", m.join("sleep"))
    with subprocess.Popen([m.join("sleep"), "60"]) as process:
        try:
            with pytest.raises(OSError) as caught:
                os.open(m.join("sleep"), os.O_WRONLY)
            assert caught.value.errno == errno.ETXTBSY
            with pytest.raises(OSError) as caught:
                os.truncate(m.join("sleep"), 0)
            assert caught.value.errno == errno.ETXTBSY
        finally:
            process.kill()
    with open(m.join("sleep"), "r+b"):
        with pytest.raises(OSError) as caught:
            subprocess.run([m.join("sleep"), "0"], check=True)
        assert caught.value.errno == errno.ETXTBSY
    run(m.join("sleep"), "0")


def test_direct_io_by_the_application(m):
    data = pattern(1 << 20)
    write_file(m.join("f"), data)
    fd = os.open(m.join("f"), os.O_RDWR | os.O_DIRECT)
    for offset, length in ((0, 4096), (4096, 65536), (1 << 19, 1 << 19), ((1 << 20) - 4096, 8192),
                           (1 << 20, 4096)):
        assert util_sys.read_direct(fd, length, offset) == data[offset:offset + length]
    assert util_sys.write_direct(fd, b"D" * 8192, 4096) == 8192
    assert util_sys.write_direct(fd, b"E" * 4096, 1 << 20) == 4096
    os.close(fd)
    expected = data[:4096] + b"D" * 8192 + data[12288:] + b"E" * 4096
    assert read_file(m.join("f")) == expected
    assert read_file(m.backing("f")) == expected


def test_direct_io_mixed_with_mmap(m):
    write_file(m.join("f"), b"0" * 65536)
    direct = os.open(m.join("f"), os.O_RDWR | os.O_DIRECT)
    plain = os.open(m.join("f"), os.O_RDWR)
    with mmap.mmap(plain, 65536) as view:
        for turn in range(20):
            mark = b"%04d" % turn
            view[8192:8196] = mark
            view.flush()
            assert util_sys.read_direct(direct, 4096, 8192)[:4] == mark
            util_sys.write_direct(direct, mark + b"d" * 4092, 16384)
            assert view[16384:16389] == mark + b"d"
            os.pwrite(plain, mark, 32768)
            assert view[32768:32772] == mark
            assert util_sys.read_direct(direct, 4096, 32768)[:4] == mark
    os.close(direct)
    os.close(plain)


def test_wrong_descriptor_mode(m):
    write_file(m.join("f"), b"x")
    reading, writing = os.open(m.join("f"), os.O_RDONLY), os.open(m.join("f"), os.O_WRONLY)
    with pytest.raises(OSError) as caught:
        os.write(reading, b"y")
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError) as caught:
        os.read(writing, 1)
    assert caught.value.errno == errno.EBADF
    os.close(reading)
    os.close(writing)


def test_file_size_limit(m):
    import resource

    def beyond():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        fd = os.open(m.join("f"), os.O_RDWR | os.O_CREAT)
        assert os.pwrite(fd, b"x" * 8192, 4096) == 4096
        os.pwrite(fd, b"x", 8192)

    with pytest.raises(OSError) as caught, Child(beyond) as child:
        child.result()
    assert caught.value.errno == errno.EFBIG
    assert os.stat(m.join("f")).st_size == 8192


@pytest.mark.daemon
def test_copy_of_a_lot_can_be_interrupted(m):
    """What is asked of the daemon at once is not gigabytes."""
    with open(m.join("from"), "wb") as stream:
        stream.truncate(1 << 30)
    with open(m.join("from"), "rb") as source, open(m.join("to"), "wb") as target:
        copied = os.copy_file_range(source.fileno(), target.fileno(), 1 << 30, 0, 0)
    assert 0 < copied <= 64 << 20


@pytest.mark.daemon
@pytest.mark.parametrize("options", [(), ("passthrough=off",), ("transport=dev", "lane=direct")],
                         ids=["", "without", "direct"])
def test_files_that_are_made_up_when_they_are_read(mount, scratch, options):
    """Their size is 0, as far as stat(2) says."""
    source = scratch.directory("made-up")
    os.mkdir(os.path.join(source, "proc"))
    run("mount", "-t", "proc", "none", os.path.join(source, "proc"))
    try:
        m = mount(*options, source=source)
        for name in ("version", "filesystems", "sys/kernel/ostype"):
            content = read_file(os.path.join("/proc", name))
            assert content and read_file(m.join("proc", name)) == content
            with open(m.join("proc", name), "rb", buffering=0) as stream:
                stream.seek(3)
                assert stream.read() == content[3:]
        write_file(m.join("empty"), b"")
        assert read_file(m.join("empty")) == b""
        assert m.close() == []
    finally:
        run("umount", "-l", os.path.join(source, "proc"))
