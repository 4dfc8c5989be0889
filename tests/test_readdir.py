# SPDX-License-Identifier: MIT
"""Listing directories: every entry once, whatever changes meanwhile."""
import os
import random
import stat
import time

import pytest

from util import Child, run, wait_for, write_file
import util_sys
from util_mount import sanitized
from util_sys import Directory

TYPES = {stat.S_IFREG: 8, stat.S_IFDIR: 4, stat.S_IFLNK: 10, stat.S_IFIFO: 1, stat.S_IFSOCK: 12,
         stat.S_IFCHR: 2, stat.S_IFBLK: 6}


def fill(path, names):
    for name in names:
        os.close(os.open(os.path.join(path, name), os.O_CREAT | os.O_WRONLY, 0o644))


def many(count):
    return [f"file-{index:05d}-{'x' * (index % 40)}" for index in range(count)]


def test_types_and_inode_numbers(m):
    os.mkdir(m.join("d"))
    write_file(m.join("f"), b"")
    os.symlink("f", m.join("l"))
    for name, kind in (("p", stat.S_IFIFO), ("s", stat.S_IFSOCK)):
        os.mknod(m.join(name), kind | 0o600)
    os.mknod(m.join("c"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with Directory(m.path) as directory:
        entries = {os.fsdecode(name): (ino, kind) for name, ino, kind in directory}
    assert set(entries) == {".", "..", "d", "f", "l", "p", "s", "c"}
    for name, (ino, kind) in entries.items():
        if name == "..":
            continue
        found = os.lstat(m.join(name))
        assert ino == found.st_ino == os.lstat(m.backing(name)).st_ino
        assert kind == TYPES[stat.S_IFMT(found.st_mode)], name


def test_dot_and_dot_dot(m):
    os.makedirs(m.join("a", "b"))
    with Directory(m.join("a", "b")) as directory:
        entries = [(name, ino) for name, ino, _ in directory]
    assert sorted(entries) == [(b".", os.stat(m.join("a", "b")).st_ino),
                               (b"..", os.stat(m.join("a")).st_ino)]


def test_large_directory(m):
    names = many(20000)
    fill(m.backing(), names)
    assert sorted(os.listdir(m.path)) == names
    with os.scandir(m.path) as entries:
        sizes = [entry.stat().st_size for entry in entries]
    assert len(sizes) == 20000
    with Directory(m.path) as directory:
        seen = [name for name, _, _ in directory]
        assert len(seen) == len(set(seen)) == 20002
        directory.rewind()
        assert [name for name, _, _ in directory] == seen


def test_seek_and_tell(m):
    names = many(3000)
    fill(m.backing(), names)
    with Directory(m.path) as directory:
        places = []
        while True:
            place = directory.tell()
            entry = directory.read()
            if entry is None:
                break
            places.append((place, entry[0]))
        assert len(places) == 3002
        for place, name in random.Random(1).sample(places, 300):
            directory.seek(place)
            assert directory.read()[0] == name
        directory.seek(places[1500][0])
        assert [name for name, _, _ in directory] == [name for _, name in places[1500:]]
    with Directory(m.path) as other:
        other.seek(places[700][0])
        assert other.read()[0] == places[700][1]


def test_entries_that_stay_are_seen_once_while_others_change(m):
    stay, go = many(4000), [f"gone-{index}" for index in range(2000)]
    fill(m.backing(), stay + go)

    def change():
        order = random.Random(2)
        for index in range(2000):
            os.unlink(m.join(go[index]))
            fill(m.path, [f"new-{order.randrange(10**9)}-{index}"])

    with Child(change) as child:
        for _ in range(5):
            with Directory(m.path) as directory:
                seen = [os.fsdecode(name) for name, _, _ in directory]
            kept = [name for name in seen if name.startswith("file-")]
            assert sorted(kept) == stay
            assert len(seen) == len(set(seen))
        child.result(60)
    assert len(os.listdir(m.path)) == 6000


def test_removing_while_listing(m):
    """What rm -r does: every entry is removed as it is read."""
    fill(m.path, many(5000))
    with Directory(m.path) as directory:
        for name, _, _ in directory:
            if name not in (b".", b".."):
                os.unlink(os.path.join(os.fsencode(m.path), name))
    assert os.listdir(m.path) == [] == os.listdir(m.source)


def test_rewind_sees_what_came_after_opening(m):
    fill(m.path, ["a"])
    with Directory(m.path) as directory:
        assert len(list(directory)) == 3
        fill(m.path, ["b"])
        os.unlink(m.join("a"))
        directory.rewind()
        assert {name for name, _, _ in directory} == {b".", b"..", b"b"}


def test_listing_is_fresh_after_every_change(m):
    for turn in range(50):
        fill(m.path, [f"n{turn}"])
        assert f"n{turn}" in os.listdir(m.path)
        fill(m.source, [f"o{turn}"])
        assert f"o{turn}" in os.listdir(m.path)
        os.unlink(m.join(f"n{turn}"))
        assert f"n{turn}" not in os.listdir(m.path)


@pytest.fixture(params=["transport=io_uring", "transport=dev,passthrough=off"])
def own(request, mount):
    """A mount whose counters nobody else moves."""
    return mount(*request.param.split(","))


def kept_of(m):
    """Once all directories are closed: the kernel tells of close(2) a little later."""
    wait_for(lambda: m.stats()["directories"]["open"] == 0, 5, "directories are closed")
    return m.stats()["directories"]["listings_kept"]


def list_until_kept(m, path):
    """What the kernel keeps is there from the second listing on, if the first did not come right after a change."""
    for _ in range(10):
        before = kept_of(m)
        names = os.listdir(path)
        if kept_of(m) > before:
            return names
        time.sleep(0.02)
    raise AssertionError("the listing is not kept")


def test_listing_that_is_kept(own):
    m = own
    names = many(3000)
    os.mkdir(m.join("d"))
    fill(m.backing("d"), names)
    for _ in range(3):
        assert sorted(list_until_kept(m, m.join("d"))) == names
    expected = set(names)
    rng = random.Random(1)
    for turn in range(40):
        directory = rng.choice([m.join("d"), m.backing("d")])
        gone = rng.choice(sorted(expected))
        change = rng.choice(["make", "remove", "rename", "nothing"])
        if change == "make":
            fill(directory, [f"new{turn}"])
            expected.add(f"new{turn}")
        elif change == "remove":
            os.unlink(os.path.join(directory, gone))
            expected.remove(gone)
        elif change == "rename":
            os.rename(os.path.join(directory, gone), os.path.join(directory, f"renamed{turn}"))
            expected = expected - {gone} | {f"renamed{turn}"}
        assert set(os.listdir(m.join("d"))) == expected, (turn, change)
        if turn % 2:
            assert set(list_until_kept(m, m.join("d"))) == expected, (turn, change)
    with Directory(m.join("d")) as stream:
        first = [name for name, _, _ in stream]
        # Deleted while they are listed, as rm -r does.
        stream.rewind()
        for name, _, _ in stream:
            if name not in (b".", b".."):
                os.unlink(os.path.join(os.fsencode(m.join("d")), name))
    assert len(first) == len(expected) + 2
    assert os.listdir(m.join("d")) == [] == os.listdir(m.backing("d"))


def test_listing_that_is_kept_while_others_change_it(own):
    """By several at once; what stays is seen by each, once."""
    m = own
    names = many(3000)
    stay = [name for index, name in enumerate(names) if index % 3]
    os.mkdir(m.join("d"))
    fill(m.backing("d"), names)
    list_until_kept(m, m.join("d"))

    def churn(path):
        for index in range(0, 3000, 3):
            os.unlink(os.path.join(path, names[index]))
            if index % 90 == 0:
                # So long that the listing may be kept.
                time.sleep(0.1)

    def keep_listing(path):
        until = time.monotonic() + 4
        while time.monotonic() < until:
            with Directory(path) as directory:
                seen = [os.fsdecode(name) for name, _, _ in directory]
            assert len(seen) == len(set(seen))
            assert sorted(set(seen) & set(stay)) == stay
            time.sleep(0.01)

    before = kept_of(m)
    children = [Child(keep_listing, m.join("d")) for _ in range(3)]
    wait_for(lambda: m.stats()["directories"]["listings_kept"] > before, 3, "they list what is kept")
    children.append(Child(churn, m.backing("d")))
    for child in children:
        child.result(60)
    assert sorted(os.listdir(m.join("d"))) == stay


def test_listing_that_was_begun_is_kept_in_the_end(own):
    m = own
    names = many(3000)
    os.mkdir(m.join("d"))
    fill(m.backing("d"), names)
    time.sleep(0.1)
    for _ in range(2):
        with Directory(m.join("d")) as directory:
            assert directory.read()
    assert sorted(list_until_kept(m, m.join("d"))) == names


def test_listing_that_is_kept_of_small_reads(own):
    """As musl's readdir(3) makes them: the kernel asks for some names twice."""
    m = own
    os.mkdir(m.join("d"))
    fill(m.backing("d"), many(1000))
    time.sleep(0.1)
    for _ in range(3):
        before = kept_of(m)
        fd = os.open(m.join("d"), os.O_RDONLY | os.O_DIRECTORY)
        while util_sys.getdents(fd, 2048):
            pass
        os.close(fd)
    assert kept_of(m) > before


def test_rewind_of_a_listing_that_is_kept(own):
    """It sees what came from outside within attr-timeout."""
    m = own
    os.mkdir(m.join("d"))
    fill(m.backing("d"), many(1000))
    list_until_kept(m, m.join("d"))
    with Directory(m.join("d")) as directory:
        assert len(list(directory)) == 1002
        fill(m.backing("d"), ["new"])

        def seen():
            directory.rewind()
            return b"new" in [name for name, _, _ in directory]
        wait_for(seen, 3, "the new name")


def test_listing_with_attributes_is_not_kept(own):
    """Who wants them gets them with it, where otherwise each would be asked for by itself."""
    m = own
    os.mkdir(m.join("d"))
    fill(m.backing("d"), many(1000))

    def list_with_attributes():
        with os.scandir(m.join("d")) as entries:
            return sum(entry.stat().st_size for entry in entries)

    time.sleep(0.1)
    before = kept_of(m)
    for _ in range(6):
        list_with_attributes()
    assert kept_of(m) == before
    # Not for longer than it takes to see that, either.
    for _ in range(2):
        list_until_kept(m, m.join("d"))
        # What is known of the entries is out of date.
        time.sleep(1.1)
        list_with_attributes()
        before = kept_of(m)
        list_with_attributes()
        assert kept_of(m) == before


def test_long_names_in_a_large_directory(m):
    names = [f"{index:04d}" + "n" * 251 for index in range(2500)]
    fill(m.backing(), names)
    assert sorted(os.listdir(m.path)) == names


def test_attributes_that_come_with_a_listing_are_right(m):
    for index in range(300):
        write_file(m.backing(f"f{index}"), b"x" * index, 0o600)
    os.listdir(m.path)
    for index in range(300):
        found = os.stat(m.join(f"f{index}"))
        assert found.st_size == index and found.st_ino == os.stat(m.backing(f"f{index}")).st_ino


@pytest.mark.parametrize("backing", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_offsets_of_every_backing(mount, backing):
    m = mount(backing=backing)
    names = many(1500)
    fill(m.path, names)
    with Directory(m.path) as directory:
        places = []
        while True:
            place = directory.tell()
            entry = directory.read()
            if entry is None:
                break
            places.append((place, entry[0]))
        assert sorted(os.fsdecode(name) for _, name in places) == [".", ".."] + names
        for place, name in places[::97]:
            directory.seek(place)
            assert directory.read()[0] == name
    run("rm", "-r", *[m.join(name) for name in names])
    assert os.listdir(m.source) == []


@pytest.mark.daemon
def test_open_directories_take_little_memory(mount):
    """Of which a few names were read, and which stay open."""
    m = mount()
    os.mkdir(m.join("d"))
    for name in range(300):
        write_file(m.join(f"d/{name:05}"), b"")

    def anonymous():
        with open(f"/proc/{m.process.pid}/status") as stream:
            return next(int(line.split()[1]) << 10 for line in stream if line.startswith("RssAnon"))

    before = anonymous()
    fds = [os.open(m.join("d"), os.O_RDONLY | os.O_DIRECTORY) for _ in range(700)]
    try:
        for fd in fds:
            assert util_sys.getdents(fd, 512)
        if not sanitized():
            assert anonymous() - before < 8 << 20
    finally:
        for fd in fds:
            os.close(fd)
