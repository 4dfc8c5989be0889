# SPDX-License-Identifier: MIT
"""The battery: what any lane on any backing over any transport must get right.

Each function takes a Mount, a random.Random and a factor for the amount of work.
"""
import hashlib
import mmap
import os
import time

from util import Child, pattern, read_file, run, write_file
from util_mount import BUILD
from util_sys import Directory

SPAN = 1 << 20


def odd(chance, limit):
    """A number below limit, often at or next to a page, sector or request boundary."""
    if chance.random() < 0.5:
        step = chance.choice((512, 4096, 65536, 131072))
        value = chance.randrange(0, limit + 1, step) + chance.choice((-1, 0, 0, 1))
        return min(max(value, 0), limit - 1)
    return chance.randrange(limit)


def concurrent_model(m, *options):
    """tests/model.c on a file of the mount."""
    run(os.path.join(BUILD, "tests", "model"), "--seed", str(time.time_ns() // 1000000), *options,
        m.join("model"), timeout=150)


def model(m, chance, factor, policies=(None, None, None)):
    """Random reads, writes, truncations and mmap accesses against a bytearray.

    policies: what to store on the file before each of the three opens.
    """
    path = m.join("model")
    write_file(path, b"")
    fds = []
    for policy, flags in zip(policies, (os.O_RDWR, os.O_RDWR, os.O_RDONLY)):
        if policy:
            os.setxattr(path, "user.lanefs.policy", policy.encode())
        fds.append(os.open(path, flags))
    data = bytearray()
    fill = pattern(2 * SPAN, chance.random())
    for _ in range(150 * factor):
        action = chance.random()
        at, size = odd(chance, SPAN), 1 + odd(chance, 200000)
        if action < 0.35:
            piece = fill[at:at + size]
            assert os.pwrite(chance.choice(fds[:2]), piece, at) == len(piece)
            if len(data) < at:
                data.extend(bytes(at - len(data)))
            data[at:at + len(piece)] = piece
        elif action < 0.85:
            found = os.pread(chance.choice(fds), size, at)
            assert found == data[at:at + size], (at, size, len(data))
        elif action < 0.93:
            if chance.random() < 0.5:
                os.truncate(path, at)
            else:
                os.ftruncate(fds[0], at)
            if at < len(data):
                del data[at:]
            data.extend(bytes(at - len(data)))
            assert os.fstat(fds[2]).st_size == at
        elif len(data) > 0:
            with mmap.mmap(chance.choice(fds[:2]), len(data)) as view:
                at %= len(data)
                size = min(size, len(data) - at)
                assert view[at:at + size] == data[at:at + size], (at, size)
                if chance.random() < 0.6:
                    view[at:at + size] = data[at:at + size] = fill[:size]
                    view.flush()
    for fd in fds:
        assert os.fstat(fd).st_size == len(data)
        assert os.pread(fd, 2 * SPAN, 0) == data
        os.close(fd)
    assert read_file(path) == data == read_file(m.backing("model"))


def checksums(m, chance, factor):
    """A file written through the mount and one written outside, read in many piece sizes."""
    data = pattern(3 * SPAN + chance.randrange(5000), chance.random())
    digest = hashlib.sha256(data).digest()
    for step in chance.sample((4096, 10007, 65536, 131072, 1 << 20), 2):
        with open(m.join("written"), "wb", buffering=0) as stream:
            for at in range(0, len(data), step):
                assert stream.write(data[at:at + step]) == len(data[at:at + step])
            os.fsync(stream.fileno())
        assert hashlib.sha256(read_file(m.backing("written"))).digest() == digest
    write_file(m.backing("outside"), data)
    for name in ("written", "outside"):
        for piece in (4096, 33333, 131072, 1 << 20, 8 << 20)[:2 + factor]:
            with open(m.join(name), "rb", buffering=0) as stream:
                found = hashlib.sha256()
                while block := stream.read(piece):
                    found.update(block)
            assert found.digest() == digest, (name, piece)


def end_of_file(m, chance, factor):
    for _ in range(6 * factor):
        size = chance.choice((0, 1, 511, 513, 4095, 4097, 100001, 131073, 262144))
        data = pattern(size, chance.random())
        write_file(m.join("end"), data)
        fd = os.open(m.join("end"), os.O_RDONLY)
        for at in (0, max(0, size - 1), size, size + 1, size + 5000):
            for count in (1, 4097, 300000):
                assert os.pread(fd, count, at) == data[at:at + count], (size, at, count)
        os.close(fd)


def append(m, chance, factor):
    """Two processes append records through their own opens: none is lost or torn."""
    count = 100 * factor

    def writer(mark):
        fd = os.open(m.join("log"), os.O_WRONLY | os.O_APPEND)
        for index in range(count):
            record = b"%c%05d" % (mark, index) + bytes([mark]) * (index % 50) + b"\n"
            assert os.write(fd, record) == len(record)
        os.close(fd)

    write_file(m.join("log"), b"")
    with Child(writer, ord("a")) as one, Child(writer, ord("b")) as two:
        one.result()
        two.result()
    lines = read_file(m.join("log")).split(b"\n")[:-1]
    assert len(lines) == 2 * count
    for mark in b"ab":
        mine = [line for line in lines if line[0] == mark]
        assert [int(line[1:6]) for line in mine] == list(range(count))
        assert all(line[6:] == bytes([mark]) * (int(line[1:6]) % 50) for line in mine)


def rename_over_open(m, chance, factor):
    """What every careful program does to save: readers see a whole version, always."""
    versions = [pattern(20000 + 1000 * turn, chance.random()) for turn in range(10)]
    write_file(m.join("save"), versions[0])
    for turn in range(10 * factor):
        old, new = versions[turn % 10], versions[(turn + 1) % 10]
        held = os.open(m.join("save"), os.O_RDWR)
        write_file(m.join("save.new"), new)
        os.rename(m.join("save.new"), m.join("save"))
        assert read_file(m.join("save")) == new
        assert os.pread(held, 100000, 0) == old
        os.pwrite(held, b"late", 0)
        assert read_file(m.join("save")) == new
        os.close(held)


def directory_churn(m, chance, factor):
    os.mkdir(m.join("churn"))
    stay = {f"stay-{index}" for index in range(200)}
    for name in stay:
        write_file(m.join("churn", name), b"x")

    def change(seed):
        import random
        order = random.Random(seed)
        for index in range(150 * factor):
            name = m.join("churn", f"go-{seed}-{index}")
            write_file(name, b"y")
            if order.random() < 0.3:
                os.rename(name, name + "r")
                name += "r"
            os.unlink(name)

    with Child(change, 1) as one, Child(change, 2) as two:
        for _ in range(5 * factor):
            with Directory(m.join("churn")) as directory:
                names = [os.fsdecode(name) for name, _, _ in directory]
            assert len(names) == len(set(names))
            assert stay <= set(names)
        one.result()
        two.result()
    assert set(os.listdir(m.join("churn"))) == stay


BATTERY = [model, checksums, end_of_file, append, rename_over_open, directory_churn]
