"""A next hop that answers as its rules say and keeps what it is given; held to smtp-sink by tests/conformance/test_next_hop_kit.py.

    with NextHop(RCPT=["450 4.2.1 busy", "250 2.1.5 ok"]) as hop:   # the first is deferred, the others are not
        ...                                                         # deliver to smtp://127.0.0.1:{hop.port}
        hop.wait(lambda: hop.to("alice@example.test"), "message to alice")

Rules are kept by the first four letters of a command, `greeting` and `end` (of data). A rule is a reply, whose lines are joined by
CRLF or LF; "" to drop the connection; None to say nothing more; a list of rules by turn, of which the last stays; or a function that
gives any of these for the command line. For DATA and `end` (also of the last chunk by BDAT, which it takes
whether it is offered or not) that line is `<sender> to recipient,recipient`; under LMTP `end` is asked
once for each recipient, with the recipient as the line. Where no rule is given, commands out of order are refused (RFC 5321 4.1.4).

With `tls`, a function that makes a TLS connection of a socket (`SSLContext.wrap_socket`), it offers STARTTLS, whose rule is `STAR`; with
`implicit` it begins with the handshake.

With `path` it listens on a Unix socket. It listens from the start unless told not to, in threads of its own, and never more than the test lasts.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Self

Rule = str | None | list["Rule"] | Callable[[str], "Rule"]

OFFERS = "250-hop.test\n250-PIPELINING\n250-SIZE 100000000\n250-8BITMIME\n250-SMTPUTF8\n250 ENHANCEDSTATUSCODES"
RULES: dict[str, Rule] = {
    "greeting": "220 hop.test ESMTP",
    "HELO": "250 hop.test",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go",
    "BDAT": "250 2.0.0 chunk",
    "end": "250 2.0.0 taken",
    "STAR": "220 2.0.0 go",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}
UNKNOWN = "500 5.5.1 unknown command"
NEEDS = {"RCPT": "503 5.5.1 MAIL first", "DATA": "503 5.5.1 no recipients", "BDAT": "503 5.5.1 no recipients"}
QUEUE_ID = re.compile(rb"^Received: [^;]*\sid\s+(\w+)")
MESSAGE_ID = re.compile(rb"(?mi)^message-id: <([^@>]+)")


@dataclass
class Message:
    """A transaction that came to its end of data."""

    mail: str
    """The MAIL line."""
    connection: int
    """The how-manieth connection brought it, from 1."""
    recipients: list[str] = field(default_factory=list)
    """Paths of the accepted RCPT, without brackets; under LMTP of those whose reply to the end of data was positive."""
    stuffed: bytes = b""
    """The content as it came, without the final dot."""
    chunks: list[bytes] = field(default_factory=list)
    """The octets of each BDAT."""
    taken: bool = False
    """The reply to its end was positive, for one recipient at least."""
    begun: float = field(default_factory=time.time)
    """When its MAIL was read, seconds since the epoch."""

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
    def queue_id(self) -> str:
        """That of the server which sent it, by the topmost field or, in a report of its own, by the `Message-ID`."""
        found = QUEUE_ID.search(self.received)
        return found[1].decode() if found else self.name

    @property
    def original(self) -> bytes:
        """What is below the topmost field."""
        return self.content[len(self.received) + 2 :]

    @cached_property
    def name(self) -> str:
        """NAME of `Message-ID: <NAME@...>`; empty when there is none."""
        found = MESSAGE_ID.search(self.stuffed)
        return found[1].decode(errors="replace") if found else ""


class NextHop:
    """One listening port and all that came to it."""

    host = "127.0.0.1"

    def __init__(
        self,
        port: int = 0,
        *,
        lmtp: bool = False,
        start: bool = True,
        tls: Callable[[socket.socket], socket.socket] | None = None,
        implicit: bool = False,
        path: Path | None = None,
        **rules: Rule,
    ) -> None:
        self.port, self.kind = port, "lmtp" if lmtp else "smtps" if implicit else "smtp"
        self.tls, self.implicit, self.path = tls, implicit, path
        self.handshakes: list[socket.socket] = []
        """The TLS connections, in the order they were made."""
        self._usual = RULES | {"LHLO" if lmtp else "EHLO": OFFERS} | rules
        self.rules = dict(self._usual)
        self.commands: list[str] = []
        self.contents: list[Message] = []
        """All that came to the end of its content, taken or not."""
        self.accepted = 0
        """Connections so far."""
        self.peak = 0
        """The most that were open at once."""
        self.listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        if start:
            self.start()

    def start(self) -> Self:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.listener = socket.create_server(str(self.path), family=socket.AF_UNIX, backlog=128)
        else:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            self.listener = socket.create_server((self.host, self.port), backlog=128, family=family)
            self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """As if its machine died: nobody listens and every connection is gone."""
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextmanager
    def script(self, **rules: Rule) -> Iterator[None]:
        """Other rules for a while; begins when no connection made under the old ones is left."""
        self.wait(lambda: not self.open, "end of the connections to the next hop")
        self.rules = self._usual | rules
        yield
        self.rules = dict(self._usual)

    @property
    def open(self) -> int:
        """Connections now."""
        return len(self._open)

    @property
    def messages(self) -> list[Message]:
        """Those taken so far, in the order they came."""
        return [message for message in self.contents if message.taken]

    def to(self, recipient: str) -> list[Message]:
        """Those taken so far for this recipient."""
        return [message for message in self.messages if recipient in message.recipients]

    def ids(self) -> Counter[str]:
        """How often each `Message-ID: <id@...>` was taken."""
        return Counter(message.name for message in self.messages if message.name)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 20.0) -> object:
        """Until the condition is true; it is asked again whenever something came."""
        with self._changed:
            assert self._changed.wait_for(condition, seconds), f"no {what} within {seconds} s: {self.commands[-20:]}"
            return condition()

    def handed(self, recipient: str, count: int = 1) -> Message:
        """Wait for `count` taken for this recipient; the last of them."""
        self.wait(lambda: len(self.to(recipient)) >= count, f"message to {recipient}")
        return self.to(recipient)[-1]

    def heard(self, start: str, count: int = 1) -> None:
        """Wait for so many commands that begin so."""
        self.wait(lambda: len([line for line in self.commands if line.startswith(start)]) >= count, start)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with self._changed:
                    self._open.add(connection)
                    self.accepted += 1
                    self.peak = max(self.peak, self.open)
                    number = self.accepted
                threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        if self.path is None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError, EOFError), connection:
            if self.implicit:
                with self._secure(connection) as secured, secured.makefile("rb") as lines:
                    self._converse(secured, lines, number, secured=True)
            else:
                with connection.makefile("rb") as lines:
                    self._converse(connection, lines, number)
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def _secure(self, connection: socket.socket) -> socket.socket:
        made = self.tls(connection)
        with self._changed:
            self.handshakes.append(made)
            self._changed.notify_all()
        return made

    def _converse(self, connection: socket.socket, lines: BinaryIO, number: int, *, secured: bool = False) -> None:
        verb, line, message = ("EHLO" if secured and not self.implicit else "greeting"), "", Message("", number)
        if verb == "EHLO":
            verb, line = self._next(lines)
        while True:
            if verb == "BDAT" and self._chunk(connection, lines, line, message):
                message = Message("", number)
                verb, line = self._next(lines)
                continue
            reply = self._refusal(verb, message) or self._reply(verb, line)
            if verb in ("EHLO", "LHLO") and self.tls and not secured and reply and reply.startswith("250"):
                reply = offering_tls(reply)
            if reply is None:
                lines.read()
            if not reply:
                return
            if verb == "QUIT":
                with self._changed:  # before the reply: its client may connect anew as soon as it has read it
                    self._open.discard(connection)
            connection.sendall(wire(reply))
            if verb == "QUIT":
                return
            if verb == "STAR" and self.tls and reply.startswith("220"):
                with self._secure(connection) as made, made.makefile("rb") as decrypted:
                    self._converse(made, decrypted, number, secured=True)
                return
            good = reply.startswith("2")
            if verb == "MAIL" and good:
                message = Message(line, number)
            elif verb == "RCPT" and good:
                message.recipients.append(line.partition("<")[2].rpartition(">")[0])
            elif verb == "DATA" and reply.startswith("354"):
                self._take(connection, lines, message)
                message = Message("", number)
            elif verb in ("RSET", "HELO", "EHLO", "LHLO") or (verb == "BDAT" and not good):
                message = Message("", number)
            verb, line = self._next(lines)
            if verb == "DATA":
                line = f"<{message.sender}> to {','.join(message.recipients)}"

    def _next(self, lines: BinaryIO) -> tuple[str, str]:
        """The verb of the next command, and the command."""
        line = read(lines).decode(errors="surrogateescape")
        with self._changed:
            self.commands.append(line)
            self._changed.notify_all()
        return line[:4].upper(), line

    def _refusal(self, verb: str, message: Message) -> str:
        """What a command out of order is told, unless the test has a rule for it."""
        missing = (verb == "RCPT" and not message.mail) or (verb in ("DATA", "BDAT") and not message.recipients)
        return NEEDS[verb] if missing and self.rules[verb] is RULES[verb] else ""

    def _reply(self, verb: str, line: str) -> str | None:
        rule = self.rules.get(verb, UNKNOWN)
        while not isinstance(rule, str | None):
            if callable(rule):
                rule = rule(line)
            else:
                with self._changed:
                    rule = rule.pop(0) if len(rule) > 1 else rule[0]
        return rule

    def _chunk(self, connection: socket.socket, lines: BinaryIO, line: str, message: Message) -> bool:
        """The octets of a chunk; whether it was the last one, which has then been answered."""
        message.chunks.append(lines.read(int(line.split()[1])))
        if not line.endswith(" LAST") or self._refusal("BDAT", message):
            return False
        message.stuffed = stuffed(b"".join(message.chunks))
        self._end(connection, lines, message)
        return True

    def _take(self, connection: socket.socket, lines: BinaryIO, message: Message) -> None:
        """The content after 354, and what follows."""
        content = []
        while (octets := read(lines)) != b".":
            content.append(octets + b"\r\n")
        message.stuffed = b"".join(content)
        self._end(connection, lines, message)

    def _end(self, connection: socket.socket, lines: BinaryIO, message: Message) -> None:
        """The reply or replies to the end of a content."""
        whole = f"<{message.sender}> to {','.join(message.recipients)}"
        asked = message.recipients if self.kind == "lmtp" else [whole]
        replies = [self._reply("end", each) for each in asked]
        if self.kind == "lmtp":
            pairs = zip(asked, replies, strict=True)
            message.recipients = [recipient for recipient, reply in pairs if reply and reply.startswith("2")]
        message.taken = all(replies) and any(reply.startswith("2") for reply in replies if reply)
        # Before the reply: whoever sees the message gone from the spool finds it here.
        with self._changed:
            self.contents.append(message)
            self._changed.notify_all()
        if None in replies:
            lines.read()
        if not all(replies):
            raise EOFError
        connection.sendall(b"".join(wire(reply) for reply in replies if reply))


def offering_tls(reply: str) -> str:
    """A reply to EHLO with one more line."""
    *lines, last = reply.replace("\r\n", "\n").split("\n")
    return "\n".join([*lines, f"250-{last[4:]}", "250 STARTTLS"])


def read(lines: BinaryIO) -> bytes:
    """The next line without its CRLF, which alone ends it; EOFError at the end of the connection."""
    octets = b""
    while not octets.endswith(b"\r\n"):
        more = lines.readline()
        if not more:
            raise EOFError
        octets += more
    return octets[:-2]


def stuffed(content: bytes) -> bytes:
    """A content as DATA would have brought it."""
    lines = content.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


def wire(reply: str) -> bytes:
    """A rule's reply as it is sent."""
    return reply.replace("\r\n", "\n").replace("\n", "\r\n").encode(errors="surrogateescape") + b"\r\n"
