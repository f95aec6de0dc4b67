"""Values of strangers in lines of a report.

Promises: no value, whatever its source, ends a line, is longer than a line may be, or holds a character that a line may not have.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import Final

MAX_ADDRESS: Final = 900
"""Octets of an address in a field; no legal one comes near."""
MAX_REPLY: Final = 2_000
"""Characters of a reply that are quoted."""
WIDTH: Final = 76
"""Characters of a line, where words permit."""

_BREAKS_LINES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class Line:
    """Makes values fit for a line; with `utf8` non-ASCII characters are kept, else they are spelled out."""

    utf8: bool

    def address(self, value: str) -> str:
        """Return one line unchanged but limited: folding could change an address."""
        return self.clean(value).encode()[:MAX_ADDRESS].decode(errors="ignore")

    def fold(self, value: str, *, first: str, rest: str) -> str:
        """Return free text in lines of about 76 characters, begun with `first` and then with `rest`; words up to 200 stay whole."""
        words = re.sub(r"(\S{200})", r"\1 ", self.clean(value[:MAX_REPLY]))
        lines = textwrap.wrap(
            words,
            width=WIDTH,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "\r\n".join(lines) or first.rstrip()

    def clean(self, value: str) -> str:
        """Return it without what ends or breaks a line."""
        plain = _BREAKS_LINES.sub(" ", value)
        return plain if self.utf8 else _NOT_ASCII.sub(lambda found: f"\\x{{{ord(found[0]):X}}}", plain)


def block(lines: list[str]) -> bytes:
    """Return lines, each with its CRLF."""
    return "".join(f"{line}\r\n" for line in lines).encode()
