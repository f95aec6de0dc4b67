"""The source of a row of `[[directories]]` that has controllers of Active Directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.ad.address_search import AdAddressSearch
from mailmoat.directory.ad.controller import CATALOGUE_PORTS
from mailmoat.directory.ad.objects import ADDRESS_ATTRIBUTES, Mapping
from mailmoat.directory.ad.place import Place
from mailmoat.directory.ad.sync import AdSync
from mailmoat.directory.ldap import row_filters
from mailmoat.directory.ldap.access import servers_of
from mailmoat.directory.ldap.lookup import LdapLookup
from mailmoat.ldap import filters

if TYPE_CHECKING:
    from mailmoat.settings.sections.directories import SourceSettings


def ad_sync(row: SourceSettings) -> AdSync:
    """Return the synchronised source of a row. ConfigError for a filter that is none."""
    place = place_of(row)
    row_filters.checked(row.name, place.filter)
    return AdSync(servers_of(row), place, row.interval)


def ad_live(row: SourceSettings) -> LdapLookup:
    """Return the live source of a row. ConfigError for a filter that is none."""
    place = place_of(row)
    forest = row.base is None and all(server.port in CATALOGUE_PORTS for server in row.url.servers)
    return LdapLookup(row.model_copy(update={"base": ""}) if forest else row, AdAddressSearch(place, row.filter))


def place_of(row: SourceSettings) -> Place:
    """Return what is read for a row."""
    return Place(mapping_of(row), row.base or "", _condition(row))


def mapping_of(row: SourceSettings) -> Mapping:
    """Return how objects become entries for a row."""
    return Mapping(
        row.attributes or ADDRESS_ATTRIBUTES,
        frozenset(row.object_kinds),
        row.disabled_accounts,
        row.secondary_addresses,
        row.target_attributes,
    )


def _condition(row: SourceSettings) -> str:
    """Return the filter of the administrator, in parentheses, and the one that `condition` stands for."""
    written = (row.filter or "").strip()
    parts = [written if written.startswith("(") else f"({written})"] if written else []
    if row.condition is not None:
        name, value = row.condition
        parts.append(f"({name}={filters.escape(value)})")
    return "".join(parts)
