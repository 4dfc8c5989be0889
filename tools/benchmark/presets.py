# SPDX-License-Identifier: MIT
"""What is not said on the command line: the whole benchmark, about an hour on two processors, and
the quick one, about ten minutes."""
GIB = 1 << 30

WHOLE = {
    "rounds": 5,
    "file_size": 768 << 20,
    "sizes": [4 << 10, 8 << 10, 32 << 10, 128 << 10, 1 << 20, 4 << 20],
    "how": ["read", "sendfile", "mmap", "hot"],
    "readers": [100, 1000],
    "tree": 100000,
    "inodes": 1000000,
    "seconds": 1.5,
}

QUICK = {
    "rounds": 3,
    "file_size": 512 << 20,
    "sizes": [8 << 10, 128 << 10],
    "how": ["read", "sendfile"],
    "readers": [100],
    "tree": 20000,
    "inodes": 100000,
    "seconds": 1.2,
    "suites": ["instructions", "protect", "read", "loop", "small", "many"],
}

QUICK_PEERS = {
    "protect": ["native", "direct", "stream", "passthrough_hp"],
    "read": ["native", "direct", "stream"],
    "loop": ["native", "auto"],
    "small": ["native", "auto", "passthrough_hp"],
    "many": ["native", "direct", "stream"],
}

# What says the same in both is measured in one.
QUICK_CONDITIONS = {"many": ["fresh"]}


def apply(options, suites):
    """Fill in what was not given."""
    values = QUICK if options.quick else WHOLE
    for name, value in values.items():
        if not getattr(options, name):
            setattr(options, name, value)
    options.suites = options.suites or list(suites)
    options.suite_peers = QUICK_PEERS if options.quick and not options.peers else {}


def conditions(options, suite):
    """Those of memory that a suite is measured in."""
    some = QUICK_CONDITIONS.get(suite) if options.quick else None
    return [name for name in options.conditions if not some or name in some]


def peers(options, suite, default):
    """The contenders of a suite: those asked for, or its own."""
    return options.peers or options.suite_peers.get(suite) or default


def guess(options, suite):
    """About how many seconds one measurement of a suite takes, before any was made."""
    large, seconds = options.file_size / GIB, options.seconds
    wait = 0 if options.hurry else 0.6
    return {
        "instructions": 15,
        "protect": 7 + 3.5 * seconds,
        "pressure": 5 + 4 * seconds,
        "read": 0.7 + 0.8 * large + wait / 2,
        "random": 1 + wait / 2,
        "adapt": 1.2 + wait / 4,
        "small": 0.5 + options.tree / 1e5,
        "many": 0.9 + 0.8 * large + wait / 2 + seconds / 3,
        "write": 1.2 + large + wait / 2,
        "loop": 2 + wait / 4,
        "serve": 1 + seconds,
        "sync": 4,
        "meta": 4,
        "database": 3 + 2 * seconds,
        "memory": 4 + options.inodes / 5e4,
    }[suite]
