"""How Active Directory is asked for one address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.ldap import row_filters
from mailmoat.directory.notation import notation
from mailmoat.directory.source import united

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.directory.ad.place import Place
    from mailmoat.directory.source import LiveAnswer
    from mailmoat.ldap.message import SearchEntry


class AdAddressSearch:
    """That of one row; see `ldap.lookup.AddressSearch`. `written` is its filter, which may have places for the address."""

    def __init__(self, place: Place, written: str | None) -> None:
        self._place = place
        self._written = written if written and row_filters.has_place(written) else None
        self.attributes = place.mapping.needed

    def filter(self, address: Address) -> str:
        """Return the filter of the objects that have the address; what is written alone if it has a place for it."""
        mapping = self._place.mapping
        if self._written is not None:
            return row_filters.with_the_address(self._written, mapping.attributes, address)
        return f"(&{mapping.any_kind}{row_filters.has_address(mapping.attributes, address)}{self._place.condition})"

    def answer(self, address: Address, found: list[SearchEntry]) -> LiveAnswer:
        """Return what the objects say of it."""
        counted = [(one.dn, targets) for one in found if (targets := self._targets(address, one)) is not None]
        return united(address, counted)

    def _targets(self, address: Address, found: SearchEntry) -> tuple[str, ...] | None:
        """Return who gets the mail to `address` instead of an object; None if the object does not have it, or receives no mail."""
        listed, _ = self._place.mapping.entry(found)
        text = notation(address.key)
        for one in listed.addresses:
            if one.text == text:
                return one.targets
        mapping = self._place.mapping
        if self._written is None or not mapping.counts(found) or mapping.has_domain(found, address.domain):
            return None
        return ()
