"""What the fault tests are made of: clients that note every 250, a next hop that records, faults put into a process."""

from __future__ import annotations

import contextlib
import os
import smtplib
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

from tests.integration.conftest import find_peer, missing, wait_for


class Senders:
    """Clients that send numbered messages one after the other, note what became of each, and never give up on a number."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged: set[int] = set()
        self.refused: list[tuple[int, bytes]] = []
        self.lost = 0
        self._next = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self, clients: int = 4) -> None:
        self._over.clear()
        self._threads = [threading.Thread(target=self._work) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def send(self, count: int = 1, size: int = 300) -> None:
        """`count` messages over one connection; each must be taken."""
        before = len(self.acknowledged)
        with self._connection() as connection:
            for _ in range(count):
                self._send(connection, self._number(), size)
        assert len(self.acknowledged) == before + count, self.refused[-3:]

    def more(self, count: int = 5, seconds: float = 40) -> None:
        """Wait until so many more are acknowledged."""
        goal = len(self.acknowledged) + count
        wait_for(lambda: len(self.acknowledged) >= goal, seconds, "acknowledgement")

    def _number(self) -> int:
        with self._lock:
            self._next += 1
            return self._next

    def _connection(self) -> smtplib.SMTP:
        connection = smtplib.SMTP("127.0.0.1", self.port, local_hostname="c.test", timeout=30)
        connection.ehlo()
        return connection

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                with self._connection() as connection:
                    while not self._over.is_set():
                        # Now and then one that goes through a content file.
                        self._send(connection, number := self._number(), 40_000 if number % 7 == 0 else 300)
            except (OSError, smtplib.SMTPException):
                self.lost += 1
                self._over.wait(0.05)

    def _send(self, connection: smtplib.SMTP, number: int, size: int) -> None:
        text = f"X-Number: {number}\r\n\r\n" + ("x" * 70 + "\r\n") * (size // 72)
        for step in (
            lambda: connection.mail("s@client.test"),
            lambda: connection.rcpt("alice@example.test"),
            lambda: connection.data(text),
        ):
            try:
                code, reply = step()
            except smtplib.SMTPResponseException as error:
                code, reply = error.smtp_code, error.smtp_error
            if code != 250:
                self.refused.append((code, reply))
                if code == 421 or code < 0:
                    raise smtplib.SMTPServerDisconnected
                connection.rset()
                self._over.wait(0.02)
                return
        self.acknowledged.add(number)


class Hop(socketserver.ThreadingTCPServer):
    """A next hop that records what it took. `acts` are taken by its connections in turn: (stage, what it does there)."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Dialogue)
        self.port = self.server_address[1]
        self.taken: Counter[int] = Counter()
        self.acts: list[tuple[str, str]] = []
        self.acted: list[tuple[str, str]] = []
        self.refusing = False
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Dialogue(socketserver.StreamRequestHandler):
    """One connection of a `Hop`."""

    server: Hop

    def handle(self) -> None:
        self.stage, self.act = self.server.acts.pop(0) if self.server.acts else ("", "")
        if not self.say("greeting", "421 not now" if self.server.refusing else "220 hop"):
            return
        while line := self.rfile.readline():
            verb = line[:4].decode("ascii", "replace").upper().strip()
            reply = {"EHLO": "250-hop\r\n250 8BITMIME", "DATA": "354 go", "QUIT": "221 bye"}.get(verb, "250 ok")
            if not self.say(verb, reply) or (verb == "DATA" and not self.content()):
                return

    def content(self) -> bool:
        number = 0
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            if line.startswith(b"X-Number: "):
                with contextlib.suppress(ValueError):  # a flipped bit may have met it
                    number = int(line[10:])
        if not line:
            return False
        self.server.taken[number] += 1
        return self.say("end", "250 queued")

    def say(self, stage: str, reply: str) -> bool:
        """The reply, or what this connection does instead at this stage; False ends it."""
        if stage == self.stage:
            self.stage = ""
            self.server.acted.append((stage, self.act))
            if self.act == "hang":
                self.rfile.read()  # until the other side gives up
                return False
            if self.act == "drop":
                return False
            if self.act == "late":
                self.server.over.wait(2)
            elif self.act == "garbage":
                reply = "\x16\x03\0\xff no reply\r\n" * 3
            elif self.act == "endless":
                reply = "250-" + "x" * 100_000
        self.wfile.write(f"{reply}\r\n".encode("latin-1"))
        return True


class Injection:
    """strace, attached to a process, that makes its system calls fail or kills it at one."""

    def __init__(self, pid: int, calls: str, what: str, *, follow_forks: bool = True) -> None:
        program = find_peer("strace")
        options = ["-f"] if follow_forks else []
        self.process = subprocess.Popen(
            [
                program,
                *options,
                "-qqq",
                "-o",
                "/dev/null",
                "-e",
                f"trace={calls}",
                "-e",
                f"inject={calls}:{what}",
                "-p",
                str(pid),
            ],
            stderr=subprocess.PIPE,
        )
        wait_for(lambda: self.process.poll() is not None or _traced(pid), what="strace")
        if self.process.poll() is not None:
            error = self.process.stderr.read().decode()
            if _exists(pid) and "permitted" in error:
                missing(f"allow ptrace: {error.strip()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            # Seen with a process whose threads were killed one by one: the kernel detaches what is left of it.
            self.process.kill()
            self.process.communicate()


def _traced(pid: int) -> bool:
    """Every thread is attached, or the process is gone."""
    try:
        statuses = [task.joinpath("status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return True
    return not any("TracerPid:\t0" in status for status in statuses)


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def processor_seconds(pid: int) -> float:
    """What the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def does_not_spin(pid: int, seconds: float = 0.5) -> None:
    """Nobody asks for anything: the process must rest."""
    before = processor_seconds(pid)
    time.sleep(seconds)
    assert processor_seconds(pid) - before < seconds * 0.5
