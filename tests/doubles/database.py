"""What the real database servers of the tests have in common: started by their own account, below a directory, killed, stopped and started again.

As root the server's processes belong to the account that its package made, for PostgreSQL runs as no root; its directory then does, too.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

from tests.certificates import Authority, Files
from tests.integration.conftest import free_port
from tests.needs import missing

TIME = 60.0
ACCOUNT = "reader"
PASSWORD = "it's 'quoted\\\" ü"


class Database:
    """`execute` runs statements as the administrator; `ACCOUNT` with `PASSWORD` may read what was granted to it."""

    owner: ClassVar[str]

    def __init__(self, authority: Authority | None = None, *, days: int = 90) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mailmoat-"))  # short: a Unix socket is in it
        self.directory.chmod(0o755)
        self.port = free_port()
        self.certificate = self._certificate(authority, days) if authority else None
        self.password_file = self.directory / "password"
        self.password_file.write_text(PASSWORD + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def account(self) -> str | None:
        """Whose its processes are; None = ours."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(self.owner).pw_name
        except KeyError:
            missing(f"the account {self.owner}, which its package makes")

    def _certificate(self, authority: Authority, days: int) -> Files:
        shutil.copy(authority.certificate, self.ca)
        copied = Files(self.directory / "server.pem", self.directory / "server.key")
        self._copy(authority.sign("localhost", "127.0.0.1", days=days, file=f"{self.owner}{days}"), copied)
        return copied

    @property
    def ca(self) -> Path:
        """The CA of the certificates that it accepts from clients."""
        return self.directory / "ca.pem"

    def present(self, made: Files) -> None:
        """Show another certificate from now on."""
        assert self.certificate is not None
        self._copy(made, self.certificate)
        self.make_ours(self.certificate.chain, self.certificate.key)
        self.read_certificate()

    @staticmethod
    def _copy(made: Files, copied: Files) -> None:
        for source, target in ((made.chain, copied.chain), (made.key, copied.key)):
            shutil.copy(source, target)
            target.chmod(0o600)

    def run(self, command: Sequence[str | Path], given: str = "") -> str:
        """Run a program of the server as its account."""
        done = subprocess.run(
            [*map(str, command)],
            input=given.encode(),
            capture_output=True,
            check=False,
            user=self.account,
            extra_groups=[] if self.account else None,
            cwd=self.directory,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()

    def start(self) -> Self:
        """Start it, and wait until it takes questions."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*map(str, self.command())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.account,
                extra_groups=[] if self.account else None,
                start_new_session=True,
                cwd=self.directory,
            )
        deadline = time.monotonic() + TIME
        while not self.answers():
            assert self.process.poll() is None, (self.directory / "log").read_text(errors="replace")
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Stop it as an administrator does."""
        self._end(signal.SIGINT if self.owner == "postgres" else signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, with all its processes."""
        self._end(signal.SIGKILL)

    def hang(self) -> None:
        """It is there, and answers nothing any more."""
        self._signal(signal.SIGSTOP)
        while any(self._state(process) not in "TXZ" for process in self._processes()):
            time.sleep(0.005)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _processes(self) -> list[int]:
        """The server, and those that it started: PostgreSQL has one for each connection, in a session of its own."""
        first = self.process.pid
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]

    @staticmethod
    def _state(process: int) -> str:
        try:
            return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]
        except OSError:
            return "X"

    def _signal(self, number: int) -> None:
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _end(self, number: int) -> None:
        if self.process is not None:
            self._signal(signal.SIGCONT)
            if number == signal.SIGKILL:
                self._signal(number)
            else:
                self.process.send_signal(number)
            self.process.wait(TIME)
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGKILL)
        shutil.rmtree(self.directory)

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def make_ours(self, *paths: Path) -> None:
        """Give files to the account of the server."""
        if self.account:
            for path in paths:
                shutil.chown(path, self.account)

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def read_certificate(self) -> None:
        raise NotImplementedError
