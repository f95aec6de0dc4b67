"""Which TXT record of a domain is used (RFC 4406 4.4, RFC 7208 4.5).

Pure and total: any octets are a value. The terms of a record are not looked at here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailmoat.mailauth.results import Scope

_NAME: Final = rb"[a-z][a-z0-9_.-]*"
_VERSION: Final = re.compile(rb"(?:v=spf1|spf2\.[0-9]+/(" + _NAME + rb"(?:," + _NAME + rb")*))(?: |\Z)", re.IGNORECASE)
"""The version section (RFC 4406 3.4.1), in any case. A minor version must be there and is otherwise ignored; the scopes are names."""


@dataclass(frozen=True, slots=True)
class Record:
    """The one record that counts."""

    version: str
    """As published: `v=spf1`, `spf2.0/mfrom,pra`."""
    terms: bytes
    """What follows the version and its space; may hold anything."""

    def __str__(self) -> str:
        return f"{self.version} {self.terms.decode('ascii', 'replace')}".rstrip(" ")


@dataclass(frozen=True, slots=True)
class TooMany:
    """Several records of the same version fit: a permanent error."""

    versions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.versions)} records where one is allowed: {', '.join(self.versions)}"


def select(texts: Iterable[bytes], scope: Scope) -> Record | TooMany | None:
    """Choose the record for `scope` from the TXT records of a domain, the strings of each joined.

    A `spf2.0` record that names the scope counts before `v=spf1`, which speaks for both scopes; one that does not name it is as if
    absent (RFC 4406 4.4 steps 2 to 4).
    """
    wanted = scope.value.encode()
    named: list[Record] = []
    general: list[Record] = []
    for text in texts:
        found = _VERSION.match(text)
        if found is None:
            continue
        record = Record(found[0].decode().rstrip(" "), text[found.end() :])
        if found[1] is None:
            general.append(record)
        elif wanted in found[1].lower().split(b","):
            named.append(record)
    fitting = named or general
    if len(fitting) > 1:
        return TooMany(tuple(record.version for record in fitting))
    return fitting[0] if fitting else None
