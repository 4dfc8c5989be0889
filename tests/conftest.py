# SPDX-License-Identifier: MIT
import fcntl
import gc
import os
import signal
import sys

sys.dont_write_bytecode = True

import pytest

import util_mount
from util import patience, unmount
from util_disk import Disk
from util_mount import LANEFS, NATIVE, Mount, Scratch, need_uring
from util_watch import Watchdog

VARIANTS = {
    "cached": ("transport=io_uring",),
    "degraded": ("transport=dev", "passthrough=off"),
    "direct": ("transport=io_uring", "lane=direct"),
}


def pytest_configure(config):
    config.addinivalue_line("markers", "daemon: is about lanefs itself, skipped on a native "
                                       "directory")
    config.addinivalue_line("markers", "whole: needs a mount of its own, and its root")
    config.addinivalue_line("markers", "limit(seconds): how long the test may take")
    config.watchdog = None
    # So that mounts are taken down too when a time limit from outside ends pytest.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not NATIVE and not os.access(LANEFS, os.X_OK):
        raise pytest.UsageError("set LANEFS_BUILD to the Meson build directory, absolute, after "
                                f"building there: no {LANEFS!r}")


# What takes half a minute or more, the longest first: files are given to processes in that order,
# and one of these at the end would be waited for alone.
LONG = ["stream", "limits", "soak", "window", "programs", "battery", "lanectl", "databases", "stress",
        "lanes", "readdir", "mapped"]
# Keeps all processors busy by itself, which would disturb what looks at times beside it.
LAST = "lanesim"


def place(item):
    name = item.path.stem.removeprefix("test_")
    return LONG.index(name) if name in LONG else len(LONG) + (name == LAST)


def pytest_collection_modifyitems(items):
    items.sort(key=place)
    if NATIVE:
        for item in items:
            if item.get_closest_marker("daemon"):
                item.add_marker(pytest.mark.skip(reason="LANEFS_NATIVE=1"))


def pytest_collection_finish():
    """The tests themselves are no garbage: every mount looks for some when it is closed."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    if item.config.watchdog is None:
        item.config.watchdog = Watchdog()
    marker = item.get_closest_marker("limit")
    item.config.watchdog.say("arm", patience(marker.args[0] if marker else 60),
                             item.name.replace("\n", ""))
    yield
    item.config.watchdog.say("disarm")


def pytest_unconfigure(config):
    if config.watchdog is not None:
        config.watchdog.close()


@pytest.fixture(scope="session")
def scratch():
    if os.geteuid() != 0:
        pytest.skip("needs root: makes mounts and acts as several users")
    space = Scratch()
    yield space
    space.close()


@pytest.fixture(scope="session", autouse=True)
def uring_parameter():
    """Tests turn FUSE-over-io_uring on; afterwards it is as it was."""
    try:
        with open(util_mount.MODULE) as stream:
            before = stream.read().strip()
    except OSError:
        yield
        return
    yield
    with util_mount.uring_parameter(fcntl.LOCK_EX):
        with open(util_mount.MODULE) as stream:
            changed = stream.read().strip() != before
        if changed:
            with open(util_mount.MODULE, "w") as stream:
                stream.write(before)


@pytest.fixture
def disk(scratch):
    """disk(fstype) gives a Disk.  To be asked for before mount, which then ends first."""
    made = []

    def make(*args):
        made.append(Disk(scratch, *args))
        return made[-1]

    yield make
    for one in reversed(made):
        one.close()


def make_mount(config, scratch, options, **kwargs):
    if not NATIVE and not os.path.exists("/dev/fuse"):
        pytest.skip("/dev/fuse is missing")
    if "transport=io_uring" in options:
        need_uring()
    return Mount(config.watchdog, scratch, options, **kwargs)


def fail_for(problems):
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def mount(request, scratch):
    """mount(option, ..., over=False, backing="disk", ...) gives a running Mount.  What any of
    them leaves behind or complains about fails the test."""
    made = []

    def make(*options, **kwargs):
        made.append(make_mount(request.config, scratch, options, **kwargs))
        return made[-1]

    yield make
    problems = [problem for one in reversed(made) for problem in one.close()]
    for one in made:
        one.remove()
    fail_for(problems)


@pytest.fixture(scope="module")
def mounts():
    """Of the module's tests, by their options."""
    made = {}
    yield made
    problems = [problem for one in made.values() for problem in one.close()]
    for one in made.values():
        one.remove()
    fail_for(problems)


@pytest.fixture
def part(request, scratch, mounts):
    """part(option, ...) gives a directory of a Mount that the module's tests share, which saves
    most of their time.  What it leaves behind or complains about fails the test, too."""
    used = []

    def make(*options):
        one = mounts.get(options)
        if one and not NATIVE and one.process.poll() is not None:
            # An earlier test has failed for it.
            one.close()
            one = None
        if not one:
            one = mounts[options] = make_mount(request.config, scratch, options)
        used.append(one)
        return one.part()

    yield make
    fail_for([problem for one in used for problem in one.check()])


@pytest.fixture(params=["native"] if NATIVE else list(VARIANTS))
def m(request):
    """A mount, or a part of one, in each of the ways a file can be read."""
    kind = "mount" if request.node.get_closest_marker("whole") else "part"
    return request.getfixturevalue(kind)(*VARIANTS.get(request.param, ()))


@pytest.fixture
def native(scratch):
    """A plain directory beside the backing one, to compare with."""
    return scratch.directory("native")


@pytest.fixture
def small_disk(scratch):
    """An ext4 of 24 MiB on a loop device: its directory.

    To be asked for before mount, which then ends first.
    """
    path = scratch.directory("small")
    image = scratch.image("ext4", path, megabytes=24)
    yield path
    unmount(path)
    os.unlink(image)
