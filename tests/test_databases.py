# SPDX-License-Identifier: MIT
"""Database servers keep what they have promised: through their own sudden end and through the
daemon's."""
import os
import signal
import sqlite3
import subprocess

import pytest

import util_sys
from util import Child, run, wait_for, write_file
from util_databases import MariaDB, Postgres

pytestmark = [pytest.mark.daemon, pytest.mark.limit(200)]

VARIANTS = {
    "passthrough": ("threshold=1M",),
    "io_uring": ("threshold=1M", "passthrough=off", "transport=io_uring"),
    "direct": ("lane=direct", "passthrough=off", "transport=dev"),
}


@pytest.fixture(scope="module")
def fresh(scratch):
    """fresh(class) gives the data directory of a server that has not run yet, made once."""
    made = {}

    def of(kind):
        if kind not in made:
            one = kind(os.path.join(scratch.directory("fresh"), "data"))
            one.create()
            one.close()
            made[kind] = one.data
        return made[kind]

    return of


@pytest.fixture
def server(fresh):
    """server(class, data) gives one with a new data directory, that is ended with the test."""
    made = []

    def make(kind, data):
        run("cp", "-a", fresh(kind), data)
        made.append(kind(data))
        return made[-1]

    yield make
    for one in made:
        one.close()


def check_accounts(postgres):
    """Each transaction of pgbench adds the same to four tables, or to none."""
    sums = [postgres.query(f"select coalesce(sum({column}), 0) from {table}").stdout.strip()
            for column, table in (("abalance", "pgbench_accounts"),
                                  ("bbalance", "pgbench_branches"),
                                  ("tbalance", "pgbench_tellers"),
                                  ("delta", "pgbench_history"))]
    assert len(set(sums)) == 1, sums
    return int(postgres.query("select count(*) from pgbench_history").stdout)


@pytest.mark.parametrize("variant", VARIANTS)
def test_postgresql(mount, server, variant):
    """A load, an immediate shutdown in the middle of another, recovery: every table agrees."""
    m = mount(*VARIANTS[variant])
    postgres = server(Postgres, m.join("data"))
    postgres.start()
    postgres.pgbench("-i", "-q", "-s", "2")
    done = postgres.pgbench("-c", "4", "-j", "2", "-t", "60", "-n")
    assert "processed: 240/240" in done.stdout, done.stdout
    assert check_accounts(postgres) == 240
    load = postgres.popen([postgres.program("pgbench"), "-h", postgres.directory, "-U", "postgres",
                           "-c", "4", "-j", "2", "-T", "30", "-n", "postgres"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # Those of before and some more, as another connection sees them.
        wait_for(lambda: int(postgres.query("select count(*) from pgbench_history").stdout) > 300, 20,
                 "transactions")
        assert load.poll() is None
        postgres.shut_down_immediately()
        load.wait(30)
    finally:
        load.kill()
        load.wait()
    postgres.start()
    assert check_accounts(postgres) > 240
    postgres.query("create extension amcheck")
    postgres.query("select bt_index_check(oid) from pg_class where relkind = 'i' and relam = 403")
    postgres.end(signal.SIGINT)


class Inserter:
    """A client that inserts numbers one by one and is told which are committed."""

    def __init__(self, mariadb, who, path):
        self.path = path
        script = "".join(f"insert into t values ({who}, {n}, repeat('x', 2000)); select {n};\n"
                         for n in range(20000))
        with open(path + ".sql", "w") as stream:
            stream.write(script)
        with open(path + ".sql") as feed, open(path, "w") as acknowledged:
            self.process = subprocess.Popen(mariadb.client("-n", "db"), stdin=feed,
                                            stdout=acknowledged, stderr=subprocess.DEVNULL)

    def acknowledged(self):
        with open(self.path) as stream:
            return len(stream.read().splitlines())

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("variant", VARIANTS)
def test_mariadb_with_o_direct(mount, server, scratch, variant):
    """What was committed before the server was killed is there when it has recovered."""
    m = mount(*VARIANTS[variant])
    mariadb = server(MariaDB, m.join("data"))
    mariadb.start()
    mariadb.query("create database db; create table db.t (who int, n int, filler text, "
                  "primary key (who, n)) engine=innodb")
    where = scratch.directory("acknowledged")
    clients = [Inserter(mariadb, who, os.path.join(where, str(who))) for who in range(4)]
    try:
        wait_for(lambda: all(client.acknowledged() > 50 for client in clients), 60, "commits")
        mariadb.end(signal.SIGKILL)
    finally:
        for client in clients:
            client.close()
    mariadb.start()
    for who, client in enumerate(clients):
        there = int(mariadb.query(f"select count(*) from db.t where who={who}").stdout)
        last = int(mariadb.query(f"select max(n) from db.t where who={who}").stdout)
        assert there == last + 1 >= client.acknowledged() > 50
    assert "OK" in mariadb.query("check table db.t extended").stdout
    mariadb.end(signal.SIGTERM)


@pytest.mark.parametrize("killed", ["writer", "daemon"])
@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_sqlite_after_a_kill(mount, scratch, variant, journal, killed):
    """The file is sound, and every acknowledged transaction is in it."""
    m = mount(*VARIANTS[variant])
    path = m.join("db")
    setup = sqlite3.connect(path)
    setup.execute(f"pragma journal_mode={journal}")
    setup.execute("create table t (n integer primary key, filler blob)")
    setup.commit()
    setup.close()
    acknowledged = os.path.join(scratch.directory("acknowledged"), "n")
    write_file(acknowledged, b"")

    def write():
        database = sqlite3.connect(path, timeout=3, isolation_level=None)
        database.execute("pragma synchronous=full")
        with open(acknowledged, "wb", buffering=0) as stream:
            for n in range(1000000):
                database.execute("insert into t values (?, randomblob(3000))", (n,))
                stream.write(b".")

    with Child(write) as writer:
        wait_for(lambda: os.path.getsize(acknowledged) > 40, 30, "transactions")
        if killed == "writer":
            writer.signal(signal.SIGKILL)
            writer.wait(10)
        else:
            m.may_die = True
            m.process.kill()
            m.wait_end(10)
            with pytest.raises(Exception):
                writer.result(30)
    if killed == "daemon":
        util_sys.umount2(m.path, util_sys.MNT_DETACH)
        m.start()
        m.may_die = False
    database = sqlite3.connect(path)
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    count = database.execute("select count(*) from t").fetchone()[0]
    database.close()
    assert count >= os.path.getsize(acknowledged) > 40
