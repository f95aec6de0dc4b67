"""What callouts have shown about domains: which addresses the next hop accepts, and whether what it says of others means anything.

A next hop that accepts an address that cannot exist accepts every address; one that accepts an address and refuses the message for it later
does the same in effect. Its refusals still count. Those of one that refuses all addresses which it has accepted before do not, nor those of one that has accepted
none yet and refuses postmaster: it has lost its recipients, or refuses us. Bounded: the domain of which nothing was heard for longest is forgotten. Pure but for the clock and the log.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.events import Event

if TYPE_CHECKING:
    from collections.abc import Collection

MOST: Final = 10_000
TEST_TIME: Final = 3600.0
"""Seconds between two tests of a domain with an address that cannot exist."""
LATE_TIME: Final = 86_400.0
"""Seconds after a late refusal in which positive answers mean nothing."""
LOST_TIME: Final = 86_400.0
"""Seconds in which no refusal counts after all addresses were refused that were accepted before. Then they are taken for removed."""
WITNESSES: Final = 3
"""Addresses of a domain that are remembered because they were accepted."""


class Doubt(StrEnum):
    """Why answers mean nothing: the reason in the log, in metrics and in health."""

    ACCEPTS_ALL = "accepts-every-address"
    REJECTS_LATE = "rejects-late"
    LOST = "refuses-known-addresses"
    NO_POSTMASTER = "refuses-postmaster"


@dataclass(slots=True)
class _Domain:
    witnesses: tuple[str, ...] = ()
    accepted_at: float = -inf
    lost_at: float = inf
    no_postmaster: bool = False
    tested_until: float = -inf
    accepts_all: bool = False
    late_until: float = -inf
    logged: Doubt | None = None


class Domains:
    """The domains of one source."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._kept: OrderedDict[str, _Domain] = OrderedDict()

    def accepted(self, domain: str, address: str, next_hop: str) -> None:
        """Record that an address of the domain was accepted."""
        kept = self._of(domain)
        kept.accepted_at = clock.monotonic()
        if kept.witnesses[:1] != (address,):
            kept.witnesses = (address, *(one for one in kept.witnesses if one != address))[:WITNESSES]
        if kept.lost_at < inf or kept.no_postmaster:
            kept.lost_at, kept.no_postmaster = inf, False
            self._log(domain, next_hop)

    def accepted_since(self, domain: str, moment: float) -> bool:
        """Return whether an address of the domain was accepted at this monotonic second or later."""
        return self._of(domain).accepted_at >= moment

    def witnesses(self, domain: str) -> tuple[str, ...]:
        """Return the addresses of the domain that were accepted last."""
        return self._of(domain).witnesses

    def removed(self, domain: str, addresses: Collection[str]) -> None:
        """Forget witnesses that are refused while others are accepted."""
        kept = self._of(domain)
        kept.witnesses = tuple(one for one in kept.witnesses if one not in addresses)

    def lost(self, domain: str, next_hop: str) -> None:
        """Record that all witnesses are refused."""
        kept, now = self._of(domain), clock.monotonic()
        kept.lost_at = min(kept.lost_at, now)
        if now - kept.lost_at > LOST_TIME:
            kept.lost_at, kept.witnesses = inf, ()
        self._log(domain, next_hop)

    def refuses_postmaster(self, domain: str, next_hop: str) -> None:
        """Record that postmaster is refused, and no address was ever accepted."""
        self._of(domain).no_postmaster = True
        self._log(domain, next_hop)

    def needs_test(self, domain: str) -> bool:
        """Return whether it is time to ask for an address that cannot exist; the next time is later then."""
        kept, now = self._of(domain), clock.monotonic()
        if kept.tested_until > now:
            return False
        kept.tested_until = now + TEST_TIME
        return True

    def tested(self, domain: str, next_hop: str, *, accepted: bool) -> None:
        """Record how such an address was answered."""
        self._of(domain).accepts_all = accepted
        self._log(domain, next_hop)

    def refused_late(self, domain: str, next_hop: str) -> None:
        """Record that the next hop refused a message for an address that it had accepted."""
        self._of(domain).late_until = clock.monotonic() + LATE_TIME
        self._log(domain, next_hop)

    def doubt(self, domain: str) -> Doubt | None:
        """Return why answers mean nothing at this domain; None when they do mean something."""
        kept = self._of(domain)
        if kept.lost_at < inf:
            return Doubt.LOST
        if kept.no_postmaster:
            return Doubt.NO_POSTMASTER
        if kept.accepts_all:
            return Doubt.ACCEPTS_ALL
        return Doubt.REJECTS_LATE if kept.late_until > clock.monotonic() else None

    @property
    def doubts(self) -> dict[str, Doubt]:
        """The domains at which answers mean nothing, and why."""
        found = {domain: self.doubt(domain) for domain in tuple(self._kept)}
        return {domain: doubt for domain, doubt in found.items() if doubt is not None}

    def _of(self, domain: str) -> _Domain:
        kept = self._kept.get(domain)
        if kept is None:
            kept = self._kept[domain] = _Domain()
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(domain)
        return kept

    def _log(self, domain: str, next_hop: str) -> None:
        """Log a doubt once, and its end."""
        kept, doubt = self._of(domain), self.doubt(domain)
        if doubt is kept.logged:
            return
        kept.logged = doubt
        if doubt is None:
            maillog.event(Event.CALLOUT_CONCLUSIVE, source=self._source, domain=domain, next_hop=next_hop)
        else:
            maillog.event(
                Event.CALLOUT_INCONCLUSIVE, source=self._source, domain=domain, next_hop=next_hop, reason=doubt
            )
