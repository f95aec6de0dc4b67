"""Entries that are written one a line, in the notation of the recipient file: those of a file, those of a script.

`address`, `@domain`, `!address`, or `address = target, target`; a comment begins with `#`. The id of an entry is its text, so that a line
that moves is no change. What is no entry is counted and left out. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailmoat.directory.notation import check_listed
from mailmoat.directory.source import LARGEST_PART, MOST_TARGETS, Entry, LeftOut, Listed, Part, ProbeResult
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_SHOWN: Final = 3
LONGEST_LINE: Final = 2048 + 1024 * MOST_TARGETS
"""Octets, as in the recipient file: an alias can have many targets."""
_MARKS: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)|[#=]')
"""What is in quotes, up to the end where they are not closed, and what may mean something outside of them. It takes no octet twice: lines are long."""
_SHOWN: Final = 60


class Lines:
    """Reads octets as they come, and gives entries in parts."""

    def __init__(self) -> None:
        self.octets = 0
        """How many were read."""
        self.entries = 0
        """How many entries were in them."""
        self._rest = b""
        self._number = 0
        self._entries: list[Entry] = []
        self._bad, self._example = 0, ""

    def feed(self, octets: bytes) -> Iterator[Part]:
        """Take some octets; yield each part that is full."""
        self.octets += len(octets)
        *lines, self._rest = (self._rest + octets).split(b"\n")
        for line in lines:
            self._take(line)
            if len(self._entries) >= LARGEST_PART:
                yield self._part()
        if len(self._rest) > LONGEST_LINE:  # the end of it is no entry either
            self._rest = self._rest[:1] + b"\0" + self._rest[-1:]

    def end(self) -> Iterator[Part | LeftOut]:
        """Take the last line; yield the last part, and what was left out."""
        self._take(self._rest)
        self._rest = b""
        if self._entries:
            yield self._part()
        if self._bad:
            yield LeftOut(self._bad, self._example)

    def _part(self) -> Part:
        part, self._entries = Part(tuple(self._entries)), []
        return part

    def _take(self, line: bytes) -> None:
        self._number += 1
        try:
            listed = read_entry(line.decode("utf-8-sig" if self._number == 1 else "utf-8"))
        except ValueError as error:
            reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            self._example = self._example or f"line {self._number}: {printable(reason)}"
            self._bad += 1
            return
        if listed is not None:
            self.entries += 1
            self._entries.append(Entry(listed.text.encode(), f"line {self._number}", (listed,)))


def read_entry(line: str) -> Listed | None:
    """Read one line; None when nothing is on it. ValueError says what is wrong."""
    written = _before_comment(line).strip()
    if not written:
        return None
    text, *targets = _sides(written)
    names = tuple(filter(None, map(str.strip, targets[0].split(",")))) if targets else ()
    if targets and (not names or text.startswith("!")):
        raise ValueError(f"{written[:_SHOWN]} has no target" if not names else "an excluded address has no targets")
    check_listed(text)
    return Listed(text, names)


def _before_comment(line: str) -> str:
    """Return what is before a `#` at the start or behind white space, not in quotes."""
    for mark in _MARKS.finditer(line) if "#" in line else ():
        at = mark.start()
        if mark[0] == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at]
    return line


def _sides(written: str) -> tuple[str, ...]:
    """Return what is on both sides of a `=` between white space, not in quotes; else all of it."""
    for mark in _MARKS.finditer(written) if "=" in written else ():
        at = mark.start()
        if mark[0] == "=" and written[at - 1 : at].isspace() and written[at + 1 : at + 2].isspace():
            return written[:at].rstrip(), written[at + 1 :]
    return (written,)


def probe_result(place: str, steps: Iterable[Part | LeftOut]) -> ProbeResult:
    """Return what is found where these steps come from."""
    entries, sample, remarks = 0, list[Entry](), list[str]()
    for step in steps:
        if isinstance(step, LeftOut):
            remarks.append(f"{step.entries} lines are no entries; {step.example}")
        else:
            entries += len(step.entries)
            sample += step.entries[: MOST_SHOWN - len(sample)]
    return ProbeResult(place, entries=entries, sample=tuple(sample), remarks=tuple(remarks))
