# SPDX-License-Identifier: MIT
"""Listing directories: every entry once, whatever changes meanwhile."""
import os
import random
import stat

import pytest

from util import Child, run, write_file
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
