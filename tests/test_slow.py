# SPDX-License-Identifier: MIT
"""A backing filesystem that takes its time, and who must not wait for it."""
import concurrent.futures
import contextlib
import os
import signal
import statistics
import subprocess
import time

import pytest

from util_cgroup import memory_cgroup
from util_mount import sanitized
from util import Child, clock, need, outcome, read_file, run, wait_for, write_file

CPU = max(os.sched_getaffinity(0))
OTHERS = os.sched_getaffinity(0) - {CPU}
WAIT = 0.05
NAMES = 400


def stat_all(root):
    for i in range(NAMES):
        os.stat(f"{root}/{i}/f")


def list_all(root):
    for i in range(NAMES):
        os.listdir(f"{root}/{i}")


def make_all(root):
    for i in range(NAMES):
        os.mkdir(f"{root}/{i}/new")


def keep_stopping(pid):
    while True:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(WAIT)
        os.kill(pid, signal.SIGCONT)
        time.sleep(WAIT / 10)


def read_times(path, seconds):
    """Of opening, reading and closing it, over and over."""
    times = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begin = time.monotonic(), clock()
        assert read_file(path) == b"hot"
        # The second to a few hundredths of one.
        times.append(min(time.monotonic() - begin[0], clock() - begin[1] + 0.05))
        time.sleep(0.002)
    return times


@contextlib.contextmanager
def slow_below(mount, scratch, transport="io_uring", enter=None):
    """A mount of a directory with a file "hot" and a filesystem "cold" below, and the process that serves
    that one."""
    source = scratch.directory("source")
    os.mkdir(f"{source}/cold")
    write_file(f"{source}/hot", b"hot")
    slow = mount("transport=dev", "attr-timeout=0")
    for i in range(NAMES):
        os.mkdir(slow.backing(str(i)))
        write_file(slow.backing(f"{i}/f"), b"cold")
    run("mount", "--bind", slow.path, f"{source}/cold")
    before = os.sched_getaffinity(0)
    try:
        m = mount(f"transport={transport}", source=source, enter=enter)
        os.sched_setaffinity(0, {CPU})
        yield m, slow.pid
    finally:
        os.sched_setaffinity(0, before)
        run("umount", "-l", f"{source}/cold")


@pytest.fixture
def beside_slow(mount, scratch):
    with slow_below(mount, scratch) as found:
        yield found


def stat_elsewhere(path):
    os.sched_setaffinity(0, OTHERS)
    os.stat(path)


@pytest.mark.skipif(not OTHERS, reason="needs two processors")
def test_one_that_hangs_is_enough(beside_slow):
    """While it does, on whatever thread, others do not wait on their queue's."""
    m, slow = beside_slow
    assert read_file(m.join("hot")) == b"hot"
    os.kill(slow, signal.SIGSTOP)
    try:
        with Child(stat_elsewhere, m.join("cold/0/f")) as first:
            time.sleep(0.5)
            assert first.poll() is None
            with Child(os.stat, m.join("cold/1/f")) as second:
                time.sleep(0.2)
                assert max(read_times(m.join("hot"), 1.5)) < 0.4
                assert first.poll() is None and second.poll() is None
                os.kill(slow, signal.SIGCONT)
                first.result()
                second.result()
    finally:
        os.kill(slow, signal.SIGCONT)


@pytest.mark.skipif(not OTHERS, reason="needs two processors")
@pytest.mark.parametrize("how", ["open", "name"])
def test_first_that_hangs(beside_slow, how):
    """On the processor of the others; the filesystem is known to be another, and is looked at by what is
    open there, or by the name that it is mounted on."""
    m, slow = beside_slow
    assert read_file(m.join("hot")) == b"hot"
    with open(m.join("cold/0/f"), "rb") as cold:
        # The kernel has forgotten its attributes by then.
        time.sleep(1.2)
        os.kill(slow, signal.SIGSTOP)
        try:
            with Child(os.stat, cold.fileno() if how == "open" else m.join("cold")) as first:
                time.sleep(0.3)
                assert first.poll() is None
                assert max(read_times(m.join("hot"), 1)) < 0.4
                os.kill(slow, signal.SIGCONT)
                first.result()
        finally:
            os.kill(slow, signal.SIGCONT)


USES = {
    "stat": lambda path: os.stat(f"{path}/f").st_size,
    "read": lambda path: read_file(f"{path}/f"),
    "mkdir": lambda path: os.mkdir(f"{path}/new"),
    "getxattr": lambda path: outcome(os.getxattr, path, "user.none"),
}
def all_at_once(use, directories):
    with concurrent.futures.ThreadPoolExecutor(len(directories)) as pool:
        return list(pool.map(use, directories))


ANSWERS = {"stat": 4, "read": b"cold", "mkdir": None, "getxattr": "No data available"}


def test_so_many_hang_as_there_is_memory_for(mount, scratch):
    if sanitized():
        pytest.skip("a sanitizer needs more memory than that for itself")
    with memory_cgroup("daemon", 12 << 20) as group, contextlib.ExitStack() as children:
        with slow_below(mount, scratch, "dev", group.enter) as (m, slow):
            directories = [m.join(f"cold/{index}") for index in range(250)]
            os.kill(slow, signal.SIGSTOP)
            try:
                hanging = children.enter_context(Child(all_at_once, USES["mkdir"], directories))
                time.sleep(2)
                assert hanging.poll() is None
            finally:
                os.kill(slow, signal.SIGCONT)
            assert hanging.result(30) == [None] * len(directories)
            assert group.kills() == 0
            assert m.close() == []


@pytest.mark.parametrize("use", USES)
def test_any_number_that_hang(mount, scratch, use):
    """Of requests that libfuse's own threads carry out, of which there are only so many."""
    with slow_below(mount, scratch, "dev") as (m, slow), contextlib.ExitStack() as children:
        directories = [m.join(f"cold/{index}") for index in range(8 * os.cpu_count() + 16)]
        for path in directories:
            os.stat(path)
        os.kill(slow, signal.SIGSTOP)
        try:
            hanging = children.enter_context(Child(all_at_once, USES[use], directories))
            time.sleep(1)
            assert hanging.poll() is None
            assert max(read_times(m.join("hot"), 1)) < 0.4
            write_file(m.join("new"), b"x")
            assert sorted(os.listdir(m.path)) == ["cold", "hot", "new"]
        finally:
            os.kill(slow, signal.SIGCONT)
        assert hanging.result(20) == [ANSWERS[use]] * len(directories)


def read_on(path):
    with open(path, "rb", buffering=0) as stream:
        while stream.read(4096):
            time.sleep(0.05)
        return "read"


@pytest.mark.parametrize("transport", ["io_uring", "dev"])
def test_readers_of_what_hangs(mount, scratch, transport):
    """Whether the file has changed is asked of its filesystem now and then, not on the thread of requests."""
    with slow_below(mount, scratch, transport) as (m, slow), contextlib.ExitStack() as children:
        names = [m.join(f"cold/{index}/f") for index in range(8 * os.cpu_count() + 2)]
        for name in names:
            write_file(name, b"x" * (1 << 20))
            os.setxattr(name, "user.lanefs.policy", b"direct")
        os.sched_setaffinity(0, OTHERS | {CPU})
        readers = [children.enter_context(Child(read_on, name)) for name in names]
        time.sleep(1)
        os.kill(slow, signal.SIGSTOP)
        try:
            time.sleep(1)
            for processor in OTHERS | {CPU}:
                os.sched_setaffinity(0, {processor})
                assert max(read_times(m.join("hot"), 0.5)) < 0.4
        finally:
            os.kill(slow, signal.SIGCONT)
            os.sched_setaffinity(0, {CPU})
        assert [reader.result(60) for reader in readers] == ["read"] * len(names)


def test_linked_names_take_no_thread_each(mount, scratch):
    """They expire in a directory that the kernel keeps locked for another's request."""
    with slow_below(mount, scratch, "dev") as (m, slow):
        names = [f"f{index}" for index in range(40)]
        os.mkdir(m.join("to"))
        for name in names:
            write_file(m.join(name), b"x")

        def expiring():
            return [where for where in m.threads() if "fuse_reverse_inval_entry" in where]

        os.kill(slow, signal.SIGSTOP)
        try:
            with Child(os.stat, m.join("cold")) as hanging:
                time.sleep(0.2)
                for name in names:
                    os.link(m.join(name), m.join("to", name))
                wait_for(expiring, 5, "a name expires")
                assert hanging.poll() is None
                assert len(expiring()) == 1
                os.kill(slow, signal.SIGCONT)
                hanging.result(20)
        finally:
            os.kill(slow, signal.SIGCONT)
        wait_for(lambda: not expiring(), 10, "all names have expired")
        assert all(os.stat(m.join(name)).st_nlink == 2 for name in names)


def stat_one_by_one(names, processor):
    """Alone there, it would wait on the queue's own thread."""
    os.sched_setaffinity(0, processor)
    for name in names:
        try:
            os.stat(name)
        except FileNotFoundError:
            pass
        time.sleep(0.2)


@pytest.mark.skipif(not OTHERS, reason="needs two processors")
def test_one_that_hangs_is_enough_for_who_is_alone(mount, scratch):
    need("bindfs")
    base, source = scratch.directory("hanging"), scratch.directory("source")
    for i in range(6):
        write_file(os.path.join(source, f"{i}"), b"x")
    os.mkdir(os.path.join(source, "below"))
    below = subprocess.Popen(["bindfs", "-f", base, os.path.join(source, "below")])
    try:
        wait_for(lambda: os.path.ismount(os.path.join(source, "below")), 5, "it is mounted")
        m = mount("transport=io_uring", source=source)
        stat_one_by_one([m.join("below"), m.join("0")], OTHERS)
        os.kill(below.pid, signal.SIGSTOP)
        names = [m.join("1"), m.join("2"), m.join("below/two")]
        with Child(stat_one_by_one, [m.join("below/one")], OTHERS) as first:
            time.sleep(0.5)
            with Child(stat_one_by_one, names, {CPU}) as second:
                time.sleep(1.5)
                # Another one there.
                with Child(stat_one_by_one, [m.join("3"), m.join("4")], {CPU}) as third:
                    third.result(3)
                assert first.poll() is None and second.poll() is None
                os.kill(below.pid, signal.SIGCONT)
                first.result()
                second.result()
    finally:
        os.kill(below.pid, signal.SIGCONT)
        os.sched_setaffinity(0, OTHERS | {CPU})
        run("umount", "-l", os.path.join(source, "below"), check=False)
        below.terminate()
        below.wait(10)


@pytest.mark.parametrize("use", [stat_all, list_all, make_all])
def test_hot_file_beside_a_cold_tree(mount, scratch, use):
    """Who runs on the same processor has the same queue of io_uring, which one thread serves."""
    # The first that waits is what tells, so each time it is a mount of its own.
    for _ in range(3):
        with slow_below(mount, scratch) as (m, slow):
            times = times_beside(m, slow, use)
        # Others may have had the processor, but not every time.
        if times and statistics.median(times) < WAIT / 5 and sum(time > WAIT / 2 for time in times) <= 10:
            return
    assert False, sorted(times or [])[::10]


def times_beside(m, slow, use):
    """None where the tree was not cold for long, as nobody could stop its filesystem."""
    assert read_file(m.join("hot")) == b"hot"
    try:
        with Child(keep_stopping, slow) as stopper:
            with Child(use, m.join("cold")) as user:
                times = read_times(m.join("hot"), 2)
                over = user.poll() is not None
                stopper.close()
                os.kill(slow, signal.SIGCONT)
                user.result()
                return None if over else times
    finally:
        os.kill(slow, signal.SIGCONT)
