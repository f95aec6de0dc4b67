"""The real server for integration tests: started as an operator starts it, asked over its sockets, ended by its pid."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from http.client import RemoteDisconnected
from pathlib import Path

import pytest
from tests.doubles.client import PATIENCE, Client

import mailmoat
from mailmoat import _native

PROCESSES, PORTS_EACH = 16, 1_250
_CLAIM = socket.socket(socket.AF_UNIX)
"""Bound as long as this process lives, to the name of its ports."""


def _own_ports():
    """Ports below those that the kernel gives to connections, others for each process that runs tests on this machine."""
    number = os.getpid() % PROCESSES  # shared, if there are too many
    for free in range(PROCESSES):
        with suppress(OSError):
            _CLAIM.bind(f"\0ports of mailmoat's tests {free}")
            number = free
            break
    first = 10_000 + number * PORTS_EACH
    start = os.getpid() % PORTS_EACH
    return itertools.cycle(first + (start + step) % PORTS_EACH for step in range(PORTS_EACH))


_PORTS = _own_ports()


def free_port() -> int:
    """A port nobody has now, and that no connection takes meanwhile."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


def wait_for(condition, seconds: float = PATIENCE, what: str = "condition"):
    """The first true value of `condition()`; fails the test when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} within {seconds} s")
        time.sleep(0.02)


def replace(path: Path, text: str) -> None:
    """A finished file in place of the one there: written a minute ago, so that nobody waits for its end."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    os.utime(fresh, (time.time() - 60,) * 2)
    fresh.replace(path)


def refused(port: int) -> bool:
    """Does nobody listen there?"""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def answers(port: int) -> bool:
    """Does something greet there?"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


class Server:
    """A running mailmoat below a directory of its own; settings by their names below `mailmoat.toml` or in the environment."""

    def __init__(self, directory: Path, toml: str = "", **environment: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.admin = free_port()
        self.config = directory / "mailmoat.toml"
        self.recipients = directory / "recipients.txt"
        if not self.recipients.exists():
            self.recipients.write_text("alice@example.test\nbob@example.test\n@all.example.test\n")
        self.config.write_text(toml)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAILMOAT_")},
            "PYTHONPATH": str(Path(mailmoat.__file__).parents[1]),
            "MAILMOAT_CONFIG": str(self.config),
            "MAILMOAT_HOSTNAME": "mx.example.test",
            "MAILMOAT_LISTEN": f"127.0.0.1:{self.port}",
            "MAILMOAT_ADMIN__LISTEN": f"127.0.0.1:{self.admin}",
            "MAILMOAT_SPOOL_DIR": str(directory / "spool"),
            "MAILMOAT_RELAY__LOCAL_DOMAINS": "example.test,all.example.test",
            "MAILMOAT_RECIPIENTS__FILE": str(self.recipients),
            "MAILMOAT_DELIVERY__NEXT_HOP": f"maildir:{directory / 'maildir'}",
            "MAILMOAT_LOG__FORMAT": "json",
            "MAILMOAT_DNS__REVERSE_TIME": "0",
            "MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE": "0",
            "MAILMOAT_LIMITS__MESSAGE_RATE": "off",  # the clients of a test are one source
            "MAILMOAT_NDR__FOLD_TIME": "0",  # and its senders one
            "MAILMOAT_NDR__CHECK_DOMAIN": "false",  # whose domain no name server has
            **environment,
        }
        self.environment = {name: value for name, value in self.environment.items() if value is not None}
        self.log = directory / "log.jsonl"
        self.clients: list[Client] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> Server:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mailmoat", "serve"],
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        if wait:
            wait_for(lambda: self.exited() or answers(self.port), what="greeting")
            assert not self.exited(), self.log.read_text()
        return self

    def exited(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def pids(self) -> list[int]:
        """The supervisor's children."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def workers(self) -> list[int]:
        """Those of them that are workers."""
        started = {line["pid"] for line in self.logged("process-started") if line["process"].startswith("worker")}
        return [pid for pid in self.pids() if pid in started]

    @contextmanager
    def stopped(self):
        """All workers sleep in here; then they find what has come."""
        workers = self.workers()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def stop(self, seconds: float = 40.0) -> int:
        """Ends the clients and the server; its exit status."""
        for client in self.clients:
            client.close()
        if not self.exited():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                for pid in self.pids():
                    os.kill(pid, signal.SIGKILL)
                self.process.kill()
                self.process.wait()
                raise
        return self.process.returncode

    def cli(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mailmoat", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
            cwd=self.directory,
        )

    def client(self, hello: str = "EHLO client.remote.tld", **options) -> Client:
        """A client that has been greeted and has said hello; closed at the end of the test."""
        client = Client(options.pop("port", self.port), hello=hello, **options)
        self.clients.append(client)
        return client

    def metrics(self) -> dict[str, float]:
        """What /metrics says now. The admin process that a reload has replaced may end without an answer; the new one answers."""
        url = f"http://127.0.0.1:{self.admin}/metrics"
        try:
            lines = urllib.request.urlopen(url, timeout=10).read().decode().splitlines()
        except RemoteDisconnected:
            lines = urllib.request.urlopen(url, timeout=10).read().decode().splitlines()
        return {
            name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        }

    def health(self) -> dict:
        """What /healthz says now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/healthz", timeout=10) as page:
            return json.load(page)

    def metric(self, name: str) -> float:
        return self.metrics()[f"mailmoat_{name}"]

    def logged(self, event: str) -> list[dict]:
        """The lines of this event so far."""
        written = self.log.read_text().split("\n")[:-1]  # the last one may be half there
        lines = (json.loads(line) for line in written if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def until(self, condition, seconds: float = PATIENCE, what: str = "condition"):
        return wait_for(condition, seconds, what)

    def queue(self) -> list[dict]:
        """What `queue list` shows."""
        return json.loads(self.cli("queue", "list", "--json", check=True).stdout)

    def count(self) -> int:
        """Messages in the spool."""
        return _native.count_spool(self.environment["MAILMOAT_SPOOL_DIR"])

    def empty(self) -> bool:
        return self.count() == 0

    def delivered(self) -> list[Path]:
        """The messages in the Maildir."""
        return sorted((self.directory / "maildir" / "new").glob("*"))


@pytest.fixture
def server(tmp_path):
    """Makes and starts servers; all are stopped at the end."""
    started: list[Server] = []

    def make(toml: str = "", start: bool = True, **environment: str) -> Server:
        made = Server(tmp_path, toml, **environment)
        started.append(made)
        return made.start() if start else made

    yield make
    ended = [made.exited() or made.stop() == 0 for made in started]
    assert all(ended), [made.log.read_text() for made in started]
