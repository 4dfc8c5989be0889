# SPDX-License-Identifier: MIT
"""What programs do decides the lane of their next opens: real programs on real mounts."""
import ctypes
import errno
import json
import mmap
import os
import re
import socket
import struct
import subprocess
import threading
import time

import pytest

import util_sys
from util import Child, need, pattern, run, unmount, wait_for
from util_stream import passthrough, read_ahead

pytestmark = pytest.mark.daemon

MIB = 1 << 20
SIZE = 12 * MIB


@pytest.fixture
def m(mount):
    made = mount("threshold=1M", "transport=io_uring")
    if not made.passthrough:
        pytest.skip("this kernel has no FUSE passthrough")
    return made


def make(m, name, size=SIZE):
    """A large file of which nothing is in memory."""
    path = m.backing(name)
    with open(path, "wb") as stream:
        stream.write(pattern(size))
        os.fsync(stream.fileno())
    util_sys.drop_pages(path)
    return m.join(name)


def supposed(m, path, program):
    """The decision on an open of that program, as JSON."""
    return json.loads(m.attribute(f"explain.program={program}", path))


def report(m):
    return json.loads(m.attribute("report"))


def opens(m):
    return {lane: counts["opens"] for lane, counts in m.stats()["lanes"].items()}


def lane_of(m, action):
    """Which lane the one open in action() got."""
    before = opens(m)
    action()
    after = opens(m)
    return [lane for lane in after if after[lane] > before[lane]]


# Each takes a path and reads the file in its own way.

def dd_small(path):
    run("dd", f"if={path}", "of=/dev/null", "bs=8k", "status=none")


def dd_large(path):
    run("dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none")


def send(path):
    """sendfile(2), in a process of its own."""
    def work():
        left, right = socket.socketpair()
        done = threading.Thread(target=lambda: drain(right))
        done.start()
        with open(path, "rb", buffering=0) as stream:
            offset = 0
            while sent := os.sendfile(left.fileno(), stream.fileno(), offset, 256 << 10):
                offset += sent
        left.close()
        done.join()
    with Child(work) as child:
        child.result()


def drain(sock):
    while sock.recv(1 << 20):
        pass


def map_all(path):
    def work():
        with open(path, "rb", buffering=0) as stream:
            with mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
                return sum(view[::mmap.PAGESIZE])
    with Child(work) as child:
        child.result()


def map_after_header(path):
    """As numpy does: the header is read, the rest is mapped."""
    def work():
        with open(path, "rb", buffering=0) as stream:
            for _ in range(3):
                stream.read(64)
            with mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
                return sum(view[::mmap.PAGESIZE])
    with Child(work) as child:
        child.result()


def here_and_there(path):
    def work():
        fd = os.open(path, os.O_RDONLY)
        at = 1
        for _ in range(200):
            at = (at * 1103515245 + 12345) % (SIZE - 8192)
            os.pread(fd, 4096, at & ~4095)
        os.close(fd)
    with Child(work) as child:
        child.result()


@pytest.mark.parametrize("action, lanes, words", [
    (dd_small, ["stream"], "8 KiB at a time"),
    (dd_large, ["direct", "stream"], "sequentially"),
    (send, ["stream"], "sends or maps pages"),
    (map_all, ["stream"], "sends or maps pages"),
    (map_after_header, ["stream"], "sends or maps pages"),
    (here_and_there, ["cached"], "here and there"),
], ids=["small", "large", "sendfile", "mmap", "header-mmap", "random"])
def test_settles_within_ten_opens(m, action, lanes, words):
    program = "dd" if action in (dd_small, dd_large) else open("/proc/self/comm").read().strip()
    seen = []
    for number in range(10):
        # Files of one kind, each read once: what is known of the kind has to carry over.
        path = make(m, f"{number}.iso")
        seen += lane_of(m, lambda: action(path))
    assert seen[0] == "direct"
    assert seen[-1] in lanes, seen
    told = supposed(m, make(m, "next.iso"), program)
    assert told["rule"] == "learned" and told["lane"] in lanes, told
    assert words in told["why"] and program in told["why"], told["why"]
    known = [entry for entry in report(m)["known"] if entry["program"] == program]
    assert known and known[0]["extension"] == "iso", known


@pytest.mark.parametrize("kib, lane", [(128, "direct"), (4096, "stream")])
def test_first_guess_follows_the_read_ahead(mount, kib, lane):
    first = passthrough(mount("threshold=1M", backing="ext4"))
    read_ahead(first, kib)
    try:
        m = mount("threshold=1M", "transport=io_uring", backing="ext4", source=first.source)
        assert lane_of(m, lambda: dd_large(make(m, "0.iso"))) == ["direct"]
        told = supposed(m, make(m, "1.iso"), "dd")
    finally:
        read_ahead(first)
    assert told["rule"] == "learned" and told["lane"] == lane, told
    assert ("reads far ahead" in told["why"]) == (lane == "stream"), told["why"]
    assert lane_of(m, lambda: dd_large(make(m, "2.iso"))) == [lane]


def test_database(m):
    """Opened to read and write, read here and there, never seen by the daemon."""
    def work(path):
        fd = os.open(path, os.O_RDWR)
        at = 1
        for _ in range(200):
            at = (at * 1103515245 + 12345) % (SIZE - 8192)
            os.pread(fd, 4096, at & ~4095)
        os.close(fd)

    seen = []
    for number in range(6):
        path = make(m, f"{number}.db")
        with Child(work, path) as child:
            seen += lane_of(m, child.result)
    assert seen[0] == "stream" and seen[-1] == "cached", seen
    program = open("/proc/self/comm").read().strip()
    known = [entry for entry in report(m)["known"] if entry["extension"] == "db"]
    assert known[0]["shape"] == "random" and known[0]["program"] == program, known


def test_nobody_teaches_for_others(m):
    """What another user's program of the same name does says nothing of ours."""
    os.chmod(m.path, 0o755)
    for number in range(4):
        path = make(m, f"{number}.iso")
        run("dd", f"if={path}", "of=/dev/null", "bs=8k", "status=none", user=65534)
    known = report(m)["known"][0]
    assert (known["program"], known["uid"], known["lane"]) == ("dd", 65534, "stream"), known
    path = make(m, "x.iso")
    assert lane_of(m, lambda: dd_small(path)) == ["direct"]
    # An administrator is told of everybody's, another user of nobody else's.
    assert supposed(m, make(m, "x.img"), "dd")["rule"] == "large"
    with Child(lambda: supposed(m, path, "dd"), uid=65534) as child:
        assert child.result()["rule"] == "learned"
    with Child(lambda: supposed(m, path, "dd"), uid=65533) as child:
        assert child.result()["rule"] == "large"


def test_other_threads_read(m):
    """Opened in one thread and read by another: where the kernel reads, the first has read nothing."""
    def work():
        for number in range(20):
            fd = os.open(m.join(f"{number}.iso"), os.O_RDONLY)

            def read_all():
                at = 0
                while piece := os.pread(fd, MIB, at):
                    at += len(piece)

            thread = threading.Thread(target=read_all)
            thread.start()
            thread.join()
            os.close(fd)

    for number in range(20):
        make(m, f"{number}.iso")
    with Child(work) as child:
        child.result()
    program = open("/proc/self/comm").read().strip()
    told = supposed(m, make(m, "next.iso"), program)
    alike, opens = re.search(r"sequentially in (\d+) of (\d+) opens", told["why"]).groups()
    assert alike == opens and int(opens) >= 10, told["why"]


def test_who_sends_for_long_is_known_before_the_end(m):
    """A film is open for as long as somebody looks at it; the next one need not wait for that."""
    first, second = make(m, "1.iso"), make(m, "2.iso")
    program = open("/proc/self/comm").read().strip()

    def work():
        left, right = socket.socketpair()
        threading.Thread(target=lambda: drain(right), daemon=True).start()
        with open(first, "rb", buffering=0) as stream:
            offset = 0
            while sent := os.sendfile(left.fileno(), stream.fileno(), offset, 256 << 10):
                offset += sent
            return lane_of(m, lambda: os.close(os.open(second, os.O_RDONLY)))

    with Child(work) as child:
        assert child.result() == ["stream"]
    # It is still one open.
    wait_for(lambda: not m.stats()["lanes"]["direct"]["open"], 5, "it is closed")
    assert "in 1 of 1 opens" in supposed(m, make(m, "3.iso"), program)["why"]


def test_kinds_and_programs_are_apart(m):
    for number in range(4):
        dd_small(make(m, f"{number}.iso"))
    assert supposed(m, make(m, "x.iso"), "dd")["lane"] == "stream"
    assert supposed(m, make(m, "x.mkv"), "dd")["lane"] == "direct"
    assert supposed(m, make(m, "y.iso"), "cp")["lane"] == "direct"
    assert "nothing is known" in json.dumps(supposed(m, m.join("y.iso"), "cp"))
    # Of other sizes what is known of the nearest one holds.
    told = supposed(m, m.join("x.iso"), "dd&size=3G")
    assert told["lane"] == "stream" and "opens of files of up to 16 MiB" in told["why"], told


def test_follows_a_change(m):
    for number in range(12):
        dd_small(make(m, f"a{number}.iso"))
    assert supposed(m, make(m, "x.iso"), "dd")["lane"] == "stream"
    for number in range(20):
        dd_large(make(m, f"b{number}.iso"))
    told = supposed(m, m.join("x.iso"), "dd")
    assert "sequentially" in told["why"], told["why"]


def test_learn_off_is_frozen(mount):
    m = mount("threshold=1M", "learn=off")
    for number in range(6):
        dd_small(make(m, f"{number}.iso"))
    assert supposed(m, make(m, "x.iso"), "dd")["lane"] == "direct"
    assert report(m)["known"] == [] and report(m)["learn"] is False


def test_read_again_and_again_is_cached(m):
    path = make(m, "f.bin")
    lanes = []
    for number in range(6):
        # The answer is about the open that comes next.
        assert (m.lane(path) == "cached") == (number >= 2), m.why(path)
        lanes += lane_of(m, lambda: dd_large(path))
    # What the lane stream or direct left out of memory comes in on the third open, and stays.
    assert lanes[0] == "direct" and lanes[-1] == "cached", lanes
    assert lanes[2] == "cached", lanes
    util_sys.drop_pages(m.backing("f.bin"))
    # Memory has not kept it, so the next opens are not cached.
    assert lane_of(m, lambda: dd_large(path)) != ["cached"]


@pytest.mark.parametrize("transport", ["io_uring", "dev"])
def test_read_again_and_again_without_passthrough(mount, transport):
    """It is in the mount's own pages, and none of the backing file's."""
    m = mount("threshold=1M", f"transport={transport}", "passthrough=off")
    path = make(m, "f.bin")
    lanes = []
    for _ in range(8):
        lanes += lane_of(m, lambda: dd_large(path))
    assert lanes[0] == "direct" and set(lanes[3:]) == {"cached"}, lanes


def map_closed(path):
    """As shared libraries are: what is read is read after close(2)."""
    def work():
        fd = os.open(path, os.O_RDONLY)
        size = os.fstat(fd).st_size
        address = util_sys.map_file(fd, size)
        os.close(fd)
        for at in range(0, size, mmap.PAGESIZE):
            ctypes.string_at(address + at, 1)
        time.sleep(0.3)
        util_sys.unmap(address, size)
    with Child(work) as child:
        child.result()


def test_mapped_after_close_again_and_again(mount):
    m = mount("threshold=1M", "transport=io_uring", "stream-window=8M")
    if not m.passthrough:
        pytest.skip("this kernel has no FUSE passthrough")
    path = make(m, "f.so", 64 * MIB)
    lanes = []
    for _ in range(7):
        lanes += lane_of(m, lambda: map_closed(path))
        if lanes[-1] != "cached":
            wait_for(lambda: util_sys.resident(m.backing("f.so")) == 0, 20, "it has left memory")
    assert set(lanes[5:]) == {"cached"}, lanes


def test_looks_at_a_file_do_not_heat_it(m):
    path = make(m, "f.bin")
    for _ in range(6):
        run("head", "-c", "65536", path)
        util_sys.drop_pages(m.backing("f.bin"))
    assert lane_of(m, lambda: dd_large(path)) == ["direct"]


def test_files_that_execve_closes(m):
    """The daemon asks /proc about a thread that waits, in execve(2), for it to answer."""
    path = make(m, "f.iso")
    small = ("import os\n"
             f"fd = os.open({path!r}, os.O_RDONLY)\n"
             "while os.read(fd, 8192):\n"
             "    pass\n")
    closed = ("import os\n"
              f"fds = [os.open({path!r}, os.O_RDONLY | os.O_CLOEXEC) for _ in range(20)]\n"
              "for fd in fds:\n"
              "    os.read(fd, 8192)\n"
              "os.execv('/bin/true', ['true'])\n")
    for _ in range(3):
        run("/usr/bin/python3", "-c", small)
        util_sys.drop_pages(m.backing("f.iso"))
    before = opens(m)["stream"]
    for _ in range(20):
        util_sys.drop_pages(m.backing("f.iso"))
        run("/usr/bin/python3", "-c", closed, timeout=20)
    assert opens(m)["stream"] > before
    wait_for(lambda: m.stats()["files"]["open"] == 0, 5, "all is closed")


def answer_all_but_flush(path, mounted):
    """A filesystem with one file, y, whose close(2) hangs."""
    fuse = os.open("/dev/fuse", os.O_RDWR)
    util_sys.mount("hangs", path, "fuse", 0, f"fd={fuse},rootmode=40000,user_id=0,group_id=0")
    os.write(mounted, b"m")
    attributes = {node: struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
                  for node, mode in ((1, 0o40755), (2, 0o100644))}
    init, lookup, getattr_, open_, flush, release, forget = 26, 1, 3, 14, 25, 18, 2
    while True:
        try:
            request = os.read(fuse, 1 << 17)
        except OSError:
            return
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        answer = {
            init: struct.pack("<4I2H3I", 7, 31, 65536, 0, 12, 10, 65536, 1, 0) + bytes(32),
            lookup: struct.pack("<4Q2I", 2, 0, 1, 1, 0, 0) + attributes[2],
            getattr_: struct.pack("<Q2I", 1, 0, 0) + attributes.get(node, b""),
            open_: struct.pack("<Q2I", 1, 0, 0),
            release: b"",
        }.get(opcode)
        if opcode in (flush, forget):
            continue
        error = -errno.ENOSYS if answer is None else 0
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer or b""), error, unique) + (answer or b""))


def test_execve_that_hangs_in_somebody_else(m, scratch):
    """It holds what the daemon asks /proc for: who does that often has it wait with a few threads only, and
    nobody waits for those."""
    path, hangs = make(m, "f.iso"), scratch.directory("hangs")
    os.setxattr(path, "user.lanefs.policy", b"stream")
    ready, mounted = os.pipe()
    started = ("import os\n"
               f"fds = [os.open({path!r}, os.O_RDWR | os.O_CLOEXEC) for _ in range(60)]\n"
               f"os.open({hangs!r} + '/y', os.O_RDONLY | os.O_CLOEXEC)\n"
               "os.execv('/bin/true', ['true'])\n")

    def stuck():
        return sum("io_accounting" in thread for thread in m.threads())

    with Child(answer_all_but_flush, hangs, mounted) as child:
        os.read(ready, 1)
        runs = [subprocess.Popen(["/usr/bin/python3", "-c", started]) for _ in range(2)]
        try:
            wait_for(lambda: opens(m)["stream"] >= 120, 20, "all is opened")
            wait_for(lambda: stuck() >= 16, 20, "it waits")
            time.sleep(0.5)
            assert stuck() == 16
            m.allowed.append("requests are stuck")
            m.process.terminate()
            assert m.wait_end(30) == 0
        finally:
            util_sys.umount2(hangs, util_sys.MNT_FORCE | util_sys.MNT_DETACH)
            for process in runs:
                process.wait(20)
            child.result(20)


def restart(m):
    unmount(m.path)
    assert m.wait_end() == 0
    m.start()


def test_kept_from_mount_to_mount(mount, scratch):
    state = os.path.join(scratch.directory("state"), "f.state")
    m = mount("threshold=1M", f"state={state}")
    if not m.passthrough:
        pytest.skip("this kernel has no FUSE passthrough")
    for number in range(5):
        dd_small(make(m, f"{number}.iso"))
    before = supposed(m, make(m, "x.iso"), "dd")["why"]
    restart(m)
    assert supposed(m, m.join("x.iso"), "dd")["why"] == before
    assert os.stat(state).st_mode & 0o777 == 0o600


def test_nothing_learned_leaves_no_file(mount, scratch):
    state = os.path.join(scratch.directory("state"), "f.state")
    m = mount("threshold=1M", f"state={state}")
    restart(m)
    assert not os.path.exists(state)


def test_damaged_state_is_set_aside(mount, scratch):
    state = os.path.join(scratch.directory("state"), "f.state")
    with open(state, "w") as stream:
        stream.write("lanefs state 2\nnonsense\n")
    m = mount("threshold=1M", f"state={state}")
    m.allowed.append(state)
    assert "WARNING" in m.log() and state in m.log()
    assert open(state + ".damaged").read() == "lanefs state 2\nnonsense\n"
    assert not os.path.exists(state)
    dd_small(make(m, "a.iso"))
    restart(m)
    assert open(state).read().startswith("lanefs state 2\n")
    assert m.log().count("WARNING") == 1


def test_state_is_not_written_into_what_is_in_the_way(mount, scratch):
    directory = scratch.directory("state")
    state = os.path.join(directory, "f.state")
    other = os.path.join(directory, "other")
    with open(other, "w") as stream:
        stream.write("not a state")
    os.link(other, state + ".new")
    m = mount("threshold=1M", f"state={state}")
    dd_small(make(m, "a.iso"))
    restart(m)
    assert open(other).read() == "not a state"
    assert open(state).read().startswith("lanefs state 2\n")


def test_state_cannot_be_had(mount):
    m = mount("threshold=1M", "state=/proc/nowhere/f.state")
    assert "what is learned is not kept: /proc/nowhere" in m.log()
    dd_small(make(m, "a.iso"))


def test_state_below_the_mount(mount):
    """The directory of the state file is covered by the mount itself."""
    m = mount("threshold=1M", over=True)
    path = os.path.join(m.path, "f.state")
    m.options = []
    unmount(m.path)
    assert m.wait_end() == 0
    m.argv[2:2] = ["-o", f"state={path}"]
    m.start()
    dd_small(make(m, "a.iso"))
    unmount(m.path)
    assert m.wait_end() == 0
    assert open(path).read().startswith("lanefs state 2\n")
    m.start()


@pytest.mark.parametrize("program", ["rsync", "cp"])
def test_copies_are_right_while_learning(m, scratch, program):
    need(program)
    target = scratch.directory("target")
    for number in range(8):
        path = make(m, f"{number}.iso")
        argv = [program, path, target] if program == "cp" else [program, "-W", path, target]
        run(*argv)
        with open(os.path.join(target, f"{number}.iso"), "rb") as stream:
            assert stream.read() == pattern(SIZE)
    assert "sequentially" in supposed(m, path, program)["why"] or program == "cp"


def test_what_was_decided_says_nothing_of_thresholds(m):
    forced, path = make(m, "forced.iso"), make(m, "f.iso")
    os.setxattr(forced, "user.lanefs.policy", b"direct")
    for _ in range(3):
        dd_large(forced)
    dd_large(path)
    wait_for(lambda: report(m)["disk_bytes"]["asked"], 10, "the replay")
    assert report(m)["disk_bytes"]["asked"] == SIZE


def test_shadow(mount):
    m = mount("threshold=1M", "shadow=on")
    path = make(m, "f.iso")
    assert lane_of(m, lambda: dd_large(path)) == ["cached"]
    assert m.lane(path) == "cached"
    # That it is in memory now is the doing of shadow=on.
    assert "shadow=on, would be" in m.why(path), m.why(path)
    told = report(m)
    assert told["shadow"] is True
    assert told["opens"]["direct"]["opens"] == 1 and told["opens"]["direct"]["bytes"] == SIZE
    assert lane_of(m, lambda: dd_large(path)) == ["cached"]
    told = report(m)
    assert told["opens"]["cached"]["opens"] == 0, told
    assert told["opens"]["direct"]["opens"] + told["opens"]["stream"]["opens"] == 2, told
    wait_for(lambda: report(m)["disk_bytes"]["asked"] == 2 * SIZE, 10, "the replay")
    assert report(m)["disk_bytes"]["policy"] == 2 * SIZE


def test_report_is_for_administrators(m):
    with Child(lambda: m.attribute("report"), uid=65534) as child:
        with pytest.raises(PermissionError):
            child.result()
