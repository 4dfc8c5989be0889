# SPDX-License-Identifier: MIT
"""What is not said on the command line: the whole benchmark, about an hour on two processors, and
the quick one, about ten minutes."""
GIB = 1 << 30

WHOLE = {
    "rounds": 5,
    "file_size": 2 * GIB,
    "sizes": [8 << 10, 32 << 10, 128 << 10, 1 << 20],
    "how": ["read", "sendfile", "mmap", "hot"],
    "readers": [100, 1000],
    "tree": 100000,
    "inodes": 1000000,
    "seconds": 3,
}

QUICK = {
    "rounds": 3,
    "file_size": 1 * GIB,
    "sizes": [8 << 10, 128 << 10],
    "how": ["read", "sendfile"],
    "readers": [100],
    "tree": 20000,
    "inodes": 100000,
    "seconds": 1.2,
    "suites": ["instructions", "protect", "read", "small", "many"],
}

QUICK_PEERS = {
    "protect": ["native", "direct", "stream", "passthrough_hp"],
    "small": ["native", "auto"],
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
    if options.quick and not options.peers:
        options.suite_peers = {name: QUICK_PEERS.get(name, ["native", "direct", "stream"])
                               for name in suites}
    else:
        options.suite_peers = {}


def conditions(options, suite):
    """Those of memory that a suite is measured in."""
    some = QUICK_CONDITIONS.get(suite) if options.quick else None
    return [name for name in options.conditions if not some or name in some]


def peers(options, suite, default):
    """The contenders of a suite: those asked for, or its own."""
    return options.peers or options.suite_peers.get(suite) or default
