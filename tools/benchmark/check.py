# SPDX-License-Identifier: MIT
"""The committed ratios, and what has become worse since.

Only ratios are kept, never times: they are what one machine has in common with the next.
"""
import json
import os

from .build import Failure

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ratios.json")

# A change smaller than this is not worth a word, however sure.
SLACK = 0.05
INSTRUCTIONS = 0.03


def ratios(rows):
    """{name: [ratio, low, high]} where more is better, of all rows that have a native one."""
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
        if native and row["contender"] != "native":
            found[name] = [round(native[part], 3) for part in ("ratio", "low", "high")]
    return found


def worse(old, new):
    """[(name, old, new)] of those whose intervals do not even touch, for the worse."""
    found = []
    for name, now in new.items():
        before = old.get(name)
        if not before:
            continue
        if name.startswith("instructions"):
            if now[0] > before[0] * (1 + INSTRUCTIONS):
                found.append((name, before, now))
        elif now[2] < before[1] and now[0] < before[0] * (1 - SLACK):
            found.append((name, before, now))
    return found


def load():
    try:
        with open(FILE) as stream:
            return json.load(stream)
    except FileNotFoundError:
        raise Failure(f"there are no committed ratios: make them with --accept ({FILE})") \
            from None


def accept(rows):
    """Take these ratios as those to compare with from now on."""
    try:
        known = load()
    except Failure:
        known = {}
    known.update(ratios(rows))
    with open(FILE, "w") as stream:
        # One to a line, so that a change of one is a change of a line.
        lines = [f"{json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known)]
        stream.write("{\n" + ",\n".join(lines) + "\n}\n")


def check(rows, say):
    """Compare, and say what got worse; whether nothing did."""
    old, new = load(), ratios(rows)
    compared = [name for name in new if name in old]
    found = worse(old, new)
    for name, before, now in found:
        say(f"worse: {name}: {before[0]:g} ({before[1]:g}-{before[2]:g}) before, "
            f"now {now[0]:g} ({now[1]:g}-{now[2]:g})")
    say(f"{len(compared)} ratios compared with the committed ones, {len(found)} worse")
    if not compared:
        raise Failure("nothing was measured that there is a committed ratio for")
    return not found
