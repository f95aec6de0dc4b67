"""Content synchronisation (RFC 4533 2): its controls and messages as values. Nothing is kept here; GarbledError for what cannot be read."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.ldap import ber
from mailmoat.ldap.ber import OCTET_STRING, SET, GarbledError, Reader
from mailmoat.ldap.message import Control

if TYPE_CHECKING:
    from mailmoat.ldap.message import Done, Intermediate, SearchEntry

REQUEST: Final = "1.3.6.1.4.1.4203.1.9.1.1"
_STATE: Final = "1.3.6.1.4.1.4203.1.9.1.2"
_DONE: Final = "1.3.6.1.4.1.4203.1.9.1.3"
_INFO: Final = "1.3.6.1.4.1.4203.1.9.1.4"
_REFRESH_AND_PERSIST: Final = 3
_NEW_COOKIE: Final = 0x80
_REFRESH_DELETE: Final = 0xA1
_REFRESH_PRESENT: Final = 0xA2
_ID_SET: Final = 0xA3
_ID_OCTETS: Final = 16


class State(IntEnum):
    """What an entry is in the content (RFC 4533 2.3)."""

    PRESENT = 0
    ADD = 1
    MODIFY = 2
    DELETE = 3


class EntryState(NamedTuple):
    """What is said of one entry."""

    state: State
    id: bytes
    cookie: bytes | None


class NewCookie(NamedTuple):
    """Nothing changed but the cookie."""

    cookie: bytes


class PhaseEnd(NamedTuple):
    """A phase of the refresh is over."""

    cookie: bytes | None
    deletes: bool
    """What is gone was named; else, whatever was not named is gone."""
    last: bool
    """The refresh is over with it."""


class IdSet(NamedTuple):
    """What is said of several entries."""

    cookie: bytes | None
    deletes: bool
    """They are gone; else they are there, unchanged."""
    ids: tuple[bytes, ...]


def request(cookie: bytes | None) -> Control:
    """Return the control that asks for the content, or what changed since `cookie`, and then for each change."""
    parts = [ber.octets(cookie)] if cookie else []
    return Control(REQUEST, critical=True, value=ber.sequence(ber.enumerated(_REFRESH_AND_PERSIST), *parts))


def state_of(entry: SearchEntry) -> EntryState:
    """Return what is said of an entry. GarbledError for one of which nothing is."""
    value = next((control.value for control in entry.controls if control.oid == _STATE), None)
    if value is None:
        raise GarbledError("an entry without its state")
    parts = Reader(value).enter()
    number, entry_id = parts.enumerated(), _id(parts.octets())
    if number not in State.__members__.values():
        raise GarbledError(f"an unknown state {number}")
    return EntryState(State(number), entry_id, _cookie(parts))


def said_in(intermediate: Intermediate) -> NewCookie | PhaseEnd | IdSet | None:
    """Return what an intermediate answer says; None for one of another kind."""
    if intermediate.name != _INFO:
        return None
    reader = Reader(intermediate.value)
    if reader.tag == _NEW_COOKIE:
        return NewCookie(reader.octets(_NEW_COOKIE))
    if reader.tag in (_REFRESH_DELETE, _REFRESH_PRESENT):
        deletes = reader.tag == _REFRESH_DELETE
        parts = reader.enter(reader.tag)
        return PhaseEnd(_cookie(parts), deletes, parts.boolean(default=True))
    parts = reader.enter(_ID_SET)
    cookie, deletes, listed, found = _cookie(parts), parts.boolean(), parts.enter(SET), []
    while listed.tag is not None:
        found.append(_id(listed.octets()))
    return IdSet(cookie, deletes, tuple(found))


def end_in(done: Done) -> PhaseEnd | None:
    """Return what the result says; None when it says nothing."""
    value = next((control.value for control in done.controls if control.oid == _DONE), None)
    if value is None:
        return None
    parts = Reader(value).enter()
    return PhaseEnd(_cookie(parts), parts.boolean(), last=True)


def _cookie(parts: Reader) -> bytes | None:
    return parts.octets() if parts.tag == OCTET_STRING else None


def _id(octets: bytes) -> bytes:
    if len(octets) != _ID_OCTETS:
        raise GarbledError("an entryUUID of another length")
    return octets
