# SPDX-License-Identifier: MIT
"""A quota of the backing filesystem: the short count, then EDQUOT, through the mount in every lane."""
import errno
import os

import pytest

from util import need, outcome, pattern, run, unmount

pytestmark = pytest.mark.daemon

MIB = 1 << 20
LIMIT = 6 * MIB


@pytest.fixture
def quota_disk(scratch):
    """A directory on btrfs that may hold LIMIT bytes."""
    need("btrfs")
    path = scratch.directory("quota")
    image = scratch.image("btrfs", path)
    try:
        run("btrfs", "quota", "enable", path)
        run("btrfs", "subvolume", "create", path + "/limited")
        run("btrfs", "qgroup", "limit", str(LIMIT), path + "/limited")
        yield path + "/limited"
    finally:
        unmount(path)
        os.unlink(image)


def fill(path):
    """(bytes written, the error's name) of writing until there is one."""
    block, done = pattern(300000), 0
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while done < 3 * LIMIT:
            done += os.write(fd, block)
        return done, None
    except OSError as error:
        assert os.fstat(fd).st_size == done
        assert os.pread(fd, 3 * LIMIT, 0) == (block * (done // len(block) + 1))[:done]
        return done, errno.errorcode[error.errno]
    finally:
        os.close(fd)


@pytest.mark.parametrize("passthrough", ["auto", "off"])
@pytest.mark.parametrize("lane", ["auto", "cached", "direct", "stream"])
def test_quota(quota_disk, mount, lane, passthrough):
    m = mount(f"lane={lane}", f"passthrough={passthrough}", "threshold=1M", source=quota_disk)
    done, error = fill(m.join("f"))
    assert error == "EDQUOT" and LIMIT - MIB < done <= LIMIT
    fd = os.open(m.join("f"), os.O_RDWR)
    assert outcome(os.posix_fallocate, fd, done, LIMIT) == os.strerror(errno.EDQUOT)
    os.close(fd)
    assert m.close() == []
