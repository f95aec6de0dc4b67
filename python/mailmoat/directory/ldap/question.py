"""How a plain LDAP server is asked for one address: by the filter of the administrator, or by each of the attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.directory import Presence
from mailmoat.directory.ldap import search_terms
from mailmoat.directory.ldap.objects import Kind, Reading
from mailmoat.directory.source import LiveAnswer

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.ldap.message import SearchEntry
    from mailmoat.settings.sections.directories import SourceSettings


class LdapQuestion:
    """That of one row; see `lookup.Question`."""

    def __init__(self, row: SourceSettings) -> None:
        self._filter = row.filter
        self._kind = Kind.of(row)
        self._reading = Reading(self._kind)
        self.asked = self._kind.asked

    def terms(self, address: Address) -> str:
        """Return the filter of the entries that have the address."""
        return search_terms.with_the_address(self._filter, self._kind.attributes, address)

    def answer(self, address: Address, found: list[SearchEntry]) -> LiveAnswer:
        """Return what the entries say of it. One without targets is itself a target beside those of others."""
        counted = [(entry.dn, targets) for entry in found if (targets := self._reading.targets(entry)) is not None]
        if not counted:
            return LiveAnswer(Presence.ABSENT)
        united = dict.fromkeys(target for _, targets in counted for target in targets or (str(address),))
        targets = tuple(united) if any(targets for _, targets in counted) else ()
        return LiveAnswer(Presence.EXISTS, targets, counted[0][0])
