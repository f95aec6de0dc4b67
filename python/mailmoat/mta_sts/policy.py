"""What a domain publishes, read: the TXT record that says a policy is there, and the policy (RFC 8461 3.1, 3.2, 4.1).

Pure. Octets that are no record or no policy are None or a ValueError with a plain reason.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_AGE: Final = 31_557_600
"""Seconds: the most that `max_age` can be (RFC 8461 3.2)."""
_VERSION: Final = b"v=STSv1"
_FIELD: Final = re.compile(r"[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([!-:<-~]+)[ \t]*")
_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_AGE: Final = re.compile(r"\d{1,10}", re.ASCII)
_PATTERN: Final = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


class Mode(StrEnum):
    """What follows when a server does not keep the policy."""

    ENFORCE = "enforce"
    """Nothing is sent to it."""
    TESTING = "testing"
    """It is reported."""
    NONE = "none"
    """As without a policy."""


class StsPolicy(msgspec.Struct, frozen=True):
    """A policy."""

    mode: Mode
    max_age: int
    """Seconds it holds from when it was fetched."""
    patterns: tuple[str, ...] = ()
    """Names of hosts; `*.` stands for one label. Lower case."""

    def permits(self, host: str) -> bool:
        """Return whether a host, in lower case, is one of the policy's (RFC 8461 4.1)."""
        _, dot, parent = host.partition(".")
        return host in self.patterns or bool(dot and f"*.{parent}" in self.patterns)

    def lines(self) -> Iterator[str]:
        """Yield the policy as reports have it (RFC 8460 4.5)."""
        yield "version: STSv1"
        yield f"mode: {self.mode}"
        yield from (f"mx: {pattern}" for pattern in self.patterns)
        yield f"max_age: {self.max_age}"


def record_id(records: Iterable[object]) -> str | None:
    """Return the id in the TXT records at `_mta-sts`; None unless exactly one of them is a valid record (RFC 8461 3.1)."""
    found = [record for record in records if isinstance(record, bytes) and re.match(_VERSION + rb"[ \t]*;", record)]
    if len(found) != 1:
        return None
    try:
        _, *fields = found[0].decode("ascii").split(";")
    except UnicodeDecodeError:
        return None
    if fields and not fields[-1].strip(" \t"):
        fields.pop()
    pairs = [_FIELD.fullmatch(field) for field in fields]
    identifier = next((pair[2] for pair in pairs if pair is not None and pair[1] == "id"), "")
    return identifier if None not in pairs and _ID.fullmatch(identifier) else None


def read(octets: bytes) -> StsPolicy:
    """Return a policy. ValueError says why it is none."""
    try:
        lines = octets.decode().replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    values: dict[str, str] = {}
    patterns: list[str] = []
    for line in lines:
        key, colon, value = (part.strip(" \t") for part in line.partition(":"))
        if key and not colon:
            raise ValueError("a line without a colon")
        if key == "mx":
            patterns.append(value.lower().rstrip("."))
        elif key:
            values.setdefault(key, value)
    return _checked(values, patterns)


def _checked(values: dict[str, str], patterns: list[str]) -> StsPolicy:
    if values.get("version") != "STSv1":
        raise ValueError("version is not STSv1")
    mode = values.get("mode")
    if mode not in set(Mode):
        raise ValueError("mode is not enforce, testing or none")
    if not _AGE.fullmatch(values.get("max_age", "")):
        raise ValueError("max_age is not a number of seconds")
    if not all(map(_PATTERN.fullmatch, patterns)):
        raise ValueError("an mx is neither a host name nor *. before one")
    if not patterns and mode != Mode.NONE:
        raise ValueError("no mx in it")
    return StsPolicy(Mode(mode), min(int(values["max_age"]), LONGEST_AGE), tuple(dict.fromkeys(patterns)))
