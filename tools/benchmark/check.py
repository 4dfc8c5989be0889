# SPDX-License-Identifier: MIT
"""The committed ratios and what has become worse since, and whether two runs agree.

Only ratios are kept, never times: they are what one machine has in common with the next.
"""
import json
import os

from .build import Failure

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ratios.json")

# A change smaller than this is not worth a word, however sure.
SLACK = 0.05
INSTRUCTIONS = 0.03
# An interval of fewer than three rounds says nothing.
SURE = 0.7


def ratios(rows):
    """{name: [ratio, low, high]} where more is better, of all rows that have a native one and
    rounds enough."""
    found = {}
    for row in rows:
        name = " | ".join((row["suite"], row["case"], row["condition"], row["device"],
                           row["contender"]))
        if "failed" in row:
            continue
        if row["suite"] == "instructions":
            found[name] = [round(row["median"])] * 3
            continue
        native = row["against"].get("native")
        if native and row["contender"] != "native" and native.get("confidence", 1) >= SURE:
            found[name] = [round(native[part], 3) for part in ("ratio", "low", "high")]
    return found


def counted(name):
    """Whether it is a number of instructions, of which less is better."""
    return name.startswith("instructions")


def worse(old, new):
    """[(name, old, new)] of those whose intervals do not even touch, for the worse."""
    found = []
    for name, now in new.items():
        before = old.get(name)
        if not before:
            continue
        if counted(name):
            if now[0] > before[0] * (1 + INSTRUCTIONS):
                found.append((name, before, now))
        elif now[2] < before[1] and now[0] < before[0] * (1 - SLACK):
            found.append((name, before, now))
    return found


def agree(name, one, other):
    """Whether neither contradicts the other."""
    if counted(name):
        return abs(one[0] - other[0]) <= INSTRUCTIONS * one[0]
    return one[1] <= other[2] and other[1] <= one[2]


def union(one, other):
    """What both runs allow, of those that are in one of them or in both."""
    found = {**one, **other}
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        found[name] = [round((a[0] + b[0]) / 2, 3), min(a[1], b[1]), max(a[2], b[2])]
    return found


def show(one):
    return f"{one[0]:g}" if one[1] == one[2] else f"{one[0]:g} ({one[1]:g}-{one[2]:g})"


def compare(one, other, say):
    """Two runs, row by row; whether they agree in all."""
    names = [name for name in one if name in other]
    if not names:
        raise Failure("there is nothing that both runs have measured, in rounds enough")
    differ = [name for name in names if not agree(name, one[name], other[name])]
    inside = sum(one[name][1] <= other[name][0] <= one[name][2] for name in names)
    wide = max(map(len, names))
    for name in names:
        say(f"{name:{wide}}  {show(one[name]):24} {show(other[name]):24} "
            f"{'differs' if name in differ else 'agrees'}")
    say(f"{len(names)} ratios: {len(names) - len(differ)} agree, that is their intervals touch, "
        f"{len(differ)} differ; {inside} of the second run lie within the interval of the first")
    return not differ


def load():
    try:
        with open(FILE) as stream:
            return json.load(stream)
    except FileNotFoundError:
        raise Failure(f"there are no committed ratios: make them with --accept ({FILE})") \
            from None


def accept(found):
    """Take these ratios as those to compare with from now on."""
    try:
        known = load()
    except Failure:
        known = {}
    known.update(found)
    with open(FILE, "w") as stream:
        # One to a line, so that a change of one is a change of a line.
        lines = [f"{json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known)]
        stream.write("{\n" + ",\n".join(lines) + "\n}\n")


def check(new, say):
    """Compare, and say what got worse; whether nothing did."""
    old = load()
    compared = [name for name in new if name in old]
    found = worse(old, new)
    for name, before, now in found:
        say(f"worse: {name}: {show(before)} before, now {show(now)}")
    say(f"{len(compared)} ratios compared with the committed ones, {len(found)} worse")
    if not compared:
        raise Failure("nothing was measured that there is a committed ratio for")
    return not found
