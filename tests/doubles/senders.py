"""Clients in threads that send named messages one after the other, and note a name only after its 250 was read."""

from __future__ import annotations

import threading
from typing import Self

from tests.doubles.client import Client, Reply
from tests.integration.conftest import wait_for

LARGE = 40_000
"""Octets of a message that is kept in a file of its own, where the server keeps 20 KiB in memory."""


class Senders:
    """Names are `label` and a number. What is refused or cut off is not sent again: the next message has a name of its own."""

    def __init__(self, port: int, label: str = "m", *, a_connection: int = 0, large: int = LARGE) -> None:
        """`a_connection`: messages on each connection, 0 for as many as it lasts; `large`: octets of each seventh message."""
        self.port, self.label = port, label
        self.a_connection, self.large = a_connection, large
        self.acknowledged: set[str] = set()
        self.refused: list[Reply] = []
        self.lost = 0
        """Connections that ended otherwise than by us."""
        self._next = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return bool(self._threads)

    def start(self, clients: int = 4) -> Self:
        self._over.clear()
        self._threads = [threading.Thread(target=self._work) for _ in range(clients)]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        self._threads = []

    def send(self, count: int = 1, size: int = 300) -> None:
        """`count` messages over one connection; each must be taken."""
        before = len(self.acknowledged)
        with self._connection() as client:
            for _ in range(count):
                self.post(client, self._name()[0], size)
        assert len(self.acknowledged) == before + count, self.refused[-3:]

    def more(self, count: int = 5, seconds: float = 40) -> None:
        """Wait until so many more are acknowledged."""
        goal = len(self.acknowledged) + count
        wait_for(lambda: len(self.acknowledged) >= goal, seconds, "acknowledgement")

    def post(self, client: Client, name: str, size: int) -> None:
        """One message of about so many octets. ConnectionError when the connection is over, 421 included (RFC 5321 3.8)."""
        text = f"Message-ID: <{name}@client.test>\r\n\r\n" + ("x" * 70 + "\r\n") * (size // 72)
        steps = (
            ("MAIL FROM:<s@client.test>", 250),
            ("RCPT TO:<alice@example.test>", 250),
            ("DATA", 354),
            (f"{text}.", 250),
        )
        for line, code in steps:
            reply = client.ask(line)
            if reply.code == code:
                continue
            if reply:
                self.refused.append(reply)
            if reply.code in (0, 421):
                raise ConnectionError(reply)
            client.ask("RSET")
            self._over.wait(0.02)
            return
        self.acknowledged.add(name)

    def _name(self) -> tuple[str, int]:
        with self._lock:
            self._next += 1
            return f"{self.label}{self._next}", self._next

    def _connection(self) -> Client:
        return Client(self.port, timeout=30, hello="EHLO client.test")

    def _work(self) -> None:
        while not self._over.is_set():
            # Killed, or nobody listens yet: it tries again, as every client does.
            try:
                with self._connection() as client:
                    sent = 0
                    while not self._over.is_set() and (sent < self.a_connection or not self.a_connection):
                        name, number = self._name()
                        self.post(client, name, 300 if number % 7 else self.large)
                        sent += 1
            except (OSError, AssertionError):
                self.lost += 1
                self._over.wait(0.05)
