"""What a server says about itself, in its root entry (RFC 4512 5.1): where its entries are; and that it answers at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.ldap import filters
from mailmoat.ldap.message import Scope, SearchEntry, SearchRequest
from mailmoat.ldap.outcome import ServerError

if TYPE_CHECKING:
    from mailmoat.ldap.connection import Connection

_ANY: Final = filters.parse("(objectClass=*)")
NO_ATTRIBUTE: Final = "1.1"
"""RFC 4511 4.5.1.8."""
_CONTEXTS: Final = ("defaultNamingContext", "namingContexts")
_ACTIVE_DIRECTORY: Final = b"1.2.840.113556.1.4.800"
PING_TIME: Final = 10.0
"""Seconds in which a server that does nothing else answers."""


async def read(
    connection: Connection, attributes: tuple[str, ...], patience: float = PING_TIME
) -> dict[str, list[bytes]]:
    """Return attributes of the root entry, by names in lower case. Raises ServerError."""
    request = SearchRequest("", _ANY, attributes, Scope.BASE)
    async with connection.search(request, patience=patience) as answers:
        found = [answer async for answer in answers if isinstance(answer, SearchEntry)]
    return found[0].attributes if found else {}


async def is_active_directory(connection: Connection) -> bool:
    """Return whether the server is a domain controller of Active Directory (MS-ADTS 3.1.1.3.4.3.1). Raises ServerError."""
    attributes = await read(connection, ("supportedCapabilities",))
    return _ACTIVE_DIRECTORY in attributes.get("supportedcapabilities", ())


async def ping(connection: Connection, patience: float = PING_TIME) -> None:
    """Ask for nothing. ServerError when there is no answer within so many seconds."""
    await read(connection, (NO_ATTRIBUTE,), patience)


async def base_of(connection: Connection, written: str | None) -> str:
    """Return where entries are searched: as written, or else what the server names first. Raises ServerError."""
    if written is not None:
        return written
    attributes = await read(connection, _CONTEXTS)
    named = next((values for name in _CONTEXTS if (values := attributes.get(name.lower()))), [])
    if not named:
        raise ServerError(f"{connection.server.text}: the server names no search base; set base")
    return named[0].decode("utf-8", "replace")
