"""A database as a live source: `lookup_query` for one address at a time.

The address gets into the query as bound values only: `:address`, or `:local` and `:domain`, and `:at_domain`, which is `@domain`; normalised, the local part in small letters. A row that
counts means that it exists; its `address` may be the address itself, `@domain`, or not be there. It means what it means in a table: a row `@domain` whose
target is `@other` makes that another name, and the address at the other domain is asked for. Nothing is cached here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import Address
from mailmoat.directory.directory import Presence
from mailmoat.directory.preference import PASSED_OVER
from mailmoat.directory.source import LiveAnswer, united
from mailmoat.directory.sql.databases import database_of
from mailmoat.directory.sql.highest import Highest
from mailmoat.directory.sql.placeholders import prepare
from mailmoat.directory.sql.pool import Pool
from mailmoat.directory.sql.probe import first_server
from mailmoat.directory.sql.rows import Column, Columns, Reader, text_of
from mailmoat.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.directory.source import Listed, ProbeResult
    from mailmoat.directory.sql.connection import Rows
    from mailmoat.directory.sql.probe import Connect
    from mailmoat.settings.sections.directories import SourceSettings

_STEPS: Final = 2
"""Of the time for a lookup: so a second server is tried when the first one hangs."""
LONGEST_CHAIN: Final = 10
"""Domains of which each is another name of the next, at most, as in a table."""
_NOBODY: Final = Address.parse("nobody@mailmoat.invalid")


class SqlLive:
    """The database of one row; see `LiveSource`."""

    def __init__(self, row: SourceSettings) -> None:
        self._row = row
        self._database = database_of(row)
        self._query = prepare("lookup_query", row.lookup_query or "", tuple(_values(_NOBODY)), self._database.syntax)
        self._pool = Pool(self._database, row.url.servers, row.connections, row.timeout / _STEPS)

    async def lookup(self, address: Address) -> LiveAnswer:
        """See `LiveSource`."""
        asked = address
        for _ in range(LONGEST_CHAIN + 1):
            found = _answer(asked, await self._pool.ask(self._query, _values(asked)))
            if isinstance(found, LiveAnswer):
                return found if asked is address else found._replace(other_domain=asked.domain)
            asked = found
        raise SourceError(f"lookup_query: the domain {asked.domain} leads back to itself; see the targets of its row")

    async def probe(self) -> ProbeResult:
        """See `Probed`: the query is tried with an address that nobody has."""
        found, seen = await first_server(self._row, self._database, self._try)
        _columns(found)
        return seen._replace(place="lookup_query")

    @property
    def remarks(self) -> tuple[str, ...]:
        """See `Remarked`."""
        return tuple(map(PASSED_OVER.format, self._pool.passed_over))

    async def close(self) -> None:
        """See `Closing`."""
        await self._pool.close()

    async def _try(self, connect: Connect) -> Rows:
        connection = await connect()
        try:
            return await connection.ask(self._query, _values(_NOBODY))
        finally:
            connection.abort()


def _values(address: Address) -> dict[str, object]:
    """Return the values of the placeholders."""
    domain = address.domain
    return {"address": address.key, "local": _local(address), "domain": domain, "at_domain": f"@{domain}"}


def _answer(address: Address, found: Rows) -> LiveAnswer | Address:
    """Return what the rows say of an address; another address that decides, where its domain is another name."""
    columns = _columns(found)
    reader = Reader(columns, Highest())
    entries = [*reader.read(_about(address, row, columns.address) for row in found.rows), *reader.end()]
    listed = [one for entry in entries for one in entry.addresses]
    own = [one for one in listed if not one.text.startswith("@")]
    if not own and listed:
        if domain := _other_domain(listed):
            return Address.parse(f"{str(address).rpartition('@')[0]}@{domain}")
        # Only an entry of its own says that it is no route to another server.
        own = [] if address.may_route else listed
    if not own or any(one.text.startswith("!") for one in own):
        return LiveAnswer(Presence.ABSENT)
    found_by = [(entries[0].name, tuple(_at(address, target) for target in one.targets)) for one in own]
    return united(address, found_by)._replace(whole_domain=own[0].text.startswith("@"))


def _other_domain(listed: Sequence[Listed]) -> str:
    """Return the domain of which that of these entries is another name; empty when it is none."""
    targets = {target for one in listed for target in one.targets or (one.text,)}
    other = targets.pop() if len(targets) == 1 and listed[0].targets else ""
    return other[1:] if other.startswith("@") else ""


def _columns(found: Rows) -> Columns:
    """Return the columns of the answer; the address may be left out, and is then put behind them."""
    names = found.names if Column.ADDRESS in map(str.lower, found.names) else (*found.names, Column.ADDRESS)
    return Columns.of("lookup_query", names)


def _about(address: Address, row: Sequence[object], at: int) -> Sequence[object]:
    """Return a row about the address that was asked for: only an entry for its domain, or an excluding one, is another text."""
    if at < len(row) and text_of(row[at]).startswith(("@", "!")):
        return row
    return (*row[:at], str(address), *row[at + 1 :])


def _at(address: Address, target: str) -> str:
    """Return a target; of a whole domain the same local part there."""
    return f"{_local(address)}{target}" if target.startswith("@") else target


def _local(address: Address) -> str:
    return address.key.removesuffix(f"@{address.domain}")
