# SPDX-License-Identifier: MIT
"""Results as Markdown, for a README."""
import os
import re
import shutil

from . import sizes, text, versus
from .build import ROOT, Failure

BEGIN, END = "<!-- tools/bench --publish: begin -->", "<!-- tools/bench --publish: end -->"

# What a visitor is shown: suite, case, condition, in words.
MAIN = (
    ("read", "read 8K", "fresh", "cold file, read 8K, fresh memory"),
    ("read", "read 8K", "steady", "the same, steady"),
    ("read", "read 128K", "fresh", "read 128K, fresh"),
    ("read", "read 128K", "steady", "the same, steady"),
    ("read", "read 1M", "fresh", "read 1M, fresh"),
    ("read", "read 1M", "steady", "the same, steady"),
    ("read", "sendfile", "fresh", "sendfile, fresh"),
    ("read", "sendfile", "steady", "the same, steady"),
    ("read", "mmap", "fresh", "mmap, fresh"),
    ("read", "read 128K, in memory", "", "a file that is in memory"),
    ("random", "random 4K", "fresh", "cold file, random 4K"),
    ("many", "100 readers, one file", "fresh", "100 readers, one cold file"),
    ("many", "100 readers, 100 files", "fresh", "100 readers, 100 cold files"),
    ("write", "write 1M", "fresh", "writing 1M, until it is on the disk"),
    ("write", "cp", "fresh", "cp of a large file"),
    ("small", "open+read+close of 64K, hot", "", "open, read 64K, close, hot"),
    ("small", "open+fstat+read+close of 64K, hot", "", "the same with fstat after open"),
    ("small", "stat, cold", "", "stat, cold"),
    ("protect", "2 streams, read 128K", "", "hot 64K reads next to 2 streams, mean time", "mean us"),
    ("protect", "2 streams, read 128K", "", "the slowest in a hundred of them", "p99 us"),
    ("protect", "2 streams, read 128K", "", "what the 2 streams read meanwhile", "streams MB/s"),
    ("protect", "2 streams, sendfile", "", "hot 64K reads next to 2 by sendfile, mean time", "mean us"),
    ("serve", "nginx, 320 MB, 16 clients", "cold", "nginx, 320 MB, 16 clients"),
    ("serve", "apache, small files, 64 clients", "cold", "Apache, small files, 64 clients"),
    ("database", "PostgreSQL", "", "PostgreSQL, pgbench"),
    ("database", "MariaDB, O_DIRECT", "", "MariaDB with O_DIRECT"),
    ("sync", "rsync, new", "cold", "rsync of a tree"),
    ("meta", "untar", "cold", "untar"),
)
CONTENDERS = ("auto", "direct", "stream", "passthrough_hp", "bindfs", "mergerfs")


def table(columns, lines):
    """The first column is words, the others are figures."""
    return "\n".join(["| " + " | ".join(columns) + " |",
                      "|---" + "|---:" * (len(columns) - 1) + "|",
                      *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"


def _index(rows, device="disk"):
    return {(row["suite"], row["case"], row["condition"], row["contender"]): row for row in rows
            if row["device"] == device and "failed" not in row}


def _ratio(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _against(found):
    """A ratio whose interval holds 1 is not to be told from that."""
    level = found["low"] is not None and found["low"] <= 1 <= found["high"]
    return ("~" if level else "") + _ratio(found["ratio"])


def _times(native, rows):
    found = [row and row["against"].get("native") for row in rows]
    return [text.amount(native["median"], native["unit"]),
            *(_against(ratio) if ratio else "" for ratio in found)]


def _beside(native, rows, name):
    """Of what was measured beside the row's own figure: megabytes a second, or times in us."""
    base = native["extra"].get(name)
    found = [row and row["extra"].get(name) for row in rows]
    if not base:
        return [""] * (1 + len(rows))
    is_time = name.endswith(" us")
    return [f"{base:,.0f} us" if is_time else f"{base / 1000:.2f} GB/s",
            *(_ratio(base / value if is_time else value / base) if value else "" for value in found)]


def device(rows):
    """What the disk gives at best, without which the cold rows cannot be read."""
    known = _index(rows)
    best = known.get(("read", "read 1M", "fresh", "fio"))
    if not best:
        return ""
    return (f"The disk itself gives {text.amount(best['median'], best['unit'])} (fio, O_DIRECT, 1M, "
            "eight at a time). *Fresh*: memory comes new from the host of a virtual machine, which "
            "costs who fills the page cache more than reading does; *steady*: memory is full, as on "
            "a server that has been up for a day.\n")


def main(rows):
    """Times native, of what there are figures for."""
    known = _index(rows)
    names = [name for name in CONTENDERS if any(one[3] == name for one in known)]
    lines = []
    for suite, case, condition, words, *extra in MAIN:
        native = known.get((suite, case, condition, "native"))
        if not native:
            continue
        here = [known.get((suite, case, condition, name)) for name in names]
        lines.append([words, *(_beside(native, here, *extra) if extra else _times(native, here))])
    return table(["", "native", *names], lines) if lines else ""


LOOP = ("320 MB to one client", "system calls", "server switches", "all switches", "server CPU",
        "all CPU", "MB/s", "left in the page cache")


def _extra(row, name, form="{:,.0f}"):
    value = row["extra"].get(name)
    return "" if value is None else form.format(value)


def loop(rows):
    """What one thread spends on a file that it sends to one client."""
    lines = []
    for row in rows:
        if row["suite"] != "loop" or row["device"] != "disk" or "failed" in row:
            continue
        after = row.get("after")
        lines.append([f"{row['case']}, {row['contender']}",
                      _extra(row, "server syscalls"), _extra(row, "server switches"),
                      _extra(row, "all switches"), _extra(row, "server CPU ms", "{:,.0f} ms"),
                      _extra(row, "all CPU ms", "{:,.0f} ms"),
                      f"{row['median'] / 1e6:,.0f}",
                      "" if after is None else f"{after / (1 << 20):,.0f} MiB"])
    return table(LOOP, lines) if lines else ""


def against_peers(rows):
    columns, lines = versus.summary([one for one in versus.meetings(rows)
                                     if one.device == "disk"])
    return table(columns, lines) if lines else ""


def machine(rows, runs):
    """The machine of the last run, when, and what was built of all that is shown."""
    last = runs[-1]
    builds = list(dict.fromkeys(row["build"] for row in rows if "build" in row))
    one = last["machine"]
    return (f"{last['date'].split()[0]}, {one['cpus']} x {one['cpu']}, "
            f"{round(one['memory'] / (1 << 30))} GiB of memory, {one['system']}, "
            f"Linux {one['kernel']}, {' and '.join(builds) or last['build']}")


def transports(runs):
    """How requests came.  Until runs said so, only lanefs had io_uring."""
    ways = {run.get("transport") for run in runs}
    if ways == {"dev"}:
        return "all over /dev/fuse"
    if None in ways:
        return "lanefs over io_uring, its peers over /dev/fuse"
    return "lanefs and libfuse's examples over io_uring, the other peers over /dev/fuse"


def readme(known):
    """All that goes between the marks of a README."""
    rows, runs = known["rows"], known["runs"]
    rounds = max((len(row.get("values", ())) for row in rows), default=0)
    size = max((row.get("file_size", 0) for row in rows), default=0)
    parts = [f"Measured {machine(rows, runs)}; medians of up to {rounds} rounds, a large file is "
             f"{sizes.show(size)}; {transports(runs)}.\n",
             "![64 KiB reads of a hot set next to two streams](doc/protection.png)\n",
             "*native*: as measured; the others: times native, above 1 is better, also where it "
             "is a time that was measured; ~: its interval holds 1, it is level.\n", main(rows), device(rows)]
    if loop(rows):
        parts += ["What a server spends on a cold file:\n", loop(rows)]
    if against_peers(rows):
        parts += ["lanefs (`auto`) against its peers: in how many cases of a suite it is ahead, "
                  "level (the interval holds 1), behind, or unsure (fewer than three rounds), and "
                  "the ratios:\n",
                  against_peers(rows)]
    return "\n".join(parts)


def insert(page, block):
    """The page with the block between its marks in place of what is there."""
    if BEGIN not in page or END not in page:
        raise Failure(f"no {BEGIN} and {END} to put the results between")
    return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}",
                  lambda _: f"{BEGIN}\n{block}{END}", page, flags=re.DOTALL)


def publish(directory, known, say):
    """Renew the results in the README, and the chart it shows."""
    path = os.path.join(ROOT, "README.md")
    with open(path) as stream:
        page = stream.read()
    with open(path, "w") as stream:
        stream.write(insert(page, readme(known)))
    chart = os.path.join(directory, "protection.png")
    if os.path.exists(chart):
        shutil.copy(chart, os.path.join(ROOT, "doc", "protection.png"))
    else:
        say(f"no {chart}: the suite protect was not run")
    say("renewed: README.md, doc/protection.png")
