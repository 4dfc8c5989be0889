# SPDX-License-Identifier: MIT
"""Rounds in which the contenders take turns, and rows that say what came out."""
import time
from statistics import median

from . import contenders, stats
from .build import Failure

GIB = 1 << 30


def compare(bench, key, names, measure, finish=None, unit="B/s", base="native", rounds=None):
    """measure(contender) gives a sample for each contender in each round; a row for each.

    finish(contender) gives more for the row, after the rounds, outside what is timed.
    key is what tells the rows of this comparison from others: suite, case, condition, device.
    """
    samples = {name: [] for name in names}
    failed = {}
    for turn in range(rounds or bench.options.rounds):
        for name in contenders.order(names, turn):
            what = " ".join(str(value) for value in key.values())
            bench.progress.step(f"{what}: {name}, round {turn + 1}")
            sample = None
            if name not in failed:
                try:
                    sample = measure(contenders.contender(name))
                except Failure as error:
                    failed[name] = str(error)
                    bench.progress.say(f"left out: {what}: {name}: {error}")
            samples[name].append(sample)
    rows = []
    for name in names:
        row = {**key, "contender": name, "unit": unit, "date": time.strftime("%Y-%m-%d %H:%M")}
        if name in failed:
            row["failed"] = failed[name]
        else:
            row.update(summary(samples[name], samples.get(base)))
            if finish:
                bench.progress.step(f"{what}: {name}, counting")
                more = finish(contenders.contender(name))
                row["extra"].update(more.pop("extra", {}))
                row.update(more)
        rows.append(row)
    return rows


def _per_gib(samples, name, factor=1.0):
    return [sample[name] * factor * GIB / sample["bytes"]
            if sample and sample.get("bytes") and sample.get(name) is not None else None
            for sample in samples]


def summary(samples, base):
    """The figures of a row from its samples and those of the contender it is compared with."""
    values = [sample["value"] for sample in samples]
    row = {"median": median(values), "spread": stats.spread(values), "values": values}
    columns = {"cpu": ("cpu", 1000), "daemon": ("daemon_cpu", 1000), "switches": ("switches", 1)}
    for column, (name, factor) in columns.items():
        row[column] = stats.middle(_per_gib(samples, name, factor))
    row["extra"] = {column: stats.middle([sample["extra"].get(column) for sample in samples])
                    for column in samples[0].get("extra", {})}
    row["disk"] = stats.middle(_per_gib(samples, "disk_read", 1 / GIB))
    row["disk_written"] = stats.middle(_per_gib(samples, "disk_written", 1 / GIB))
    if base:
        row["speed"] = stats.ratio(values, [sample and sample["value"] for sample in base])
        row["cpu_ratio"] = stats.ratio(_per_gib(samples, "cpu"), _per_gib(base, "cpu"))
    return row
