"""A scripted next hop: answers each verb as told and keeps all it hears."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Rule = str | None | Callable[[str], str | None]
"""A reply (lines joined by LF), "" to drop the connection, None to hang; or what gives one for the command's line.

The line of DATA and of the end of data names the recipients, so that a rule can tell the messages apart.
"""

OFFERS = "250-hop.test\n250-PIPELINING\n250-SIZE 100000000\n250-8BITMIME\n250-SMTPUTF8\n250 ENHANCEDSTATUSCODES"
RULES: dict[str, Rule] = {
    "greeting": "220 hop.test ESMTP",
    "EHLO": OFFERS,
    "HELO": "250 hop.test",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go",
    "end": "250 2.0.0 taken",
    "RSET": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}


@dataclass
class Handed:
    """A transaction that came to its end of data."""

    mail: str
    """The MAIL line."""
    recipients: list[str] = field(default_factory=list)
    """Paths of the accepted RCPT, without brackets."""
    stuffed: bytes = b""
    """The content as it came, without the final dot."""
    taken: bool = False

    @property
    def sender(self) -> str:
        return self.mail.partition("<")[2].partition(">")[0]

    @property
    def content(self) -> bytes:
        return b"\r\n".join(line.removeprefix(b".") for line in self.stuffed.split(b"\r\n"))

    @property
    def received(self) -> bytes:
        """The topmost field, folded as it came."""
        lines = self.content.split(b"\r\n")
        end = next(at for at, line in enumerate(lines[1:], 1) if not line.startswith((b" ", b"\t")))
        return b"\r\n".join(lines[:end])

    @property
    def original(self) -> bytes:
        """What is below the topmost field."""
        return self.content[len(self.received) + 2 :]


class Hop:
    """Listens from the start; `close` ends it."""

    def __init__(self) -> None:
        self.rules = dict(RULES)
        self.commands: list[str] = []
        self.messages: list[Handed] = []
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def script(self, **rules: Rule) -> Iterator[None]:
        """Other answers for a while; begins when no connection made under the old ones is left."""
        self.wait(lambda: not self._open, "end of the connections to the next hop")
        self.rules = RULES | rules
        yield
        self.rules = dict(RULES)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 20.0) -> object:
        with self._changed:
            assert self._changed.wait_for(condition, seconds), f"no {what} within {seconds} s: {self.commands[-20:]}"
            return condition()

    def to(self, recipient: str) -> list[Handed]:
        """Those taken so far for this recipient."""
        return [message for message in self.messages if message.taken and recipient in message.recipients]

    def handed(self, recipient: str, count: int = 1) -> Handed:
        """The last of `count` taken for this recipient; waits for it."""
        self.wait(lambda: len(self.to(recipient)) >= count, f"message to {recipient}")
        return self.to(recipient)[-1]

    def heard(self, start: str, count: int = 1) -> None:
        """Waits for so many commands that begin so."""
        self.wait(lambda: len([line for line in self.commands if line.startswith(start)]) >= count, start)

    def close(self) -> None:
        self._listener.close()
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.add(connection)
                threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        with suppress(OSError, EOFError):
            self._converse(connection)
        connection.close()
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def _converse(self, connection: socket.socket) -> None:
        buffer = bytearray()

        def until(mark: bytes) -> bytes:
            while (end := buffer.find(mark)) < 0:
                octets = connection.recv(1 << 16)
                if not octets:
                    raise EOFError
                buffer.extend(octets)
            taken = bytes(buffer[:end])
            del buffer[: end + len(mark)]
            return taken

        what, line, handed = "greeting", "", Handed("")
        while True:
            rule = self.rules[what]
            reply = rule(line) if callable(rule) else rule
            if reply == "":
                return
            if reply is None:
                until(b"\0\0never\0\0")
                return
            connection.sendall(reply.replace("\n", "\r\n").encode() + b"\r\n")
            if what == "MAIL":
                handed = Handed(line)
            elif what == "RCPT" and reply.startswith("2"):
                handed.recipients.append(line.partition("<")[2].rpartition(">")[0])
            elif what == "end":
                handed.taken = reply.startswith("2")
                self._note(handed)
            elif what == "DATA" and reply.startswith("354"):
                buffer[:0] = b"\r\n"
                handed.stuffed = until(b"\r\n.\r\n").removeprefix(b"\r\n") + b"\r\n"
                what, line = "end", ",".join(handed.recipients)
                continue
            elif what == "QUIT":
                return
            line = until(b"\r\n").decode(errors="surrogateescape")
            what = line[:4].upper()
            if what == "DATA":
                line = f"DATA for {','.join(handed.recipients)}"
            with self._changed:
                self.commands.append(line)
                self._changed.notify_all()

    def _note(self, handed: Handed) -> None:
        with self._changed:
            self.messages.append(handed)
            self._changed.notify_all()
