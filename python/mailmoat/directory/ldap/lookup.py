"""An LDAP server that is asked for one address at a time.

One connection serves all lookups, many at once. One that was lost is made again by the next lookup; a lookup that it was lost under is
asked once more. Of several servers the first that serves is asked; a preferred one that serves again is used again, without a lookup that
waits for it. Where there are more entries than are asked for, those that came say that an address exists, but not that it is absent, and not
where its mail goes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from mailmoat import clock
from mailmoat._native import Address
from mailmoat.directory.directory import Presence
from mailmoat.directory.ldap import row_filters
from mailmoat.directory.ldap.access import servers_of, time_for_one
from mailmoat.directory.preference import PASSED_OVER
from mailmoat.directory.source import MOST_TARGETS
from mailmoat.errors import LookupFailedError
from mailmoat.ldap import outcome
from mailmoat.ldap.message import SearchEntry, SearchRequest
from mailmoat.ldap.outcome import SIZE_LIMIT_EXCEEDED, LdapError, ServerError
from mailmoat.ldap.root_dse import base_of
from mailmoat.printable import printable

if TYPE_CHECKING:
    from mailmoat.directory.source import LiveAnswer
    from mailmoat.ldap.connection import Connection
    from mailmoat.settings.sections.directories import SourceSettings

IDLE_TIME: Final = 120.0
"""Seconds for which an unused connection counts: firewalls forget those that are silent, and say nothing."""
MOST_ENTRIES: Final = 20
"""Entries with one address that are asked for; `MOST_TARGETS` where they may have targets, which are united."""
_AWAY: Final = (outcome.BUSY, outcome.UNAVAILABLE)
_TRIED: Final = Address.parse("postmaster@example.com")


class AddressSearch(Protocol):
    """How one kind of server is asked for an address."""

    attributes: tuple[str, ...]
    """The attributes to ask for."""

    def filter(self, address: Address) -> str:
        """Return the filter of the entries that have the address."""

    def answer(self, address: Address, found: list[SearchEntry]) -> LiveAnswer:
        """Return what the entries say of it."""


class LdapLookup:
    """The servers of one row. ConfigError for a filter that is none."""

    def __init__(self, row: SourceSettings, search: AddressSearch) -> None:
        self._row = row
        self._address_search = search
        self._servers = servers_of(row)
        self._patience = time_for_one(row)
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        self._used = clock.monotonic()
        self._base = ""
        self._returning: asyncio.Task[None] | None = None
        row_filters.checked(row.name, search.filter(_TRIED))

    async def lookup(self, address: Address) -> LiveAnswer:
        """See `LiveSource`."""
        search_filter = row_filters.checked(self._row.name, self._address_search.filter(address))
        attempt = 0
        while True:
            connection = await self._connected()
            try:
                found, is_all = await self._search(connection, search_filter)
            except ServerError as error:
                attempt += 1
                if isinstance(error, LdapError) and error.code not in _AWAY:
                    raise LookupFailedError(str(error)) from None
                if connection.usable and connection is self._connection:
                    self._servers.failed(connection.server, str(error))
                self._drop(connection)
                if attempt > len(self._row.url.servers):
                    raise
            else:
                self._served(connection)
                answer = self._address_search.answer(address, found)
                if is_all or (answer.presence is Presence.EXISTS and not self._may_be_another(answer)):
                    return answer
                sentence = (
                    f"more than {len(found)} entries have {printable(str(address))}, and not all of them were given"
                )
                raise LookupFailedError(f"{connection.server.text}: {sentence}")

    @property
    def remarks(self) -> tuple[str, ...]:
        """See `Remarked`: why servers that are preferred to the one that is asked are not."""
        server = self._connection.server if self._connection is not None else None
        return tuple(map(PASSED_OVER.format, self._servers.preference.passed_over(server))) if server else ()

    async def close(self) -> None:
        """Close the connection."""
        if self._returning is not None:
            self._returning.cancel()
        if self._connection is not None:
            self._drop(self._connection)

    async def _connected(self) -> Connection:
        async with self._connecting:
            now = clock.monotonic()
            idle = now - self._used
            self._used = now
            if self._connection is None or not self._connection.usable or idle > IDLE_TIME:
                await self._use(await self._servers.connect())
            assert self._connection is not None  # noqa: S101 - it was just made
            return self._connection

    async def _use(self, connection: Connection) -> None:
        """Ask a connection from now on. Raises ServerError; it is closed then."""
        try:
            self._base = await base_of(connection, self._row.base)
        except BaseException as error:
            self._servers.failed(connection.server, str(error) or f"{connection.server.text}: no answer in time")
            connection.close()
            raise
        before, self._connection = self._connection, connection
        if before is not None:
            before.close()

    def _may_be_another(self, answer: LiveAnswer) -> bool:
        """Return whether an entry that was not given may have targets, or the address itself, where that of a whole domain may not count."""
        return bool(answer.targets or self._row.target_attributes or answer.whole_domain)

    async def _search(self, connection: Connection, search_filter: bytes) -> tuple[list[SearchEntry], bool]:
        """Return entries, and whether they are all there are."""
        most = MOST_TARGETS if self._row.target_attributes else MOST_ENTRIES
        request = SearchRequest(self._base, search_filter, self._address_search.attributes, size_limit=most)
        found: list[SearchEntry] = []
        try:
            async with connection.search(request, patience=self._patience) as answers:
                async for answer in answers:
                    if isinstance(answer, SearchEntry):
                        found.append(answer)  # noqa: PERF401 - what came before an error counts
        except LdapError as error:
            if error.code != SIZE_LIMIT_EXCEEDED or not found:
                raise
            return found, False
        return found, True

    def _served(self, connection: Connection) -> None:
        self._servers.served(connection.server)
        if self._returning is None and self._servers.due(connection.server):
            self._returning = asyncio.create_task(self._return(connection))

    async def _return(self, connection: Connection) -> None:
        """Use a preferred server again if it serves."""
        try:
            better = await self._servers.preferred(connection.server)
            if better is not None:
                await self._use(better)
        except ServerError:
            return
        finally:
            self._returning = None

    def _drop(self, connection: Connection) -> None:
        connection.close()
        if self._connection is connection:
            self._connection = None
