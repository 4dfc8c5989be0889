# SPDX-License-Identifier: MIT
"""O_DIRECT of the applications' own: what the backing filesystem answers, in every lane."""
import ctypes
import errno
import fcntl
import functools
import itertools
import mmap
import os
import struct
import time

import pytest

import util_sys
from util import Child, pattern, read_file, run, write_file

pytestmark = pytest.mark.daemon

SIZE = (1 << 20) + 700
# Offsets and lengths that suit the device, suit only some filesystems, or none.
PLACES = [0, 512, 4096, 65536, 100, 4097, 1 << 20, SIZE - 700, SIZE, 2 << 20]
LENGTHS = [512, 4096, 65536, 1 << 20, 100, 4097]


def outcome(function, *args):
    try:
        return function(*args)
    except OSError as error:
        return errno.errorcode[error.errno]


def answers(path):
    """What reads and then writes of every place and length give, and what is in the file then."""
    found = []
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        for offset, length in itertools.product(PLACES, LENGTHS):
            found.append((offset, length, outcome(util_sys.read_direct, fd, length, offset)))
        for offset, length in itertools.product(PLACES[:6], LENGTHS[:5]):
            found.append((offset, length, outcome(util_sys.write_direct, fd,
                                                  pattern(length, offset), offset)))
        with open(path, "rb") as stream:
            found.append(stream.read())
    finally:
        os.close(fd)
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    try:
        for offset, length in itertools.product(PLACES[:6], LENGTHS):
            found.append((offset, length, outcome(util_sys.write_direct, fd,
                                                  pattern(length, offset + 1), offset)))
    finally:
        os.close(fd)
    with open(path, "rb") as stream:
        found.append(stream.read())
    return found


@pytest.fixture(scope="module")
def native_answers(scratch):
    """native_answers(backing) gives what that filesystem answers without a mount, asked once."""
    @functools.cache
    def of(backing):
        path = os.path.join(scratch.directory("native", backing), "f")
        write_file(path, pattern(SIZE))
        return answers(path)

    return of


@pytest.mark.parametrize("passthrough", ["auto", "off"])
@pytest.mark.parametrize("lane", ["auto", "cached", "direct", "stream"])
@pytest.mark.parametrize("backing", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_as_on_the_backing_filesystem(mount, native_answers, backing, lane, passthrough):
    m = mount(f"lane={lane}", f"passthrough={passthrough}", "transport=io_uring", backing=backing)
    write_file(m.backing("f"), pattern(SIZE))
    for mine, theirs in zip(answers(m.join("f")), native_answers(backing), strict=True):
        assert mine == theirs, (mine[:2], theirs[:2])


@pytest.mark.parametrize("passthrough", ["auto", "off"])
@pytest.mark.parametrize("lane", ["auto", "direct"])
@pytest.mark.parametrize("backing", ["ext4", "xfs", "btrfs"])
def test_dd_writes_the_end_of_a_file(mount, backing, lane, passthrough):
    """It takes O_DIRECT away for what is less than a block."""
    m = mount(f"lane={lane}", f"passthrough={passthrough}", backing=backing)
    data = pattern(SIZE)
    write_file(m.backing("from"), data)
    for conv in ("trunc", "notrunc"):
        run("dd", f"if={m.backing('from')}", f"of={m.join('to')}", "bs=64k", "oflag=direct",
            *([f"conv={conv}"] if conv == "notrunc" else []))
        with open(m.backing("to"), "rb") as stream:
            assert stream.read() == data


@pytest.mark.parametrize("lane", ["cached", "direct"])
def test_o_direct_taken_away_and_given_back(mount, lane):
    m = mount(f"lane={lane}", "passthrough=off", backing="ext4")
    write_file(m.backing("f"), pattern(SIZE))
    fd = os.open(m.join("f"), os.O_RDWR | os.O_DIRECT)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    for direct in (True, False, True):
        fcntl.fcntl(fd, fcntl.F_SETFL, flags if direct else flags & ~os.O_DIRECT)
        assert outcome(util_sys.write_direct, fd, b"x" * 100, 8192) == ("EINVAL" if direct else 100)
        assert outcome(util_sys.write_direct, fd, b"y" * 4096, 4096) == 4096
        read = outcome(util_sys.read_direct, fd, 100, 700)
        assert read == ("EINVAL" if direct else pattern(SIZE)[700:800])
    os.close(fd)
    with open(m.backing("f"), "rb") as stream:
        data = pattern(SIZE)
        assert stream.read() == data[:4096] + b"y" * 4096 + b"x" * 100 + data[8292:]


SYS_IO_SETUP, SYS_IO_DESTROY, SYS_IO_GETEVENTS, SYS_IO_SUBMIT = range(206, 210)
IOCB_CMD_PWRITE = 1


def aio_write(fd, buffer, length):
    """One asynchronous write of the first length bytes of a mapping; what it has written."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    context = ctypes.c_ulong(0)
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    iocb = ctypes.create_string_buffer(struct.pack("=QIIHhIQQqQII", 0, 0, 0, IOCB_CMD_PWRITE, 0,
                                                   fd, address, length, 0, 0, 0, 0))
    event = (ctypes.c_int64 * 4)()
    assert call(SYS_IO_SETUP, 1, ctypes.byref(context)) == 0
    try:
        assert call(SYS_IO_SUBMIT, context, ctypes.c_long(1),
                    ctypes.byref(ctypes.c_void_p(ctypes.addressof(iocb)))) == 1
        assert call(SYS_IO_GETEVENTS, context, ctypes.c_long(1), ctypes.c_long(1),
                    ctypes.byref(event), None) == 1
    finally:
        call(SYS_IO_DESTROY, context)
    return event[2]


PARTS = [6 << 20, (1 << 20) + 4096, (3 << 20) + 512, 4096, (2 << 20) + 65536, 1 << 20]


def numbered(buffer, length, turn):
    """Fills the first length bytes, every 512 of them with a number of their own."""
    buffer[:length] = b"".join(struct.pack("<Q", turn << 32 | at) * 64
                               for at in range(length // 512))
    return buffer[:length]


def has_in_order(path, expected):
    with open(path, "rb") as stream:
        found = stream.read()
    assert len(found) == len(expected)
    assert [at for at in range(0, len(found), 512)
            if found[at:at + 512] != expected[at:at + 512]] == []


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
@pytest.mark.parametrize("options", [("lane=auto",), ("lane=direct", "passthrough=off"),
                                     ("lane=cached", "passthrough=off")])
@pytest.mark.parametrize("how", ["aio", "write", "writev", "fcntl"])
def test_large_append_stays_in_order(mount, options, transport, how):
    """It comes as several requests that are under way together, perhaps the last one first; and
    the file may have become longer from outside, or shorter, so that one of them begins where the
    last append ended."""
    m = mount(*options, f"transport={transport}", backing="ext4")
    write_file(m.join("f"), b"")
    expected = []
    fd = os.open(m.join("f"), os.O_WRONLY | os.O_APPEND | (os.O_DIRECT if how != "fcntl" else 0))
    if how == "fcntl":
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
    with mmap.mmap(-1, max(PARTS)) as buffer:
        for turn, length in enumerate(PARTS * 2):
            expected.append(numbered(buffer, length, turn))
            if how in ("aio", "fcntl"):
                assert aio_write(fd, buffer, length) == length
            else:
                piece = length if how == "write" else 32768
                with memoryview(buffer)[:length] as view:
                    views = [view[at:at + piece] for at in range(0, length, piece)]
                    assert os.writev(fd, views) == length
                    for one in views:
                        one.release()
            if turn % 3 == 2:
                # The kernel does not know of it.
                more = b"o" * (4096 if turn % 2 else 1 << 20)
                with open(m.backing("f"), "ab") as outside:
                    outside.write(more)
                expected.append(more)
            if turn % len(PARTS) == len(PARTS) - 1:
                has_in_order(m.backing("f"), b"".join(expected))
                os.ftruncate(fd, 0)
                expected = []
        os.truncate(m.backing("f"), 0)
        for turn in range(2):
            expected.append(numbered(buffer, (2 + 4 * turn) << 20, turn))
            assert aio_write(fd, buffer, (2 + 4 * turn) << 20) == (2 + 4 * turn) << 20
            # The kernel asks again.
            os.stat(m.join("f"))
        has_in_order(m.backing("f"), b"".join(expected))
    os.close(fd)


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_large_append_to_a_full_disk(small_disk, mount, transport):
    """What comes behind the part that meets the end of the space is told so as well."""
    m = mount("lane=cached", "passthrough=off", f"transport={transport}", source=small_disk)
    fd = os.open(m.join("f"), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_DIRECT)
    done = 0
    with mmap.mmap(-1, 5 << 20) as buffer:
        while True:
            written = aio_write(fd, buffer, len(buffer))
            if written < 0:
                break
            done += written
    os.close(fd)
    assert written == -errno.ENOSPC
    assert os.stat(m.backing("f")).st_size >= done > 5 << 20


@pytest.mark.parametrize("passthrough", ["auto", "off"])
def test_filesystem_without_o_direct(mount, scratch, passthrough):
    """EINVAL, by which programs know; also while the file is kept ready to be opened again."""
    source = scratch.directory("without")
    run("mount", "-t", "ramfs", "none", source)
    try:
        m = mount(f"passthrough={passthrough}", source=source)
        write_file(m.backing("f"), b"x" * 8192)
        for _ in range(2):
            with pytest.raises(OSError) as failed:
                os.open(m.join("f"), os.O_RDONLY | os.O_DIRECT)
            assert failed.value.errno == errno.EINVAL
            assert read_file(m.join("f")) == b"x" * 8192
        assert m.close() == []
    finally:
        run("umount", "-l", source)


def keep_writing(fd, until):
    with mmap.mmap(-1, 4096) as aligned:
        aligned.write(pattern(4096))
        while time.monotonic() < until:
            os.pwrite(fd, aligned, 0)


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_stores_beside_direct_writes(mount, transport):
    """What a mapping has stored in the last, unaligned page is written, whatever else the open file writes."""
    m = mount("passthrough=off", f"transport={transport}")
    write_file(m.join("f"), bytes(10_000))
    fd = os.open(m.join("f"), os.O_RDWR | os.O_DIRECT)
    until = time.monotonic() + 4
    with mmap.mmap(fd, 10_000) as mapped:
        writers = [Child(keep_writing, fd, until) for _ in range(2)]
        with open(m.backing("f"), "rb") as behind:
            for count in itertools.count(1):
                mapped[9000] = count % 256
                mapped.flush()
                assert os.pread(behind.fileno(), 1, 9000) == bytes([count % 256]), count
                if time.monotonic() > until:
                    break
        for writer in writers:
            writer.result(20)
    os.close(fd)
    assert read_file(m.backing("f"))[:4096] == pattern(4096)
