"""What the next hops of all routes take: what is offered to clients, and what is answered for one recipient.

A client can convert a message for a server without 8BITMIME or BINARYMIME, so these are offered only where every next hop takes them (RFC 6152 3,
RFC 3030 3). It cannot make a message smaller or an address ASCII: SIZE and SMTPUTF8 are offered as the widest next hop has them, and a
recipient whose own next hop takes less is refused at RCPT. What shows only in the content becomes a report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.delivery.offers import ANY_TEXT, Offers
from mailmoat.delivery.route import destination_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.delivery.route import Route, RouteTable


class RouteOffers:
    """The offers by route, as far as they are known; `changed` is called with what follows for clients."""

    def __init__(self, table: RouteTable, changed: Callable[[Offers], None]) -> None:
        self._table = table
        self._changed = changed
        self._names = destination_names(table)
        self._offers = {name: _before(route) for route, name in self._names.items()}
        self._common: Offers | None = None

    def learn(self, destination: str, offers: Offers) -> None:
        """Take what the next hop of a destination offers, given by the name of the destination."""
        if destination in self._offers:
            self._offers[destination] = offers
            self.publish()

    def publish(self) -> None:
        """Call `changed` if something else follows for clients than before."""
        common = self.common
        if common != self._common:
            self._common = common
            self._changed(common)

    @property
    def common(self) -> Offers:
        """What is offered to clients."""
        # Without a next hop of its own the default counts only where there is nothing else.
        used = [name for route, name in self._names.items() if route.next_hop is not None or not self._table.routes]
        all_ = [self._offers[name] for name in dict.fromkeys(used)]
        eight_bit = all(offers.eight_bit for offers in all_)
        sizes = [offers.size for offers in all_]
        return Offers(
            eight_bit=eight_bit,
            smtputf8=eight_bit and any(offers.smtputf8 for offers in all_),
            size=0 if 0 in sizes else max(sizes),
            binary=all(offers.binary for offers in all_),
        )

    def of(self, domain: str) -> Offers:
        """Return what the next hop of a recipient's domain offers."""
        return self._offers[self._names[self._table.find(domain)]]


def _before(route: Route) -> Offers:
    """Return what is assumed of a next hop before anything is known."""
    is_local = route.next_hop is not None and route.next_hop.is_local
    return Offers(binary=True) if is_local else ANY_TEXT  # nothing is lost where nothing is sent on
