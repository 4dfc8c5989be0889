# SPDX-License-Identifier: MIT
"""lanectl on real mounts: every command, its JSON, its errors."""
import base64
import contextlib
import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

import util_sys
from util import NOBODY, Child, as_user, clock, patience, read_file, run, unmount, wait_for, write_file
from util_mount import LANECTL, lanectl_on_all, mount_table
from util_stream import without_system_call
from util_sys import become, drop_pages, own_mounts, set_dumpable

pytestmark = pytest.mark.daemon

LARGE = 128 << 20  # above every automatic threshold
COMMANDS = ["ls", "explain", "policy get", "threshold get", "stats"]


def lanectl(*args, status=0, **kwargs):
    done = run(LANECTL, *args, check=False, timeout=30, **kwargs)
    assert done.returncode == status, done.stdout + done.stderr
    if status == 0:
        assert done.stderr == ""
    return done


def document(*args, status=0):
    """The JSON document that a command prints; its one list."""
    content = json.loads(lanectl("--json", *args, status=status).stdout)
    (elements,) = content.values()
    return elements


def by_name(elements):
    return {os.path.basename(element["path"]): element for element in elements}


def rows(text):
    """The lines of a table, each a list of its cells."""
    return [line.split() for line in text.splitlines()]


def released(m, left=0):
    """Which is told the daemon behind the closes."""
    wait_for(lambda: m.stats()["files"]["open"] == left, 5, "release")


def status_of(path, *args):
    """What status says of one mount, whatever else is mounted on this machine."""
    done = lanectl_on_all(path, "status", "--json", *args, timeout=30)
    (entry,) = [entry for entry in json.loads(done.stdout)["mounts"]
                if entry["mountpoint"] == path]
    return entry, done


def lanectl_among(points, *args, prepare=lambda: None, **kwargs):
    """Where no other lanefs than those is mounted; prepare: called there before."""
    def others():
        return [point for point, fstype, _, _ in mount_table()
                if fstype == "fuse.lanefs" and point not in points]

    def enter():
        own_mounts(others)
        prepare()

    return lanectl(*args, preexec_fn=enter, **kwargs)


@pytest.fixture
def tree(mount):
    m = mount("transport=dev")
    write_file(m.backing("small"), b"x" * 1500)
    with open(m.backing("large"), "wb") as stream:
        stream.truncate(LARGE)
    os.mkdir(m.backing("dir"))
    write_file(m.backing("dir", "inner"), b"x")
    os.mkdir(m.backing("dir", "sub"))
    with open(m.backing("dir", "sub", "deep"), "wb") as stream:
        stream.truncate(LARGE)
    os.symlink("small", m.backing("link"))
    os.mkfifo(m.backing("fifo"))
    return m


def test_status(mount):
    m = mount("transport=dev", "passthrough=off", "lane=direct", "nosuid", "attr-timeout=1")
    write_file(m.join("f"), b"x")
    released(m)
    with open(m.join("f"), "rb"):
        entry, _ = status_of(m.path)
        assert entry["stats"]["files"]["open"] == 1
    assert entry["state"] == "ok"
    assert entry["source"] == m.source
    assert entry["root"] == "/"
    assert "nosuid" in entry["mount_options"].split(",")
    assert set(entry["options"]) >= {"transport=dev", "passthrough=off", "lane=direct", "nosuid"}
    # Neither what nobody set nor what was set to its default.
    assert not [option for option in entry["options"]
                if option.startswith(("threshold=", "attr-timeout="))]
    assert entry["stats"]["pid"] == m.pid
    assert entry["stats"]["transport"]["name"] == "dev"
    assert entry["config"]["lane"]["value"] == "direct"

    text = lanectl_on_all(m.path, "status").stdout
    head = rows(text)[0]
    (row,) = [row for row in rows(text) if row and row[0] == m.path]
    cells = dict(zip(head, row))
    assert cells["STATE"] == "ok"
    assert cells["PID"] == str(m.pid)
    assert cells["TRANSPORT"] == "dev"
    assert cells["PASSTHROUGH"] == "no"
    assert "lane=direct" in cells["OPTIONS"].split(",")
    assert f"{m.path}: no passthrough: " in text


def test_status_of_a_mount_over_its_own_source(mount):
    m = mount("transport=dev", over=True)
    entry, _ = status_of(m.path)
    assert entry["state"] == "ok"
    assert entry["source"] == m.path


def test_status_dead(mount):
    alive, dead = mount("transport=dev"), mount("transport=dev")
    dead.may_die = True
    dead.process.kill()
    dead.process.wait(10)

    entry, done = status_of(dead.path)
    assert entry["state"] == "dead" and entry["stats"] is None
    assert done.returncode == 1
    assert f"lanectl: {dead.path}: its daemon is gone; umount -l '{dead.path}'" in done.stderr
    assert status_of(alive.path)[0]["state"] == "ok"

    # For a second the kernel still answers stat from what it knows.
    time.sleep(2)
    for command in COMMANDS:
        done = lanectl(*command.split(), dead.path, status=1)
        assert done.stderr.startswith(f"lanectl: {dead.path}: Transport endpoint is not connected")


@pytest.mark.parametrize("seconds", ["-1", "inf", "nan", "1e13"])
def test_timeout_is_checked(seconds):
    for command in ("status", "stats"):
        done = lanectl(command, "-t", seconds, status=2)
        assert "seconds from 0 to 86400" in done.stderr


def test_all_mounts_are_without_bind_mounts(mount, scratch):
    m = mount()
    os.mkdir(m.join("d"))
    point = scratch.directory("bind")
    run("mount", "--bind", m.join("d"), point)
    try:
        done = lanectl_on_all(m.path, "report", timeout=20)
        assert m.path in done.stdout and point not in done.stdout + done.stderr
    finally:
        unmount(point)


def test_status_hung(mount):
    alive, hung = mount("transport=dev"), mount("transport=dev")
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        for args in [("status",), ("stats",)]:
            start = clock()
            # The pipe must not stay open in what waits for the mount either.
            done = lanectl_on_all(hung.path, *args, "--timeout", "0.5", timeout=10)
            assert clock() - start < 5
            assert done.returncode == 1
            assert f"lanectl: {hung.path}: no answer from its daemon" in done.stderr
            assert alive.path in done.stdout
        done = lanectl_on_all(hung.path, "report", timeout=20)
        assert f"lanectl: {hung.path}: no answer from its daemon" in done.stderr
        assert alive.path in done.stdout
        entry, _ = status_of(hung.path, "--timeout", "0.5")
        assert entry["state"] == "hung"
        assert status_of(alive.path, "--timeout", "3")[0]["state"] == "ok"
    finally:
        os.kill(hung.pid, signal.SIGCONT)
    assert status_of(hung.path)[0]["state"] == "ok"


def test_status_covered_and_bind(mount, scratch):
    m = mount("transport=dev")
    os.mkdir(m.join("dir"))
    other = scratch.directory("bind")
    run("mount", "--bind", m.join("dir"), other)
    try:
        entry, done = status_of(other)
        assert entry["state"] == "bind" and entry["root"] == "/dir"
        assert other not in done.stderr
    finally:
        unmount(other)
    run("mount", "-t", "tmpfs", "none", m.path)
    try:
        entry, done = status_of(m.path)
        assert entry["state"] == "covered"
        assert m.path not in done.stderr
    finally:
        unmount(m.path)


def test_status_without_mounts():
    script = 'umount -l -a -t fuse.lanefs; exec "$0" "$@"'
    done = run("unshare", "-m", "sh", "-c", script, LANECTL, "status")
    assert done.stdout == "No lanefs is mounted here.\n"
    done = run("unshare", "-m", "sh", "-c", script, LANECTL, "status", "--json")
    assert json.loads(done.stdout) == {"mounts": []}


@contextlib.contextmanager
def bind_mount(path, point):
    os.makedirs(point, exist_ok=True)
    run("mount", "--bind", path, point)
    try:
        yield point
    finally:
        unmount(point)


def test_mount_that_may_not_be_reached(mount, scratch):
    """That is not a private mount, of which nothing would be said."""
    m = mount("transport=dev")
    above = scratch.directory("closed")
    with bind_mount(m.path, os.path.join(above, "point")) as point:
        os.chmod(above, 0o700)

        def ask(*args):
            return lanectl_among([point], *args, status=1,
                                 prepare=lambda: become(NOBODY, NOBODY, [], None))

        done = ask("status", "--json")
        assert [entry["state"] for entry in json.loads(done.stdout)["mounts"]] == ["error"]
        message = (f"lanectl: {point}: Permission denied; it takes the right to read the file and to "
                   "search the directories above\n")
        assert done.stderr == message
        done = ask("metrics")
        assert value_of(families(done.stdout), "lanefs_up", point) == 0
        assert done.stderr == message
        assert ask("top").stderr == message


def test_private_mount(scratch):
    """Of another user, without allow_other."""
    point = scratch.directory("private")
    message = f"lanectl: {point}: for the user who mounted it alone; mount it with -o allow_other\n"

    def ask(*args, **kwargs):
        # No daemon: the kernel would not ask it.
        with open("/dev/fuse", "rb+", buffering=0) as fuse:
            options = f"fd={fuse.fileno()},rootmode=40000,user_id={NOBODY},group_id={NOBODY}"
            return lanectl_among([], *args, **kwargs, prepare=lambda: util_sys.mount(
                "x", point, "fuse.lanefs", 0, options))

    (entry,) = json.loads(ask("status", "--json").stdout)["mounts"]
    assert entry["state"] == "private" and entry["stats"] is None
    assert not families(ask("metrics").stdout)["lanefs_up"][1]
    done = ask("metrics", point, status=1)
    assert value_of(families(done.stdout), "lanefs_up", point) == 0
    assert done.stderr == message
    assert ask("top", status=1).stderr == message


def test_mounts_that_tell_nothing(mount, scratch):
    m = mount("transport=dev")
    os.mkdir(m.join("dir"))
    with bind_mount(m.join("dir"), scratch.directory("bind")) as point:
        done = lanectl_among([point], "top", status=1)
        assert done.stderr == (f"lanectl: {point}: a bind mount of something inside; name the whole "
                               "mount\n")
    done = lanectl_among([m.path], "top", status=1,
                         prepare=lambda: util_sys.mount("none", m.path, "tmpfs", 0, ""))
    assert done.stderr == f"lanectl: {m.path}: another mount lies over it\n"
    done = lanectl_among([], "top", status=1)
    assert done.stderr == "lanectl: top: no lanefs is mounted here\n"
    done = lanectl_among([], "metrics")
    assert not families(done.stdout)["lanefs_up"][1]


def test_bind_mount_of_the_whole(mount, scratch):
    """It is the same mount, and counted once."""
    m = mount("transport=dev")
    with bind_mount(m.path, scratch.directory("bind")) as point:
        found = families(lanectl_among([m.path, point], "metrics").stdout)
        assert [dict(labels)["mountpoint"] for _, labels in found["lanefs_up"][1]] == [m.path]
        done = lanectl_among([m.path, point], "top", "-i", "0.1")
        assert done.stdout.startswith(f"{m.path}, up ")
        # Who names both gets both.
        found, _ = metrics(m.path, point)
        assert value_of(found, "lanefs_up", m.path) == value_of(found, "lanefs_up", point) == 1
    other = mount("transport=dev")
    done = lanectl_among([m.path, other.path], "top", status=1)
    assert done.stderr == "lanectl: top: 2 mounts of lanefs are here: name one\n"


def test_ls(tree):
    text = lanectl("ls", tree.path).stdout
    assert rows(text) == [["FILE", "SIZE", "LANE"],
                          ["dir/", "-", "-"],
                          ["fifo", "-", "-"],
                          ["large", "128", "MiB", "direct"],
                          ["link", "-", "-"],
                          ["small", "1.5", "KiB", "cached"]]
    # Aligned: every cell of LANE begins below its title.
    column = text.splitlines()[0].index("LANE")
    assert [line[column:] for line in text.splitlines()] == \
        ["LANE", "-", "-", "direct", "-", "cached"]


def test_ls_long(tree):
    lanectl("policy", "set", tree.join("small"), "direct")
    lines = lanectl("ls", "-l", tree.path).stdout.splitlines()
    assert lines[0].split() == ["FILE", "SIZE", "LANE", "POLICY", "WHY"]
    (line,) = [line for line in lines if line.startswith("small ")]
    assert line.split()[1:5] == ["1.5", "KiB", "direct", "direct"]
    assert line.endswith("  " + tree.why(tree.join("small")).removeprefix("direct: "))


def test_ls_json(tree):
    found = by_name(document("ls", tree.path))
    assert list(found) == ["dir", "fifo", "large", "link", "small"]
    assert [entry["type"] for entry in found.values()] == \
        ["directory", "other", "file", "symlink", "file"]
    assert found["large"] == {"path": tree.join("large"), "type": "file", "size": LARGE,
                              "lane": tree.lane(tree.join("large")),
                              "why": tree.why(tree.join("large")), "policy": None}
    assert found["dir"]["lane"] is None and found["dir"]["why"] is None


def test_ls_arguments(tree):
    text = lanectl("ls", tree.join("dir"), tree.join("link"), tree.join("small")).stdout
    files, directory = text.split("\n\n")
    assert [row[0] for row in rows(files)] == ["FILE", tree.join("link"), tree.join("small")]
    assert [row[0] for row in rows(directory)] == [f"{tree.join('dir')}:", "FILE", "inner", "sub/"]
    # A link that is named is followed, as an open would.
    (entry,) = document("ls", tree.join("link"))
    assert entry["type"] == "file" and entry["size"] == 1500 and entry["lane"] == "cached"
    assert lanectl("ls", "small", cwd=tree.path).stdout.splitlines()[1].startswith("small ")


def test_ls_recursive(tree):
    paths = [entry["path"] for entry in document("ls", "-R", tree.path)]
    assert paths == [tree.join(name) for name in
                     ("dir", "fifo", "large", "link", "small", "dir/inner", "dir/sub",
                      "dir/sub/deep")]
    text = lanectl("ls", "-R", tree.path).stdout
    assert [line for line in text.splitlines() if line.endswith(":")] == \
        [f"{tree.path}:", f"{tree.join('dir')}:", f"{tree.join('dir/sub')}:"]


def test_ls_recursive_stays_on_the_mount(tree):
    run("mount", "-t", "tmpfs", "none", tree.join("dir", "sub"))
    try:
        write_file(tree.join("dir", "sub", "elsewhere"), b"x")
        names = by_name(document("ls", "-R", tree.path))
        assert "sub" in names and "elsewhere" not in names
    finally:
        unmount(tree.join("dir", "sub"))


ODD_NAMES = {
    b"new\nline\ttab": r"new\nline\ttab",
    b"esc\x1b[31m": r"esc\x1b[31m",
    b"unit\x1fseparator": r"unit\x1fseparator",
    b"back\\slash \"quoted\"": r'back\\slash "quoted"',
    b"not utf-8 \xff\xc3": r"not utf-8 \xff\xc3",
    "日本語".encode(): "日本語",
    b"-l": "-l",
    b"%s %n": "%s %n",
}


def test_odd_names(mount):
    m = mount("transport=dev")
    for name in ODD_NAMES:
        write_file(os.path.join(os.fsencode(m.source), name), b"x")
    text = lanectl("ls", m.path).stdout
    assert len(text.splitlines()) == len(ODD_NAMES) + 1
    for shown in ODD_NAMES.values():
        assert [line for line in text.splitlines() if line.startswith(shown + " ")]

    got = set()
    for entry in document("ls", m.path):
        if "path_base64" in entry:
            path = base64.b64decode(entry["path_base64"])
            assert path.decode(errors="replace") == entry["path"]
        else:
            path = entry["path"].encode()
        got.add(os.path.basename(path))
        assert entry["lane"] == "cached"
    assert got == set(ODD_NAMES)

    for name in ODD_NAMES:
        path = os.path.join(os.fsencode(m.path), name)
        for command in (("explain",), ("policy", "get"), ("stats",)):
            assert len(document(*command, "--", path)) == 1
    missing = os.path.join(os.fsencode(m.path), b"missing\n\xff")
    assert lanectl("ls", missing, status=1).stderr == \
        f"lanectl: {m.path}/missing\\n\\xff: No such file or directory\n"


@pytest.mark.parametrize("option, value", [("--size", "banana"), ("--access", "rw")])
def test_explain_of_nonsense(tree, option, value):
    done = lanectl("explain", option, value, tree.join("small"), status=2)
    assert f"{option} {value}: accepted: " in done.stderr and done.stdout == ""


def test_explain(tree):
    for name, lane in (("small", "cached"), ("large", "direct")):
        path = tree.join(name)
        (explained,) = document("explain", path)
        assert explained["path"] == path
        assert explained["lane"] == tree.lane(path) == lane
        assert explained["why"] == tree.why(path)
        matched = [step["matched"] for step in explained["steps"]]
        decided = matched.index(True)
        assert set(matched[:decided]) == {False} and set(matched[decided + 1:]) <= {None}

        text = lanectl("explain", path).stdout
        assert text.startswith(f"{path}:\n")
        assert ["lane", lane] in rows(text)
        assert ["why", *tree.why(path).removeprefix(f"{lane}: ").split()] in rows(text)
        for step in explained["steps"]:
            word = {True: "yes", False: "no", None: "-"}[step["matched"]]
            (row,) = [row for row in rows(text) if row[:1] == [step["rule"]]]
            assert row[1:] == [word, *step["text"].split()]


def test_explain_what_has_no_lane(tree):
    done = lanectl("explain", tree.join("dir"), tree.join("fifo"), tree.join("small"), status=1)
    assert done.stderr == (
        f"lanectl: {tree.join('dir')}: a directory has no lane; name a file in it\n"
        f"lanectl: {tree.join('fifo')}: not a regular file, so it has no lane\n")
    assert done.stdout.startswith(f"{tree.join('small')}:\n")


def get_policy(path):
    (found,) = document("policy", "get", path)
    return found


def test_policy(tree):
    inner, sub, deep = tree.join("dir/inner"), tree.join("dir/sub"), tree.join("dir/sub/deep")
    assert lanectl("policy", "set", tree.join("dir"), "stream").stdout == ""
    assert os.getxattr(tree.backing("dir"), "user.lanefs.policy") == b"stream"
    assert rows(lanectl("policy", "get", tree.join("dir"), inner, tree.join("small")).stdout) == [
        ["FILE", "POLICY", "FROM"],
        [tree.join("dir"), "stream", "set", "here"],
        [inner, "stream", "inherited", "from", tree.join("dir")],
        [tree.join("small"), "auto", "not", "set"]]
    assert get_policy(deep) == {"path": deep, "policy": "stream", "own": None, "inherited": True,
                                "from": tree.join("dir"), "mount": None}
    (explained,) = document("explain", deep)
    assert explained["wanted"] == "stream"

    # auto ends what a directory inherits, and is nothing on a file.
    lanectl("policy", "set", sub, "auto")
    assert get_policy(deep)["policy"] == "auto" and get_policy(deep)["from"] == sub
    assert document("explain", deep)[0]["wanted"] == "direct"
    lanectl("policy", "set", inner, "auto")
    found = get_policy(inner)
    assert found["policy"] == "stream" and found["own"] == "auto" and found["inherited"]
    assert document("explain", inner)[0]["wanted"] == "stream"

    (found,) = document("policy", "set", inner, "direct")
    assert found["policy"] == found["own"] == "direct" and found["from"] == inner
    assert document("explain", inner)[0]["wanted"] == "direct"

    lanectl("policy", "clear", inner, sub, tree.join("dir"), tree.join("dir"))
    for path in (tree.backing("dir"), tree.backing("dir/inner"), tree.backing("dir/sub")):
        assert "user.lanefs.policy" not in os.listxattr(path)
    assert get_policy(inner)["policy"] == "auto" and get_policy(inner)["from"] is None


def test_policy_of_several_paths(tree):
    missing = tree.join("missing")
    done = lanectl("policy", "set", tree.join("small"), missing, tree.join("large"), "cached",
                   status=1)
    assert done.stderr == f"lanectl: {missing}: No such file or directory\n"
    assert tree.attribute("policy", tree.join("small")) == "cached"
    assert tree.attribute("policy", tree.join("large")) == "cached"


def test_policy_refuses(tree):
    path = tree.join("small")
    done = lanectl("policy", "set", path, "fast", status=2)
    assert done.stderr == ('lanectl: policy: value "fast": accepted: auto, cached, direct, stream; '
                           "see lanectl policy --help\n")
    assert "user.lanefs.policy" not in os.listxattr(path)
    done = lanectl("policy", "set", tree.join("fifo"), "direct", status=1)
    assert done.stderr == f"lanectl: {tree.join('fifo')}: neither a file nor a directory\n"


def test_threshold(tree):
    large, directory = tree.join("dir/sub/deep"), tree.join("dir")
    (found,) = document("threshold", "get", large)
    assert found["threshold"] == "auto" and found["mount"] == "default" and found["from"] is None

    lanectl("threshold", "set", directory, "1G")
    assert os.getxattr(tree.backing("dir"), "user.lanefs.threshold") == b"1G"
    assert tree.lane(large) == "cached"
    assert rows(lanectl("threshold", "get", large).stdout) == [
        ["FILE", "THRESHOLD", "FROM"], [large, "1G", "inherited", "from", directory]]
    lanectl("threshold", "clear", directory)
    assert tree.lane(large) == "direct"

    done = lanectl("threshold", "set", tree.join("small"), "1G", status=1)
    assert done.stderr.startswith(f"lanectl: {tree.join('small')}: a threshold is kept on "
                                  "directories; ")
    for value in ("1X", "", "-1", "1.5G"):
        done = lanectl("threshold", "set", "--", directory, value, status=2)
        assert done.stderr.startswith(f'lanectl: threshold: value "{value}": accepted: auto, or ')
    assert "user.lanefs.threshold" not in os.listxattr(tree.backing("dir"))


def test_threshold_of_the_mount(mount):
    m = mount("transport=dev", "threshold=3M")
    text = lanectl("threshold", "get", m.path).stdout
    assert rows(text)[1] == [m.path, "3M", "the", "mount", "(-o)"]


def test_stats(tree):
    with open(tree.join("large"), "rb", buffering=0) as stream:
        stream.read(1 << 20)
    (of_file,) = document("stats", tree.join("large"))
    (of_mount,) = document("stats", tree.path)
    assert of_file["path"] == tree.join("large")
    assert of_file["lanes"]["direct"]["opens"] == 1
    assert of_file["reads"]["bytes"] == of_mount["reads"]["bytes"] == 1 << 20
    assert of_mount["pid"] == tree.pid

    text = lanectl("stats", tree.path, tree.join("large")).stdout
    first, second = text.split(f"\n{tree.join('large')}:\n")
    assert first.startswith(f"{tree.path}:\n") and f"pid {tree.pid}," in first
    for part in (first, second):
        assert ["direct", "1", "0"] in rows(part)
        (reads,) = [row for row in rows(part) if row[:1] == ["reads"]]
        assert reads[1] == str(of_file["reads"]["requests"]) and reads[2:4] == ["1", "MiB"]
    assert "known inodes" in first and "known inodes" not in second
    assert "LANE CHOSEN WITHIN" in first and "LANE CHOSEN WITHIN" not in second


def test_stats_of_all_mounts(mount):
    both = [mount("transport=dev"), mount("transport=dev")]
    done = lanectl_on_all(both[0].path, "stats", "--json")
    found = {entry["path"]: entry["pid"] for entry in json.loads(done.stdout)["stats"]}
    for m in both:
        assert found[m.path] == m.pid


def test_stats_of_a_directory(tree):
    done = lanectl("stats", tree.join("dir"), status=1)
    assert done.stderr.startswith(f"lanectl: {tree.join('dir')}: counters are kept of ")


@pytest.mark.parametrize("command", ["ls", "explain", "stats", "metrics", "reload"])
def test_in_a_directory_from_before_the_mount(scratch, mount, command):
    path = scratch.directory("source")
    directory = os.open(path, os.O_PATH)
    try:
        m = mount(over=True, source=path)
        done = lanectl(command, ".", status=1, preexec_fn=lambda: os.fchdir(directory))
        assert done.stderr == "lanectl: .: the working directory is what the mount covers; cd to it again\n"
        assert m.close() == []
    finally:
        os.close(directory)


def test_policy_of_a_directory_that_may_not_be_read(mount):
    """Its attribute is for who may read it; the lane that follows from it is told to everybody."""
    m = mount("allow_other")
    os.mkdir(m.join("dir"))
    write_file(m.join("dir/f"), b"f")
    os.chmod(m.join("dir/f"), 0o644)
    os.setxattr(m.join("dir"), "user.lanefs.policy", b"stream")
    os.chmod(m.join("dir"), 0o711)

    def ask(*command, status):
        return lanectl(*command, m.join("dir/f"), status=status,
                       preexec_fn=lambda: become(NOBODY, NOBODY, [], None))

    assert ask("policy", "get", status=1).stderr == \
        f"lanectl: {m.join('dir/f')}: Permission denied; it takes the right to read the file and the " \
        "directories above; lanectl explain tells what holds\n"
    assert 'policy stream on directory "dir"' in ask("explain", status=0).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_paths(tree, command):
    """Each gets its own line, what is good is served, with and without --json."""
    elsewhere, missing, good = tree.backing("small"), tree.join("missing"), tree.join("small")
    for json_option in ([], ["--json"]):
        done = lanectl(*command.split(), *json_option, elsewhere, missing, good, status=1)
        lines = done.stderr.splitlines()
        assert lines[0].startswith(f"lanectl: {elsewhere}: not on a lanefs mount")
        assert lines[1] == f"lanectl: {missing}: No such file or directory"
        assert len(lines) == 2
        if json_option:
            ((element,),) = json.loads(done.stdout).values()
            assert element["path"] == good
        else:
            assert good in done.stdout


def test_set_does_not_touch_other_filesystems(tree):
    """Any filesystem would store such an attribute."""
    for args in (("policy", "set", tree.source, "direct"), ("threshold", "set", tree.source, "1M"),
                 ("policy", "clear", tree.source)):
        lanectl(*args, status=1)
    assert os.listxattr(tree.source) == []


def test_as_another_user(tree):
    write_file(tree.backing("secret"), b"x", 0o600)
    os.chmod(tree.backing("secret"), 0o600)

    def nobody(*args):
        return run(LANECTL, *args, check=False, user=NOBODY, group=NOBODY, extra_groups=[])

    done = nobody("ls", tree.path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"lanectl: {tree.join('secret')}: Permission denied; ")
    assert ["secret", "1", "B", "?"] in rows(done.stdout)
    assert ["small", "1.5", "KiB", "cached"] in rows(done.stdout)
    for path in (tree.join("small"), tree.join("dir")):
        done = nobody("policy", "set", path, "direct")
        assert done.returncode == 1
        assert done.stderr.startswith(f"lanectl: {path}: Permission denied; ")
        assert "user.lanefs.policy" not in os.listxattr(path)
    assert nobody("explain", tree.join("large")).returncode == 0
    os.chmod(tree.backing("dir"), 0o700)
    for options in (["-R"], ["-lR"]):
        done = nobody("ls", *options, tree.path)
        assert done.returncode == 1
        assert done.stderr.count(f"lanectl: {tree.join('dir')}: ") == 1


def test_read_only_mount(mount):
    m = mount("transport=dev", "ro")
    write_file(m.backing("f"), b"x")
    done = lanectl("policy", "set", m.join("f"), "direct", status=1)
    assert done.stderr == (f"lanectl: {m.join('f')}: Read-only file system; the mount, or SOURCE, is read-only: "
                           "make SOURCE writable, then mount -i -o "
                           "remount,rw,nosuid,nodev the mount\n")


@pytest.mark.parametrize("args", [
    (), ("nonsense",), ("--nonsense",), ("ls",), ("ls", "--nonsense", "/"), ("explain",),
    ("policy",), ("policy", "get"), ("policy", "frob", "/"), ("policy", "set"),
    ("policy", "set", "direct"), ("policy", "set", "/tmp", "/tmp"), ("policy", "clear"),
    ("threshold", "set", "/tmp", "many"), ("status", "/"), ("status", "--timeout", "soon"),
    ("metrics", "--nonsense"), ("metrics", "--json"), ("metrics", "--timeout", "-1"),
    ("top", "/", "/"), ("top", "-i", "soon"), ("top", "-n", "0"),
], ids=" ".join)
def test_usage(args):
    done = lanectl(*args, status=2)
    assert done.stdout == ""
    assert done.stderr.startswith("lanectl: ") and done.stderr.count("\n") == 1
    assert "--help" in done.stderr


def test_help_and_version():
    assert lanectl("--version").stdout.startswith("lanectl ")
    text = lanectl("--help").stdout
    for command in ("status", "ls", "explain", "policy", "threshold", "stats", "metrics", "top"):
        assert f"  {command} " in text
        usage = lanectl(command, "--help").stdout
        assert f"lanectl {command} [" in usage and ("--json" in usage) == (command != "metrics")


def test_odd_source(mount, scratch):
    source = os.path.join(scratch.directory("odd"), "a\udcff\n")
    os.makedirs(f"{source}/d\n")
    write_file(f"{source}/d\n/f", b"x")
    m = mount("state=/nonexistent/x", source=source)
    [found] = json.loads(lanectl_on_all(m.path, "--json", "status").stdout)["mounts"]
    for element in (found, found["stats"]):
        assert base64.b64decode(element["source_base64"]) == os.fsencode(source)
    text = lanectl_on_all(m.path, "status").stdout
    assert r"/a\xff\n " in text
    assert f"{m.path}: no state of what is learned: /nonexistent: No such file or directory\n" in text
    assert r"/a\xff\n, pid" in lanectl("stats", m.path).stdout
    lanectl("policy", "set", m.join("d\n"), "direct")
    assert r'directory "d\x0a"' in lanectl("explain", m.join("d\n/f")).stdout


def test_output_that_cannot_be_written(tree):
    with open("/dev/full", "wb") as full:
        for json_option in ([], ["--json"]):
            done = subprocess.run([LANECTL, "ls", *json_option, tree.path], stdout=full,
                                  stderr=subprocess.PIPE, timeout=30)
            assert done.returncode == 1
            assert done.stderr == b"lanectl: standard output: No space left on device\n"


def test_json_before_the_command(tree):
    assert json.loads(lanectl("--json", "ls", tree.path).stdout) == \
        json.loads(lanectl("ls", "--json", tree.path).stdout)


def test_opens_nothing(tree):
    """Asking about files is not using them."""
    lanectl("ls", "-lR", tree.path)
    lanectl("explain", tree.join("large"), tree.join("small"))
    lanectl("policy", "get", tree.join("large"))
    opens = [lane["opens"] for lane in tree.stats()["lanes"].values()]
    assert opens == [0, 0, 0]
    wait_for(lambda: tree.stats()["directories"]["open"] == 0, 5, "directories closed")


# --- metrics ---

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


def labels_of(text):
    """The labels of a sample, all of the text."""
    labels, at = {}, 0
    while at < len(text):
        found = LABEL.match(text, at)
        assert found and found[1] not in labels, text
        labels[found[1]] = re.sub(r'\\.', lambda escape: ESCAPES[escape[0]], found[2])
        at = found.end()
    return labels


def families(text):
    """The page by the rules of the text format 0.0.4: {name: (type, {(sample, labels): value})}."""
    assert text.endswith("\n") and "\r" not in text
    found, name, kind = {}, None, None
    helped = None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            assert helped not in found and len(line.split(" ", 3)) == 4
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            # What follows belongs to it, and nothing of it comes again.
            assert name == helped and name not in found and kind in SUFFIXES
            assert (kind == "counter") == name.endswith("_total")
            found[name] = (kind, {})
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] in [name + suffix for suffix in SUFFIXES[kind]], line
            key = (match[1], tuple(sorted(labels_of(match[2]).items())))
            assert key not in found[name][1], line
            found[name][1][key] = float(match[3])
    return found


def check_histograms(found):
    for name, (kind, samples) in found.items():
        if kind != "histogram":
            continue
        by_mount = {}
        for (sample, labels), value in samples.items():
            labels = dict(labels)
            if sample == name + "_bucket":
                by_mount.setdefault(labels["mountpoint"], []).append((float(labels["le"]), value))
        for mountpoint, steps in by_mount.items():
            assert steps == sorted(steps) and steps[-1][0] == float("inf"), steps
            values = [value for _, value in steps]
            assert values == sorted(values)
            assert samples[(name + "_count", (("mountpoint", mountpoint),))] == values[-1]


def metrics(*args, status=0):
    done = lanectl("metrics", *args, status=status)
    found = families(done.stdout)
    check_histograms(found)
    return found, done


def value_of(found, name, mountpoint, **labels):
    labels = tuple(sorted([("mountpoint", mountpoint), *labels.items()]))
    return found[name][1][(name, labels)]


def test_metrics(mount):
    m = mount("transport=dev", "lane=direct", "threshold=5M")
    write_file(m.backing("f"), b"x" * (3 << 20))
    with open(m.join("f"), "rb", buffering=0) as stream:
        while stream.read(64 << 10):
            pass

        def told():
            (before,) = document("stats", m.path)
            found, _ = metrics(m.path)
            (stats,) = document("stats", m.path)
            return before["pool"] == stats["pool"] and (found, stats)

        found, stats = wait_for(told, 5, "nothing is given back meanwhile")

    def value(name, **labels):
        return value_of(found, "lanefs_" + name, m.path, **labels)

    assert value("up") == 1
    assert value("info", version=stats["version"], transport="dev",
                 passthrough="yes" if stats["passthrough"]["available"] else "no") == 1
    for lane, counts in stats["lanes"].items():
        assert value("opens_total", lane=lane) == counts["opens"]
        assert value("open_files", lane=lane) == counts["open"]
    assert value("open_files", lane="direct") == 1
    for name, path in {"read_requests_total": "reads.requests", "read_bytes_total": "reads.bytes",
                       "backing_read_bytes_total": "reads.backing_bytes",
                       "read_errors_total": "reads.errors", "write_bytes_total": "writes.bytes",
                       "reads_in_flight": "reads.in_flight", "window_hits_total": "window.hits",
                       "pool_size_bytes": "pool.size", "pool_in_use_bytes": "pool.in_use",
                       "threshold_bytes": "threshold.bytes", "inodes_known": "inodes.known",
                       "backing_ids": "backing_ids"}.items():
        wanted = stats
        for step in path.split("."):
            wanted = wanted[step]
        assert value(name) == wanted, name
    assert value("read_bytes_total") == 3 << 20 and value("threshold_bytes") == 5 << 20
    assert 0 <= value("memory_pressure_ratio") <= 1
    assert 0 < value("uptime_seconds") <= stats["uptime"]

    for name, path, unit in (("read_latency_seconds", "read_latency", 1e-6),
                             ("lane_decision_seconds", "decision_latency", 1e-9)):
        total = 0
        for i, count in enumerate(stats[path]):
            total += count
            last = i + 1 == len(stats[path])
            (got,) = [value for (sample, labels), value in found["lanefs_" + name][1].items()
                      if sample.endswith("_bucket") and
                      float(dict(labels)["le"]) == (float("inf") if last else
                                                    pytest.approx(2 ** i * unit))]
            assert got == total
        of_mount = (("mountpoint", m.path),)
        assert found["lanefs_" + name][1][(f"lanefs_{name}_count", of_mount)] == total > 0
        seconds = found["lanefs_" + name][1][(f"lanefs_{name}_sum", of_mount)]
        assert seconds == pytest.approx(stats[path + "_sum"] * unit)
        # Each is above half of its step; the last has no end.
        assert seconds >= sum(count * 2 ** (i - 1) for i, count in enumerate(stats[path]) if i) * unit
        if not stats[path][-1]:
            assert seconds <= sum(count * 2 ** i for i, count in enumerate(stats[path])) * unit
    assert sum(stats["read_latency"]) == stats["reads"]["requests"] > 0


def test_metrics_of_several_mounts(mount):
    both = [mount("transport=dev"), mount("transport=dev")]
    found = families(lanectl_on_all(both[0].path, "metrics", timeout=30).stdout)
    for m in both:
        assert value_of(found, "lanefs_up", m.path) == 1
    # A mount that is named twice is there once.
    found, _ = metrics(both[0].path, both[1].path, both[0].path + "/.")
    assert {dict(labels)["mountpoint"] for _, labels in found["lanefs_up"][1]} == \
        {m.path for m in both}


ODD_MOUNTPOINTS = {
    b'quote" and \\': 'quote" and \\',
    b"new\nline": "new\nline",
    b"not utf-8 \xff\xc3": r"not utf-8 \xff\xc3",
    b"esc\x1b[31m\x7f": r"esc\x1b[31m\x7f",
    "日本語 {}=,".encode(): "日本語 {}=,",
}


def test_metrics_label(mount, scratch):
    m = mount("transport=dev")
    points = {os.path.join(os.fsencode(scratch.directory("odd")), name): shown
              for name, shown in ODD_MOUNTPOINTS.items()}
    try:
        for point in points:
            os.mkdir(point)
            run("mount", "--bind", m.path, point)
        text = lanectl("metrics", *points).stdout
        assert "\x1b" not in text
        mountpoints = [dict(labels)["mountpoint"] for _, labels in families(text)["lanefs_up"][1]]
        for point, shown in points.items():
            assert os.path.join(os.path.dirname(os.fsdecode(point)), shown) in mountpoints
    finally:
        for point in points:
            run("umount", point, check=False)


def test_metrics_of_what_does_not_answer(mount):
    alive, dead, hung = (mount("transport=dev") for _ in range(3))
    dead.may_die = True
    dead.process.kill()
    dead.process.wait(10)
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        found, done = metrics("-t", "3", alive.path, dead.path, hung.path, alive.source, status=1)
    finally:
        os.kill(hung.pid, signal.SIGCONT)
    assert [value_of(found, "lanefs_up", path)
            for path in (alive.path, dead.path, hung.path, alive.source)] == [1, 0, 0, 0]
    assert len(found["lanefs_uptime_seconds"][1]) == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"lanectl: {alive.source}: not on a lanefs mount")
    assert lines[1].startswith(f"lanectl: {dead.path}: its daemon is gone")
    assert lines[2].startswith(f"lanectl: {hung.path}: no answer from its daemon")


def test_metrics_have_one_label(mount, scratch):
    """However the mountpoint is written, and whether it is mounted or not."""
    m = mount("transport=dev")
    gone = scratch.directory("gone")
    link = gone + ".link"
    os.symlink(gone, link)
    for path, status in ((m.path, 0), (gone, 1)):
        for written in (path, path + "/", path + "/./", os.path.relpath(path)):
            found, _ = metrics(written, status=status)
            assert value_of(found, "lanefs_up", path) == 1 - status
    found, _ = metrics(gone, link, gone + "/", status=1)
    assert list(found["lanefs_up"][1].values()) == [0]
    os.rmdir(gone)
    found, _ = metrics(gone + "/", os.path.relpath(gone), status=1)
    assert value_of(found, "lanefs_up", gone) == 0 and len(found["lanefs_up"][1]) == 1


def test_metrics_refuses(tree):
    for args in (("--json", "metrics"), ("metrics", "--json", tree.path)):
        done = lanectl(*args, status=2)
        assert done.stdout == "" and done.stderr.startswith("lanectl: metrics: --json: ")
    _, done = metrics(tree.join("dir"), status=1)
    assert done.stderr == f"lanectl: {tree.join('dir')}: name the mountpoint itself\n"


# --- top ---

def samples_of(m, *args):
    return document("top", "-i", "0.5", *args, m.path)


def keep_reading(path, stop, name):
    """By a program of that name."""
    set_dumpable()
    with open("/proc/self/comm", "w") as stream:
        stream.write(name)
    fd = os.open(path, os.O_RDONLY)
    os.write(stop, b"x")
    while True:
        if not os.read(fd, 128 << 10):
            os.lseek(fd, 0, os.SEEK_SET)
        time.sleep(0.002)


@contextlib.contextmanager
def reader(path, name="a\x1breader", uid=None):
    ready, told = os.pipe()
    child = Child(keep_reading, path, told, name, uid=uid)
    os.close(told)
    try:
        if not os.read(ready, 1):
            child.result()
        yield child
    finally:
        child.close()
        os.close(ready)


@pytest.mark.parametrize("transport", ["dev", "io_uring"])
def test_top(mount, transport):
    m = mount(f"transport={transport}", "lane=direct")
    for i in range(4):
        write_file(m.backing(f"idle{i}"), b"x" * 5000)
    write_file(m.backing("busy"), b"x" * (2 << 20))
    with contextlib.ExitStack() as stack:
        for i in range(4):
            stack.enter_context(open(m.join(f"idle{i}"), "rb"))
        child = stack.enter_context(reader(m.join("busy"), uid=NOBODY))
        second = stack.enter_context(open(m.join("idle0"), "rb"))
        (sample,) = samples_of(m)
        assert sample["mountpoint"] == m.path and sample["left_out"] == 0
        assert 0.4 < sample["seconds"] < 20
        assert {entry["path"] for entry in sample["files"]} == \
            {"busy", *(f"idle{i}" for i in range(4))}
        busy = sample["files"][0]
        assert busy["path"] == "busy" and busy["lane"] == "direct" and busy["opens"] == 1
        assert busy["program"] == "a\x1breader" and busy["pid"] == child.pid
        assert busy["uid"] == NOBODY and busy["size"] == 2 << 20
        assert busy["served_rate"] > 1 << 20 and busy["served"] > 1 << 20
        assert sample["lanes"]["direct"]["served_rate"] == pytest.approx(busy["served_rate"])
        assert sample["lanes"]["direct"]["files"] == 5
        assert sample["lanes"]["direct"]["opens"] == 6
        idle = {entry["path"]: entry for entry in sample["files"][1:]}
        assert all(entry["served_rate"] == 0 for entry in idle.values())
        assert idle["idle0"]["opens"] == 2 and idle["idle1"]["opens"] == 1
        assert idle["idle0"]["pid"] == os.getpid() and idle["idle0"]["uid"] == 0

        text = lanectl("top", "-i", "0.3", "-n", "2", m.path).stdout
        assert "\x1b" not in text
        pictures = text.split("\n\n" + m.path + ", up ")
        assert len(pictures) == 2
        for picture in pictures:
            table = rows(picture)
            (title,) = [i for i, row in enumerate(table) if row[:2] == ["LANE", "PID"]]
            assert table[title + 1][:4] == ["direct", str(child.pid), r"a\x1breader", "nobody"]
            assert table[title + 1][-1] == "busy"
            assert ["direct", "5", "6"] in [row[:3] for row in table[:title]]
        second.close()
    (sample,) = samples_of(m)
    assert sample["files"] == []
    assert "No file is open.\n" in lanectl("top", "-i", "0.1", m.path).stdout


def test_top_of_what_was_opened_since(mount):
    """All that it did counts, not what others did with the file before."""
    m = mount("transport=dev", "lane=direct")
    write_file(m.backing("f"), b"x" * (4 << 20))
    for _ in range(3):
        read_file(m.join("f"))
    released(m)
    with open(m.join("f"), "rb", buffering=0) as stream:
        stream.read(1 << 20)
        content = json.loads(m.attribute("top"))
    (entry,) = content["files"]
    assert entry["served"] == 13 << 20 and entry["at_open"]["served"] == 12 << 20
    # The first three were over before anybody asked.
    assert content["lanes"]["direct"]["served"] == 1 << 20


def next_document(stream):
    """Of a list, whose line only ends when the next one comes."""
    text = b""
    while (piece := stream.read1()):
        text += piece
        with contextlib.suppress(ValueError):
            return json.loads(text)
    raise AssertionError(text)


def test_top_of_what_was_left_out(mount):
    """What a file did before it was named is not what it does now."""
    m = mount("transport=dev", "lane=direct")
    others = [f"{i:03}" + "n" * 200 for i in range(200)]
    for name in ["before", "after", *others]:
        write_file(m.backing(name), b"x" * (128 << 10))
    with contextlib.ExitStack() as stack:
        stack.enter_context(open(m.join("before"), "rb", buffering=0)).read(128 << 10)
        time.sleep(4)  # the less it has done of late, the further behind it comes
        opened = [stack.enter_context(open(m.join(name), "rb", buffering=0)) for name in others]
        for stream in opened:
            stream.read(128 << 10)
        with subprocess.Popen([LANECTL, "top", "--json", "-i", "2", "-n", "2", m.path],
                              stdout=subprocess.PIPE) as top:
            assert top.stdout.readline() == b'{"samples":[\n'
            sample = next_document(top.stdout)
            assert sample["left_out"] and "before" not in [entry["path"] for entry in sample["files"]]
            top.send_signal(signal.SIGSTOP)
            for stream in opened[20:]:
                stream.close()
            stack.enter_context(open(m.join("after"), "rb", buffering=0)).read(128 << 10)
            released(m, 22)
            top.send_signal(signal.SIGCONT)
            assert top.stdout.readline() == b",\n"
            (sample,) = json.loads('{"samples":[' + top.stdout.read().decode())["samples"]
        assert top.returncode == 0 and not sample["left_out"]
    files = {entry["path"]: entry for entry in sample["files"]}
    assert files["before"]["served_rate"] is None and files["before"]["fetched_rate"] is None
    assert files["after"]["served_rate"] > 0
    assert 0 < files["before"]["at_open"]["uptime"] < files["after"]["at_open"]["uptime"] < \
        sample["uptime"]


def test_top_in_passthrough(mount):
    m = mount("transport=dev", "lane=stream", "stream-window=8M")
    if not m.passthrough:
        pytest.skip("no passthrough here")
    with open(m.backing("f"), "wb") as stream:
        stream.write(b"x" * (48 << 20))
        os.fsync(stream.fileno())
    drop_pages(m.backing("f"))
    with open(m.join("f"), "rb", buffering=0) as stream:
        while stream.read(1 << 20):
            time.sleep(0.01)
        wait_for(lambda: json.loads(m.attribute("top"))["files"][0].get("dropped", 0) > 16 << 20, 10,
                 "what was dropped")
        (entry,) = json.loads(m.attribute("top"))["files"]
        assert entry["passthrough"] and entry["lane"] == "stream"
        assert entry["served"] == 0 and 40 << 20 < entry["fetched"] < 64 << 20
        assert 0 <= entry["resident"] < 32 << 20
        (entry,) = samples_of(m)[0]["files"]
        assert entry["served_rate"] is None and entry["fetched_rate"] >= 0


def test_top_odd_names(mount):
    m = mount("transport=dev")
    with contextlib.ExitStack() as stack:
        for name in ODD_NAMES:
            write_file(os.path.join(os.fsencode(m.source), name), b"x")
            stack.enter_context(open(os.path.join(os.fsencode(m.path), name), "rb"))
        (sample,) = samples_of(m)
        text = lanectl("top", "-i", "0.1", m.path).stdout
        gone = stack.enter_context(open(m.join("gone"), "w+b"))
        os.unlink(m.join("gone"))
        assert None in [entry["path"] for entry in samples_of(m)[0]["files"]]
        gone.close()
    got = {base64.b64decode(entry["path_base64"]) if "path_base64" in entry
           else entry["path"].encode() for entry in sample["files"]}
    assert got == set(ODD_NAMES)
    shown = [line.rpartition(" B  ")[2] for line in text.splitlines() if " B  " in line]
    assert set(shown) >= set(ODD_NAMES.values())
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ["f{:04}", "f\x01\x02\x03\xff{:04}" * 12], ids=["short", "long"])
def test_top_of_many_files(mount, name):
    count = 1500
    m = mount("transport=dev", nofile=8192)
    with contextlib.ExitStack() as stack:
        for i in range(count):
            path = m.join(name.format(*[i] * 12))
            write_file(path, b"x")
            stack.enter_context(open(path, "rb"))
        busy = stack.enter_context(open(m.join("busy"), "w+b", buffering=0))
        released(m, count + 1)
        content = m.attribute("top").encode()
        assert len(content) <= 48 << 10
        content = json.loads(content)
        assert 30 < len(content["files"]) < 400
        assert len(content["files"]) + content["left_out"] == count + 1
        lanes = content["lanes"].values()
        assert sum(lane["files"] for lane in lanes) == sum(lane["opens"] for lane in lanes) == count + 1
        busy.close()
        released(m, count)
        (sample,) = samples_of(m)
        assert len(sample["files"]) + sample["left_out"] == count
        text = lanectl("top", "-i", "0.1", m.path).stdout
        assert f"and {sample['left_out']} more files that do less\n" in text


def test_top_follows_what_is_done_now(mount):
    m = mount("transport=dev", "lane=direct")
    for name in ("before", "now"):
        write_file(m.backing(name), b"x" * (8 << 20))
    with open(m.join("before"), "rb", buffering=0) as before, \
            open(m.join("now"), "rb", buffering=0) as now:
        while before.read(1 << 20):
            pass
        assert [entry["path"] for entry in json.loads(m.attribute("top"))["files"]] == ["before", "now"]
        end = time.monotonic() + 4
        while time.monotonic() < end:
            now.seek(0)
            now.read(64 << 10)
            time.sleep(0.05)
        content = json.loads(m.attribute("top"))
        assert [entry["path"] for entry in content["files"]] == ["now", "before"]


def test_top_is_for_administrators(tree):
    with pytest.raises(PermissionError):
        as_user(NOBODY, tree.attribute, "top")
    done = run(LANECTL, "top", tree.path, check=False, user=NOBODY, group=NOBODY, extra_groups=[])
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (f"lanectl: {tree.path}: Permission denied; what others have open only "
                           "root and the user that lanefs runs as may see\n")
    assert "user.lanefs.top" not in os.listxattr(tree.path)
    with pytest.raises(PermissionError):
        os.setxattr(tree.path, "user.lanefs.top", b"x")
    with pytest.raises(OSError) as error:
        tree.attribute("top", tree.join("small"))
    assert error.value.errno == errno.ENODATA


def test_top_refuses(tree):
    for args, text in ((("-i", "0"), "-i takes seconds from 0.1 to 86400"),
                       (("-i", "nan"), "-i takes seconds from 0.1 to 86400"),
                       (("-n", "0"), "-n takes a number from 1"),
                       (("-n", "-1"), "-n takes a number from 1"),
                       ((tree.path,), f'"{tree.path}": one mountpoint at a time')):
        done = lanectl("top", *args, tree.path, status=2)
        assert done.stderr == f"lanectl: top: {text}; see lanectl top --help\n"
    done = lanectl("top", tree.join("dir"), status=1)
    assert done.stderr == f"lanectl: {tree.join('dir')}: name the mountpoint itself\n"
    done = lanectl("top", tree.source, status=1)
    assert done.stderr.startswith(f"lanectl: {tree.source}: not on a lanefs mount")


def test_top_of_a_dead_mount(mount):
    m = mount("transport=dev")
    m.may_die = True
    m.process.kill()
    m.process.wait(10)
    done = lanectl("top", "--json", m.path, status=1)
    assert json.loads(done.stdout) == {"samples": []}
    assert done.stderr.startswith(f"lanectl: {m.path}: Transport endpoint is not connected")


class Terminal:
    """
    A program on a terminal of its own.  The leader of the session is there before it and after it: with
    the leader's end the terminal is hung up, and its settings are those of a new one.
    """

    def __init__(self, *argv, rows=24, columns=80, prepare=lambda: None):
        self.fd, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.settings = termios.tcgetattr(self.slave)
        said, say = os.pipe()
        self.leader = os.fork()
        if self.leader == 0:
            try:
                self._lead(argv, prepare, say)
            finally:
                os._exit(127)
        os.close(say)
        self.said = os.fdopen(said, "rb", buffering=0)
        self.pid = int(self.said.readline())
        self.text = b""

    def _lead(self, argv, prepare, say):
        os.login_tty(self.slave)
        # What the keyboard sends goes to it, too; the program does not inherit that it is handled.
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        pid = os.fork()
        if pid == 0:
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            prepare()
            os.execv(argv[0], argv)
        os.write(say, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(say, b"%d\n" % os.waitstatus_to_exitcode(status))
        while True:
            signal.pause()

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.fd, keys)

    def read(self, wanted, seconds=10):
        """Until that regular expression comes; what was written up to there."""
        end = time.monotonic() + patience(seconds)
        while not (found := re.search(wanted, self.text)):
            assert select.select([self.fd], [], [], max(end - time.monotonic(), 0))[0], self.text
            self.text += os.read(self.fd, 1 << 16)
        before, self.text = self.text[:found.end()], self.text[found.end():]
        return before

    def end(self):
        """Its exit status and all it still says.  The terminal is as it was before."""
        end, status = time.monotonic() + patience(10), None
        while status is None or select.select([self.fd], [], [], 0.1)[0]:
            assert time.monotonic() < end, self.text
            for ready in select.select([self.fd, self.said], [], [], 0.1)[0]:
                if ready is self.said:
                    status = status or self.said.readline()
                else:
                    self.text += os.read(self.fd, 1 << 16)
        assert termios.tcgetattr(self.slave) == self.settings
        return int(status), self.text

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in (self.pid, self.leader):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(self.leader, 0)
        self.said.close()
        for fd in (self.fd, self.slave):
            os.close(fd)


def close_of_dead(fd):
    with contextlib.suppress(OSError):
        os.close(fd)


ENDS = {"q": b"xq", "Q": b"Q", "interrupt": b"\x03", "quit": b"\x1c", "terminate": signal.SIGTERM,
        "hang up": signal.SIGHUP, "count": None, "dead": None}


@pytest.mark.parametrize("way", ENDS)
def test_top_on_a_terminal(mount, way):
    m = mount("transport=dev", "lane=direct")
    name = "a-name-that-is-long-" * 8 + "\x1b]0;title\x07.iso"
    write_file(m.backing(name), b"x" * 5000)
    count = ["-n", "3"] if way == "count" else []
    with contextlib.ExitStack() as stack:
        fd = os.open(m.join(name), os.O_RDONLY)
        stack.callback(close_of_dead if way == "dead" else os.close, fd)
        top = stack.enter_context(Terminal(LANECTL, "top", "-i", "0.3", *count, m.path))
        # At once, without rates.
        first = top.read(rb"\.iso\x1b\[K")
        assert b"\x1b[?25l" in first and b"title\\x07.iso" in first and "…".encode() in first
        top.read(rb"0 B +0 B.*\.iso\x1b\[K")
        assert termios.tcgetattr(top.slave) != top.settings
        if way == "q":
            top.resize(24, 400)
            top.read(b"a-name-that-is-long-" * 8)
        if way == "dead":
            m.may_die = True
            m.process.kill()
        elif isinstance(ENDS[way], bytes):
            top.type(ENDS[way])
        elif ENDS[way]:
            os.kill(top.pid, ENDS[way])
        status, rest = top.end()
    assert status == (1 if way == "dead" else 0)
    assert (b"Transport endpoint is not connected" in rest) == (way == "dead")
    assert b"\x1b[?25h" in rest[-200:]
    assert b"\x1b]0;" not in first + rest


@pytest.mark.parametrize("way", ["q", "interrupt", "terminate"])
def test_top_of_a_hung_mount_on_a_terminal(mount, way):
    """Whoever has enough does not wait until it is given up."""
    m = mount("transport=dev")
    with Terminal(LANECTL, "top", "-i", "0.1", m.path) as top:
        top.read(b"No file is open")
        os.kill(m.pid, signal.SIGSTOP)
        try:
            with contextlib.suppress(AssertionError):
                while True:
                    top.read(b"No file is open", seconds=0.3)
            top.resize(24, 12)
            top.read(rb"LANE    FILE\x1b")
            top.type(b"x")
            if isinstance(ENDS[way], bytes):
                top.type(ENDS[way])
            else:
                os.kill(top.pid, ENDS[way])
            status, rest = top.end()
        finally:
            os.kill(m.pid, signal.SIGCONT)
    assert status == 0 and b"lanectl: " not in rest


def test_top_of_a_long_path(mount):
    """Each character of it takes four columns; not the square of that."""
    m = mount("transport=dev")
    name = "\x01" * 250
    with contextlib.ExitStack() as stack:
        fd = os.open(m.path, os.O_PATH)
        for _ in range(15):
            os.mkdir(name, dir_fd=fd)
            inner = os.open(name, os.O_PATH, dir_fd=fd)
            os.close(fd)
            fd = inner
        stack.callback(os.close, fd)
        stack.callback(os.close, os.open("end", os.O_CREAT | os.O_RDWR, dir_fd=fd))
        top = stack.enter_context(Terminal(LANECTL, "top", "-i", "0.1", m.path))
        top.read(rb"\\x01/end\x1b\[K")
        with open(f"/proc/{top.pid}/stat") as stream:
            user, system = stream.read().rpartition(")")[2].split()[11:13]
        assert int(user) + int(system) < os.sysconf("SC_CLK_TCK") / 2
        top.type(b"q")
        assert top.end()[0] == 0


def test_top_is_not_stopped_for_good(mount):
    """Where no shell could let it go on."""
    m = mount("transport=dev")
    with Terminal(LANECTL, "top", "-i", "0.1", m.path) as top:
        top.read(b"No file is open")
        top.type(b"\x1a")
        top.read(rb"\x1b\[\?25h\x1b\[\?25l[^$]*No file is open")
        top.type(b"q")
        assert top.end()[0] == 0


def shell(script, *argv):
    """With job control."""
    return Terminal("/bin/bash", "-c", "set -m\n" + script, "bash", *argv)


def state_of(pid):
    with open(f"/proc/{pid}/stat") as stream:
        return stream.read().rpartition(")")[2].split()[0]


def has_ended(pid):
    """It may be gone between the opening and the reading of what tells of it."""
    try:
        return state_of(pid) == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_top_is_stopped_and_goes_on(mount):
    m = mount("transport=dev")
    with shell('"$@"; echo STOPPED $?; read; fg; echo ENDED $?',
               LANECTL, "top", "-i", "0.1", m.path) as top:
        top.read(b"No file is open")
        top.type(b"\x1a")
        assert b"\x1b[?25h" in top.read(b"STOPPED 148\r\n")
        assert termios.tcgetattr(top.slave) == top.settings
        top.resize(24, 12)
        top.type(b"\n")
        top.read(rb"\x1b\[\?25l[^$]*No file")
        top.read(rb"LANE    FILE\x1b")  # as wide as it is now
        top.type(b"q")
        top.read(b"ENDED 0\r\n")
        top.end()


@pytest.mark.parametrize("end", ["key", "signal"])
def test_top_in_the_background(mount, end):
    m = mount("transport=dev")
    with shell('"$@" & echo PID $!.; read; [ "$REPLY" ] || fg; wait -f $!; echo ENDED $?',
               LANECTL, "top", "-i", "0.1", m.path) as top:
        pid = int(re.search(rb"PID (\d+)\.", top.read(rb"PID \d+\."))[1])
        wait_for(lambda: state_of(pid) == "T", 10, "top stops")
        assert termios.tcgetattr(top.slave) == top.settings
        if end == "key":
            top.type(b"\n")
            assert b"\x1b" not in top.read(rb"\x1b\[")[:-2]
            top.read(b"No file is open")
            assert termios.tcgetattr(top.slave) != top.settings
            top.type(b"q")
            top.read(b"ENDED ")
        else:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)
            wait_for(lambda: has_ended(pid), 10, "its end")
            top.type(b"x\n")
            assert b"\x1b" not in top.read(b"ENDED ")
        top.end()


def test_top_ends_in_the_background(mount):
    m = mount("transport=dev")
    with shell('"$@"; echo STOPPED; bg; wait -f %1; echo ENDED $?',
               LANECTL, "top", "-i", "0.1", m.path) as top:
        top.read(b"No file is open")
        with open(f"/proc/{top.pid}/task/{top.pid}/children") as stream:
            pid = int(stream.read())
        os.kill(pid, signal.SIGSTOP)
        top.read(b"STOPPED\r\n")
        top.read(b"No file is open")
        os.kill(pid, signal.SIGTERM)
        top.read(b"ENDED 0\r\n")
        top.end()


def test_top_without_signalfd(mount):
    m = mount("transport=dev")
    number = {"x86_64": 289}.get(os.uname().machine, 74)
    with Terminal(LANECTL, "top", "-i", "0.1", m.path,
                  prepare=lambda: without_system_call(number, errno.EMFILE)) as top:
        for _ in range(2):
            assert b"\x1b" not in top.read(b"No file is open")
        top.type(b"\x03")
        assert top.end()[0] == -signal.SIGINT
