"""The form of what is said on a control socket: one JSON object a line, one request and one answer a connection.

A request is `{"command": name, ...arguments}`; an answer is `{"ok": result}` or `{"error": text for an administrator}`. Both are bounded.
The socket is `control` in the directory of a partition, mode 0600, so that it is for the server's account and root alone. Its path
may be longer than an address of a socket can be, so it is reached through the descriptor of its directory.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

NAME: Final = "control"
MOST_REQUEST: Final = 64 << 10
"""Octets of a request with its LF."""
MOST_ANSWER: Final = 4 << 20
TIME: Final = 10.0
"""Seconds for a request and its answer."""

Document = dict[str, Any]


class ControlError(Exception):
    """Why a command was not carried out, for an administrator."""


def encode(document: Document) -> bytes:
    """Return a document as a line."""
    return msgspec.json.encode(document) + b"\n"


def decode(line: bytes) -> Document:
    """Return the document of a line. ControlError: it is none."""
    try:
        return msgspec.json.decode(line, type=Document)
    except (msgspec.DecodeError, RecursionError):
        raise ControlError("not a JSON object on one line") from None
