"""How a plain LDAP server is asked for one address: by the filter of the administrator, or by each of the attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.ldap import row_filters
from mailmoat.directory.ldap.access import servers_of
from mailmoat.directory.ldap.lookup import LdapLookup
from mailmoat.directory.ldap.objects import EntryReader, Mapping
from mailmoat.directory.ldap.probe import probe
from mailmoat.directory.source import united

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.directory.source import LiveAnswer, ProbeResult
    from mailmoat.ldap.message import SearchEntry
    from mailmoat.settings.sections.directories import SourceSettings


class LdapLive(LdapLookup):
    """The servers of one row, asked for one address at a time. ConfigError for a filter that is none."""

    def __init__(self, row: SourceSettings) -> None:
        row_filters.checked(row.name, row.filter or row_filters.ANYTHING)
        super().__init__(row, LdapAddressSearch(row))

    async def probe(self) -> ProbeResult:
        """See `Probed`."""
        row, mapping = self._row, Mapping.of(self._row)
        written = None if row.filter and row_filters.has_place(row.filter) else row.filter
        search_filter = row_filters.checked(row.name, row_filters.all_with_an_address(written, mapping.attributes))
        return await probe(row, servers_of(row), mapping, search_filter)


class LdapAddressSearch:
    """That of one row; see `lookup.AddressSearch`."""

    def __init__(self, row: SourceSettings) -> None:
        self._filter = row.filter
        self._mapping = Mapping.of(row)
        self._reader = EntryReader(self._mapping)
        self.attributes = self._mapping.needed

    def filter(self, address: Address) -> str:
        """Return the filter of the entries that have the address."""
        return row_filters.with_the_address(self._filter, self._mapping.attributes, address)

    def answer(self, address: Address, found: list[SearchEntry]) -> LiveAnswer:
        """Return what the entries say of it."""
        counted = [(entry, targets) for entry in found if (targets := self._reader.targets(entry)) is not None]
        own = [(entry.dn, targets) for entry, targets in counted if not self._reader.is_for_domain(entry, address)]
        if own or not counted or address.may_route:  # a whole domain lists no route to another server
            return united(address, own)
        return united(address, [(entry.dn, targets) for entry, targets in counted])._replace(whole_domain=True)
