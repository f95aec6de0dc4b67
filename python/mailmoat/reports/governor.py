"""Whether a report about failed recipients may be made, and who gets it.

Pure. Promises: a message with a null reverse-path never makes a report, whatever the settings say, so that two servers can never
report to each other about reports (RFC 5321 4.5.5, RFC 3464 2). Nor does one whose reverse-path our own stamp calls forged, so that
nobody is sent reports about messages of others. Nor does one whose reverse-path at a domain of ours the next hop could take for a
way to another server: the report would be relayed there. What a stranger wrote is returned whole only to a sender that SPF or the
client confirms; anybody else gets the header section alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat._native import Address

if TYPE_CHECKING:
    from collections.abc import Container, Iterator


@dataclass(frozen=True, slots=True)
class Allowed:
    """A report is made; its envelope has a null reverse-path and these recipients."""

    recipients: tuple[str, ...]
    whole: bool = False
    """The message may go back whole; else its header section."""


class Suppressed(StrEnum):
    """Why there is no bounce: the reason in the log."""

    NULL_REVERSE_PATH = "null-reverse-path"
    DISABLED = "ndr-disabled"
    FORGED = "forged-sender"
    ROUTE = "sender-may-be-a-route"


_STAMP: Final = b"Authentication-Results: "
_FAILED: Final = re.compile(rb'\t(?:spf|sender-id)=fail(?: reason="[^"]*")? smtp\.mailfrom=')
_PASSED: Final = re.compile(rb"\tspf=pass smtp\.mailfrom=")
_ROOM: Final = 4096
"""Octets our stamp has room in: a line for each of three identities."""


def judge(
    reverse_path: str,
    *,
    enabled: bool,
    copy_to: str | None,
    octets: bytes = b"",
    domains: Container[str] = (),
    trusted: bool = False,
) -> Allowed | Suppressed:
    """What becomes of the failed recipients of a message from `reverse_path` (no brackets, empty when null).

    `octets` is the message or the beginning of it, with the stamps of its acceptance on top; `trusted`: a client of ours brought
    it. `enabled` and `copy_to` are the settings of those names in `ndr`; `copy_to` gets a copy of each report made, once.
    `domains` are those we take mail for.
    """
    if not reverse_path:
        return Suppressed.NULL_REVERSE_PATH
    if not enabled:
        return Suppressed.DISABLED
    if forged(octets):
        return Suppressed.FORGED
    if _may_route(reverse_path, domains):
        return Suppressed.ROUTE
    whole = trusted or passed(octets)
    if copy_to and copy_to.lower() != reverse_path.lower():
        return Allowed((reverse_path, copy_to), whole)
    return Allowed((reverse_path,), whole)


def _may_route(reverse_path: str, domains: Container[str]) -> bool:
    if reverse_path.rpartition("@")[2] not in domains:
        return False
    try:
        return Address.parse(reverse_path).may_route
    except ValueError:  # longer than usual, by setting
        return True


def forged(octets: bytes) -> bool:
    """Whether the stamp on top says that MAIL FROM's domain does not permit where the message came from."""
    return any(_FAILED.match(line) for line in _results(octets))


def passed(octets: bytes) -> bool:
    """Whether the stamp on top says that MAIL FROM's domain permits where the message came from (RFC 7208 8.3)."""
    return any(_PASSED.match(line) for line in _results(octets))


def _results(octets: bytes) -> Iterator[bytes]:
    """The lines of our stamp, one for each identity.

    Only we write above our own Received, so what a stranger sent never stands there (RFC 8601 5), and no value can begin a line.
    """
    if octets.startswith(_STAMP):
        for line in octets[:_ROOM].split(b"\r\n")[1:]:
            if not line.startswith(b"\t"):
                return
            yield line
