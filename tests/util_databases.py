# SPDX-License-Identifier: MIT
"""Database servers on a directory of the tests, each as its own user, ended by pid."""
import glob
import os
import pwd
import signal
import subprocess
import tempfile

import pytest

from util import need, run, wait_for


class Server:
    """One server process on a data directory; sockets and logs lie outside of it."""

    user = None

    def __init__(self, data):
        try:
            self.account = pwd.getpwnam(self.user)
        except KeyError:
            pytest.skip(f"no user {self.user}: run tools/bootstrap --tests")
        self.data = data
        self.process = None
        # Sockets have short names.
        self.directory = tempfile.mkdtemp(prefix="lanefs-db-", dir="/tmp")
        os.chown(self.directory, self.account.pw_uid, self.account.pw_gid)

    def own(self):
        os.makedirs(self.data, exist_ok=True)
        os.chown(self.data, self.account.pw_uid, self.account.pw_gid)
        os.chmod(self.data, 0o700)

    def as_user(self, *argv, **kwargs):
        return run(*argv, user=self.account.pw_uid, group=self.account.pw_gid, extra_groups=[],
                   cwd=self.directory, **kwargs)

    def popen(self, argv, **kwargs):
        return subprocess.Popen(argv, user=self.account.pw_uid, group=self.account.pw_gid,
                                extra_groups=[], cwd=self.directory, **kwargs)

    def log(self):
        with open(os.path.join(self.directory, "log"), errors="replace") as stream:
            return stream.read()[-4000:]

    def start(self):
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = self.popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def answers():
            assert self.process.poll() is None, self.log()
            return self.query("select 1", check=False).returncode == 0

        wait_for(answers, 60, f"{self.user}'s server answers")

    def end(self, number, seconds=60):
        process, self.process = self.process, None
        if process and process.poll() is None:
            process.send_signal(number)
            process.wait(seconds)

    def close(self):
        self.end(signal.SIGKILL)
        run("rm", "-rf", self.directory)


class Postgres(Server):
    user = "postgres"

    def __init__(self, data):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            pytest.skip("no PostgreSQL: run tools/bootstrap --tests")
        self.bin = found[-1]
        super().__init__(data)

    def program(self, name):
        return os.path.join(self.bin, name)

    def create(self):
        self.own()
        self.as_user(self.program("initdb"), "-D", self.data, "-A", "trust", "-U", "postgres",
                     "--locale=C", "-E", "UTF8", "--no-sync")

    def argv(self):
        return [self.program("postgres"), "-D", self.data, "-k", self.directory,
                "-c", "listen_addresses=", "-c", "shared_buffers=32MB"]

    def query(self, text, **kwargs):
        return self.as_user(self.program("psql"), "-h", self.directory, "-U", "postgres", "-AtqX",
                            "-v", "ON_ERROR_STOP=1", "-c", text, "postgres", **kwargs)

    def pgbench(self, *argv, **kwargs):
        return self.as_user(self.program("pgbench"), "-h", self.directory, "-U", "postgres", *argv,
                            "postgres", **kwargs)

    def shut_down_immediately(self):
        self.end(signal.SIGQUIT)


class MariaDB(Server):
    user = "mysql"

    def create(self):
        need("mariadbd", "mariadb-install-db", "mariadb")
        self.own()
        run("mariadb-install-db", "--no-defaults", f"--datadir={self.data}", "--user=mysql",
            "--auth-root-authentication-method=normal", "--skip-test-db", timeout=120)

    def argv(self):
        return ["mariadbd", "--no-defaults", f"--datadir={self.data}", "--skip-networking",
                f"--socket={self.directory}/s", f"--pid-file={self.directory}/pid",
                f"--tmpdir={self.directory}",
                "--innodb-flush-method=O_DIRECT", "--innodb-flush-log-at-trx-commit=1",
                "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=16M"]

    def client(self, *argv):
        return ["mariadb", "--no-defaults", f"--socket={self.directory}/s", "-u", "root", "-N",
                *argv]

    def query(self, text, **kwargs):
        return run(*self.client("-e", text), **kwargs)
