# SPDX-License-Identifier: MIT
"""The command line of tools/bench."""
import argparse
import contextlib
import os
import re
import sys

from . import (check, condition, contenders, device, instructions, markdown, presets, report,
               results, sizes, suite_adapt, suite_database, suite_loop, suite_many, suite_memory,
               suite_pressure, suite_protect, suite_random, suite_read, suite_serve,
               suite_small, suite_tree, suite_write, targets, text)
from .bench import Bench
from .build import Failure

SUITES = {
    "instructions": instructions,
    "protect": suite_protect,
    "pressure": suite_pressure,
    "read": suite_read,
    "random": suite_random,
    "adapt": suite_adapt,
    "small": suite_small,
    "many": suite_many,
    "write": suite_write,
    "loop": suite_loop,
    "serve": suite_serve,
    "sync": suite_tree.SYNC,
    "meta": suite_tree.META,
    "database": suite_database,
    "memory": suite_memory,
}
TITLES = {name: suite.TITLE for name, suite in SUITES.items()}

EXAMPLES = """examples:
  tools/bench --quick --out results         the ten minutes' version, with its report
  tools/bench read --sizes 128K --peers native,direct,direct:transport=dev
  tools/bench protect --device zram
  tools/bench loop --out results            what sending 320 MB to one client costs
  tools/bench --quick --check               have the ratios become worse?
  tools/bench --compare results again       do two runs agree?
"""


def words(accepted=None):
    def parse(value):
        found = [word for word in value.split(",") if word]
        for word in found:
            if accepted and word not in accepted:
                raise argparse.ArgumentTypeError(
                    f"{word!r} is not one of {', '.join(accepted)}")
        return found
    return parse


def size(value):
    try:
        return sizes.parse(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size_list(value):
    return [size(word) for word in value.split(",")]


def positive(value):
    if not value.isdigit() or int(value) == 0:
        raise argparse.ArgumentTypeError(f"not a number above 0: {value!r}")
    return int(value)


def counts(value):
    return [positive(word) for word in value.split(",")]


def regex(value):
    try:
        return re.compile(value)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {value!r}: {error}") from None


def _list(title, entries):
    return f"{title}:\n" + "\n".join(f"  {name:13} {what}" for name, what in entries.items())


def parser():
    p = argparse.ArgumentParser(
        prog="tools/bench", formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="tools/bench [SUITE...] [OPTION...]",
        description="Measures lanefs against native access and against its peers. Needs root; "
                    "leaves nothing\nbehind but what --out names.",
        epilog="\n\n".join((_list("suites (all of them by default)", TITLES),
                            _list("devices", device.KINDS), EXAMPLES)))
    p.add_argument("suites", nargs="*", metavar="SUITE", help=argparse.SUPPRESS)
    what = p.add_argument_group("what is measured")
    what.add_argument("--quick", action="store_true",
                      help=f"{', '.join(presets.QUICK['suites'])}; smaller and fewer")
    what.add_argument("--rounds", type=positive, metavar="N", help="5, with --quick 3")
    what.add_argument("--peers", type=words(), metavar="LIST",
                      help="contenders: native, odirect, fio; lanes, with mount options after "
                           "colons (direct:transport=dev); passthrough_hp, passthrough_ll, "
                           "bindfs, mergerfs, each also with +direct. Each suite has its own")
    what.add_argument("--cases", type=regex, metavar="REGEX",
                      help="only those whose suite, condition and name match")
    what.add_argument("--conditions", type=words(condition.NAMES), metavar="LIST",
                      default=list(condition.NAMES), help="of memory: fresh,steady")
    what.add_argument("--how", type=words(("read", "sendfile", "mmap", "hot")), metavar="LIST",
                      help="of the suite read: read,sendfile,mmap,hot")
    what.add_argument("--sizes", type=size_list, metavar="LIST",
                      help="of one read: 4K,8K,32K,128K,1M,4M")
    what.add_argument("--file-size", type=size, metavar="SIZE",
                      help="of the large file: 768M, with --quick 512M")
    what.add_argument("--readers", type=counts, metavar="LIST",
                      help="of the suite many: 100,1000")
    what.add_argument("--tree", type=positive, metavar="N",
                      help="files of the suite small: 100000, with --quick 20000")
    what.add_argument("--source-tree", default="/usr/include", metavar="DIR",
                      help="of the suites sync and meta (/usr/include)")
    what.add_argument("--inodes", type=positive, metavar="N",
                      help="of the suite memory: 1000000")
    what.add_argument("--seconds", type=float, metavar="S",
                      help="of a load that goes on until it is ended: 1.5, with --quick 1.2")
    where = p.add_argument_group("where and how")
    where.add_argument("--backing", default="/var/tmp", metavar="DIR",
                       help="a directory of the disk to use (/var/tmp)")
    where.add_argument("--device", choices=list(device.KINDS), default="disk",
                       help="what the files lie on (disk)")
    where.add_argument("--transport", choices=("dev", "io_uring", "auto"), default="io_uring",
                       help="of lanefs where a contender does not say (io_uring)")
    where.add_argument("--steady-memory", type=size, default=512 << 20, metavar="SIZE",
                       help="of the memory cgroup that is full in the condition steady (512M)")
    where.add_argument("--hurry", action="store_true",
                       help="do not wait for the host to take free memory back: to try things")
    where.add_argument("--timeout", type=float, default=600, metavar="SEC",
                       help="of one measurement (600)")
    after = p.add_argument_group("results")
    after.add_argument("--out", metavar="DIR",
                       help="add them to DIR/results.json and make DIR/report.html, charts as "
                            "PNG and readme.md from all there is in it")
    after.add_argument("--report", metavar="DIR",
                       help="measure nothing, make the report of DIR/results.json again")
    after.add_argument("--publish", metavar="DIR",
                       help="put those of DIR into README.md and doc/protection.png")
    after.add_argument("--compare", nargs=2, metavar="DIR",
                       help="tell whether the ratios of two runs agree; status 3 when some do not")
    after.add_argument("--check", action="store_true",
                       help="compare the ratios with the committed ones; status 3 when some "
                            "became worse by more than their intervals")
    after.add_argument("--accept", action="store_true",
                       help="make these ratios the committed ones; with --compare, what both runs "
                            "allow; with --report, those of DIR")
    return p


def measure(options):
    with contextlib.ExitStack() as stack:
        bench = Bench(options, stack)
        if options.transport != "dev":
            stack.enter_context(bench.guard.setting(
                "/sys/module/fuse/parameters/enable_uring", "Y"))
        for name in options.suites:
            bench.progress.suite(name, SUITES[name].plan(options), presets.guess(options, name))
        bench.progress.show_plan()
        rows = []
        for name in options.suites:
            run_suite(bench, name, rows)
        judged = targets.table(rows)
        if judged:
            print(f"Targets\n\n{judged}\n")
    return rows


def run_suite(bench, name, rows):
    """Adds to rows, and to what --out names, row by row."""
    begin = len(rows)
    bench.progress.begin(name)
    try:
        for row in SUITES[name].run(bench):
            rows.append(row)
            if bench.options.out:
                results.save(bench.options.out, rows, bench)
    finally:
        bench.progress.finish()
        print(f"{TITLES[name]}\n\n{text.table(rows[begin:])}\n", flush=True)


def finish(options, rows):
    def say(line):
        print(line, flush=True)

    if options.out:
        report.write(options.out, TITLES, say)
    found = check.ratios(rows)
    good = check.check(found, say) if options.check else True
    if options.accept:
        check.accept(found)
    broken = [row for row in rows if "failed" in row
              and row["contender"].split(":")[0] in contenders.LANES]
    if broken:
        raise Failure("lanefs itself failed: " + broken[0]["failed"])
    return 0 if good else 3


def without_measuring(options):
    """What is asked for of results that are there."""
    good = True
    found = {}
    for directory in filter(None, (options.report, options.publish)):
        report.write(directory, TITLES, print)
        found.update(check.ratios(results.rows(directory)))
    if options.publish:
        markdown.publish(options.publish, results.load(options.publish), print)
    if options.compare:
        one, other = (check.ratios(results.rows(name)) for name in options.compare)
        good = check.compare(one, other, print)
        found = check.union(one, other)
    if options.check:
        good = check.check(found, print) and good
    if options.accept:
        check.accept(found)
    return 0 if good else 3


def main():
    p = parser()
    options = p.parse_intermixed_args()
    for name in options.suites:
        if name not in SUITES:
            p.error(f"unknown suite {name!r}: {', '.join(SUITES)}")
    try:
        if options.compare or options.report or options.publish:
            return without_measuring(options)
        if os.geteuid() != 0:
            raise Failure("needs root: it mounts, drops caches and makes cgroups")
        for name in options.peers or ():
            contenders.contender(name)
        presets.apply(options, SUITES)
        return finish(options, measure(options))
    except Failure as error:
        print(f"tools/bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntools/bench: stopped; everything it made is gone", file=sys.stderr)
        return 130
