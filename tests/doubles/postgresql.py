"""A real PostgreSQL, with a database `mail`.

with PostgreSQL(authority) as server:
    server.execute("CREATE TABLE ...")
    ... server.url, server.socket_url, server.password_file
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from tests.certificates import Authority
from tests.doubles.database import ACCOUNT, PASSWORD, TIME, Database
from tests.needs import missing

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class PostgreSQL(Database):
    owner = "postgres"
    family = "postgresql"

    def __init__(self, authority: Authority | None = None, *, days: int = 90) -> None:
        self._programs = self._find()
        super().__init__(authority, days=days)
        self._base = self.directory / "base"
        self._base.mkdir(mode=0o700)
        self.make_ours(self._base, self.directory, *(self.certificate.__dict__.values() if self.certificate else ()))
        self.run([self._programs / "initdb", "-D", self._base, "--no-sync", "-A", "scram-sha-256", "-U", "admin",
                  "--auth-local=trust", "-E", "UTF8", "--locale=C"], "")  # fmt: skip
        self._made = False

    @staticmethod
    def _find() -> Path:
        return PROGRAMS[-1] if PROGRAMS else missing("install postgresql")

    @property
    def url(self) -> str:
        return f"postgresql://127.0.0.1:{self.port}/mail"

    @property
    def socket_url(self) -> str:
        return f"postgresql:///mail?socket={self.directory}/.s.PGSQL.{self.port}"

    def command(self):
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "max_connections": 40,
            "shared_buffers": "16MB",
        }
        if self.certificate:
            settings |= {"ssl": "on", "ssl_cert_file": self.certificate.chain, "ssl_key_file": self.certificate.key}
            settings |= {"ssl_ca_file": self.ca}
        return [
            self._programs / "postgres",
            *("-D", self._base),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def answers(self) -> bool:
        if not self.listens():
            return False
        if not self._made:
            try:
                password = PASSWORD.replace("'", "''")
                self.execute(f"CREATE ROLE {ACCOUNT} LOGIN PASSWORD '{password}'", database="postgres")
            except AssertionError:
                return False
            self.execute("CREATE DATABASE mail", database="postgres")
            self.execute(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {ACCOUNT}")
            self._made = True
        try:
            self.execute("SELECT 1")
        except AssertionError:
            return False
        return True

    def read_certificate(self) -> None:
        """Read its files again: it does so when its processes hear of that, so wait for the postmaster's word."""
        loaded = "SELECT pg_conf_load_time()"
        before = self.execute(loaded)
        self.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + TIME
        while self.execute(loaded) == before:
            assert time.monotonic() < deadline

    def log_in_by_certificate(self, account: str) -> None:
        """Let an account in that shows a certificate of its name, and by nothing else."""
        rules = self._base / "pg_hba.conf"
        rules.write_text(f"hostssl all {account} 127.0.0.1/32 cert\n{rules.read_text()}")
        self.execute(f"CREATE ROLE {account} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {account}")
        self.read_certificate()

    def disconnect(self, words: str = "") -> None:
        """End the connections of our account, or those whose statement has these words; return when they have ended."""
        which = f"query LIKE '%{words}%' AND pid <> pg_backend_pid()" if words else f"usename = '{ACCOUNT}'"
        self.execute(
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {which}", database="postgres"
        )

    def execute(self, statements: str, database: str = "mail") -> str:
        program = shutil.which("psql") or str(self._programs / "psql")
        done = subprocess.run(
            [program, "-h", str(self.directory), "-p", str(self.port), "-U", "admin", "-d", database, "-qAtX",
             "-v", "ON_ERROR_STOP=1"],
            input=statements.encode(), capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()
