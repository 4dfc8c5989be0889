# SPDX-License-Identifier: MIT
"""The simulator, and by it the policy against thresholds that know the future."""
import os
import re

import pytest

from util import run
from util_mount import BUILD

LANESIM = os.path.join(BUILD, "tools", "lanesim")


@pytest.fixture(scope="module")
def table():
    # Longer, there is less for it to have lost until it has learned.
    return run(LANESIM, "--table", "--length", "100000", timeout=200).stdout


@pytest.mark.limit(220)
def test_policy_against_the_best_fixed_threshold(table):
    rows = re.findall(r"^(\w+) +([\d.]+ [MG]iB) +(\S+ \S+) +([\d.]+)", table, re.M)
    assert len(rows) == 18, table
    for name, memory, _, ratio in rows:
        assert float(ratio) <= 1.05, (name, memory, ratio)
    changes = [float(ratio) for ratio in re.findall(r"after the change ([\d.]+)", table)]
    assert len(changes) == 3 and max(changes) <= 1.1, table
    together = float(re.search(r"all together ([\d.]+)", table)[1])
    assert together <= 0.86, table


def test_trace_is_read_as_it_is_written():
    made = run(LANESIM, "--workload", "web", "--length", "3000", "--memory", "64M", "--print").stdout
    assert made.count("\n") == 3000
    path = "/dev/stdin"
    direct = run(LANESIM, "--workload", "web", "--length", "3000", "--memory", "64M").stdout
    again = run("bash", "-c", f"{LANESIM} -w web -n 3000 -m 64M -p | {LANESIM} -m 64M {path}").stdout

    def fixed(text):
        return [line.split()[-3] for line in text.splitlines() if "%" in line][:12]

    assert fixed(direct) == fixed(again) and len(fixed(direct)) == 12


@pytest.mark.parametrize("argv, status, message", [
    (["--workload", "games"], 2, "no workload"),
    (["--memory", "8Q", "-w", "web"], 2, "--memory takes a size"),
    ([], 2, "is needed"),
    (["--length", "3", "-w", "web"], 2, "--length"),
    (["/nonexistent"], 1, "No such file"),
])
def test_refusals(argv, status, message):
    done = run(LANESIM, *argv, check=False)
    assert done.returncode == status and message in done.stderr


def test_bad_line_is_named(tmp_path):
    trace = tmp_path / "trace"
    trace.write_text("# comment\n0.1 cp r 10 10 a\n0.2 cp x 10 10 b\n")
    done = run(LANESIM, str(trace), check=False)
    assert done.returncode == 1 and "line 3" in done.stderr
