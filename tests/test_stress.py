# SPDX-License-Identifier: MIT
"""Several processes do everything at once to a few names: only honest errors, nothing left."""
import errno
import mmap
import os
import random
import time

import pytest

import util_sys
from util import Child, read_file, wait_for, write_file
from util_mount import NATIVE

NAMES = ["a", "b", "c", "d/a", "d/b", "e/a"]
# What two processes that race for names may see on any filesystem.
HONEST = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENODATA, errno.ENOTDIR, errno.EISDIR)
SECONDS = 4
# However little gets done in that time.
ENOUGH = 50


def actions(base, chance, mapped):
    """
    What there is to choose from; each is called without arguments.  mapped: reads through
    mappings among it.  While a write that makes a file longer is under way, fstat() already
    tells the new size, and the kernel's own idea of it, by which it answers page faults of
    files without passthrough, follows with the reply: a mapping may be met by SIGBUS.
    """
    def path():
        return os.path.join(base, chance.choice(NAMES))

    def rewrite(fd):
        block = bytes([chance.randrange(1, 256)]) * chance.randrange(1, 9000)
        os.pwrite(fd, block, chance.randrange(250000))

    def check(fd):
        os.pread(fd, chance.randrange(1, 200000), chance.randrange(250000))

    def opened(flags, *then):
        fd = os.open(path(), flags, 0o644)
        try:
            for step in then * chance.randrange(1, 6):
                step(fd)
        finally:
            os.close(fd)

    def look_mapped(fd):
        size = os.fstat(fd).st_size
        if mapped and size >= 4096 and chance.random() < 0.5:
            # The file never shrinks below one block, see truncate below.
            with mmap.mmap(fd, 4096, prot=mmap.PROT_READ) as view:
                assert len(view[:]) == 4096

    def policy():
        os.setxattr(path(), "user.lanefs.policy", chance.choice(
            (b"auto", b"cached", b"direct", b"stream")))

    def listing():
        for name in os.listdir(base):
            try:
                os.lstat(os.path.join(base, name))
            except FileNotFoundError:
                pass

    flags = os.O_RDWR | os.O_CREAT
    return [
        lambda: opened(flags, rewrite, check), lambda: opened(flags, rewrite),
        lambda: opened(os.O_RDONLY, check), lambda: opened(os.O_RDONLY, check, look_mapped),
        lambda: opened(os.O_RDWR, rewrite, lambda fd: os.ftruncate(fd, 4096 * 64)),
        lambda: opened(os.O_RDONLY | os.O_DIRECT,
                       lambda fd: util_sys.read_direct(fd, 8192, 4096)),
        lambda: opened(os.O_RDONLY, lambda fd: os.fsync(fd)),
        lambda: os.truncate(path(), 4096 * (1 + chance.randrange(64))),
        lambda: os.unlink(path()), lambda: os.rename(path(), path()),
        lambda: os.link(path(), path()), lambda: os.stat(path()),
        lambda: util_sys.renameat2(path(), path(), util_sys.RENAME_EXCHANGE),
        lambda: os.chmod(path(), 0o600 | chance.randrange(0o100)),
        policy, policy, listing,
        lambda: os.getxattr(path(), "user.lanefs.why") if not NATIVE else None,
        lambda: os.rename(os.path.join(base, "e"), os.path.join(base, "f")),
        lambda: os.rename(os.path.join(base, "f"), os.path.join(base, "e")),
    ]


def churn(base, seed, seconds, honest, mapped):
    """How many actions were done; fails on an error that is not honest."""
    chance = random.Random(seed)
    choices = actions(base, chance, mapped)
    end, done = time.monotonic() + seconds, 0
    while time.monotonic() < end or done <= ENOUGH:
        try:
            chance.choice(choices)()
        except OSError as error:
            if error.errno not in honest:
                raise
        done += 1
    return done


@pytest.mark.parametrize("transport, passthrough, outside", [
    ("dev", "auto", False), ("io_uring", "auto", True), ("dev", "off", True),
    ("io_uring", "off", False)])
def test_everything_at_once(mount, transport, passthrough, outside):
    m = mount(f"transport={transport}", f"passthrough={passthrough}", "threshold=128K")
    for name in ("d", "e"):
        os.mkdir(m.join(name))
    # The kernel tries again, once, when what a name was has gone behind its back.
    honest = HONEST + ((errno.ESTALE,) if outside else ())
    mapped = passthrough == "auto"
    children = [Child(churn, m.path, seed, SECONDS, honest, mapped) for seed in range(6)]
    if outside:
        children.append(Child(churn, m.source, 99, SECONDS, honest, mapped))
    try:
        counts = [child.result(40) for child in children]
    finally:
        for child in children:
            child.close()
    assert min(counts) > ENOUGH, counts
    time.sleep(1.1)
    for directory, _, names in os.walk(m.source):
        for name in names:
            backing = os.path.join(directory, name)
            mounted = m.join(os.path.relpath(backing, m.source))
            assert os.stat(mounted).st_ino == os.stat(backing).st_ino
            assert read_file(mounted) == read_file(backing), mounted
    if not NATIVE:
        wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "release")
        assert m.stats()["reads"]["in_flight"] == 0


@pytest.mark.parametrize("transport, passthrough", [("dev", "auto"), ("io_uring", "auto"),
                                                    ("dev", "off"), ("io_uring", "off")])
def test_replaced_file_is_always_there(mount, transport, passthrough):
    """A name that is only ever renamed over opens for every reader, whole, old or new."""
    m = mount(f"transport={transport}", f"passthrough={passthrough}")
    write_file(m.join("f"), bytes([1]) * 10000)
    end = time.monotonic() + SECONDS

    def replace(mark):
        turn = 0
        while time.monotonic() < end:
            turn = turn % 255 + 1
            write_file(m.join(f"new{mark}"), bytes([turn]) * 10000)
            os.rename(m.join(f"new{mark}"), m.join("f"))

    def read():
        done = 0
        while time.monotonic() < end:
            data = read_file(m.join("f"))
            assert len(data) == 10000 and len(set(data)) == 1
            os.stat(m.join("f"))
            os.truncate(m.join("f"), 10000)
            done += 1
        return done

    children = [Child(replace, mark) for mark in range(2)] + [Child(read) for _ in range(3)]
    try:
        for child in children:
            child.result(20)
    finally:
        for child in children:
            child.close()
