# SPDX-License-Identifier: MIT
"""What the benchmark makes of what it has measured: arithmetic, targets, reports."""
import glob
import json
import os
import shutil
import sys
import types

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))

from benchmark import (cgroup, check, compare, contenders, databases, guard, instructions, markdown,
                       progress, reasons, report, sizes, stats, suite_loop, targets, text, versus)
from benchmark.build import Failure


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


def rows_of(suite, case, condition, speeds, unit="B/s", rounds=5):
    """What comparing gives when each contender is always so fast; None: it cannot do it."""
    class Bench:
        options = types.SimpleNamespace(rounds=rounds, cases=None, file_size=1 << 30)
        progress = progress.Progress()

    Bench.progress.suite(suite, 0, 1)
    Bench.progress.begin(suite)

    def measure(contender):
        if speeds[contender.name] is None:
            raise Failure("it cannot")
        # It varies, for all alike.
        drift = 1 + 0.1 * (len(turns) // len(speeds))
        turns.append(contender.name)
        return sample(speeds[contender.name] * drift, extra={"median us": speeds[contender.name]})

    turns = []
    key = {"suite": suite, "case": case, "condition": condition, "device": "disk"}
    return list(compare.compare(Bench, key, list(speeds), measure, unit=unit))


def test_lanefs_against_its_peers():
    rows = rows_of("read", "read 128K", "fresh",
                   {"native": 1.0, "auto": 2.0, "passthrough_hp": 1.0, "bindfs": 2.0,
                    "mergerfs": 4.0, "passthrough_ll": None})
    # Without auto the faster lane speaks; of times, less is better.
    rows += rows_of("small", "stat, hot", "", {"direct": 30.0, "stream": 10.0, "mergerfs": 20.0},
                    "us")
    found = {(one.suite, one.peer): one for one in versus.meetings(rows)}
    assert {peer: (one.lane, one.verdict) for (suite, peer), one in found.items()
            if suite == "read"} == {"passthrough_hp": ("auto", "ahead"),
                                    "bindfs": ("auto", "level"), "mergerfs": ("auto", "behind"),
                                    "passthrough_ll": ("auto", "left out")}
    assert found["read", "passthrough_ll"].why == "it cannot"
    assert found["read", "passthrough_hp"].found["ratio"] == pytest.approx(2)
    small = found["small", "mergerfs"]
    assert (small.lane, small.verdict) == ("stream", "ahead")
    assert small.found["ratio"] == pytest.approx(2)
    columns, lines = versus.summary(versus.meetings(rows))
    assert columns == ["suite", "passthrough_hp", "passthrough_ll", "bindfs", "mergerfs"]
    assert lines == [["read", "ahead 1; 2.00", "left out", "level 1; 1.00", "behind 1; 0.50"],
                     ["small", "", "", "", "ahead 1; 2.00"]]


def test_one_round_is_no_verdict():
    rows = rows_of("memory", "known inodes", "", {"native": 1.0, "auto": 2.0, "bindfs": 1.0},
                   rounds=1)
    assert [one.verdict for one in versus.meetings(rows)] == ["unsure"]
    assert versus.summary(versus.meetings(rows))[1] == [["memory", "unsure 1; 2.00"]]


def test_page_says_what_was_built_and_what_streams_did():
    rows = rows_of("protect", "2 streams, read 128K", "", {"native": 100.0, "auto": 10.0}, "us")
    for row, build, speed in zip(rows, ("lanefs 1", "lanefs 2"), (2000, 3000)):
        row["build"], row["extra"]["streams MB/s"] = build, speed
    run = {"date": "2026-11-26 10:00 UTC", "build": "lanefs 2",
           "machine": {"cpus": 2, "cpu": "x", "memory": 1 << 34, "system": "y", "kernel": "z"}}
    page = markdown.readme({"rows": rows, "runs": [run]})
    assert "Linux z, lanefs 1 and lanefs 2;" in page
    assert "lanefs over io_uring, its peers over /dev/fuse" in page
    page = markdown.readme({"rows": rows, "runs": [{**run, "transport": "dev"}]})
    assert "; all over /dev/fuse." in page
    assert "| what the 2 streams read meanwhile | 2.00 GB/s | 1.50 |" in page
    assert "The disk itself" not in page
    best = rows_of("read", "read 1M", "fresh", {"native": 1e9, "fio": 3e9})
    assert "The disk itself gives" in markdown.readme({"rows": rows + best, "runs": [run]})


def test_reasons_are_found(monkeypatch):
    monkeypatch.setattr(reasons, "REASONS", ((r"^read \| .* \| bindfs$", "because"),
                                             (r"x native$", "for that")))
    rows = rows_of("read", "read 128K", "fresh",
                   {"native": 4.0, "auto": 1.0, "direct": 1.0, "bindfs": 2.0})
    assert [one.why for one in versus.meetings(rows)] == ["because"]
    lines = [targets.cells(line) for line in targets.judged(rows) if line[4] is not None]
    unmet = [line for line in lines if line[4] == "x native"]
    assert unmet and all(line[-2:] == ("NOT met", "for that") for line in unmet)
    assert all(line[-1] == "" for line in lines if line[-2] == "met")


def test_what_a_decision_costs():
    rows = rows_of("small", "open+read+close of 64K, hot", "",
                   {"native": 10, "auto": 40, "cached": 37.5, "passthrough_hp": 120}, "/s")
    found = {line[0].what: line[1] for line in targets.judged(rows)}
    assert found["us more than undecided"] == 2.5
    assert found["time x passthrough_hp"] == pytest.approx(3)
    assert found["time x bindfs"] is None


def test_two_runs_are_compared():
    one = rows_of("read", "read 128K", "fresh", {"native": 1.0, "direct": 2.0, "stream": 1.0})
    other = rows_of("read", "read 128K", "fresh", {"native": 1.0, "direct": 2.0, "stream": 1.5})
    few = rows_of("read", "read 8K", "fresh", {"native": 1.0, "direct": 2.0}, rounds=2)
    said = []
    assert check.compare(check.ratios(one + few), check.ratios(one + few), said.append)
    assert len(said) == 3 and said[-1].startswith("2 ratios: 2 agree")
    assert not check.compare(check.ratios(one), check.ratios(other), said.append)
    assert [line.split()[-1] for line in said[3:5]] == ["agrees", "differs"]
    assert said[-1].endswith("1 of the second run lie within the interval of the first")
    assert not check.compare(check.ratios(other), check.ratios(one), said.append)
    with pytest.raises(Failure):
        check.compare(check.ratios(few), check.ratios(few), said.append)


def test_both_runs_are_accepted(monkeypatch, tmp_path):
    monkeypatch.setattr(check, "FILE", str(tmp_path / "ratios.json"))
    both = check.union({"a": [1.0, 0.9, 1.1], "b": [2, 2, 2]}, {"a": [1.2, 1.0, 1.3]})
    assert both == {"a": [1.1, 0.9, 1.3], "b": [2, 2, 2]}
    assert check.union({"a": [1.2, 1.0, 1.3]}, {"a": [1.0, 0.9, 1.1]})["a"] == both["a"]
    check.accept(both)
    said = []
    assert check.check({"a": [0.95, 0.8, 1.0], "c": [1, 1, 1]}, said.append)
    assert said == ["1 ratios compared with the committed ones, 0 worse"]
    assert not check.check({"a": [0.7, 0.6, 0.8]}, said.append)
    assert said[1] == "worse: a: 1.1 (0.9-1.3) before, now 0.7 (0.6-0.8)"
    with pytest.raises(Failure, match="nothing was measured"):
        check.check({"c": [1, 1, 1]}, said.append)


def test_time_left_is_learned(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    one = progress.Progress()
    one.suite("a", 10, 4)
    one.suite("b", 5, 10)
    assert one.left() == 90
    one.begin("a")
    for _ in range(10):
        one.step("measuring")
        now[0] += 8
    # All of it took twice as long as was thought.
    assert one.left() == 100
    one.finish()
    one.begin("b")
    one.plan(-2)
    assert one.left() == 60
    assert [progress.clock(seconds) for seconds in (5, 61.9, 3600)] == ["0:05", "1:01", "60:00"]


MACHINE = {"cpu": "Some CPU", "cpus": 2, "memory": 4 << 30, "kernel": "6.18", "system": "Debian"}


@pytest.fixture
def results_directory(tmp_path):
    rows = rows_of("read", "read 128K", "fresh",
                   {"native": 1.0e9, "auto": 2.0e9, "direct": 2.2e9, "bindfs": 0.5e9})
    rows += rows_of("read", "read 128K", "steady", {"native": 2.0e9, "direct": 1.0e9})
    runs = [{"command": "tools/bench read", "build": "lanefs 1", "date": "2026-01-02 03:04 UTC",
             "machine": MACHINE}]
    with open(tmp_path / "results.json", "w") as stream:
        json.dump({"rows": rows, "runs": runs}, stream)
    return tmp_path


def test_report_says_what_was_measured(results_directory):
    report.write(str(results_directory), {"read": "Reading", "many": "Many"}, print)
    page = (results_directory / "report.html").read_text()
    for part in ("2026-01-02, 2 x Some CPU, 4 GiB of memory, Debian, Linux 6.18, lanefs 1",
                 "lanefs against its peers", "ahead 1; 4.00", "<h2>Reading</h2>",
                 "class='bad'>NOT met", "class='good'>met", "tools/bench read"):
        assert part in page, part
    assert "<h2>Many</h2>" not in page and "src='http" not in page
    block = (results_directory / "readme.md").read_text()
    assert "| read 128K, fresh | 1.20 GB/s | 2.00 | 2.20 | 0.50 |" in block
    assert "| the same, steady | 2.40 GB/s |  | 0.50 |  |" in block
    assert "| read | ahead 1; 4.00 |" in block


def test_readme_is_renewed_between_its_marks():
    page = f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n"
    assert markdown.insert(page, "new\\1\n") == \
        f"before\n{markdown.BEGIN}\nnew\\1\n{markdown.END}\nafter\n"
    with pytest.raises(Failure, match="to put the results between"):
        markdown.insert("nothing", "new")
    with open(os.path.join(ROOT, "README.md")) as stream:
        assert f"{markdown.BEGIN}\nnew{markdown.END}" in markdown.insert(stream.read(), "new")


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
