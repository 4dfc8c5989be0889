# SPDX-License-Identifier: MIT
"""PostgreSQL and MariaDB on a data directory of the benchmark: each as its own user, on a socket of
its own, with every commit on the disk before it is answered."""
import contextlib
import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import time

from .build import Failure

CLIENTS = 4


class Server:
    """What both have in common.  The data directory is given to each call: one is made natively,
    copies of it are served through the contenders."""

    user = None

    def __init__(self, bench):
        try:
            self.account = pwd.getpwnam(self.user)
        except KeyError:
            raise Failure(f"no user {self.user}: tools/bootstrap --bench") from None
        self.bench = bench
        # Sockets and logs; not on what is measured.
        self.directory = os.path.join(bench.scratch, f"{self.user}.{bench.guard.number()}")
        os.mkdir(self.directory)
        os.chown(self.directory, self.account.pw_uid, self.account.pw_gid)

    def own(self, data):
        os.makedirs(data)
        os.chown(data, self.account.pw_uid, self.account.pw_gid)
        os.chmod(data, 0o700)

    def as_user(self):
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": [],
                "cwd": self.directory}

    def run(self, argv, text=None, timeout=120):
        """A client, or what makes the data; its standard output."""
        try:
            done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False,
                                  timeout=timeout, **self.as_user())
        except subprocess.TimeoutExpired:
            raise Failure(f"{argv[0]}: not done after {timeout} s") from None
        if done.returncode:
            words = (done.stderr.strip() or done.stdout.strip() or "failed").splitlines()
            raise Failure(f"{os.path.basename(argv[0])}: {words[-1]}")
        return done.stdout

    @contextlib.contextmanager
    def running(self, data):
        log = os.path.join(self.directory, "log")
        with open(log, "wb") as stream, \
             self.bench.guard.process(self.argv(data), None, stdin=subprocess.DEVNULL,
                                      stdout=stream, stderr=stream, **self.as_user()) as process:
            end = time.monotonic() + 60
            while not self.answers():
                if process.poll() is not None or time.monotonic() > end:
                    raise Failure(f"{self.user}'s server does not start: {last_line(log)}")
                time.sleep(0.05)
            yield
            process.send_signal(self.stop)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                raise Failure(f"{self.user}'s server does not end") from None

    def answers(self):
        try:
            self.query("select 1")
        except Failure:
            return False
        return True

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def last_line(path):
    with open(path, errors="replace") as stream:
        lines = stream.read().strip().splitlines()
    return lines[-1] if lines else "it says nothing"


class Postgres(Server):
    """pgbench's own tables and transaction."""

    name = "PostgreSQL"
    user = "postgres"
    stop = signal.SIGINT
    SCALE = 8

    def __init__(self, bench):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            raise Failure("PostgreSQL is not installed: tools/bootstrap --bench")
        self.bin = found[-1]
        super().__init__(bench)

    def create(self, data):
        self.own(data)
        self.run([f"{self.bin}/initdb", "-D", data, "-A", "trust", "-U", "postgres",
                  "--locale=C", "-E", "UTF8"])
        with self.running(data):
            self.pgbench("-i", "-q", "-s", self.SCALE)

    def argv(self, data):
        # Not even a checkpoint or a vacuum in the middle of somebody's turn.
        settings = ("listen_addresses=", "shared_buffers=32MB", "fsync=on",
                    "synchronous_commit=on", "autovacuum=off", "max_wal_size=4GB",
                    "checkpoint_timeout=1h")
        return [f"{self.bin}/postgres", "-D", data, "-k", self.directory,
                *(word for setting in settings for word in ("-c", setting))]

    def query(self, text):
        return self.run([f"{self.bin}/psql", "-h", self.directory, "-U", "postgres", "-AtqX",
                         "-c", text, "postgres"])

    def pgbench(self, *argv):
        return self.run([f"{self.bin}/pgbench", "-h", self.directory, "-U", "postgres",
                         *map(str, argv), "postgres"], timeout=self.bench.options.timeout)

    def load(self, seconds):
        """(transactions, seconds)"""
        out = self.pgbench("-n", "-M", "prepared", "-c", CLIENTS, "-j", 2, "-T", seconds)
        return transactions_of(out)


def transactions_of(out):
    """What pgbench says: (transactions, seconds)."""
    count = re.search(r"actually processed: (\d+)", out)
    rate = re.search(r"tps = ([\d.]+) \(without", out)
    if not count or not rate or not float(rate[1]):
        raise Failure("pgbench said nothing that can be read: " + out.strip()[-200:])
    return int(count[1]), int(count[1]) / float(rate[1])


class MariaDB(Server):
    """InnoDB with O_DIRECT, that is an application that caches for itself, and less of a cache than
    there is data."""

    name = "MariaDB, O_DIRECT"
    user = "mysql"
    stop = signal.SIGTERM
    ROWS = 50000

    # One transaction: read a row, change it, note that.
    SETUP = """
create database bench;
use bench;
create table t (id int primary key, n int, filler varchar(1000)) engine=innodb;
insert into t select seq, 0, repeat(sha1(seq), 24) from seq_1_to_{rows};
create table log (id int auto_increment primary key, who int, what int) engine=innodb;
delimiter //
create procedure work(who int, seconds double)
begin
    declare done, row_id, size int default 0;
    declare start double default unix_timestamp(sysdate(6));
    while unix_timestamp(sysdate(6)) < start + seconds do
        set row_id = 1 + floor(rand() * {rows});
        start transaction;
        select length(filler) into size from t where id = row_id;
        update t set n = n + 1, filler = reverse(filler) where id = row_id;
        insert into log (who, what) values (who, row_id);
        commit;
        set done = done + 1;
    end while;
    select done, unix_timestamp(sysdate(6)) - start;
end //
delimiter ;
"""

    def __init__(self, bench):
        if not shutil.which("mariadbd") or not shutil.which("mariadb-install-db"):
            raise Failure("MariaDB is not installed: tools/bootstrap --bench")
        super().__init__(bench)

    def create(self, data):
        self.own(data)
        self.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}",
                  "--auth-root-authentication-method=normal", "--skip-test-db"])
        with self.running(data):
            self.run(self.client(), self.SETUP.format(rows=self.ROWS))

    def argv(self, data):
        return ["mariadbd", "--no-defaults", f"--datadir={data}", "--skip-networking",
                f"--socket={self.directory}/s", f"--pid-file={self.directory}/pid",
                f"--tmpdir={self.directory}", "--innodb-flush-method=O_DIRECT",
                "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=16M",
                "--innodb-log-file-size=256M", "--innodb-fast-shutdown=2"]

    def client(self, *argv):
        return ["mariadb", "--no-defaults", f"--socket={self.directory}/s", "-u", "root", "-N",
                *argv]

    def query(self, text):
        return self.run(self.client("-e", text))

    def load(self, seconds):
        """(transactions, seconds)"""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(self.bench.guard.process(
                self.client("-e", f"call work({who}, {seconds})", "bench"), None,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, **self.as_user())) for who in range(CLIENTS)]
            said = [client.communicate(timeout=self.bench.options.timeout)[0]
                    for client in clients]
        return calls_of(said)


def calls_of(said):
    """What each of the clients says: (transactions, seconds)."""
    found = [re.fullmatch(r"(\d+)\t([\d.]+)", out.strip()) for out in said]
    if not all(found):
        raise Failure("mariadb: " + " ".join(said).strip()[-200:])
    return sum(int(one[1]) for one in found), max(float(one[2]) for one in found)


SERVERS = (Postgres, MariaDB)
