"""A search in pages (RFC 2696): a result of any size, of which a page at a time is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.ldap import ber
from mailmoat.ldap.ber import GarbledError, Reader
from mailmoat.ldap.connection import PATIENCE
from mailmoat.ldap.message import Control, SearchEntry
from mailmoat.ldap.outcome import ServerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mailmoat.ldap.connection import Connection
    from mailmoat.ldap.message import Done, SearchRequest

OID: Final = "1.2.840.113556.1.4.319"
PAGE_SIZE: Final = 1000
"""Entries of a page; Active Directory gives no more."""


async def paged(
    connection: Connection,
    request: SearchRequest,
    controls: Sequence[Control] = (),
    *,
    size: int = PAGE_SIZE,
    patience: float = PATIENCE,
) -> AsyncIterator[list[SearchEntry]]:
    """Give the entries found, a page at a time. Raises ServerError; LdapError for a result other than success, whatever came before it.

    A server that has no pages gives all of its result as one.
    """
    cookie, page = b"", 0
    while page == 0 or cookie:
        page += 1
        value = ber.sequence(ber.integer(size), ber.octets(cookie))
        async with connection.search(
            request, [*controls, Control(OID, critical=False, value=value)], patience=patience
        ) as answers:
            entries = [answer async for answer in answers if isinstance(answer, SearchEntry)]
            following = _cookie(connection, answers.done)
        if following and following == cookie and not entries:
            raise ServerError(f"{connection.server.text}: it sends pages without end")
        cookie = following
        yield entries


def _cookie(connection: Connection, done: Done | None) -> bytes:
    """Return what the next page is asked for with; nothing after the last."""
    value = next((control.value for control in done.controls if control.oid == OID), None) if done else None
    if value is None:
        return b""
    try:
        parts = Reader(value).enter()
        parts.integer()
        return parts.octets()
    except GarbledError as error:
        raise ServerError(f"{connection.server.text}: a control is garbled: {error}") from None
