"""Text of strangers made fit to be shown: whatever is not printable becomes `?`, so that it can steer no terminal and end no line.

Two alphabets: Unicode, for terminals, and ASCII, for header fields and traces. In JSON nothing is lost: there it is escaped. Pure; never fails.
"""

from __future__ import annotations

import json
import re
from typing import Final

_NOT_ASCII: Final = re.compile(r"[^ -~]")
_NOT_ASCII_OCTETS: Final = re.compile(rb"[^ -~]")


def printable(text: str) -> str:
    """Return `text` as one line that a terminal may be sent."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def printable_json(document: object) -> str:
    """Return a document as JSON that a terminal may be sent: of what is not printable the escape sequences of JSON (RFC 8259 7)."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    lines = text.split("\n")
    if all(line.isprintable() for line in lines):
        return text
    return "\n".join("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line) for line in lines)


def printable_ascii(text: str) -> str:
    """Return `text` as one line of printable ASCII, as long as it was."""
    return _NOT_ASCII.sub("?", text)


def is_printable_ascii(octets: bytes) -> bool:
    """Return whether these octets are one line of printable ASCII."""
    return not _NOT_ASCII_OCTETS.search(octets)
