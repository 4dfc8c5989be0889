# SPDX-License-Identifier: MIT
"""What lanefs is to reach, as rows: target, measured, and met or not.

Each target finds its figure in the rows of a run; one whose row is not there was not measured.
"""
from dataclasses import dataclass
from typing import Callable

from . import (databases, programs, reasons, suite_memory, suite_pressure, suite_small, suite_write,
               text)

MIB = 1 << 20


@dataclass
class Target:
    suite: str
    case: str
    condition: str
    contender: str
    what: str
    # Of the row, and of the rows of others in its case: (value, low, high) or a value; None: not
    # known.
    figure: Callable
    limit: float
    at_least: bool = True

    def met(self, value):
        return value >= self.limit if self.at_least else value <= self.limit


def against(base):
    def figure(row, _):
        found = row["against"].get(base)
        return found and (found["ratio"], found["low"], found["high"])
    return figure


def cpu(row, _):
    found = row["cpu_against"].get("native")
    return found and (found["ratio"], found["low"], found["high"])


def field(name, scale=1):
    return lambda row, _: row[name] / scale if row.get(name) is not None else None


def extra(name):
    return lambda row, _: row["extra"].get(name)


def more_than(other, name):
    """How much more that is than the other's."""
    def figure(row, others):
        mine = row["extra"].get(name)
        theirs = others.get(other, {}).get("extra", {}).get(name)
        return None if mine is None or theirs is None else mine - theirs
    return figure


def _sequential():
    """Reading in direct and in stream."""
    for case, limit in (("read 8K", 0.7), ("read 32K", 1.3), ("read 128K", 2.0),
                        ("read 1M", 2.0)):
        yield Target("read", case, "fresh", "direct", "x native", against("native"), limit)
    for case, limit in (("read 32K", 0.7), ("read 128K", 0.95), ("read 1M", 0.9)):
        yield Target("read", case, "steady", "direct", "x native", against("native"), limit)
    for case in ("read 128K", "read 1M"):
        yield Target("read", case, "steady", "direct", "x CPU", cpu, 2.2, False)
    yield Target("read", "read 1M", "fresh", "direct", "x fio O_DIRECT", against("fio"), 0.85)
    for case, peak in (("read 128K", 2), ("sendfile", 64), ("mmap", 64)):
        yield Target("read", case, "fresh", "direct", "page cache, peak MiB",
                     field("peak", MIB), peak, False)
        yield Target("read", case, "fresh", "direct", "page cache 1 s after, MiB",
                     field("after", MIB), 2, False)
    yield Target("read", "sendfile", "fresh", "direct", "x native", against("native"), 0.9)
    for case in ("read 8K", "read 32K", "read 128K", "read 1M", "sendfile", "mmap"):
        yield Target("read", case, "fresh", "stream", "x native", against("native"), 1.0)
        yield Target("read", case, "fresh", "stream", "page cache, peak MiB",
                     field("peak", MIB), 64, False)
        yield Target("read", case, "fresh", "stream", "daemon CPU, ms/GiB", field("daemon"), 10,
                     False)
        yield Target("read", case, "steady", "stream", "x native", against("native"), 0.95)
        yield Target("read", case, "steady", "stream", "x CPU", cpu, 1.2, False)
    for lane in ("auto", "stream"):
        yield Target("read", "read 128K, in memory", "", lane, "x native", against("native"),
                     0.95)
        yield Target("read", "read 128K, in memory", "", lane, "still in memory",
                     extra("still in memory"), 0.95)


def _others():
    for readers, conditions in ((100, ("fresh", "steady")), (1000, ("fresh",))):
        for case in (f"{readers} readers, one file", f"{readers} readers, {readers} files"):
            for condition in conditions:
                yield Target("many", case, condition, "direct", "x native", against("native"), 1.0)
                yield Target("many", case, condition, "direct", "slowest reader / mean",
                             extra("slowest/mean"), 0.5)
                yield Target("many", case, condition, "direct", "pool, MiB", extra("pool MiB"),
                             64, False)
                yield Target("many", case, condition, "direct", "memory of the daemon, MiB",
                             extra("daemon MiB"), 96, False)
    yield Target("many", "100 paced sendfile readers", "fresh", "stream", "disk bytes / byte",
                 field("disk"), 1.05, False)
    yield Target("many", "100 paced sendfile readers", "fresh", "stream",
                 "page cache, peak MiB", extra("peak MiB"), 64, False)
    for case in ("random 4K", "random 64K"):
        for condition in ("fresh", "steady"):
            yield Target("random", case, condition, "direct", "x native O_DIRECT",
                         against("odirect"), 0.6)
        yield Target("random", case, "fresh", "direct", "bytes of the backing file / byte",
                     extra("backing/byte"), 1.1, False)
    for case in suite_write.CASES:
        yield Target("write", case, "fresh", "auto", "x native", against("native"), 0.9)
        yield Target("write", case, "fresh", "auto", "page cache, peak MiB", field("peak", MIB),
                     64, False)
        yield Target("write", case, "fresh", "auto", "dirty, peak MiB", extra("dirty peak MiB"),
                     32, False)
    for case in ("2 streams, read 128K", "2 streams, sendfile", "a copy"):
        for lane, middle, mean in (("stream", 1.5, 2), ("direct", 2, 5)):
            yield Target("protect", case, "", lane, "median x alone", extra("median x alone"),
                         middle, False)
            yield Target("protect", case, "", lane, "mean x alone", extra("mean x alone"), mean,
                         False)
    yield Target("pressure", suite_pressure.CASE, "", "auto", "median x before",
                 extra("median x before"), 1.5, False)
    yield Target("pressure", suite_pressure.CASE, "", "auto", "threshold fell, s",
                 extra("threshold fell, s"), 2, False)
    yield Target("pressure", suite_pressure.CASE, "", "auto", "threshold back, s",
                 extra("threshold back, s"), suite_pressure.PATIENCE - 1, False)
    for program in programs.ALL:
        for condition in ("fresh", "steady"):
            yield Target("adapt", program.name, condition, "auto", "x native", against("native"),
                         0.95)
        yield Target("adapt", program.name, "fresh", "auto", "x the best lane", best_lane, 0.95)
    for server in databases.SERVERS:
        for name in ("auto", "auto:passthrough=off"):
            yield Target("database", server.name, "", name, "x native", against("native"), 0.8)
    hot = suite_small.HOT_OPEN
    yield Target("small", hot, "", "auto", "time x native", inverse("native"), 3.0, False)
    for peer in ("passthrough_hp", "bindfs", "mergerfs"):
        yield Target("small", hot, "", "auto", f"time x {peer}", inverse(peer), 0.4, False)
    yield Target("small", hot, "", "auto", "us more than undecided",
                 more_than("cached", "median us"), 5, False)
    yield Target("memory", suite_memory.describe(1000000), "", "auto", "bytes each",
                 field("median"), 300, False)


def best_lane(row, _):
    """Times the best of the lanes that were forced."""
    found = [row["against"][lane] for lane in ("direct", "stream", "cached")
             if row["against"].get(lane)]
    worst = min(found, key=lambda one: one["ratio"], default=None)
    return worst and (worst["ratio"], worst["low"], worst["high"])


def inverse(base):
    def figure(row, _):
        found = row["against"].get(base)
        return found and (1 / found["ratio"], 1 / found["high"], 1 / found["low"])
    return figure


def judged(rows, device="disk"):
    """[(target, value, low, high, met)] of all targets whose suite was run; met None: not
    measured."""
    known = {}
    for row in rows:
        if row["device"] == device and "failed" not in row:
            place = (row["suite"], row["case"], row["condition"])
            known.setdefault(place, {})[row["contender"]] = row
    suites = {row["suite"] for row in rows}
    lines = []
    for target in [*_sequential(), *_others()]:
        if target.suite not in suites:
            continue
        others = known.get((target.suite, target.case, target.condition), {})
        row = others.get(target.contender)
        found = target.figure(row, others) if row else None
        if found is None:
            lines.append((target, None, None, None, None))
            continue
        value, low, high = found if isinstance(found, tuple) else (found, None, None)
        lines.append((target, value, low, high, target.met(value)))
    return lines


COLUMNS = ("suite", "case", "condition", "lane", "what", "target", "measured", "interval", "",
           "why")


def cells(line):
    target, value, low, high, met = line
    bound = f"{'>=' if target.at_least else '<='} {target.limit:g}"
    verdict = "not measured" if met is None else "met" if met else "NOT met"
    return (target.suite, target.case, target.condition, target.contender, target.what, bound,
            "" if value is None else text.extra(value),
            "" if low is None else f"{low:.2f}-{high:.2f}", verdict,
            why(line) if met is False else "")


def why(line):
    """What is known of a target that was not met."""
    target, _, low, high, _ = line
    reason = reasons.find(*place(target))
    if not reason and low is not None and low <= target.limit <= high:
        return "not to be told from it in so many rounds: the interval holds it"
    return reason


def place(target):
    return target.suite, target.case, target.condition, target.contender, target.what


def table(rows):
    lines = [cells(line) for line in judged(rows) if line[4] is not None]
    return text.columns(COLUMNS, lines, words=(9,)) if lines else ""
