# SPDX-License-Identifier: MIT
"""Rounds in which the contenders take turns, and rows that say what came out."""
import re
import time
from statistics import median

from . import contenders, stats
from .build import Failure

GIB = 1 << 30

# Units of which less is better: their speed is the inverse.
LESS = ("us", "s", "B/inode", "instructions")


def compare(bench, key, names, measure, finish=None, unit="B/s", rounds=None):
    """measure(contender) gives a sample for each contender in each round; a row for each.

    finish(contender) gives more for the row, after the rounds, outside what is timed.
    key is what tells the rows of this comparison from others: suite, case, condition, device.
    """
    case = key["case"]
    yield from compare_cases(bench, key, [case], names, lambda one: {case: measure(one)},
                             finish, unit, rounds)


def compare_cases(bench, key, cases, names, measure, finish=None, unit="B/s", rounds=None):
    """The same where one measurement gives a sample for each of several cases."""
    rounds = rounds or bench.options.rounds
    what = " ".join(str(value) for value in {**key, "case": key.get("case", "")}.values() if value)
    if bench.options.cases and not any(re.search(bench.options.cases, f"{what} {case}")
                                       for case in cases):
        bench.progress.plan(-len(names) * (rounds + bool(finish)))
        return
    samples, failed, interrupt = take_turns(bench, what, names, rounds, measure)
    if interrupt:
        finish = None
    more = {}
    try:
        for name in names if finish else ():
            bench.progress.step(f"{what}: {name}, counting")
            if name not in failed:
                more[name] = count(bench, what, name, finish)
    except KeyboardInterrupt as end:
        interrupt = end
    for case in cases:
        for name in names:
            row = {**key, "case": case, "contender": name, "unit": unit,
                   "file_size": bench.options.file_size,
                   "date": time.strftime("%Y-%m-%d %H:%M")}
            if name in failed:
                row["failed"] = failed[name]
            else:
                row.update(summary([one[case] for one in samples[name]], unit))
                row["against"] = against(case, name, samples, failed, unit)
                row["cpu_against"] = against(case, name, samples, failed, unit, "cpu")
                extra = dict(more.get(name, {}))
                row["extra"].update(extra.pop("extra", {}))
                row.update(extra)
            yield row
    if interrupt:
        raise interrupt


def count(bench, what, name, finish):
    """What more there is of it; what was measured stays where that fails."""
    try:
        return finish(contenders.contender(name))
    except (Failure, OSError) as error:
        bench.progress.say(f"not counted: {what}: {name}: {error}")
        return {}


def take_turns(bench, what, names, rounds, measure):
    """({name: samples of each round}, {name: why it failed}, what interrupted it after some
    rounds: the unfinished one does not count)"""
    samples = {name: [] for name in names}
    failed = {}
    turn = 0
    try:
        for turn in range(rounds):
            for name in contenders.order(names, turn):
                bench.progress.step(f"{what}: {name}, round {turn + 1}")
                samples[name].append(take_turn(bench, what, name, measure, failed))
    except KeyboardInterrupt as interrupt:
        if not turn:
            raise
        return {name: samples[name][:turn] for name in names}, failed, interrupt
    return samples, failed, None


def take_turn(bench, what, name, measure, failed):
    """A sample, None of those that failed."""
    if name in failed:
        return None
    try:
        return measure(contenders.contender(name))
    except (Failure, OSError) as error:
        failed[name] = str(error)
        bench.progress.say(f"left out: {what}: {name}: {error}")
        return None


def _values(samples, what, unit):
    """Of each round, so that more is better; CPU as it is."""
    if what == "cpu":
        return _per_gib(samples, "cpu")
    values = [sample["value"] for sample in samples]
    return [1 / value if value else None for value in values] if unit in LESS else values


def against(case, name, samples, failed, unit, what="value"):
    mine = _values([one[case] for one in samples[name]], what, unit)
    """{other: ratio of this one to it, pair by pair}, of everyone who took part."""
    found = {}
    for base in samples:
        if base != name and base not in failed:
            theirs = _values([one[case] for one in samples[base]], what, unit)
            found[base] = stats.ratio(mine, theirs)
    return found


def _per_gib(samples, name, factor=1.0):
    return [sample[name] * factor * GIB / sample["bytes"]
            if sample.get("bytes") and sample.get(name) is not None else None
            for sample in samples]


def summary(samples, unit):
    """The figures of a row from its samples."""
    values = [sample["value"] for sample in samples]
    row = {"median": median(values), "spread": stats.spread(values), "values": values,
           "extra": {}}
    columns = {"cpu": ("cpu", 1000), "daemon": ("daemon_cpu", 1000), "switches": ("switches", 1),
               "disk": ("disk_read", 1 / GIB), "disk_written": ("disk_written", 1 / GIB)}
    for column, (name, factor) in columns.items():
        row[column] = stats.middle(_per_gib(samples, name, factor))
    for sample in samples:
        for column in sample.get("extra", {}):
            row["extra"][column] = stats.middle([one["extra"].get(column) for one in samples])
    typical = min(samples, key=lambda sample: abs(sample["value"] - row["median"]))
    if "latency" in typical:
        row["latency"] = typical["latency"]
    return row
