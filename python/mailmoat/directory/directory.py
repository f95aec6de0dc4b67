"""Which recipients exist at the local domains: exists, absent or unknown.

Contract of every directory: it answers for one normalised address that has a domain (the caller appends the default one), it
never refuses anybody (that, and `postmaster`, is policy), and an error of its own is UNKNOWN, which is 451 4.3.0, never
"user unknown". It does not raise for it. An address that `may_route` exists only when it is listed itself: an entry for
a whole domain does not include it. A subaddress (`alice+tag`) that is not listed itself exists if its address exists.
An address that exists and whose mail goes to others is a `Redirection`, to addresses at which nothing is looked up again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, TypeAlias

from mailmoat.metrics import Family

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat._native import Address


class Presence(StrEnum):
    """What a directory says of an address."""

    EXISTS = "exists"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Redirection:
    """What a directory says of an alias: it exists, and its mail goes to other addresses."""

    targets: tuple[Address, ...]
    """At least one; the alias may be among them. None is an alias itself."""

    presence: ClassVar[Presence] = Presence.EXISTS


Found: TypeAlias = "Presence | Redirection"


class SourceState(StrEnum):
    """How the file is that a directory is compiled from."""

    CURRENT = "current"
    """It is in force."""
    WAITING = "waiting"
    """It changed and may not be finished."""
    REFUSED = "refused"
    """It cannot be used, and an older one is in force."""


DIRECTORY_STATE: Final = Family(
    "mailmoat_directory_state", "1 for the state of the recipient file, else 0.", {"state": SourceState}, same=True
)


class Directory(Protocol):
    """A source of recipients.

    `lookup` answers at once from memory, as the file does, or returns an awaitable of the same answers when a server is asked. `client` is the
    address of the host that names the recipient: it gets its share of what a server is asked, and no more; empty = it is not counted.
    """

    def lookup(self, address: Address, client: str = "") -> Found | Awaitable[Found]:
        """Say whether `address` exists, and who gets its mail if that is not itself."""

    def explain(self, address: Address) -> str | Awaitable[str]:
        """Say in one plain sentence which rule decides about `address`; for the operator, never for the wire."""
