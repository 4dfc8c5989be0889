# SPDX-License-Identifier: MIT
"""The command line of tools/bench."""
import argparse
import contextlib
import os
import sys

from . import (condition, contenders, device, results, sizes, suite_many, suite_random,
               suite_read, suite_serve, suite_small, text)
from .bench import Bench
from .build import Failure

SUITES = {
    "read": suite_read,
    "random": suite_random,
    "small": suite_small,
    "many": suite_many,
    "serve": suite_serve,
}


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


def counts(value):
    try:
        return [int(word) for word in value.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a list of numbers: {value!r}") from None


def parser():
    p = argparse.ArgumentParser(
        prog="tools/bench", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures lanefs against native access and against its peers.",
        epilog="suites:\n" + "\n".join(f"  {name:10} {suite.TITLE}"
                                       for name, suite in SUITES.items()) +
               "\n\ndevices:\n" + "\n".join(f"  {name:10} {what}"
                                            for name, what in device.KINDS.items()))
    p.add_argument("suites", nargs="*", metavar="SUITE", help="all of them by default")
    p.add_argument("--rounds", type=int, default=5, metavar="N")
    p.add_argument("--peers", type=words(), metavar="LIST",
                   help="native, odirect, fio, and lanes with mount options after colons "
                        "(native,direct,direct:transport=dev)")
    p.add_argument("--sizes", type=size_list, metavar="LIST", help="of one read, as in 8K,1M")
    p.add_argument("--how", type=words(("read", "sendfile", "mmap")), metavar="LIST",
                   help="of the suite read: read, sendfile, mmap")
    p.add_argument("--conditions", type=words(condition.NAMES), metavar="LIST",
                   default=list(condition.NAMES), help="of memory: fresh, steady")
    p.add_argument("--file-size", type=size, default=4 << 30, metavar="SIZE",
                   help="of the large file (4G)")
    p.add_argument("--readers", type=counts, default=[100, 1000], metavar="LIST",
                   help="of the suite many (100,1000)")
    p.add_argument("--tree", type=int, default=100000, metavar="N",
                   help="files of the suite small (100000)")
    p.add_argument("--seconds", type=float, metavar="S",
                   help="of a load that goes on until it is ended")
    p.add_argument("--steady-memory", type=size, default=1 << 30, metavar="SIZE",
                   help="of the full memory cgroup of the steady condition (1G)")
    p.add_argument("--transport", choices=("dev", "io_uring", "auto"), default="io_uring",
                   help="of lanefs where a peer does not say (io_uring)")
    p.add_argument("--backing", default="/var/tmp", metavar="DIR",
                   help="where to put the files (/var/tmp)")
    p.add_argument("--device", choices=list(device.KINDS), default="disk")
    p.add_argument("--out", metavar="DIR", help="add the results to DIR/results.json")
    p.add_argument("--hurry", action="store_true",
                   help="do not wait for the host to take free memory back: for trying out")
    p.add_argument("--timeout", type=float, default=600, metavar="SEC",
                   help="of one measurement (600)")
    return p


def measure(options):
    with contextlib.ExitStack() as stack:
        bench = Bench(options, stack)
        if "fio" in (options.peers or suite_read.PEERS) and "read" in options.suites:
            # fio's buffers on huge pages, as those of lanefs are.
            stack.enter_context(bench.guard.setting("/proc/sys/vm/nr_hugepages", 32))
        for name in options.suites:
            bench.progress.plan(SUITES[name].plan(options))
        for name in options.suites:
            rows = []
            for row in SUITES[name].run(bench):
                rows.append(row)
                if options.out:
                    results.save(options.out, rows, bench)
            bench.progress.say("")
            print(f"{SUITES[name].TITLE}\n\n{text.table(rows)}\n", flush=True)
    return 0


def main():
    p = parser()
    options = p.parse_args()
    options.suites = options.suites or list(SUITES)
    for name in options.suites:
        if name not in SUITES:
            p.error(f"unknown suite {name!r}: {', '.join(SUITES)}")
    if options.rounds < 1:
        p.error("at least one round")
    if os.geteuid() != 0:
        print("tools/bench: needs root: it mounts, drops caches and makes cgroups",
              file=sys.stderr)
        return 1
    try:
        for name in options.peers or ():
            contenders.contender(name)
        return measure(options)
    except Failure as error:
        print(f"tools/bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntools/bench: stopped; everything it made is gone", file=sys.stderr)
        return 130
