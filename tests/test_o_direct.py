# SPDX-License-Identifier: MIT
"""O_DIRECT of the applications' own: what the backing filesystem answers, in every lane."""
import errno
import itertools
import os

import pytest

import util_sys
from util import pattern, write_file

pytestmark = pytest.mark.daemon

SIZE = (1 << 20) + 700
# Offsets and lengths that suit the device, suit only some filesystems, or none.
PLACES = [0, 512, 4096, 65536, 100, 4097, 1 << 20, SIZE - 700, SIZE, 2 << 20]
LENGTHS = [512, 4096, 65536, 1 << 20, 100, 4097]


def outcome(function, *args):
    try:
        return function(*args)
    except OSError as error:
        return errno.errorcode[error.errno]


def answers(path):
    """What reads and then writes of every place and length give, and what is in the file then."""
    found = []
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        for offset, length in itertools.product(PLACES, LENGTHS):
            found.append((offset, length, outcome(util_sys.read_direct, fd, length, offset)))
        for offset, length in itertools.product(PLACES[:6], LENGTHS[:5]):
            found.append((offset, length, outcome(util_sys.write_direct, fd,
                                                  pattern(length, offset), offset)))
        with open(path, "rb") as stream:
            found.append(stream.read())
    finally:
        os.close(fd)
    return found


@pytest.mark.parametrize("passthrough", ["auto", "off"])
@pytest.mark.parametrize("lane", ["auto", "cached", "direct", "stream"])
@pytest.mark.parametrize("backing", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_as_on_the_backing_filesystem(mount, scratch, backing, lane, passthrough):
    m = mount(f"lane={lane}", f"passthrough={passthrough}", "transport=io_uring", backing=backing)
    native = os.path.join(scratch.directory("native", backing), "f")
    for path in (m.backing("f"), native):
        write_file(path, pattern(SIZE))
    for mine, theirs in zip(answers(m.join("f")), answers(native)):
        assert mine == theirs, (mine[:2], theirs[:2])
