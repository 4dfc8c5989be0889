# SPDX-License-Identifier: MIT
"""Results in a directory: results.json, to which a run adds its rows in place of older ones."""
import json
import os
import shlex
import sys
import time

from . import system
from .build import Failure

KEY = ("suite", "case", "condition", "device", "contender")


def load(directory):
    try:
        with open(os.path.join(directory, "results.json")) as stream:
            return json.load(stream)
    except FileNotFoundError:
        return {"rows": [], "runs": []}


def rows(directory):
    found = load(directory)["rows"]
    if not found:
        raise Failure(f"there are no results in {directory}")
    return found


def identity(row):
    return tuple(row.get(name) for name in KEY)


def save(directory, rows, bench):
    """The rows so far; called after every comparison, so that a run cut short leaves what it
    had measured."""
    os.makedirs(directory, exist_ok=True)
    for row in rows:
        row["build"] = bench.build.version
    known = load(directory)
    new = {identity(row) for row in rows}
    known["rows"] = [row for row in known["rows"] if identity(row) not in new] + rows
    run = {"command": shlex.join(["tools/bench", *sys.argv[1:]]), "build": bench.build.version,
           "date": time.strftime("%Y-%m-%d %H:%M %Z"), "machine": system.describe(),
           "transport": bench.options.transport}
    known["runs"] = [one for one in known["runs"] if one["command"] != run["command"]] + [run]
    path = os.path.join(directory, "results.json")
    with open(path + ".new", "w") as stream:
        json.dump(known, stream, indent=1)
        stream.write("\n")
    os.replace(path + ".new", path)
