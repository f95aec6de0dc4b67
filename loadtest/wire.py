"""An SMTP client on a blocking socket, as thin as can be: octets out, replies in. What it sends is the caller's business."""

from __future__ import annotations

import socket
from typing import Final

CHUNK: Final = 65_536
DOTTED_END: Final = b"\r\n.\r\n"


class Refused(Exception):  # noqa: N818 - what SMTP calls it
    """A reply with a code that was not expected."""


class Wire:
    """One connection. Any method raises OSError when the connection fails or nothing comes within `timeout` seconds."""

    __slots__ = ("_buffer", "_socket")

    def __init__(self, host: str, port: int, timeout: float = 30.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def send(self, octets: bytes) -> None:
        """Write as it is."""
        self._socket.sendall(octets)

    def reply(self) -> tuple[int, bytes]:
        """Read the next whole reply: code and its lines, the last CRLF included (RFC 5321 4.2.1)."""
        lines = b""
        while True:
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                chunk = self._socket.recv(CHUNK)
                if not chunk:
                    raise ConnectionResetError("closed by the server")
                self._buffer += chunk
                continue
            self._buffer = rest
            lines += line + b"\r\n"
            if line[3:4] != b"-":
                return int(line[:3]), lines

    def ask(self, octets: bytes) -> int:
        """Write, and read one reply; its code."""
        self.send(octets)
        return self.reply()[0]

    def expect(self, octets: bytes, *codes: int) -> int:
        """Write, and read one reply that has one of these codes; the code.

        Raises:
            Refused: it has another one.

        """
        if octets:
            self.send(octets)
        code, lines = self.reply()
        if code not in codes:
            raise Refused(lines.decode("ascii", "replace").strip())
        return code

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def stuffed(octets: int) -> bytes:
    """Return a message of about that many octets with its end, ready to be written after 354."""
    head = b"From: <a@sender.example>\r\nTo: <alice@example.test>\r\nSubject: load\r\nMessage-ID: <load@sender.example>\r\n\r\n"
    line = b"x" * 70 + b"\r\n"
    lines = max(octets - len(head), 0) // len(line)
    return (head + line * lines).removesuffix(b"\r\n") + DOTTED_END
