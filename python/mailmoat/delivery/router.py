"""Which destination each recipient has (RFC 5321 5).

A router is asked for each recipient of a message and opens the destinations it needs. It returns the same destination for the same message
and recipient as long as that is not dropped: the queue relies on that to find the recipients of a group again.

Destinations of routes by MX are made on demand, one for each domain, and dropped when nothing is at them, so that a million domains cost
nothing for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from mailmoat.delivery.route import destination_names, redirected_route
from mailmoat.delivery.tls_policy import tls_optional_policy, tls_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Message, Outcome, Recipient
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.route import Route, RouteTable

TLS_OPTIONAL: Final = " TLS optional"
"""What the name of a destination for messages with `TLS-Required: No` ends in."""

MOST_REDIRECTS: Final = 1000
"""Next hops of an administrator that are remembered."""


class Router(Protocol):
    """Finds destinations."""

    @property
    def destinations(self) -> Sequence[Destination]:
        """Those that are open."""

    @property
    def default(self) -> Destination | None:
        """Where recipients go that no route names; None where that depends on their domain, or nothing is configured."""

    def __call__(self, recipient: Recipient, message: Message) -> Destination | None:
        """Return where a recipient of a message goes; None when nothing is configured for it.

        Then it is deferred, not failed.
        """

    def passed_on(self, route: Route, message: Message, failed: Sequence[Outcome]) -> frozenset[int]:
        """Return the places of recipients that a server has just failed by `route` and that go to another destination instead of a report."""

    def destination(self, name: str) -> Destination | None:
        """Return the destination of this name, opened again if need be; None when no route has it any more."""

    def drop(self, destination: Destination) -> None:
        """Forget a destination at which nothing is, if another one can take its place when it is asked for again."""


class Open(Protocol):
    """Opens a destination."""

    def __call__(self, name: str, route: Route, domain: str, *, tls_optional: bool) -> Destination:
        """Return a new one: see `Opener.open`."""


class RoutingRouter:
    """Finds destinations by the routes of the settings."""

    def __init__(self, table: RouteTable, open_: Open) -> None:
        """Open the destinations of all routes whose next hop does not depend on the domain."""
        self._table = table
        self._open_destination = open_
        self._names = destination_names(table)
        self._open: dict[str, Destination] = {}
        self._usual: dict[Route, Destination] = {}
        self._optional: dict[Route, Destination] = {}
        for route in table.all:
            if route.next_hop is not None and route.next_hop.kind != "mx":
                self._open_fixed(route)
        self.default = self._usual.get(table.default)
        self._redirects: dict[str, Route | None] = {}
        # Where there is one next hop, nothing has to be looked up.
        self._single = not table.routes and (table.default.next_hop is None or self.default is not None)
        self._fixed = tuple(self._open.values())

    @property
    def destinations(self) -> Sequence[Destination]:
        """Those that are open."""
        return self._fixed if len(self._fixed) == len(self._open) else tuple(self._open.values())

    def __call__(self, recipient: Recipient, message: Message) -> Destination | None:
        """Return where a recipient of a message goes; None when nothing is configured for it."""
        if recipient.next_hop_fixed:
            return self._redirected(recipient, message)
        if self._single:
            if self._optional and message.is_tls_optional:
                return self._optional[self._table.default]
            return self.default
        domain = recipient.address.rpartition("@")[2]
        route = self._table.find(domain)
        if route in self._usual:
            usual = self._usual[route]
            return self._optional.get(route, usual) if message.is_tls_optional else usual
        return self._by_domain(route, domain, tls_optional=_may_do_without(route) and message.is_tls_optional)

    def passed_on(self, route: Route, message: Message, failed: Sequence[Outcome]) -> frozenset[int]:  # noqa: ARG002 - see `Router`
        """Return nobody: each recipient has one destination."""
        return frozenset()

    def destination(self, name: str) -> Destination | None:
        """Return the destination of this name, opened again if need be; None when no route has it any more."""
        if name in self._open or not name:
            return self._open.get(name)
        for route in self._table.all:
            written = f"{self._names[route]} "
            if route.next_hop is not None and route.next_hop.kind == "mx" and name.startswith(written):
                domain = name.removeprefix(written).removesuffix(TLS_OPTIONAL)
                if domain and " " not in domain and self._table.find(domain) is route:
                    return self._by_domain(route, domain, tls_optional=name.endswith(TLS_OPTIONAL))
        return None

    def drop(self, destination: Destination) -> None:
        """Forget a destination of a route by MX."""
        if destination not in self._fixed:
            self._open.pop(destination.name, None)
            destination.transport.close()

    def _redirected(self, recipient: Recipient, message: Message) -> Destination | None:
        """Return where a recipient goes that an administrator has sent elsewhere; None when no server can be meant (any more)."""
        text = recipient.next_hop_fixed
        if text not in self._redirects:
            if len(self._redirects) >= MOST_REDIRECTS:
                self._redirects.clear()
            try:
                self._redirects[text] = redirected_route(self._table.default.settings, text)
            except ValueError:
                self._redirects[text] = None
        route = self._redirects[text]
        if route is None or route.next_hop is None:
            return None
        domain = recipient.address.rpartition("@")[2] if route.next_hop.kind == "mx" else ""
        is_optional = _may_do_without(route) and message.is_tls_optional
        return self._at(str(route.next_hop), route, domain, tls_optional=is_optional)

    def _by_domain(self, route: Route, domain: str, *, tls_optional: bool) -> Destination | None:
        if route.next_hop is None:
            return None
        return self._at(self._names[route], route, domain, tls_optional=tls_optional)

    def _at(self, hop: str, route: Route, domain: str, *, tls_optional: bool) -> Destination:
        """Return a destination that is made on demand."""
        name = f"{hop}{' ' * bool(domain)}{domain}{TLS_OPTIONAL * tls_optional}"
        if name not in self._open:
            self._open[name] = self._open_destination(name, route, domain, tls_optional=tls_optional)
        return self._open[name]

    def _open_fixed(self, route: Route) -> None:
        """Open the destinations of a route, unless another one has the same already: the same next hop with the same settings."""
        name = self._names[route]
        for optional, into in ((False, self._usual), (True, self._optional)):
            if optional and not _may_do_without(route):
                continue
            key = name + TLS_OPTIONAL * optional
            if key not in self._open:
                self._open[key] = self._open_destination(key, route, "", tls_optional=optional)
            into[route] = self._open[key]


def _may_do_without(route: Route) -> bool:
    """Return whether messages with `TLS-Required: No` are treated otherwise than others."""
    if route.next_hop is None:
        return False
    settings = route.settings
    if route.next_hop.kind == "mx":
        return settings.tls_optional
    return any(
        tls_optional_policy(server, settings) != tls_policy(server, settings) for server in route.next_hop.servers
    )
