"""Messages of LDAP as values: requests are encoded, answers decoded (RFC 4511 4). No socket, no clock, no state.

Decoding raises GarbledError for what is no answer. Text of a server is kept as it is; the caller makes it printable before it is shown.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.ldap import ber
from mailmoat.ldap.ber import OCTET_STRING, SEQUENCE, SET, GarbledError, Reader, header

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION: Final = 3
START_TLS: Final = "1.3.6.1.4.1.1466.20037"
NOTICE_OF_DISCONNECTION: Final = "1.3.6.1.4.1.1466.20036"
SUCCESS: Final = 0

_BIND: Final = 0x60
_UNBIND: Final = 0x42
_SEARCH: Final = 0x63
_ABANDON: Final = 0x50
_EXTENDED: Final = 0x77
_SIMPLE: Final = 0x80
_SASL: Final = 0xA3
_REQUEST_NAME: Final = 0x80
_CONTROLS: Final = 0xA0

_ENTRY: Final = 0x64
_REFERENCE: Final = 0x73
_INTERMEDIATE: Final = 0x79
_RESULTS: Final = frozenset({0x61, 0x65, 0x67, 0x69, 0x6B, 0x6D, 0x6F, 0x78})
_RESPONSE_NAME: Final = 0x8A
_INTERMEDIATE_NAME: Final = 0x80
_INTERMEDIATE_VALUE: Final = 0x81
_NEVER_DEREFERENCED: Final = 0


class Scope(IntEnum):
    """How far below its base a search goes (RFC 4511 4.5.1.2)."""

    BASE = 0
    ONE_LEVEL = 1
    SUBTREE = 2


class Control(NamedTuple):
    """A control of a request or an answer (RFC 4511 4.1.11); what its value is encoded as depends on its kind."""

    oid: str
    critical: bool = False
    value: bytes | None = None


class SearchRequest(NamedTuple):
    """A search (RFC 4511 4.5.1)."""

    base: str
    filter: bytes
    """As `filters.parse` encodes it."""
    attributes: tuple[str, ...] = ()
    """Empty = all of its user attributes; `1.1` alone = none."""
    scope: Scope = Scope.SUBTREE
    size_limit: int = 0
    """Entries; 0 = as many as the server gives."""


class SearchEntry(NamedTuple):
    """An entry that was found."""

    dn: str
    attributes: dict[str, list[bytes]]
    """Values by name of the attribute in lower case."""
    controls: tuple[Control, ...] = ()


class Reference(NamedTuple):
    """Where a part of the result is to be searched for; nothing here follows it."""

    urls: tuple[str, ...]


class Intermediate(NamedTuple):
    """An answer between others (RFC 4511 4.13)."""

    name: str
    value: bytes
    controls: tuple[Control, ...] = ()


class Done(NamedTuple):
    """The result of an operation (RFC 4511 4.1.9)."""

    code: int
    dn: str = ""
    text: str = ""
    name: str = ""
    """Of an extended operation."""
    controls: tuple[Control, ...] = ()


Answer = SearchEntry | Reference | Intermediate | Done


class Message(NamedTuple):
    """An answer, and the number of the request that it is for; 0 for what nobody asked for."""

    id: int
    answer: Answer


def simple_bind(number: int, account: str, password: bytes) -> bytes:
    """Encode a simple bind. ValueError for an empty password: servers take that for success without a check (RFC 4513 5.1.2)."""
    if not password:
        raise ValueError("an empty password")
    return _message(number, ber.element(_BIND, ber.integer(VERSION), ber.text(account), ber.octets(password, _SIMPLE)))


def external_bind(number: int) -> bytes:
    """Encode a bind with the identity of the TLS certificate or the Unix socket (SASL EXTERNAL, RFC 4422 A)."""
    sasl = ber.element(_SASL, ber.text("EXTERNAL"), ber.octets(b""))
    return _message(number, ber.element(_BIND, ber.integer(VERSION), ber.text(""), sasl))


def start_tls(number: int) -> bytes:
    """Encode the request to begin TLS (RFC 4511 4.14.1)."""
    return _message(number, ber.element(_EXTENDED, ber.text(START_TLS, _REQUEST_NAME)))


def search(number: int, request: SearchRequest, controls: Sequence[Control] = ()) -> bytes:
    """Encode a search."""
    encoded = ber.element(
        _SEARCH,
        ber.text(request.base),
        ber.enumerated(request.scope),
        ber.enumerated(_NEVER_DEREFERENCED),
        ber.integer(request.size_limit),
        ber.integer(0),
        ber.boolean(False),
        request.filter,
        ber.sequence(*map(ber.text, request.attributes)),
    )
    return _message(number, encoded, controls)


def abandon(number: int, abandoned: int) -> bytes:
    """Encode that no more answers to another request are wanted (RFC 4511 4.11)."""
    return _message(number, ber.integer(abandoned, _ABANDON))


def unbind(number: int) -> bytes:
    """Encode the end of the session (RFC 4511 4.3)."""
    return _message(number, ber.element(_UNBIND))


def _message(number: int, operation: bytes, controls: Sequence[Control] = ()) -> bytes:
    listed = [ber.element(_CONTROLS, *map(_control, controls))] if controls else []
    return ber.sequence(ber.integer(number), operation, *listed)


def _control(control: Control) -> bytes:
    parts = [ber.text(control.oid)]
    parts += [ber.boolean(True)] if control.critical else []
    parts += [ber.octets(control.value)] if control.value is not None else []
    return ber.sequence(*parts)


def decode(octets: bytes) -> Message:
    """Return one whole message. Raises GarbledError."""
    message = Reader(octets).enter()
    number = message.integer()
    tag = message.tag
    if tag is None:
        raise GarbledError("a message without an operation")
    content = message.take(tag)
    controls = _controls(message)
    if tag == _ENTRY:
        return Message(number, _entry(content, controls))
    if tag in _RESULTS:
        return Message(number, _done(content, controls))
    if tag == _INTERMEDIATE:
        return Message(number, _intermediate(content, controls))
    if tag == _REFERENCE:
        return Message(number, Reference(tuple(_texts(Reader(content)))))
    raise GarbledError(f"an answer of an unknown type {tag:#04x}")


def _controls(message: Reader) -> tuple[Control, ...]:
    if message.tag != _CONTROLS:
        return ()
    found, controls = [], message.enter(_CONTROLS)
    while controls.tag is not None:
        control = controls.enter()
        oid, critical = control.text(), control.boolean()
        found.append(Control(oid, critical, control.octets() if control.tag == OCTET_STRING else None))
    return tuple(found)


def _entry(content: bytes, controls: tuple[Control, ...]) -> SearchEntry:
    """Decode an entry; written out, because there may be a million of them."""
    reader = Reader(content)
    dn, listed = reader.text(), reader.take(SEQUENCE)
    attributes: dict[str, list[bytes]] = {}
    at, end = 0, len(listed)
    while at < end:
        tag, start, at = header(listed, at, end)
        named, name_start, name_end = header(listed, start, at)
        valued, value, values_end = header(listed, name_end, at)
        if (tag, named, valued) != (SEQUENCE, OCTET_STRING, SET):
            raise GarbledError("an attribute that is not valid")
        name = listed[name_start:name_end].decode("utf-8", "replace").lower()
        values = attributes.setdefault(name, [])
        while value < values_end:
            tag, start, value = header(listed, value, values_end)
            if tag != OCTET_STRING:
                raise GarbledError("a value that is not valid")
            values.append(listed[start:value])
    return SearchEntry(dn, attributes, controls)


def _done(content: bytes, controls: tuple[Control, ...]) -> Done:
    reader = Reader(content)
    code, dn, text = reader.enumerated(), reader.text(), reader.text()
    while reader.tag not in (None, _RESPONSE_NAME):
        reader.skip()
    name = reader.text(_RESPONSE_NAME) if reader.tag == _RESPONSE_NAME else ""
    return Done(code, dn, text, name, controls)


def _intermediate(content: bytes, controls: tuple[Control, ...]) -> Intermediate:
    reader = Reader(content)
    name = reader.text(_INTERMEDIATE_NAME) if reader.tag == _INTERMEDIATE_NAME else ""
    value = reader.octets(_INTERMEDIATE_VALUE) if reader.tag == _INTERMEDIATE_VALUE else b""
    return Intermediate(name, value, controls)


def _texts(reader: Reader) -> list[str]:
    found = []
    while reader.tag is not None:
        found.append(reader.text())
    return found
