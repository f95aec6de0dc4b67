"""What the lists say of the clients of one worker: looked up once an address, before anybody asks, and kept while it holds.

A lookup is started when a client says HELO, and joined at its first recipient. Promises: `dns_lists.time` bounds a lookup, `MOST_LOOKUPS` and `MOST_OF_SITE` how many
run at a time, `KEPT` how many results are kept. What is not answered in time does not count: such a result is kept for `INCOMPLETE_TIME`,
so that the next recipient does not wait again. Raises nothing but CancelledError.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.dns_lists.answers import Outcome
from mailmoat.dns_lists.counted import Place
from mailmoat.dns_lists.provider import Provider
from mailmoat.net.address import parse, site
from mailmoat.resolver import Budget

if TYPE_CHECKING:
    from mailmoat.dns_lists.answers import Address
    from mailmoat.metrics import Metrics
    from mailmoat.resolver import Resolver
    from mailmoat.settings.sections.dns_lists import DnsListProvider, DnsListsSettings

KEPT: Final = 8192
MOST_LOOKUPS: Final = 1000
"""Addresses looked up at a time; further ones are not judged: clients without number must not use up the resolver."""
MOST_OF_SITE: Final = 50
"""Of them, addresses of one IPv6 /64, whose hosts have addresses without number."""
LEAST_TIME: Final = 60.0
LONGEST_TIME: Final = 3600.0
INCOMPLETE_TIME: Final = 30.0


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that has the address, and what it says."""

    provider: DnsListProvider
    answer: str
    reason: str = ""
    """Its TXT record, where the text of the refusal has it."""

    @property
    def text(self) -> str:
        """The text of the refusal, with `{address}` still in it."""
        return self.provider.text.replace("{zone}", self.provider.zone).replace("{reason}", self.reason).rstrip()


@dataclass(frozen=True, slots=True)
class Listings:
    """All lists that have an address, in the order of the settings."""

    blocked: tuple[Listing, ...] = ()
    allowed: tuple[Listing, ...] = ()

    @property
    def weight(self) -> int:
        """The sum of the weights of the block lists; 0 for an address that is allowed."""
        return 0 if self.allowed else sum(listing.provider.weight for listing in self.blocked)


UNLISTED: Final = Listings()


class DnsLookups:
    """The lists of the settings, and what they say."""

    def __init__(self, settings: DnsListsSettings, resolver: Resolver, metrics: Metrics | None = None) -> None:
        self._seconds = settings.time
        self.providers = tuple(
            Provider(each, place, resolver, metrics, settings.time)
            for each, place in zip(settings.providers, Place, strict=False)
        )
        self._kept: OrderedDict[str, tuple[float, Listings]] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[Listings]] = {}
        self._sites: Counter[str] = Counter()

    def tick(self) -> None:
        """Test the providers when it is time."""
        for provider in self.providers:
            provider.tick()

    async def close(self) -> None:
        """End all lookups and tests."""
        tasks = list(self._lookups.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for provider in self.providers:
            await provider.close()

    def known(self, address: str) -> Listings | None:
        """Return what the lists say of an address in text form without zone; None while that is not known."""
        kept = self._kept.get(address)
        return kept[1] if kept is not None and clock.monotonic() < kept[0] else None

    def is_allowed(self, address: str) -> bool:
        """Return whether an allow list had the address when it was last looked up, so that the answer holds for a session."""
        kept = self._kept.get(address)
        return kept is not None and bool(kept[1].allowed)

    def look_up(self, address: str) -> asyncio.Task[Listings] | None:
        """Return the lookup of an address, begun unless it runs; None when too many run."""
        task = self._lookups.get(address)
        if task is None and len(self._lookups) < MOST_LOOKUPS and self._sites[site(address)] < MOST_OF_SITE:
            task = self._lookups[address] = asyncio.get_running_loop().create_task(self._look_up(address))
            self._sites[site(address)] += 1
            task.add_done_callback(partial(self._ended, address))
        return task

    def _ended(self, address: str, _task: asyncio.Task[Listings]) -> None:
        del self._lookups[address]
        self._sites[site(address)] -= 1
        if not self._sites[site(address)]:
            del self._sites[site(address)]

    async def _look_up(self, text: str) -> Listings:
        address = parse(text)
        budget = Budget(2 * len(self.providers), self._seconds, text)
        found = await asyncio.gather(*(self._ask(provider, address, budget) for provider in self.providers))
        listings = [listing for listing, _ in found if listing]
        result = Listings(
            tuple(listing for listing in listings if listing.provider.kind == "block"),
            tuple(listing for listing in listings if listing.provider.kind == "allow"),
        )
        self._keep(text, result if listings else UNLISTED, min(ttl for _, ttl in found))
        return result

    async def _ask(self, provider: Provider, address: Address, budget: Budget) -> tuple[Listing | None, float]:
        reading, ttl = await provider.look_up(address, budget)
        if reading.outcome is not Outcome.LISTED:
            return None, ttl
        wanted = provider.settings.kind == "block" and "{reason}" in provider.settings.text
        reason = await provider.reason(address, budget) if wanted else ""
        return Listing(provider.settings, reading.address, reason), ttl

    def _keep(self, address: str, listings: Listings, ttl: float) -> None:
        seconds = min(max(ttl, LEAST_TIME), LONGEST_TIME) if ttl else INCOMPLETE_TIME
        self._kept.pop(address, None)
        self._kept[address] = (clock.monotonic() + seconds, listings)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
