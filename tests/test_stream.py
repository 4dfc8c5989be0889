# SPDX-License-Identifier: MIT
"""The stream lane: bounded while it lasts, nothing left behind, nobody else's pages touched."""
import concurrent.futures
import ctypes
import errno
import functools
import hashlib
import json
import mmap
import os
import random
import signal
import socket
import threading
import time

import pytest

import util_sys
from util import Child, clock, idle, patience, pattern, read_file, run, sha256, wait_for, write_file, \
    write_large
from util_battery import concurrent_model
from util_mount import lanefs_mounts
from util_stream import BACKINGS, LARGE, MIB, SLACK, WINDOW, Peak, Reclaimed, all_there, cold, gone, \
    make_room, passthrough, read_ahead, slowly, unless_reclaimed, without_system_call
from util_sys import resident

pytestmark = pytest.mark.daemon


@pytest.fixture(params=BACKINGS)
def stream(request, mount):
    """A mount that streams all files over each kind of filesystem, with a small window."""
    m = passthrough(mount("lane=stream", "stream-window=8M", backing=request.param))
    read_ahead(m)
    return m


@pytest.fixture(autouse=True)
def room(scratch):
    yield
    make_room(scratch)


@unless_reclaimed
def test_read_is_bounded_and_leaves_nothing(stream):
    before = stream.stats()["residency"]["dropped"]
    digest = cold(stream, "f")
    with Peak(stream.backing("f")) as peak, open(stream.join("f"), "rb", buffering=0) as file:
        assert stream.stats()["lanes"]["stream"]["open"] == 1
        found = hashlib.sha256()
        for data in slowly(file):
            found.update(data)
        assert found.hexdigest() == digest
    peak.at_most(WINDOW + SLACK)
    gone(stream.backing("f"))
    assert stream.stats()["residency"]["dropped"] - before >= LARGE - WINDOW - SLACK


@unless_reclaimed
def test_sendfile_is_bounded(stream):
    digest = cold(stream, "f")
    ours, theirs = socket.socketpair()

    def drain():
        found = hashlib.sha256()
        while data := theirs.recv(1 << 20):
            found.update(data)
        return found.hexdigest()

    with concurrent.futures.ThreadPoolExecutor() as pool, theirs:
        result = pool.submit(drain)
        with ours, Peak(stream.backing("f")) as peak, open(stream.join("f"), "rb") as file:
            while os.sendfile(ours.fileno(), file.fileno(), None, 1 << 18):
                idle(0.004)
        assert result.result(30) == digest
    peak.at_most(WINDOW + SLACK)
    gone(stream.backing("f"))


@pytest.mark.parametrize("piece", [64 << 10, MIB])
def test_readers_at_different_places_read_little_twice(stream, piece):
    """What was read ahead for a slow reader is not dropped before it gets there."""
    cold(stream, "f", 96 * MIB)
    with open(stream.backing("f"), "rb", buffering=0) as file:
        data = file.read()
    util_sys.drop_pages(stream.backing("f"))

    def reader(place):
        with open(stream.join("f"), "rb", buffering=0) as file:
            file.seek(place)
            for at in range(place, place + 4 * MIB, piece):
                assert file.read(piece) == data[at:at + piece]
                time.sleep(0.02 * piece / (64 << 10))

    before = stream.stats()["residency"]["dropped"]
    children = [Child(reader, place * 4 * MIB) for place in range(24)]
    try:
        for child in children:
            child.result(30)
    finally:
        for child in children:
            child.close()
    gone(stream.backing("f"))
    assert stream.stats()["lanes"]["direct"]["opens"] == 0
    fetched = stream.stats()["residency"]["dropped"] - before
    # The end of each part is where its reader stops and the kernel's read-ahead does not.
    assert fetched <= 96 * MIB * 1.05 + 24 * 2 * max(piece, 256 << 10), fetched / MIB


@unless_reclaimed
def test_readers_whose_read_ahead_does_not_fit(mount):
    """They get windows of the daemon's, and what these leave in the mount's own pages is bounded."""
    m = passthrough(mount("lane=stream", "stream-window=8M", backing="ext4"))
    read_ahead(m, 2048)
    cold(m, "f", 96 * MIB)
    path = m.join("f")
    ours, theirs = os.pipe()
    drain = os.open("/dev/null", os.O_WRONLY)
    try:
        files = [open(path, "rb", buffering=0) for _ in range(16)]
        lanes = m.stats(path)["lanes"]
        assert lanes["stream"]["open"] == 4 and lanes["direct"]["open"] == 12, lanes
        assert m.lane(path) == "direct" and "read-ahead" in m.why(path)
        with Peak(path) as peak:
            for at in range(0, 6 * MIB, 64 << 10):
                for place, file in enumerate(files):
                    sent = os.sendfile(theirs, file.fileno(), place * 6 * MIB + at, 64 << 10)
                    while sent:
                        sent -= os.splice(ours, drain, sent)
                    idle(0.001)
        # Without dropping it would be 72 MiB.
        peak.at_most(56 * MIB)
        for file in files:
            file.close()
        gone(m.backing("f"))
        wait_for(lambda: m.lane(path) == "stream", 5, "the next reader is alone")
    finally:
        for fd in (ours, theirs, drain):
            os.close(fd)
        read_ahead(m)


def test_files_in_memory_have_no_read_ahead(mount):
    m = passthrough(mount("lane=stream", "stream-window=8M", backing="tmpfs"))
    write_large(m.backing("f"), 16 * MIB)
    files = [open(m.join("f"), "rb", buffering=0) for _ in range(16)]
    assert m.stats(m.join("f"))["lanes"]["stream"]["open"] == 16
    for file in files:
        file.close()


@pytest.mark.parametrize("backing", BACKINGS)
@unless_reclaimed
def test_pages_of_others_stay_where_they_are(mount, backing):
    """Page by page: what was there before the stream is there after it."""
    m = passthrough(mount("lane=stream", "stream-window=8M", backing=backing))
    cold(m, "f")
    with open(m.backing("f"), "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(file.fileno(), 8 * MIB, 16 * MIB)
        for at in range(40, 60):
            os.pread(file.fileno(), 4096, at * MIB + 65536)
        places = [at for at in range(0, LARGE, 4096) if util_sys.cachestat(file.fileno(), at, 4096)]
        if len(places) * 4096 < 8 * MIB + 20 * 4096:
            raise Reclaimed(f"{len(places)} pages are there before")
        sha256(m.join("f"))
        wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "release")
        time.sleep(0.3)
        lost = [at for at in places if not util_sys.cachestat(file.fileno(), at, 4096)]
        if lost:
            raise Reclaimed(f"lost at {lost}")
        # The last page read ahead may share a folio with one that is kept.
        gone(m.backing("f"), left=len(places) * 4096 + 21 * 2 * MIB)


@unless_reclaimed
def test_pages_of_others_that_were_reclaimed_are_not_theirs_any_more(mount):
    m = passthrough(mount("lane=stream", "stream-window=8M", backing="ext4"))
    cold(m, "f")
    with open(m.backing("f"), "rb") as file:
        file.read(40 * MIB)
    with open(m.join("f"), "rb", buffering=0) as file:
        file.read(4096)
        # As when memory is short.
        util_sys.drop_pages(m.backing("f"))
        time.sleep(1.5)
        with Peak(m.backing("f")) as peak:
            for _ in slowly(file, pause=0.001):
                pass
        peak.at_most(WINDOW + SLACK)
    gone(m.backing("f"))


@unless_reclaimed
def test_hot_file_is_served_from_memory(stream):
    before = stream.stats()["residency"]["dropped"]
    digest = cold(stream, "f")
    assert sha256(stream.backing("f")) == digest
    pages = resident(stream.backing("f"))
    assert pages >= LARGE * 0.95
    assert sha256(stream.join("f")) == digest
    time.sleep(0.3)
    # The machine may reclaim a page of its own accord.
    assert resident(stream.backing("f")) >= pages * 0.95
    dropped = stream.stats()["residency"]["dropped"] - before
    if dropped:
        # What was missing is the stream's.
        raise Reclaimed(f"{pages} bytes were resident, and {dropped} were dropped")


@unless_reclaimed
def test_written_file_is_bounded_and_whole(stream):
    block = pattern(MIB)
    fd = os.open(stream.join("f"), os.O_WRONLY | os.O_CREAT)
    with Peak(stream.backing("f")) as peak:
        for at in range(LARGE // MIB):
            os.write(fd, block[at:] + block[:at])
            idle(0.01)
    os.close(fd)
    peak.at_most(WINDOW + SLACK)
    gone(stream.backing("f"))
    with open(stream.backing("f"), "rb") as file:
        for at in range(LARGE // MIB):
            assert file.read(MIB) == block[at:] + block[:at]
    assert stream.stats()["residency"]["written_out"] > 0


@pytest.mark.parametrize("change", ["delete", "truncate", "replace", "grow"])
def test_file_changes_under_the_trimmer(stream, change):
    cold(stream, "f")
    with open(stream.join("f"), "rb", buffering=0) as file:
        start = file.read(8 * MIB)
        if change == "delete":
            os.unlink(stream.join("f"))
        elif change == "truncate":
            os.truncate(stream.join("f"), 20 * MIB)
        elif change == "replace":
            write_file(stream.join("other"), b"other")
            os.rename(stream.join("other"), stream.join("f"))
        else:
            with open(stream.backing("f"), "ab") as other:
                other.write(bytes(8 * MIB))
        rest = b"".join(slowly(file, pause=0.001))
        size = len(start) + len(rest)
        assert size == {"truncate": 20 * MIB, "grow": LARGE + 8 * MIB}.get(change, LARGE)
    if change == "delete":
        wait_for(lambda: not [name for name in stream.descriptors()[0] if name.endswith("(deleted)")], 5,
                 "nothing of a deleted file is held")
    elif change == "replace":
        assert sha256(stream.join("f")) == sha256(stream.backing("f"))


def test_deleted_after_it_was_mapped(mount):
    """The trimmer, which waits ever longer for the mapping to go, holds nothing of it then."""
    m = passthrough(mount("lane=direct", backing="ext4"))
    cold(m, "f", 16 * MIB)
    with open(m.join("f"), "rb") as file:
        address = util_sys.map_file(file.fileno(), 16 * MIB)
    assert len(ctypes.string_at(address, 16 * MIB)) == 16 * MIB
    time.sleep(1.4)
    util_sys.unmap(address, 16 * MIB)
    os.unlink(m.join("f"))
    # Its next look of its own would be a second later.
    wait_for(lambda: m.descriptors()[0] == m.first_descriptors[0], 0.8 / patience(1), "let go")


def test_truncated_and_written_anew_between_two_looks(stream):
    """What was resident before is gone, and what lies in its place is the stream's."""
    write_large(stream.backing("f"), 8 * MIB)
    with open(stream.join("f"), "r+b", buffering=0) as file:
        wait_for(lambda: open_lanes(stream, stream.join("f")) == ["stream"], 5, "the stream")
        file.truncate(0)
        file.write(bytes(8 * MIB))
    gone(stream.backing("f"))


def test_grown_and_closed_before_anybody_looks(stream):
    """A file passes the threshold in less time than between two looks."""
    for index in range(8):
        with open(stream.join(f"new{index}"), "wb", buffering=0) as file:
            file.write(bytes(4 * MIB))
    for index in range(8):
        gone(stream.backing(f"new{index}"))


def test_coherence_while_trimming_runs(stream):
    """Readers and writers by passthrough, and outside, see every byte while pages are dropped."""
    size = 32 * MIB
    write_file(stream.backing("f"), bytes(size))
    util_sys.drop_pages(stream.backing("f"))
    turns, seed = 500, random.randrange(1 << 32)
    rng = random.Random(seed)
    model = bytearray(size)
    ways = [os.open(stream.join("f"), os.O_RDWR) for _ in range(2)]
    ways.append(os.open(stream.backing("f"), os.O_RDWR))
    try:
        for turn in range(turns):
            fd, at = rng.choice(ways), rng.randrange(size - 300000)
            length = rng.choice((1, 100, 4096, 70000, 300000))
            if rng.random() < 0.5:
                data = rng.randbytes(length)
                os.pwrite(fd, data, at)
                model[at:at + length] = data
            else:
                assert os.pread(fd, length, at) == model[at:at + length], (seed, turn)
        assert os.pread(ways[0], size, 0) == model, seed
    finally:
        for fd in ways:
            os.close(fd)
    wait_for(lambda: stream.stats()["residency"]["dropped"] > 0, 5, "trimming")


def test_coherence_of_processes_while_trimming_runs(stream):
    """Many at once, through the mount, mappings and from outside, in a file that does not fit."""
    write_file(stream.backing("model"), b"")
    concurrent_model(stream, "--size", "24", "--operations", "5000", "--map", "--also",
                     stream.backing("model"))
    assert stream.stats()["residency"]["dropped"] > 24 * MIB


@unless_reclaimed
def test_stream_next_to_many_open_files(mount):
    """Files that nobody has to look at do not delay the look at one that streams."""
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    read_ahead(m)
    cold(m, "f")
    os.setxattr(m.join("f"), "user.lanefs.policy", b"stream")
    for index in range(3000):
        write_file(m.backing(f"s{index}"), b"")

    def read_by_pieces():
        held = [os.open(m.join(f"s{index}"), os.O_RDONLY) for index in range(3000)]
        with open(m.join("f"), "rb", buffering=0) as file:
            for _ in slowly(file, MIB, 0.008):
                pass
        return len(held)

    with Peak(m.backing("f")) as peak, Child(read_by_pieces, nofile=4000) as child:
        assert child.result(50) == 3000
    peak.at_most(WINDOW + SLACK)


@unless_reclaimed
def test_other_lanes_are_left_alone(mount):
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    read_ahead(m)
    for name, lane in (("kept", b"cached"), ("gone", b"stream")):
        cold(m, name)
        os.setxattr(m.join(name), "user.lanefs.policy", lane)
    with open(m.join("kept"), "rb") as kept, open(m.join("gone"), "rb") as streamed:
        while kept.read(MIB):
            streamed.read(MIB)
        all_there(m.backing("kept"), LARGE)
    gone(m.backing("gone"))
    time.sleep(0.2)
    all_there(m.backing("kept"), LARGE)


def open_lanes(m, path):
    lanes = m.stats(path)["lanes"]
    return [name for name in lanes if lanes[name]["open"]]


@pytest.mark.parametrize("access", [os.O_WRONLY, os.O_RDWR], ids=["write", "read-write"])
@unless_reclaimed
def test_growing_file_moves_to_stream(mount, access):
    m = passthrough(mount("threshold=8M", "stream-window=8M", backing="ext4"))
    read_ahead(m)
    fd = os.open(m.join("f"), access | os.O_CREAT)
    os.write(fd, bytes(4 * MIB))
    assert open_lanes(m, m.join("f")) == ["cached"]
    with Peak(m.backing("f")) as peak:
        for _ in range(60):
            os.write(fd, bytes(MIB))
            idle(0.01)
        wait_for(lambda: open_lanes(m, m.join("f")) == ["stream"], 2, "a move to stream")
    peak.at_most(8 * MIB + WINDOW + SLACK)
    os.ftruncate(fd, 1000)
    wait_for(lambda: open_lanes(m, m.join("f")) == ["cached"], 2, "a move back")
    os.close(fd)
    wait_for(lambda: m.stats()["lanes"]["stream"]["open"] == m.stats()["lanes"]["cached"]["open"] == 0,
             5, "release")


class Unwritten(Peak):
    """The most that is dirty or being written out."""

    def run(self):
        with open(self.path, "rb") as file:
            while not self.over.wait(0.003):
                found = util_sys.cachestat_all(file.fileno())
                self.most = max(self.most, (found.dirty + found.writeback) * 4096)


@pytest.mark.parametrize("backing", BACKINGS)
def test_writer_without_a_pause_waits_for_the_disk(mount, backing):
    m = passthrough(mount("threshold=1M", "stream-window=16M", backing=backing))
    fd = os.open(m.join("f"), os.O_WRONLY | os.O_CREAT)
    data = pattern(MIB)
    try:
        with Unwritten(m.backing("f")) as peak:
            for _ in range(450):
                os.write(fd, data)
        # What it has filled before it is known to be one: 25 to 100 MiB on a quiet machine.
        assert peak.most < 300 * MIB
    finally:
        os.close(fd)
    assert sha256(m.join("f")) == hashlib.sha256(data * 450).hexdigest()


@pytest.mark.parametrize("how", ["append", "overwrite"])
@unless_reclaimed
def test_file_that_was_there_moves_to_stream_when_it_grows(mount, how):
    m = passthrough(mount("threshold=8M", "stream-window=8M", backing="ext4"))
    read_ahead(m)
    write_file(m.backing("f"), bytes(MIB if how == "append" else 5))
    util_sys.drop_pages(m.backing("f"))
    with open(m.join("f"), "ab" if how == "append" else "wb", buffering=0) as file:
        assert open_lanes(m, m.join("f")) == ["cached"]
        # Past the threshold before it is looked at, in most cases.
        file.write(bytes(12 * MIB))
        wait_for(lambda: open_lanes(m, m.join("f")) == ["stream"], 2, "a move to stream")
        with Peak(m.backing("f")) as peak:
            for _ in range(40):
                file.write(bytes(MIB))
                idle(0.01)
        peak.at_most(12 * MIB + WINDOW + SLACK)
    gone(m.backing("f"))


@unless_reclaimed
def test_policy_moves_open_files(mount):
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    read_ahead(m)
    os.mkdir(m.join("d"))
    cold(m, "d/f")
    path = m.join("d", "f")
    os.setxattr(path, "user.lanefs.policy", b"cached")
    with open(path, "rb", buffering=0) as file:
        assert open_lanes(m, path) == ["cached"]
        os.setxattr(path, "user.lanefs.policy", b"stream")
        assert open_lanes(m, path) == ["stream"]
        assert m.lane(path) == "stream" and "policy" in m.why(path)
        for _ in slowly(file, pause=0.001):
            pass
        wait_for(lambda: resident(m.backing("d", "f")) <= WINDOW + SLACK, 2, "trimming")
        os.setxattr(path, "user.lanefs.policy", b"cached")
        assert open_lanes(m, path) == ["cached"] and m.lane(path) == "cached"
        file.seek(0)
        while file.read(MIB):
            pass
        time.sleep(0.2)
        all_there(m.backing("d", "f"), LARGE)
        os.removexattr(path, "user.lanefs.policy")
        os.setxattr(m.join("d"), "user.lanefs.policy", b"stream")
        wait_for(lambda: open_lanes(m, path) == ["stream"], 2, "the directory's policy")
    assert m.stats()["residency"]["moves"] >= 3


@pytest.mark.parametrize("exchange", [False, True])
def test_open_file_moves_with_its_name(mount, exchange):
    """Into the policy of another directory, itself or with the directory it is in."""
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    for name in ("a", "b", "b/sub"):
        os.mkdir(m.join(name))
    cold(m, "a/f")
    cold(m, "b/f")
    os.setxattr(m.join("a"), "user.lanefs.policy", b"cached")
    os.setxattr(m.join("b"), "user.lanefs.policy", b"stream")
    with open(m.join("a", "f"), "rb"), open(m.join("b", "f"), "rb"):
        assert open_lanes(m, m.join("a", "f")) == ["cached"]
        assert open_lanes(m, m.join("b", "f")) == ["stream"]
        if exchange:
            util_sys.renameat2(m.join("a", "f"), m.join("b", "f"), util_sys.RENAME_EXCHANGE)
            wait_for(lambda: open_lanes(m, m.join("a", "f")) == ["cached"], 2, "the other's lane")
        else:
            os.rename(m.join("a", "f"), m.join("b", "g"))
            os.rename(m.join("b", "g"), m.join("b", "f"))
        wait_for(lambda: open_lanes(m, m.join("b", "f")) == ["stream"], 2, "the new lane")
        os.rename(m.join("b", "f"), m.join("b", "sub", "f"))
        os.rename(m.join("b", "sub"), m.join("a", "sub"))
        wait_for(lambda: open_lanes(m, m.join("a", "sub", "f")) == ["cached"], 2, "the directory's lane")


def configured(mount, scratch, text, *options):
    path = os.path.join(scratch.directory("config"), "lanefs.conf")
    write_file(path, text.encode())
    return passthrough(mount(*options, argv=("-c", path), backing="ext4"))


def test_rule_of_a_size_follows_a_growing_file(mount, scratch):
    m = configured(mount, scratch, "[policy]\nthreshold=64M\n[rule middle]\naccess=write\n"
                   "min-size=4M\nmax-size=16M\nlane=stream\n")
    path = m.join("f")
    with open(path, "wb", buffering=0) as file:
        assert open_lanes(m, path) == ["cached"]
        for size, lane in ((5, "stream"), (12, "cached"), (60, "stream")):
            file.write(bytes(size * MIB))
            wait_for(lambda: open_lanes(m, path) == [lane], 2, f"{lane} after {size} MiB more")
        os.ftruncate(file.fileno(), 5 * MIB)
        wait_for(lambda: open_lanes(m, path) == ["stream"], 2, "the rule again")
        os.ftruncate(file.fileno(), 1000)
        wait_for(lambda: open_lanes(m, path) == ["cached"], 2, "no rule")


def test_opener_that_has_ended_is_not_nobody(mount, scratch):
    """Its process goes on using what a thread of it has opened."""
    m = configured(mount, scratch, "[policy]\nthreshold=1M\n[rule known]\nprogram=*\nlane=cached\n")
    cold(m, "f", 4 * MIB)
    os.mkdir(m.join("d"))
    opened = []
    thread = threading.Thread(target=lambda: opened.append(os.open(m.join("f"), os.O_RDONLY)))
    thread.start()
    thread.join()
    # For a second it is believed who it was (fs/caller.c).
    time.sleep(1.2)
    try:
        moves = m.stats()["residency"]["moves"]
        for policy in (b"direct", b"stream"):
            os.setxattr(m.join("d"), "user.lanefs.policy", policy)
            time.sleep(0.2)
        assert open_lanes(m, m.join("f")) == ["cached"]
        assert m.stats()["residency"]["moves"] == moves
        os.setxattr(m.join("f"), "user.lanefs.policy", b"stream")
        wait_for(lambda: open_lanes(m, m.join("f")) == ["stream"], 2, "its own policy")
    finally:
        os.close(opened[0])


def test_opener_that_has_ended_keeps_its_rule_at_others_sizes(mount, scratch):
    m = configured(mount, scratch, "[policy]\nthreshold=4M\n[rule iso]\npath=*.iso\nmin-size=16M\n"
                   "lane=stream\n[rule known]\nprogram=*\nlane=cached\n")
    opened = []
    flags = os.O_WRONLY | os.O_APPEND
    write_file(m.backing("f.db"), bytes(10 * MIB))
    thread = threading.Thread(target=lambda: opened.append(os.open(m.join("f.db"), flags)))
    thread.start()
    thread.join()
    time.sleep(1.2)
    try:
        for size in (2, 10):
            os.write(opened[0], bytes(size * MIB))
            time.sleep(0.3)
            assert open_lanes(m, m.join("f.db")) == ["cached"]
    finally:
        os.close(opened[0])


def keep_open(path, seconds):
    write_file("/proc/self/comm", b"keeper")
    with open(path, "rb"):
        time.sleep(seconds)


def test_what_is_kept_for_a_program_is_not_for_ever(mount, scratch):
    m = configured(mount, scratch, "[policy]\nthreshold=1M\n[rule kept]\nprogram=keeper\nkeep=true\n"
                   "[rule other]\nlane=stream\n")
    cold(m, "f", 4 * MIB)
    with open(m.join("f"), "rb", buffering=0):
        assert open_lanes(m, m.join("f")) == ["stream"]
        with Child(keep_open, m.join("f"), patience(1)) as child:
            wait_for(lambda: open_lanes(m, m.join("f")) == ["cached"], 5, "what it is kept for")
            child.result()
        wait_for(lambda: open_lanes(m, m.join("f")) == ["stream"], 2, "the reader's lane")


def test_policy_moves_what_is_only_written(mount):
    m = passthrough(mount("threshold=1M", backing="ext4"))
    path = m.join("f")
    with open(path, "wb", buffering=0) as file:
        file.write(bytes(4 * MIB))
        wait_for(lambda: open_lanes(m, path) == ["stream"], 2, "a large one")
        os.setxattr(path, "user.lanefs.policy", b"cached")
        assert open_lanes(m, path) == ["cached"]
        os.removexattr(path, "user.lanefs.policy")
        assert open_lanes(m, path) == ["stream"]


def test_what_is_kept_for_one_is_not_for_ever(mount, scratch):
    m = configured(mount, scratch, "[policy]\nthreshold=1M\n[rule kept]\naccess=write\nkeep=true\n"
                   "[rule other]\nlane=stream\n")
    cold(m, "f", 4 * MIB)
    with open(m.join("f"), "rb", buffering=0):
        assert open_lanes(m, m.join("f")) == ["stream"]
        with open(m.join("f"), "r+b", buffering=0):
            assert open_lanes(m, m.join("f")) == ["cached"]
        wait_for(lambda: open_lanes(m, m.join("f")) == ["stream"], 2, "the reader's lane")


@unless_reclaimed
def test_policies_that_change_all_the_time_do_not_stop_trimming(mount):
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    read_ahead(m)
    os.mkdir(m.join("d"))
    cold(m, "f")
    os.setxattr(m.join("f"), "user.lanefs.policy", b"stream")
    over = threading.Event()

    def change():
        while not over.is_set():
            os.setxattr(m.join("d"), "user.lanefs.policy", b"auto")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        with open(m.join("f"), "rb", buffering=0) as file, Peak(m.backing("f")) as peak:
            for _ in slowly(file, pause=0.003):
                pass
    finally:
        over.set()
        thread.join()
    peak.at_most(WINDOW + 2 * SLACK)


def test_what_a_cached_open_read_stays(mount):
    """Next to a reader in direct, and after it."""
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    cold(m, "f", 24 * MIB)
    path = m.join("f")
    with open(path, "rb"):
        assert open_lanes(m, path) == ["direct"]
        os.setxattr(path, "user.lanefs.policy", b"cached")
        with open(path, "rb") as cached:
            assert open_lanes(m, path) == ["cached", "direct"]
            assert len(cached.read()) == 24 * MIB
        wait_for(lambda: open_lanes(m, path) == ["direct"], 5, "release")
        time.sleep(0.2)
    wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "release")
    time.sleep(0.2)
    assert m.stats()["residency"]["dropped"] == 0


def test_what_was_read_before_a_policy_stays(mount):
    """Of a file that is open for writing, too, which is watched all the time."""
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    cold(m, "f", 24 * MIB)
    path = m.join("f")
    os.setxattr(path, "user.lanefs.policy", b"cached")
    with open(path, "r+b", buffering=0) as file:
        time.sleep(0.1)
        sha256(path)
        os.setxattr(path, "user.lanefs.policy", b"stream")
        assert open_lanes(m, path) == ["stream"]
        file.write(b"x")
        time.sleep(0.2)
    wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "release")
    time.sleep(0.2)
    assert m.stats()["residency"]["dropped"] == 0


@unless_reclaimed
def test_file_that_others_make_hot_becomes_cached(mount):
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    read_ahead(m)
    cold(m, "f", 24 * MIB)
    path = m.join("f")
    os.setxattr(path, "user.lanefs.policy", b"stream")
    with open(path, "rb", buffering=0) as file, open(m.backing("f"), "rb", buffering=0) as other:
        assert open_lanes(m, path) == ["stream"]
        end = time.monotonic() + 20
        while open_lanes(m, path) == ["stream"] and time.monotonic() < end:
            other.seek(0)
            for _ in slowly(other, pause=0.001):
                pass
        assert open_lanes(m, path) == ["cached"]
        assert m.lane(path) == "cached" and "hot" in m.why(path)
        # It is known as hot beyond its last close.
        hot = json.loads(m.attribute("report"))["hot"]
        assert hot["files"] == 1 and hot["bytes"] == 24 * MIB, hot
        other.seek(0)
        assert len(other.read()) == file.seek(0, os.SEEK_END)
        time.sleep(0.3)
        all_there(m.backing("f"), 24 * MIB)
    all_there(m.backing("f"), 24 * MIB)


def test_file_that_others_make_hot_stays_while_it_is_open_in_direct(mount):
    """Of what the direct lane reads nothing is in memory: what is there is theirs."""
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    read_ahead(m)
    cold(m, "f", 24 * MIB)

    def dropped():
        return m.stats()["residency"]["dropped"]

    with open(m.join("f"), "rb"), open(m.backing("f"), "rb", buffering=0) as other:
        assert open_lanes(m, m.join("f")) == ["direct"]

        def stays():
            before = dropped()
            for _ in range(2):
                other.seek(0)
                for _ in slowly(other, pause=0.001):
                    pass
            return dropped() == before

        wait_for(stays, 20, "what others read is left to them")
        before = dropped()
    wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "release")
    time.sleep(0.2)
    assert dropped() == before


@unless_reclaimed
def test_writer_that_joins_direct_readers_is_bounded(mount):
    """Its small writes go through the page cache of the backing file."""
    m = passthrough(mount("threshold=1M", "stream-window=8M", backing="ext4"))
    read_ahead(m)
    cold(m, "f", 8 * MIB)
    with open(m.join("f"), "rb") as reader, open(m.join("f"), "ab", buffering=0) as writer:
        assert open_lanes(m, m.join("f")) == ["direct"]
        reader.close()
        with Peak(m.backing("f")) as peak:
            for at in range(48 * MIB // (32 << 10)):
                writer.write(bytes(32 << 10))
                if at % 32 == 0:
                    idle(0.01)
        peak.at_most(WINDOW + SLACK)
    gone(m.backing("f"))


def test_without_passthrough_it_says_so(mount):
    m = mount("lane=stream", "passthrough=off")
    cold(m, "f")
    assert m.lane(m.join("f")) == "direct"
    assert "stream needs passthrough" in m.why(m.join("f"))
    sha256(m.join("f"))
    gone(m.backing("f"))


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
def test_without_cachestat(mount, error):
    """Of an old kernel, or where a filter of system calls does not know it."""
    m = passthrough(mount("lane=stream", "stream-window=8M", backing="ext4",
                          enter=lambda: without_system_call(util_sys.SYS_CACHESTAT, error)))
    read_ahead(m)
    digest = cold(m, "f", 96 * MIB)
    fd = os.open(m.backing("f"), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(fd, 4 * MIB, 0)
    with Peak(m.backing("f")) as peak, open(m.join("f"), "rb", buffering=0) as file:
        assert sum(len(data) for data in slowly(file, pause=0.004)) == 96 * MIB
    assert peak.most <= 48 * MIB
    wait_for(lambda: resident(m.backing("f")) <= 8 * MIB, 10, "what the stream left is dropped")
    # The machine may reclaim a page of its own accord.
    assert util_sys.cachestat(fd, 0, 4 * MIB) * 4096 >= 4 * MIB * 0.95
    os.close(fd)
    fd = os.open(m.join("w"), os.O_WRONLY | os.O_CREAT)
    for _ in range(32):
        os.write(fd, bytes(MIB))
    os.close(fd)
    gone(m.backing("w"))
    assert sha256(m.join("f")) == digest


@pytest.fixture
def overlay(scratch):
    """(directory below, overlay of it)"""
    base = scratch.directory("overlay", "ext4")
    names = [os.path.join(base, name) for name in ("lower", "upper", "work", "merged")]
    for name in names:
        os.mkdir(name)
    done = run("mount", "-t", "overlay", "-o", "lowerdir={},upperdir={},workdir={}".format(*names),
               "none", names[3], check=False)
    if done.returncode:
        pytest.skip(f"no overlay: {done.stderr.strip()}")
    yield names[0], names[3]
    run("umount", "-l", names[3])


def test_overlay(overlay, mount):
    """Its files have their pages in the files below, where cachestat(2) does not look."""
    lower, merged = overlay
    below = os.path.join(lower, "f")
    digest = write_large(below, 96 * MIB)
    util_sys.drop_pages(below)
    m = passthrough(mount("lane=stream", "stream-window=8M", source=merged))
    with Peak(below) as peak, open(m.join("f"), "rb", buffering=0) as file:
        found = hashlib.sha256()
        for data in slowly(file, pause=0.004):
            found.update(data)
    assert found.hexdigest() == digest
    assert 0 < peak.most <= 48 * MIB
    gone(below)
    assert m.stats()["residency"]["dropped"] >= 48 * MIB


@pytest.mark.parametrize("options", [(), ("passthrough=off",), ("transport=io_uring",)],
                         ids=["passthrough", "without", "io_uring"])
def test_overlay_that_copies_up(overlay, mount, options):
    """What is changed for the first time is another file below, and the same one above."""
    lower, merged = overlay
    os.makedirs(os.path.join(lower, "d", "e"))
    for name in ("a", "b", "d/e/c"):
        write_file(os.path.join(lower, name), b"x" * 5000)
    big = pattern(4 * MIB, 3)
    write_file(os.path.join(lower, "big"), big)
    m = mount(*options, "threshold=1M", source=merged)
    os.link(m.join("a"), m.join("a2"))
    assert os.stat(m.join("a")).st_nlink == 2 and os.path.samefile(m.join("a"), m.join("a2"))
    before = os.stat(m.join("b"))
    os.chmod(m.join("b"), 0o600)
    assert os.stat(m.join("b")).st_ino == before.st_ino
    done = run("bash", "-c", "cd $0/d/e && touch new && sleep 1.2 && stat c . >/dev/null && pwd -P && "
               "stat $0/d/e/new && ls /proc/self/cwd/", m.path)
    assert "deleted" not in done.stdout and done.stdout.endswith("c\nnew\n")
    with open(m.join("big"), "r+b", buffering=0) as writer, \
            open(m.join("big"), "rb", buffering=0) as reader:
        for at in range(0, 4 * MIB, 512 << 10):
            assert os.pread(reader.fileno(), 4096, at) == big[at:at + 4096]
            os.pwrite(writer.fileno(), b"new" * 1000, at + 1000)
            assert os.pread(reader.fileno(), 3000, at + 1000) == b"new" * 1000
        assert os.fstat(reader.fileno()).st_ino == os.fstat(writer.fileno()).st_ino
    assert sorted(os.listdir(m.path)) == ["a", "a2", "b", "big", "d"]


def test_large_file_with_little_in_it_on_an_overlay(overlay, mount):
    """What is in memory of it is asked of its data, not of its holes; by mincore(2) that takes a minute."""
    lower, merged = overlay
    with open(os.path.join(lower, "f"), "wb") as stream:
        stream.truncate(4 << 40)
        stream.seek(1 << 40)
        stream.write(b"data")
    m = mount(source=merged)
    start = clock()
    with open(m.join("f"), "rb", buffering=0) as stream:
        assert stream.read(4096) == bytes(4096)
        stream.seek(1 << 40)
        assert stream.read(4) == b"data"
    assert clock() - start < patience(5)


@pytest.mark.parametrize("below", [False, True], ids=["source", "below"])
def test_hard_links_below_an_overlay(overlay, mount, scratch, below):
    """Without an index they are files of their own as soon as one of them is written."""
    lower, merged = overlay
    write_file(os.path.join(lower, "a"), b"old")
    for name in "bcd":
        os.link(os.path.join(lower, "a"), os.path.join(lower, name))
    if below:
        source = scratch.directory("above")
        os.mkdir(os.path.join(source, "o"))
        run("mount", "--bind", merged, os.path.join(source, "o"))
    m = mount(source=source if below else merged)
    join = functools.partial(m.join, "o") if below else m.join
    try:
        for name in "abcd":
            assert os.stat(join(name)).st_nlink == 4
        os.link(join("d"), join("g"))
        write_file(join("g"), b"dg")
        # As programs put a file in its place, and lock.
        with open(join("h"), "w+b", buffering=0) as stream:
            stream.write(b"h")
            os.link(join("h"), join("i"))
            assert os.fstat(stream.fileno()).st_nlink == os.stat(join("h")).st_nlink == 2
            os.unlink(join("h"))
            assert os.fstat(stream.fileno()).st_nlink == os.stat(join("i")).st_nlink == 1
            os.chmod(stream.fileno(), 0o640)
            assert os.pread(stream.fileno(), 2, 0) == b"h"
        assert read_file(join("d")) == b"dg"
        for name in "abc":
            assert os.stat(join(name)).st_nlink == 4
        with open(join("a"), "ab") as stream:
            stream.write(b", new")
        os.chmod(join("b"), 0o600)
        os.truncate(join("c"), 1)
        os.rename(join("d"), join("e"))
        write_file(join("e"), b"e")
        os.link(join("e"), join("f"))
        with open(join("f"), "ab") as stream:
            stream.write(b"f")
        for path in (join, functools.partial(os.path.join, merged)):
            found = {name: read_file(path(name)) for name in os.listdir(path(""))}
            assert found == {"a": b"old, new", "b": b"old", "c": b"o", "e": b"ef", "f": b"ef",
                             "g": b"ef", "i": b"h"}
            assert os.stat(path("a")).st_mode & 0o777 == 0o644
            assert os.stat(path("b")).st_mode & 0o777 == 0o600
    finally:
        if below:
            run("umount", "-l", os.path.join(source, "o"))


@pytest.mark.parametrize("options", [["passthrough=off"], ["lane=direct"]])
def test_hard_links_in_the_upper_layer_of_an_overlay(overlay, mount, options):
    """Of a file that was never below they are one file, for who meets them as several, too."""
    _, merged = overlay
    block, piece = pattern(4 * MIB, 3), 128 << 10
    write_file(os.path.join(merged, "a"), block)
    os.link(os.path.join(merged, "a"), os.path.join(merged, "b"))
    m = mount(*options, source=merged)
    with open(m.join("a"), "r+b", buffering=0) as one, open(m.join("b"), "rb", buffering=0) as other:
        assert other.read() == block
        with mmap.mmap(one.fileno(), 0) as mapping:
            mapping[:3] = b"new"
            assert os.pread(other.fileno(), 3, 0) == b"new"
        for at in range(0, len(block), piece):
            # What is read next, which may have been read ahead.
            os.pwrite(one.fileno(), b"new", at)
            assert os.pread(other.fileno(), piece, at) == b"new" + block[at + 3:at + piece]


def test_killed_daemon_loses_nothing_written(mount):
    m = passthrough(mount("lane=stream", "stream-window=8M"))
    m.may_die = True
    block = pattern(MIB, 7)
    fd = os.open(m.join("f"), os.O_WRONLY | os.O_CREAT)
    for at in range(64):
        assert os.write(fd, block) == MIB
        if at == 40:
            os.kill(m.pid, signal.SIGKILL)
            m.process.wait(10)
    wait_for(lambda: not lanefs_mounts(m.path) or m.process.poll() is not None, 10, "its end")
    with open(m.backing("f"), "rb") as file:
        for _ in range(64):
            assert file.read(MIB) == block
    try:
        os.close(fd)
    except OSError:
        pass
    m.unmount_lazily()


@pytest.mark.limit(180)
@pytest.mark.parametrize("lane", ["stream", "cached"])
def test_many_opens_leak_nothing(mount, lane):
    """Ten thousand files, each opened once, some to be written to, and closed at once."""
    m = passthrough(mount(f"lane={lane}", backing="ext4"))
    count, data = 10000, pattern(100)
    for index in range(count):
        write_file(m.backing(f"f{index}"), data)
    for index in range(count):
        fd = os.open(m.join(f"f{index}"), os.O_RDWR if index % 5 == 0 else os.O_RDONLY)
        if index % 10 == 0:
            assert os.read(fd, len(data)) == data
        os.close(fd)
    assert m.stats()["lanes"][lane]["opens"] == count
    wait_for(lambda: m.stats()["files"]["open"] == 0, 10, "releases")
    wait_for(lambda: m.stats()["backing_ids"] == 0, 10, "backing ids are given back")
    wait_for(lambda: len(m.descriptors()[0]) <= len(m.first_descriptors[0]) + 1, 20,
             "descriptors are closed")


def test_more_open_files_than_descriptors(mount):
    """The files that are looked at do not each cost a descriptor."""
    m = passthrough(mount("lane=stream", nofile=2000))
    for index in range(1000):
        write_file(m.backing(f"f{index}"), b"x" * 5000)
    files = [open(m.join(f"f{index}"), "rb") for index in range(1000)]
    time.sleep(0.5)
    # Each open file has one, and a quarter and an eighth of the limit are kept.
    assert len(m.descriptors()[0]) < 1000 + 500 + 250 + 50
    for file in files:
        assert file.read() == b"x" * 5000
        file.close()


def test_top_counts_once_what_an_earlier_reader_brought(mount):
    """Who opens a file that another streams has fetched nothing of that when the other closes it."""
    m = mount("transport=dev", "lane=stream")
    if not m.passthrough:
        pytest.skip("no passthrough here")
    write_large(m.backing("f"), 48 << 20)
    util_sys.drop_pages(m.backing("f"))

    def fetched():
        return sum(lane["fetched"] for lane in json.loads(m.attribute("top"))["lanes"].values())

    first = os.open(m.join("f"), os.O_RDONLY)
    while os.read(first, 1 << 20):
        pass
    before = wait_for(lambda: fetched() >= 40 << 20 and fetched(), 10, "what was read is seen")
    second = os.open(m.join("f"), os.O_RDONLY)
    os.close(first)
    wait_for(lambda: json.loads(m.attribute("top"))["files"][0]["opens"] == 1, 5, "it is closed")
    assert fetched() - before < 16 << 20
    os.close(second)
