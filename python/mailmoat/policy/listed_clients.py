"""What lists in the DNS say of a client, as agents use it: which addresses are asked about, and what is stamped.

Loopback, link-local and private addresses are never asked about: no list can have them. Raises nothing but CancelledError.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from mailmoat.dns_lists.lookups import UNLISTED
from mailmoat.mailauth.header import dnswl
from mailmoat.policy.filter_stamp import FilterRule, filter_stamp
from mailmoat.policy.sources import LOCAL, PRIVATE

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.dns_lists.lookups import DnsLookups, Listings
    from mailmoat.policy.services import Services


class DnsListRule(FilterRule):
    """Why a client is refused or its messages stamped."""

    LISTED = "dns-listed"


class ListedClients:
    """The lists of the settings; there is at least one."""

    def __init__(self, services: Services) -> None:
        self._lookups = cast("DnsLookups", services.dns_lists)
        self._threshold = services.settings.dns_lists.threshold
        self._receiver = services.settings.hostname

    def look_up(self, address: str) -> Listings | Awaitable[Listings]:
        """Return what is known of an address, or begin to find out; an address that cannot be looked up now is on no list."""
        known = self._lookups.known(address)
        if known is not None:
            return known
        if not address or address in LOCAL or address in PRIVATE:
            return UNLISTED
        task = self._lookups.look_up(address)
        return UNLISTED if task is None else self._wait(address, task)

    def begin(self, address: str) -> None:
        """Begin to find out, unless it is known."""
        if self._lookups.known(address) is None and address and address not in LOCAL and address not in PRIVATE:
            self._lookups.look_up(address)

    def is_listed(self, listings: Listings) -> bool:
        """Return whether the weights reach the threshold."""
        return listings.weight >= self._threshold

    def stamps(self, listings: Listings) -> tuple[bytes, ...]:
        """Return the header fields of a message of the client."""
        if listings.allowed:
            return tuple(dnswl(self._receiver, each.provider.zone, each.answer) for each in listings.allowed)
        return (filter_stamp(DnsListRule.LISTED, zones(listings)),) if self.is_listed(listings) else ()

    async def _wait(self, address: str, task: asyncio.Task[Listings]) -> Listings:
        await asyncio.wait((task,))  # not the task itself: others wait for it, and this one may be cancelled
        return self._lookups.known(address) or UNLISTED


def zones(listings: Listings) -> str:
    """Return the block lists that have the client, with their answers."""
    return ", ".join(f"{each.provider.zone} ({each.answer})" for each in listings.blocked)
