# SPDX-License-Identifier: MIT
"""The benchmark's arithmetic, and that it runs, with everything as small as it can be."""
import glob
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from util_mount import BUILD, need_uring

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))

from benchmark import (cgroup, check, compare, contenders, databases, guard, instructions, markdown, sizes, stats,
                       suite_loop, targets, text)
from benchmark.build import Failure

pytestmark = pytest.mark.daemon
TINY = ["--hurry", "--rounds", "1", "--file-size", "24M", "--steady-memory", "256M", "--tree",
        "300", "--inodes", "300", "--readers", "4", "--seconds", "0.3", "--source-tree",
        os.path.join(ROOT, "policy")]


def test_sizes():
    assert [sizes.parse(one) for one in ("1", "8K", "4g")] == [1, 8192, 4 << 30]
    assert [sizes.show(one) for one in (1, 8192, 4 << 30, 1536)] == ["1", "8K", "4G", "1536"]
    for bad in ("", "K", "0", "-1", "3Q", "1.5M"):
        with pytest.raises(ValueError):
            sizes.parse(bad)


def test_interval_covers_what_it_says():
    assert stats.coverage(5, 1) == 1 - 2 / 32
    assert stats.coverage(5, 2) == 1 - 2 * 6 / 32
    # Of five, only the whole range is sure enough; of eleven, the outer two can go.
    assert stats.interval([5, 1, 4, 2, 3]) == (1, 5, 0.9375)
    low, high, sure = stats.interval(list(range(11)))
    assert (low, high) == (2, 8) and sure >= 0.9 > stats.coverage(11, 4)
    assert stats.interval([7]) == (7, 7, 0.0)


def test_ratio_is_pair_by_pair():
    # The machine became half as fast in the third round, for both.
    found = stats.ratio([2.0, 2.2, 1.0], [1.0, 1.0, 0.5])
    assert found["ratio"] == 2.0 and (found["low"], found["high"]) == (2.0, 2.2)
    assert stats.ratio([1.0, None], [None, 2.0]) is None
    assert stats.ratio([3.0, None, 4.0], [1.0, 1.0, 0]) == \
        {"ratio": 3.0, "low": 3.0, "high": 3.0, "confidence": 0.0, "pairs": [3.0]}


def test_spread():
    assert stats.spread([9, 10, 12]) == pytest.approx(0.15)
    assert stats.spread([5]) == 0


def test_everyone_goes_first_once():
    names = ["a", "b", "c"]
    orders = [contenders.order(names, turn) for turn in range(4)]
    assert [one[0] for one in orders] == ["a", "b", "c", "a"]
    assert all(sorted(one) == names for one in orders)


@pytest.mark.parametrize("name", ["nothing", "directly", "bindfs+fast"])
def test_unknown_contender(name):
    with pytest.raises(Failure, match="unknown contender"):
        contenders.contender(name)


def sample(value, **more):
    return {"value": value, "bytes": 1 << 30, "cpu": 0.5, "daemon_cpu": 0.1, "switches": 10,
            **more}


def test_less_is_better_for_times():
    samples = {"native": [{"c": sample(10)}, {"c": sample(20)}],
               "auto": [{"c": sample(20)}, {"c": sample(40)}]}
    assert compare.against("c", "auto", samples, {}, "B/s")["native"]["ratio"] == 2
    assert compare.against("c", "auto", samples, {}, "us")["native"]["ratio"] == 0.5
    assert compare.against("c", "auto", samples, {"native": "gone"}, "us") == {}


def test_summary():
    row = compare.summary([sample(1.0, extra={"x": 1}), sample(3.0, extra={"x": None}),
                           sample(2.0, extra={"x": 3})], "B/s")
    assert row["median"] == 2.0 and row["cpu"] == 500 and row["daemon"] == 100
    assert row["extra"] == {"x": 2} and row["disk"] is None


def ratio_row(low, middle, high, contender="direct"):
    return {"suite": "read", "case": "read 128K", "condition": "fresh", "device": "disk",
            "contender": contender, "cpu_against": {}, "extra": {}, "daemon": 3.0, "unit": "B/s",
            "against": {"native": {"ratio": middle, "low": low, "high": high}}}


def test_worse_is_beyond_both_intervals():
    old = check.ratios([ratio_row(1.9, 2.0, 2.1), ratio_row(1, 1, 1, "native")])
    assert list(old) == ["read | read 128K | fresh | disk | direct"]
    for row, count in ((ratio_row(1.8, 1.85, 1.95), 0), (ratio_row(1.5, 1.6, 1.7), 1),
                       (ratio_row(2.5, 2.6, 2.7), 0), (ratio_row(1.88, 1.89, 1.895), 1),
                       (ratio_row(1.5, 1.6, 1.7, "stream"), 0)):
        assert len(check.worse(old, check.ratios([row]))) == count, row


def test_slower_by_less_than_the_slack_is_no_news():
    old = check.ratios([ratio_row(1.99, 2.0, 2.01)])
    assert not check.worse(old, check.ratios([ratio_row(1.96, 1.97, 1.98)]))


def test_targets_judge_and_tell_what_is_missing():
    lines = targets.judged([ratio_row(1.9, 2.05, 2.1), ratio_row(0.7, 0.8, 0.9, "stream")])
    found = {(line[0].case, line[0].condition, line[0].contender, line[0].what): line[4]
             for line in lines}
    assert found["read 128K", "fresh", "direct", "x native"] is True
    assert found["read 128K", "fresh", "stream", "x native"] is False
    assert found["read 128K", "fresh", "stream", "daemon CPU, ms/GiB"] is True
    assert found["read 8K", "fresh", "direct", "x native"] is None
    assert not any(line[0].suite == "protect" for line in lines)


def test_table_of_a_row_left_out():
    row = {**ratio_row(1, 1, 1), "failed": "no such thing"}
    assert text.table([row]).splitlines()[1].endswith("left out: no such thing")


def test_callgrind_output(tmp_path):
    path = tmp_path / "callgrind.out"
    path.write_text("fn=(1) main\n5 10\ncfn=(2) window_read\ncalls=4 30\n6 4000\n"
                    "fn=(3) other\ncfn=(2)\ncalls=1 30\n9 500\n")
    assert instructions.parse(path) == {"window_read": (5, 4500)}


def test_transactions_are_read():
    said = ("number of transactions actually processed: 1200\nlatency average = 1.6 ms\n"
            "initial connection time = 8.0 ms\ntps = 600.0 (without initial connection time)\n")
    assert databases.transactions_of(said) == (1200, 2.0)
    assert databases.calls_of(["10\t2.01\n", "12\t2.50\n"]) == (22, 2.5)
    for bad in (["10\t2.01\n", ""], ["ERROR 1213 (40001) at line 1: Deadlock found"]):
        with pytest.raises(Failure):
            databases.calls_of(bad)


class Unguarded(guard.Guard):
    """Does the steps and undoes them; nobody watches."""

    def __init__(self):
        self._count = 0
        self.parent = self.everyone = None

    def _say(self, made, kind, what):
        pass


@pytest.fixture
def version_2(tmp_path, monkeypatch):
    """What a machine with nothing but cgroups of version 2 has at its root."""
    (tmp_path / "cgroup.controllers").write_text("cpu io memory\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    monkeypatch.setattr(cgroup, "V1", str(tmp_path / "memory"))
    monkeypatch.setattr(cgroup, "V2", str(tmp_path))
    monkeypatch.setattr(cgroup, "THROTTLE", str(tmp_path / "blkio" / "throttle"))
    # These directories have files.
    monkeypatch.setattr(cgroup.Cgroup, "remove", lambda group: shutil.rmtree(group.path))
    return tmp_path


def test_memory_of_version_2(version_2):
    with cgroup.memory(Unguarded(), 1 << 20) as group:
        path = group.path
        assert os.path.dirname(path) == str(version_2)
        with open(os.path.join(path, "memory.max")) as stream:
            assert stream.read() == "1048576"
        with open(os.path.join(path, "memory.stat"), "w") as stream:
            stream.write("anon 5\ninactive_file 4096\nactive_file 8192\nfile_dirty 7\n"
                         "file_writeback 1\n")
        assert (group.page_cache(), group.dirty()) == (12288, 8)
    assert (version_2 / "cgroup.subtree_control").read_text() == "+memory"
    assert not os.path.exists(path)
    (version_2 / "cgroup.controllers").write_text("cpu\n")
    assert not cgroup.available()
    with pytest.raises(Failure, match="no memory controller"):
        with cgroup.memory(Unguarded()):
            pass


def test_slow_device_of_version_2(version_2):
    """The limit is on the parent of all groups that processes are in."""
    one = Unguarded()
    with cgroup.slow_device(one, "8:16", 1000):
        assert one.everyone.path.startswith(one.parent + "/")
        with open(os.path.join(one.parent, "io.max")) as stream:
            assert stream.read() == "8:16 rbps=1000"
        (version_2 / os.path.basename(one.parent) / "cgroup.controllers").write_text("memory")
        with cgroup.memory(one) as group:
            assert os.path.dirname(group.path) == one.parent
        with one.process(["sleep", "60"], user=0) as process:
            with open(os.path.join(one.everyone.path, "cgroup.procs")) as stream:
                assert stream.read() == str(process.pid)
    assert one.everyone is None and one.parent is None
    assert not glob.glob(str(version_2 / "lanefs-bench-*"))
    (version_2 / "cgroup.controllers").write_text("memory\n")
    with pytest.raises(Failure, match="no control group to limit a device"):
        with cgroup.slow_device(one, "8:16", 1000):
            pass


STRACE = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 92.00    0.200000          10     19532           write
  5.00    0.010000           1      9767           read
  2.00    0.004000        4000         1           recvfrom
  1.00    0.002000           2         1         1 lseek
------ ----------- ----------- --------- --------- ----------------
100.00    0.216000           7     29301         1 total
"""


def test_what_one_client_costs():
    assert suite_loop.server_calls(STRACE) == 19532 + 9767 + 1
    row = {"suite": "loop", "case": "sendfile", "device": "disk", "contender": "auto",
           "median": 1.5e9, "after": 3 << 20,
           "extra": {"server syscalls": 308, "server switches": 1234.5, "all CPU ms": 250.2}}
    lines = markdown.loop([row, {**row, "failed": "no"}]).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| sendfile, auto | 308 | 1,234 |  |  | 250 ms | 1,500 | 3 MiB |"
    assert markdown.loop([]) == ""


# Those that take longer run with LANEFS_TEST_BENCH=1.
SUITES = ["small"]
if os.environ.get("LANEFS_TEST_BENCH"):
    SUITES += ["random", "read", "adapt", "many", "write", "protect", "sync", "meta", "memory",
               "database"]


class Runs:
    """Runs of the benchmark in a directory of their own, where what they leave shows."""

    def __init__(self, directory):
        self.directory = directory
        self.pids = []

    def start(self, *argv, **kwargs):
        env = {**os.environ, "LANEFS_BUILD": BUILD}
        process = subprocess.Popen([os.path.join(ROOT, "tools", "bench"), *argv, "--backing",
                                    self.directory], env=env, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, **kwargs)
        self.pids.append(process.pid)
        return process

    def left(self):
        with open("/proc/self/mountinfo") as stream:
            found = [line for line in stream if self.directory in line]
        for pid in self.pids:
            found += glob.glob(f"/sys/fs/cgroup/**/lanefs-bench-{pid}-*", recursive=True)
        return found + os.listdir(self.directory)


@pytest.fixture
def runs(scratch):
    need_uring()
    one = Runs(scratch.directory("bench"))
    yield one
    assert one.left() == []


@pytest.mark.limit(300)
@pytest.mark.parametrize("suite", SUITES)
def test_suite_runs(runs, suite, tmp_path):
    peers = "auto,stream" if suite == "memory" else "native,direct,stream"
    process = runs.start(suite, *TINY, "--sizes", "128K", "--peers", peers, "--out", str(tmp_path))
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    with open(tmp_path / "results.json") as stream:
        rows = json.load(stream)["rows"]
    assert rows and not [row["failed"] for row in rows if "failed" in row]
    assert all(row["median"] > 0 or suite == "memory" for row in rows)
    for row in rows:
        assert row["case"] in out
    if suite == "read":
        native = [row for row in rows if row["contender"] == "native"
                  and row["condition"] == "fresh" and row["case"] == "read 128K"][0]
        # A native reader reads the disk once and leaves all of the file in memory.
        assert 0.9 < native["disk"] < 1.6
        assert native["after"] > 20 << 20
        assert (tmp_path / "report.html").stat().st_size > 1000


@pytest.mark.limit(90)
@pytest.mark.parametrize("number", [2, 15, 9])
def test_ended_early_leaves_nothing(runs, number):
    process = runs.start("read", *TINY, "--rounds", "50", "--peers", "direct",
                         start_new_session=True)
    end = time.monotonic() + 30
    while not any("fuse.lanefs" in line for line in runs.left()):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == (130 if number != 9 else -9)
    end = time.monotonic() + 30
    while runs.left() and time.monotonic() < end:
        time.sleep(0.1)


@pytest.mark.limit(90)
def test_stopped_early_keeps_complete_rounds(runs, tmp_path):
    process = runs.start("read", *TINY, "--rounds", "1000", "--how", "read", "--sizes", "128K",
                         "--conditions", "fresh", "--peers", "native,direct", "--out",
                         str(tmp_path))
    for line in process.stderr:
        if "round 3" in line:
            break
    process.terminate()
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "read 128K" in out
    with open(tmp_path / "results.json") as stream:
        rows = json.load(stream)["rows"]
    assert [len(row["values"]) for row in rows] == [2, 2]


@pytest.mark.parametrize("argv, says", [
    (["nonsense"], "unknown suite 'nonsense'"),
    (["read", "--peers", "directly"], "unknown contender 'directly'"),
    (["read", "--sizes", "3Q"], "not a size: '3Q'"),
    (["read", "--rounds", "0"], "not a number above 0: '0'"),
    (["--report", "/nonexistent"], "there are no results in /nonexistent"),
])
def test_bad_command_lines(argv, says):
    done = subprocess.run([os.path.join(ROOT, "tools", "bench"), *argv], text=True, timeout=30,
                          capture_output=True, check=False)
    assert done.returncode in (1, 2) and says in done.stderr
