# SPDX-License-Identifier: MIT
"""That the benchmark runs, with everything as small as it can be."""
import glob
import json
import os
import re
import signal
import subprocess
import time

import pytest

from util_mount import BUILD, need_uring, uring_parameter

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

pytestmark = pytest.mark.daemon
TINY = ["--hurry", "--rounds", "1", "--file-size", "24M", "--steady-memory", "256M", "--tree",
        "300", "--inodes", "300", "--readers", "4", "--seconds", "0.3", "--source-tree",
        os.path.join(ROOT, "policy")]

# Those that take longer run with LANEFS_TEST_BENCH=1.
SUITES = ["small"]
if os.environ.get("LANEFS_TEST_BENCH"):
    SUITES += ["random", "read", "adapt", "many", "write", "protect", "sync", "meta", "memory",
               "pressure", "loop", "serve", "database"]


class Runs:
    """Runs of the benchmark in a directory of their own, where what they leave shows."""

    def __init__(self, directory):
        self.directory = directory
        self.pids = []

    def start(self, *argv, **kwargs):
        env = {**os.environ, "LANEFS_BUILD": BUILD, "LANEFS_BENCH_DROP": self.directory}
        process = subprocess.Popen([os.path.join(ROOT, "tools", "bench"), *argv, "--backing",
                                    self.directory], env=env, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE,
                                   # Ignored in what a shell has started in the background.
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                                   **kwargs)
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
    with uring_parameter():
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
    begun = re.findall(r"round (\d+)", line + process.stderr.read())[-1]
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "read 128K" in out
    with open(tmp_path / "results.json") as stream:
        rows = json.load(stream)["rows"]
    assert [len(row["values"]) for row in rows] == [int(begun) - 1] * 2


@pytest.mark.parametrize("argv, says", [
    (["nonsense"], "unknown suite 'nonsense'"),
    (["read", "--peers", "directly"], "unknown contender 'directly'"),
    (["read", "--sizes", "3Q"], "not a size: '3Q'"),
    (["read", "--rounds", "0"], "not a number above 0: '0'"),
    (["--report", "/nonexistent"], "there are no results in /nonexistent"),
    (["--compare", "/nonexistent", "/"], "there are no results in /nonexistent"),
])
def test_bad_command_lines(argv, says):
    done = subprocess.run([os.path.join(ROOT, "tools", "bench"), *argv], text=True, timeout=30,
                          capture_output=True, check=False)
    assert done.returncode in (1, 2) and says in done.stderr
