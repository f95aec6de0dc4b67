"""The messages that are sent."""

from __future__ import annotations

from typing import Final

DOTTED_END: Final = b"\r\n.\r\n"


def stuffed(octets: int) -> bytes:
    """Return a message of about that many octets with its end, ready to be written after 354."""
    head = b"From: <a@sender.example>\r\nTo: <alice@example.test>\r\nSubject: load\r\nMessage-ID: <load@sender.example>\r\n\r\n"
    line = b"x" * 70 + b"\r\n"
    lines = max(octets - len(head), 0) // len(line)
    return (head + line * lines).removesuffix(b"\r\n") + DOTTED_END
