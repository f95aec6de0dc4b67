"""A client that says exactly the octets it is told and takes nothing but well-formed replies (RFC 5321 4.2)."""

from __future__ import annotations

import re
import socket
import time
from typing import NamedTuple

LINE = re.compile(rb"([2-5][0-9]{2})([- ])([ -~]*)\r\n")
ENHANCED = re.compile(r"([245])\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})(?= |$)")


class Reply(NamedTuple):
    code: int
    lines: tuple[str, ...]
    """Texts, without the code."""

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def enhanced(self) -> str:
        """The enhanced status code of its first line; empty when there is none."""
        found = ENHANCED.match(self.lines[0])
        return found[0] if found else ""


class Wire:
    """One connection."""

    def __init__(self, port: int, timeout: float = 60.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def raw(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def send(self, *lines: str | bytes) -> None:
        """In one segment, each with CRLF."""
        self.raw(b"".join((line.encode() if isinstance(line, str) else line) + b"\r\n" for line in lines))

    def reply(self) -> Reply:
        """The next reply. Every reply of every test goes through these checks."""
        code, texts = 0, []
        while True:
            line = self._line()
            assert len(line) <= 512, line
            found = LINE.fullmatch(line)
            assert found, line
            assert not code or int(found[1]) == code, "one code on all lines of a reply"
            code = int(found[1])
            texts.append(found[3].decode("ascii"))
            if found[2] == b" ":
                return Reply(code, tuple(texts))

    def _line(self) -> bytes:
        while b"\n" not in self.received:
            octets = self.socket.recv(65536)
            assert octets, f"closed within a reply: {self.received!r}"
            self.received += octets
        line, feed, self.received = self.received.partition(b"\n")
        return line + feed

    def replies(self, count: int) -> list[Reply]:
        return [self.reply() for _ in range(count)]

    def codes(self, count: int) -> list[int]:
        return [self.reply().code for _ in range(count)]

    def ask(self, *lines: str | bytes) -> Reply:
        """One by one; the last one's reply."""
        reply = None
        for line in lines:
            self.send(line)
            reply = self.reply()
        assert reply
        return reply

    def timed(self, *lines: str | bytes) -> tuple[float, Reply]:
        """Seconds from before the lines are sent until the next reply: a busy machine only makes them more."""
        begun = time.monotonic()
        if lines:
            self.send(*lines)
        reply = self.reply()
        return time.monotonic() - begun, reply

    def envelope(self, recipient: str, sender: str = "sender@remote.test", parameters: str = "") -> None:
        """MAIL and RCPT, both accepted."""
        assert self.ask(f"MAIL FROM:<{sender}>{parameters}").code == 250
        assert self.ask(f"RCPT TO:<{recipient}>").code == 250

    def content(self, octets: bytes) -> Reply:
        """DATA, the octets as they are, the end of data; the reply to that."""
        assert self.ask("DATA").code == 354
        self.raw(octets + b".\r\n")
        return self.reply()

    def deliver(self, recipient: str, octets: bytes = b"Subject: x\r\n\r\nx\r\n", **envelope: str) -> Reply:
        self.envelope(recipient, **envelope)
        return self.content(octets)

    def silent(self, seconds: float) -> bool:
        """Nothing comes for so long, the end neither."""
        self.socket.settimeout(seconds)
        try:
            return not self.received and self.socket.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(60)

    def closed(self) -> bool:
        """The next that comes is the end."""
        try:
            return not self.received and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()
