"""A real MariaDB, with a database `mail`.

with MariaDB(authority) as server:
    server.execute("CREATE TABLE ...")
    ... server.url, server.socket_url, server.password_file
"""

from __future__ import annotations

import subprocess
from contextlib import suppress

from tests.certificates import Authority
from tests.doubles.database import ACCOUNT, PASSWORD, Database
from tests.needs import find_peer


class MariaDB(Database):
    owner = "mysql"
    family = "mysql"

    def __init__(self, authority: Authority | None = None, *, days: int = 90) -> None:
        self._program = find_peer("mariadbd")
        super().__init__(authority, days=days)
        self._base = self.directory / "base"
        self._base.mkdir(mode=0o700)
        self.make_ours(self._base, self.directory, *(self.certificate.__dict__.values() if self.certificate else ()))
        self.run([find_peer("mariadb-install-db"), "--no-defaults", f"--datadir={self._base}", "--skip-test-db",
                  "--auth-root-authentication-method=normal", "--innodb-flush-log-at-trx-commit=0",
                  "--innodb-flush-method=nosync"])  # fmt: skip
        self._made = False

    @property
    def socket(self) -> str:
        return f"{self.directory}/s"

    @property
    def url(self) -> str:
        return f"mysql://127.0.0.1:{self.port}/mail"

    @property
    def socket_url(self) -> str:
        return f"mysql:///mail?socket={self.socket}"

    def command(self):
        tls = []
        if self.certificate:
            tls = [f"--ssl-cert={self.certificate.chain}", f"--ssl-key={self.certificate.key}", f"--ssl-ca={self.ca}"]
        return [
            *(self._program, "--no-defaults", f"--datadir={self._base}", f"--socket={self.socket}"),
            *(f"--pid-file={self.directory}/pid", f"--port={self.port}", "--bind-address=127.0.0.1"),
            *("--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"),
            *("--skip-name-resolve", *tls),
        ]

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1", database="")
        except AssertionError:
            return False
        if not self._made:
            password = PASSWORD.replace("\\", "\\\\").replace("'", "''")
            self.execute(
                f"CREATE DATABASE mail; CREATE USER {ACCOUNT}@'%' IDENTIFIED BY '{password}';"
                f"GRANT SELECT ON mail.* TO {ACCOUNT}@'%';",
                database="",
            )
            self._made = True
        return True

    def read_certificate(self) -> None:
        self.execute("FLUSH SSL")

    def log_in_by_certificate(self, account: str) -> None:
        """Let an account in that shows a certificate, and by nothing else."""
        self.execute(f"CREATE USER {account}@'%' REQUIRE X509; GRANT SELECT ON mail.* TO {account}@'%'")

    def disconnect(self, words: str = "") -> None:
        """End the connections of our account, or those whose statement has these words; return when they have ended."""
        which = f"info LIKE '%{words}%' AND id <> CONNECTION_ID()" if words else f"user = '{ACCOUNT}'"
        found = f"SELECT id FROM information_schema.processlist WHERE {which}"
        numbers = self.execute(found, database="").split()
        for number in numbers:
            with suppress(AssertionError):  # it has ended by itself
                self.execute(f"KILL {number}", database="")
        while set(numbers).intersection(self.execute(found, database="").split()):
            pass

    def execute(self, statements: str, database: str = "mail") -> str:
        done = subprocess.run(
            [find_peer("mariadb"), "--no-defaults", "--skip-ssl", f"--socket={self.socket}", "-u", "root", "-NB",
             "--default-character-set=utf8mb4", *([database] if database else [])],
            input=statements.encode(), capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()
