"""Controls of Active Directory (MS-ADTS 3.1.1.3.4.1), and their values in BER. Values only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.ldap import ber
from mailmoat.ldap.ber import GarbledError, Reader
from mailmoat.ldap.message import Control

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRSYNC: Final = "1.2.840.113556.1.4.841"
SHOW_DELETED: Final = Control("1.2.840.113556.1.4.417", critical=True)
"""Deleted objects are found as well (MS-ADTS 3.1.1.3.4.1.14)."""
NOTIFICATION: Final = Control("1.2.840.113556.1.4.528", critical=True)
"""The search does not end, and gives each object that changes (MS-ADTS 3.1.1.3.4.1.9)."""
_OBJECT_SECURITY: Final = 1
"""What the account may read, without the right to replicate (LDAP_DIRSYNC_OBJECT_SECURITY)."""
_MOST_OCTETS: Final = 1 << 20
"""Of one answer; the server has a bound of its own."""


class Synced(NamedTuple):
    """What the server says behind the changes (MS-ADTS 3.1.1.3.4.1.3)."""

    more: bool
    """Ask again with the cookie: there is more."""
    cookie: bytes


def dirsync(cookie: bytes) -> Control:
    """Return the control that asks for what changed since `cookie`; empty = everything."""
    value = ber.sequence(ber.integer(_OBJECT_SECURITY), ber.integer(_MOST_OCTETS), ber.octets(cookie))
    return Control(DIRSYNC, critical=True, value=value)


def synced(controls: Sequence[Control]) -> Synced:
    """Return the answer to `dirsync`. Raises GarbledError when there is none among the controls, or it is none."""
    value = next((control.value for control in controls if control.oid == DIRSYNC), None)
    if value is None:
        raise GarbledError("no answer to the DirSync control")
    reader = Reader(value).enter()
    more = reader.integer() != 0
    reader.integer()
    return Synced(more, reader.octets())
