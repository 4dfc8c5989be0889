# SPDX-License-Identifier: MIT
"""Rules and their reload, questions about other programs, the record of opens."""
import json
import os
import signal
import subprocess
import threading
import time

import pytest

import util_sys
from util import Child, clock, pattern, read_file, run, wait_for, write_file
from util_cgroup import V1, memory_cgroup
from util_mount import LANECTL, lanectl_on_all

pytestmark = pytest.mark.daemon

MIB = 1 << 20


class Config:
    """A configuration file that is read again on demand."""

    def __init__(self, path, text):
        self.path = path
        self.write(text)

    def write(self, text):
        with open(self.path, "w") as stream:
            stream.write(text)


@pytest.fixture
def config(scratch):
    return Config(os.path.join(scratch.directory("config"), "lanefs.conf"),
                  "[policy]\nthreshold=1M\n")


def ctl(*argv, check=True):
    return run(LANECTL, *argv, check=check)


def make(m, name, size=2 * MIB):
    path = m.backing(name)
    write_file(path, pattern(size))
    util_sys.drop_pages(path)
    return m.join(name)


RULES = """
[policy]
threshold=1M
[rule streamed]
path=*.iso
lane=stream
"""


def test_reload(mount, config):
    m = mount(argv=("-c", config.path))
    path = make(m, "a.iso")
    assert m.lane(path) == "direct"
    config.write(RULES)
    assert m.lane(path) == "direct"
    ctl("reload", m.path)
    assert m.lane(path) in ("stream", "direct") and '"streamed"' in m.why(path)
    assert m.attribute("reload") == "ok"
    told = json.loads(m.attribute("config"))
    assert told["rules"][0]["name"] == "streamed"
    config.write(RULES.replace("stream\n", "cached\n"))
    m.process.send_signal(signal.SIGHUP)
    wait_for(lambda: m.lane(path) == "cached", 5, "the new rule")


def test_reload_without_a_file(mount):
    done = ctl("reload", mount().path, check=False)
    assert done.returncode == 1 and "no configuration file to read again" in done.stderr, done.stderr


@pytest.mark.parametrize("text, message", [
    ("[rule x]\nlane=fast\n", '[rule x] lane: value "fast": accepted: auto, cached'),
    ("[policy]\npool=1M\n", "[policy] pool: belongs in [mount]"),
    ("[rule x]\nkind=films\nlane=direct\n", '[rule x] kind: value "films"'),
    ("no group\n", "lanefs.conf: "),
    ("[policy]\nread-ahead=3T\n", "pool 64M holds less than one window"),
    ("[mount]\npool=256M\n[policy]\nread-ahead=128M\n", "pool 64M holds less than one window"),
])
def test_bad_reload_changes_nothing(mount, config, text, message):
    config.write(RULES)
    m = mount(argv=("-c", config.path))
    path = make(m, "a.iso")
    before = m.attribute("config")
    config.write(text)
    done = ctl("reload", m.path, check=False)
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    assert m.attribute("config") == before and '"streamed"' in m.why(path)
    with pytest.raises(OSError):
        os.setxattr(m.path, "user.lanefs.reload", b"")
    m.process.send_signal(signal.SIGHUP)
    wait_for(lambda: m.log().count("refused") == 3, 5, "the refusal in the log")
    os.unlink(config.path)
    assert "No such file" in ctl("reload", m.path, check=False).stderr
    assert m.attribute("config") == before


@pytest.mark.parametrize("link", [False, True], ids=["file", "link"])
def test_reload_of_a_file_below_the_mount(mount, config, scratch, link):
    """Reading it through the mount would wait for the request to read it, in the kernel."""
    source = scratch.directory("below")
    path = os.path.join(source, "lanefs.conf")
    named = config.path + ".link" if link else path
    write_file(path, RULES.encode())
    if link:
        os.symlink(path, named)
    m = mount(argv=("-c", named), over=True, source=source)
    ctl("reload", m.path)
    assert '"streamed"' in m.why(make(m, "a.iso"))
    write_file(os.path.join(m.path, "lanefs.conf"), RULES.replace("stream\n", "cached\n").encode())
    ctl("reload", m.path)
    assert m.lane(m.join("a.iso")) == "cached"
    if link:
        write_file(os.path.join(m.path, "other.conf"), RULES.encode())
        os.unlink(named)
        os.symlink(os.path.join(m.path, "other.conf"), named)
        done = ctl("reload", m.path, check=False)
        assert done.returncode == 1 and "leads elsewhere" in done.stderr
        assert m.lane(m.join("a.iso")) == "cached"


def test_reload_of_a_pipe_changes_nothing(mount, config):
    """It was read to its end at the start: now it would be an empty file."""
    path = config.path + ".pipe"
    os.mkfifo(path)
    with Child(write_file, path, b"[policy]\nthreshold=5M\n"):
        m = mount(argv=("-c", path))
    before = m.attribute("config")
    assert '"5M"' in before
    done = ctl("reload", m.path, check=False)
    assert done.returncode == 1 and "cannot be read again" in done.stderr
    assert m.attribute("config") == before


def test_reload_keeps_what_a_mount_has(mount, config):
    m = mount("pool=16M", argv=("-c", config.path))
    config.write("[mount]\npool=32M\nattr-timeout=9\n[policy]\nthreshold=3M\n")
    ctl("reload", m.path)
    told = json.loads(m.attribute("config"))
    assert told["pool"]["value"] == "16M" and told["attr-timeout"]["value"] == "1"
    assert told["threshold"]["value"] == "3M"


def test_reload_of_a_read_only_mount(mount, config):
    m = mount("ro", argv=("-c", config.path))
    path = make(m, "a.iso")
    config.write(RULES)
    ctl("reload", m.path)
    wait_for(lambda: '"streamed"' in m.why(path), 5, "the new rule")


def test_more_rules_than_an_attribute_holds(mount, config):
    """The values are shown all the same, and the rules hold."""
    rules = "".join(f"[rule {'x' * 100}{number}]\npath=*.{number}\nlane=stream\n"
                    for number in range(600))
    config.write(RULES + rules)
    m = mount(argv=("-c", config.path))
    told = json.loads(m.attribute("config"))
    assert told["rules"] == [] and told["rules_left_out"] == 601
    assert told["threshold"]["value"] == "1M"
    assert ctl("threshold", "get", m.path).stdout.split()[-2:] != ["not", "set"]
    (row,) = [row for row in lanectl_on_all(m.path, "status").stdout.splitlines() if
              row.startswith(m.path + " ")]
    assert "rules=601" in row
    assert m.lane(make(m, "f.599")) == ("stream" if m.passthrough else "direct")


def test_programs_are_known_by_what_the_kernel_keeps_of_a_name(mount, config):
    config.write("[policy]\nthreshold=1M\n[rule vm]\nprogram=cloud-hyperviso\nlane=cached\n")
    m = mount(argv=("-c", config.path))
    path = make(m, "disk")
    assert '"vm"' in ctl("explain", "--for", "cloud-hypervisor", path).stdout
    assert '"vm"' not in ctl("explain", "--for", "cloud-hyper", path).stdout


def test_reload_frees_open_files_from_a_forced_lane(mount, config):
    """Who was mounted with lane=stream finds no file hot, and does once it is auto."""
    config.write("[policy]\nthreshold=1M\nstream-window=8M\nlane=stream\n")
    m = mount(argv=("-c", config.path))
    if not m.passthrough:
        pytest.skip("this kernel has no FUSE passthrough")
    path = make(m, "f.iso", 24 * MIB)
    with open(path, "rb", buffering=0) as stream:
        # The policy is stream still, so that only heat can move it.
        os.setxattr(path, "user.lanefs.policy", b"stream")
        config.write("[policy]\nthreshold=1M\nstream-window=8M\n")
        ctl("reload", m.path)

        def hot():
            stream.seek(0)
            while stream.read(MIB):
                time.sleep(0.001)
            return m.stats(path)["lanes"]["cached"]["open"] == 1

        wait_for(hot, 20, "a move to cached")


def test_reload_is_for_administrators(mount, config):
    m = mount(argv=("-c", config.path))
    os.chmod(m.path, 0o777)
    with Child(lambda: os.setxattr(m.path, "user.lanefs.reload", b""), uid=65534) as child:
        with pytest.raises(PermissionError):
            child.result()


def test_reload_under_opens(mount, config):
    """Rules are read again while others decide by them."""
    m = mount(argv=("-c", config.path))
    path = make(m, "a.iso")

    def open_on():
        end = time.monotonic() + 3
        while time.monotonic() < end:
            with open(path, "rb") as stream:
                stream.read(100)
        return True

    with Child(open_on) as one, Child(open_on) as two:
        for number in range(60):
            config.write(RULES if number % 2 else "[policy]\nthreshold=1G\n")
            ctl("reload", m.path)
        assert one.result() and two.result()


def test_rules_see_the_opener(mount, config):
    config.write("[policy]\nthreshold=1M\n[rule user]\nuid=65534\nlane=cached\n"
                 "[rule program]\nprogram=nosuch,head\nlane=stream\n"
                 "[rule kind]\nkind=video\nread-ahead=1M\nkeep=true\n"
                 "[rule new]\nmax-age=1h\nlane=direct\n[rule old]\nmin-age=1d\nlane=cached\n")
    m = mount(argv=("-c", config.path))
    path = make(m, "a.iso")
    with Child(lambda: m.why(path), uid=65534) as child:
        assert '"user" (uid 65534)' in child.result()
    before = m.stats()["lanes"]["stream"]["opens"]
    run("head", "-c", "10", path)
    if m.passthrough:
        assert m.stats()["lanes"]["stream"]["opens"] == before + 1
    assert '"kind"' in m.why(make(m, "f.MKV")) and "keeps it" in m.why(m.join("f.MKV"))
    assert '"new"' in m.why(path)
    os.utime(m.backing("a.iso"), (0, 0))
    time.sleep(1.1)
    assert '"old"' in m.why(path)


def test_program_is_the_process(mount, config):
    """A thread with a name of its own is still of that program."""
    program = open("/proc/self/comm").read().strip()
    config.write(f"[policy]\nthreshold=1M\n[rule program]\nprogram={program}\nlane=cached\n")
    m = mount(argv=("-c", config.path))
    path = make(m, "a.iso")

    def work():
        told = []

        def ask():
            with open("/proc/thread-self/comm", "w") as stream:
                stream.write("pool-3-thread-7")
            told.append(m.why(path))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return told[0]

    with Child(work) as child:
        assert f'"program" (program "{program}") gives cached' in child.result()


def test_read_ahead_of_a_rule(mount, config):
    """A file that a rule gives no read-ahead is read without windows, another with."""
    config.write("[policy]\nthreshold=1M\nlearn=off\n[rule none]\npath=none\nread-ahead=0\n")
    m = mount(argv=("-c", config.path))
    for name in ("none", "some"):
        run("dd", f"if={make(m, name, 16 * MIB)}", "of=/dev/null", "bs=128k", "status=none")
    hits = {name: m.stats(m.join(name))["window"] for name in ("none", "some")}
    assert hits["none"]["hits"] + hits["none"]["waits"] == 0, hits
    assert hits["some"]["hits"] + hits["some"]["waits"] > 0, hits


def test_rules_see_the_cgroup(mount, config):
    with memory_cgroup("rules", 512 * MIB) as group:
        name = os.path.basename(group.path)
        config.write(f"[policy]\nthreshold=1M\n[rule group]\ncgroup={name}\nlane=cached\n")
        m = mount(argv=("-c", config.path))
        path = make(m, "a.iso")
        assert m.lane(path) == "direct"

        def inside():
            group.enter()
            return m.why(path)

        with Child(inside) as child:
            assert f'(cgroup "{name}") gives cached' in child.result()


def test_explain_for(mount, config):
    config.write("[policy]\nthreshold=1M\n[rule tape]\nprogram=tar\naccess=write\n"
                 "path=backups/**\nlane=cached\n")
    m = mount(argv=("-c", config.path))
    os.mkdir(m.join("backups"))
    path = make(m, "a.iso")

    def explain(*argv):
        return json.loads(ctl("explain", "--json", *argv).stdout)["files"][0]

    assert explain("--for", "cp", "--size", "3G", path)["lane"] == "direct"
    assert "3 GiB >= threshold 1 MiB" in explain("--size", "3G", path)["why"]
    assert explain("--size", "1000", path)["lane"] == "cached"
    assert explain("--for", "cp", "--size", "3G", m.path)["lane"] == "direct"
    told = explain("--for", "tar", "--size", "3G", "--access", "write",
                   m.join("backups", "new one.tar"))
    assert told["rule"] == "config" and "tape" in told["why"], told
    assert explain("--for", "tar", "--size", "3G", m.join("backups", "x"))["rule"] == "large"
    # Of a new file in a directory what is set on that one counts, before what is above it.
    ctl("threshold", "set", m.join("backups"), "1G")
    told = explain("--size", "100M", m.join("backups", "x"))
    assert told["lane"] == "cached" and "1 GiB" in told["why"], told
    ctl("policy", "set", m.path, "stream")
    assert explain("--size", "3G", m.join("backups", "x"))["rule"] == "dir_policy"
    ctl("policy", "set", m.join("backups"), "auto")
    assert explain("--size", "3G", m.join("backups", "x"))["rule"] == "large"
    assert explain("--size", "3G", m.path)["rule"] == "dir_policy"
    ctl("policy", "clear", m.path)
    for argv in (("--size", "3Q", path), ("--access", "both", path)):
        done = ctl("explain", *argv, check=False)
        assert done.returncode == 2 and "accepted: " in done.stderr
    for odd in ("a&size=1", "100%", "a=b", "ä\n"):
        assert explain("--for", odd, path)["lane"] == "direct"
    for name in ("explain.x=1", "explain.program", "explain.size=%zz"):
        with pytest.raises(OSError):
            m.attribute(name, path)


def test_threshold_of_a_directory_that_was_forgotten(mount):
    """The kernel forgets the directory and asks for it again before what was stored is read anew."""
    m = mount("threshold=1M")
    os.mkdir(m.join("d"))
    make(m, "d/f")
    os.setxattr(m.join("d"), "user.lanefs.threshold", b"1G")
    for _ in range(3):
        assert m.attribute("lane", m.join("d", "f")) == "cached"
        m.shrink()


def test_record(mount, scratch):
    m = mount("threshold=1M")
    make(m, "large file.iso")
    write_file(m.join("small"), b"x" * 100)
    write_file(m.backing("probe"), b"x")
    told = os.path.join(scratch.base, "record")
    # An hour is more than fits 32 bits of microseconds.
    with open(told, "w") as stream:
        recorder = subprocess.Popen([LANECTL, "record", "-s", "3600", m.path], stdout=stream)

    def begun():
        run("cat", m.join("probe"))
        return os.path.getsize(told)

    try:
        wait_for(begun, 10, "it records")
        run("cat", m.join("small"))
        run("dd", f"if={m.join('large file.iso')}", "of=/dev/null", "bs=1M", "status=none")
        write_file(m.join("written"), b"y" * 50)
        wait_for(lambda: b" written\n" in read_file(told), 5, "the last is recorded")
        recorder.send_signal(signal.SIGINT)
        recorder.wait(10)
    finally:
        recorder.kill()
        recorder.wait()
    lines = read_file(told).decode().splitlines()
    words = [line.split(" ") for line in lines]
    assert all(len(line) == 6 for line in words), lines
    by_path = {line[5]: line for line in words}
    assert by_path["small"][1:5] == ["cat", "r", "100", "100"]
    assert by_path["large\\040file.iso"][1:5] == ["dd", "r", str(2 * MIB), str(2 * MIB)]
    assert by_path["written"][2] == "w"
    assert [float(line[0]) for line in words] == sorted(float(line[0]) for line in words)


def test_report_for_people(mount):
    m = mount("threshold=1M", "shadow=on")
    for number in range(3):
        run("dd", f"if={make(m, f'{number}.iso')}", "of=/dev/null", "bs=8k", "status=none")
    text = ctl("report", m.path).stdout
    # What is in force is named first, then what would be.
    assert "threshold 1 MiB, by the configuration; auto would be" in text, text
    assert "pressure" in text and "shadow=on" in text, text
    told = json.loads(ctl("report", "--json", m.path).stdout)["reports"][0]
    assert told["path"] == m.path
    assert told["opens"]["direct"]["opens"] + told["opens"]["stream"]["opens"] == 3
    assert ctl("report", make(m, "x"), check=False).returncode == 1


def calm(m):
    """Who works beside the tests may have pressed."""
    wait_for(lambda: json.loads(m.attribute("report"))["threshold"]["pressure"] == 0, 30,
             "no memory pressure")


@pytest.mark.limit(90)
def test_threshold_falls_under_pressure(mount):
    """A hog in the caller's memory group, and in the daemon's own."""
    if not os.path.isdir(V1):
        pytest.skip("written for memory groups of version 1")
    with memory_cgroup("press", 256 * MIB) as group:
        m = mount("learn=off")
        path = make(m, "a.iso", 12 * MIB)
        calm(m)
        outside = json.loads(m.attribute("explain", path))["threshold"]
        assert outside > 12 * MIB

        def hog(ready, done):
            group.enter()
            memory = bytearray(230 * MIB)
            memory[::4096] = b"x" * len(memory[::4096])
            os.write(ready, b"r")
            os.read(done, 1)

        def inside():
            group.enter()
            return json.loads(m.attribute("explain", path))

        ready_read, ready = os.pipe()
        done, done_write = os.pipe()
        wait_for(lambda: inside_again(inside) == outside, 10, "the group is of no account")
        with Child(hog, ready, done) as child:
            os.read(ready_read, 1)
            begun = clock()

            def fallen():
                with Child(inside) as other:
                    told = other.result()
                return told["threshold"] <= outside // 4 and told

            told = wait_for(fallen, 2, "the threshold falls")
            assert clock() - begun < 2
            assert told["lane"] == "direct" and "pressure" in told["why"], told
            # Others are not in that group; what the machine itself is short of passes.
            wait_for(lambda: json.loads(m.attribute("explain", path))["threshold"] == outside, 10,
                     "others are not in that group")
            os.write(done_write, b"d")
            child.result()
        wait_for(lambda: inside_again(inside) == outside, 10, "it comes back")


def inside_again(inside):
    with Child(inside) as child:
        return child.result()["threshold"]


@pytest.mark.limit(90)
def test_threshold_of_the_mount_falls(mount):
    """The hog is in the daemon's own group."""
    with memory_cgroup("daemon", 512 * MIB) as group:
        m = mount("learn=off", enter=group.enter)

        def threshold():
            return json.loads(m.attribute("report"))["threshold"]

        calm(m)
        before = threshold()["bytes"]

        def hog(ready, done):
            group.enter()
            memory = bytearray(430 * MIB)
            memory[::4096] = b"x" * len(memory[::4096])
            os.write(ready, b"r")
            os.read(done, 1)

        ready_read, ready = os.pipe()
        done, done_write = os.pipe()
        with Child(hog, ready, done) as child:
            os.read(ready_read, 1)
            wait_for(lambda: threshold()["bytes"] < before, 2, "the threshold falls")
            assert threshold()["pressure"] > 0
            os.write(done_write, b"d")
            child.result()
        wait_for(lambda: threshold()["bytes"] == before, 40, "it comes back")
        assert m.close() == []
