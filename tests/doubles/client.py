"""A raw SMTP client: sends exactly the octets it is given and takes only well-formed replies (RFC 5321 4.2).

Held to smtplib by tests/conformance/test_next_hop_kit.py: the same dialogue with both gives the same replies and the same message.
A connection that was closed or reset between replies gives an empty reply, whose code is 0; one that ends within a reply, or a reply
out of form, is an AssertionError. OSError (TimeoutError) when nothing comes in time.
"""

from __future__ import annotations

import re
import socket
import time
from typing import Final, Self

PATIENCE: Final = 60.0
"""Seconds that a test waits for what should come at once: it says that something hangs, not that it is slow."""
LINE = re.compile(rb"([2-5][0-9]{2})([- ])[ -~]*\r\n")
ENHANCED = re.compile(r"([245])\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})(?= |$)")


class UnexpectedReplyError(AssertionError):
    """A reply with another code than was expected."""


class Reply(str):
    """A whole reply as it came, its lines joined by LF."""

    __slots__ = ()

    @property
    def code(self) -> int:
        """0 when there was none."""
        return int(self[:3] or "0")

    @property
    def lines(self) -> tuple[str, ...]:
        """The texts of its lines, without the code."""
        return tuple(line[4:] for line in self.split("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def enhanced(self) -> str:
        """The enhanced status code of its first line (RFC 2034); empty when there is none."""
        found = ENHANCED.match(self[4:])
        return found[0] if found else ""


class Client:
    """One connection. `source`: the address a PROXY header says it comes from; `bind`: the address it comes from; `hello`: sent at once."""

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        timeout: float = PATIENCE,
        source: str = "",
        bind: str = "",
        greeted: bool = True,
        hello: str = "",
    ) -> None:
        self.timeout = timeout
        self.socket = socket.create_connection((host, port), timeout, (bind, 0) if bind else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        if source:
            family, target = ("TCP6", "::1") if ":" in source else ("TCP4", "127.0.0.1")
            self.send(f"PROXY {family} {source} {target} 40000 25")
        self.greeting = self.reply() if greeted else Reply()
        if hello:
            self.ask(hello)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    # --- octets and replies ---

    def raw(self, octets: bytes) -> None:
        """As they are."""
        self.socket.sendall(octets)

    def send(self, *lines: str | bytes) -> None:
        """In one segment, each line with CRLF."""
        self.raw(b"".join((line.encode() if isinstance(line, str) else line) + b"\r\n" for line in lines))

    def reply(self) -> Reply:
        """The next reply. Every reply of every test goes through these checks."""
        code, lines = b"", []
        while True:
            line = self._line()
            if not line and not lines:
                return Reply()
            found = LINE.fullmatch(line)
            assert found, f"not a line of a reply: {line!r}"
            assert len(line) <= 512, line
            assert found[1] == code or not code, f"one code on all lines of a reply: {line!r}"
            code = found[1]
            lines.append(line[:-2].decode("ascii"))
            if found[2] == b" ":
                return Reply("\n".join(lines))

    def _line(self) -> bytes:
        """Up to its LF; empty at the end of the connection."""
        while b"\n" not in self.received:
            try:
                octets = self.socket.recv(65536)
            except ConnectionError:
                octets = b""
            if not octets:
                assert not self.received, f"closed within a reply: {self.received!r}"
                return b""
            self.received += octets
        line, feed, self.received = self.received.partition(b"\n")
        return line + feed

    def replies(self, count: int) -> list[Reply]:
        return [self.reply() for _ in range(count)]

    def codes(self, count: int) -> list[int]:
        return [self.reply().code for _ in range(count)]

    def ask(self, *lines: str | bytes) -> Reply:
        """Send the lines one by one; the last one's reply."""
        reply = Reply()
        for line in lines:
            self.send(line)
            reply = self.reply()
        return reply

    def expect(self, line: str | bytes, *codes: int) -> Reply:
        """Send the line, if it is not empty; the next reply.

        Raises:
            UnexpectedReplyError: it has none of these codes.

        """
        if line:
            self.send(line)
        reply = self.reply()
        if reply.code not in codes:
            raise UnexpectedReplyError(reply or "closed by the server")
        return reply

    # --- transactions ---

    def envelope(self, recipient: str, sender: str = "sender@remote.test", parameters: str = "") -> None:
        """MAIL and RCPT, both accepted."""
        self.expect(f"MAIL FROM:<{sender}>{parameters}", 250)
        self.expect(f"RCPT TO:<{recipient}>", 250)

    def content(self, octets: bytes) -> Reply:
        """DATA, the octets as they are, the end of data; the reply to that."""
        self.expect("DATA", 354)
        self.raw(octets + b".\r\n")
        return self.reply()

    def deliver(
        self, recipient: str = "alice@example.test", octets: bytes = b"Subject: x\r\n\r\nx\r\n", **envelope: str
    ) -> Reply:
        """A transaction whose envelope is accepted; the reply to its end of data."""
        self.envelope(recipient, **envelope)
        return self.content(octets)

    def submit(
        self, name: str, *recipients: str, sender: str = "sender@remote.test", body: bytes = b"body\r\n"
    ) -> Reply:
        """A pipelined transaction of a message with `Message-ID: <name@remote.test>`; the reply to its end, which is a 250."""
        self.send(f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients), "DATA")
        for code in (*[250] * (1 + len(recipients)), 354):
            self.expect("", code)
        head = f"From: <{sender}>\r\nMessage-ID: <{name}@remote.test>\r\nSubject: {name}\r\n\r\n"
        self.raw((head.encode() + body).replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return self.expect("", 250)

    # --- time and the end ---

    def timed(self, *lines: str | bytes) -> tuple[float, Reply]:
        """Seconds from before the lines are sent until the next reply: a busy machine only makes them more."""
        begun = time.monotonic()
        if lines:
            self.send(*lines)
        reply = self.reply()
        return time.monotonic() - begun, reply

    def silent(self, seconds: float) -> bool:
        """Nothing comes for so long, the end neither."""
        self.socket.settimeout(seconds)
        try:
            return not self.received and self.socket.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(self.timeout)

    def closed(self) -> bool:
        """The next that comes is the end."""
        try:
            return not self.received and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
