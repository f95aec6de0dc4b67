"""Which route each recipient has, as values: from `[delivery]`, the default, and `[[routes]]` (RFC 5321 5).

Pure: no name is looked up, nothing is opened. Domains are compared in the form of envelope addresses: small letters and A-labels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from mailmoat.settings.sections.routes import EVERY_DOMAIN, in_common, merged, redirected
from mailmoat.settings.source_url import NEXT_HOP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailmoat.settings import NextHop, Settings
    from mailmoat.settings.sections.delivery import DeliverySettings, NextHopSettings

DEFAULT_ROUTE: Final = "default"
"""Name of the route of `[delivery]`."""
CALLOUTS_SHARE: Final = 4
"""Where a next hop is asked for recipients, one of so many connections is for that; messages have the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A next hop and all that delivery needs there."""

    name: str
    """For the log: `default`, or the first of its domains; no other route has it."""
    settings: NextHopSettings = field(repr=False)
    """The other settings that hold there: TLS, account, times."""
    domains: tuple[str, ...] = ()
    """Patterns of domains; none for the default route."""
    asked: bool = False
    """Its next hop is asked for recipients: see `mailmoat.callout`."""

    def pattern_of(self, domain: str) -> str:
        """Return the first of its patterns that has a domain; empty where none has."""
        return next((pattern for pattern in self.domains if covers(pattern, domain)), "")

    @property
    def next_hop(self) -> NextHop | None:
        """Where its messages go; None where nothing is configured."""
        return self.settings.next_hop

    @property
    def retry(self) -> tuple[float, ...]:
        """Waits between the attempts, in seconds; the last one repeats."""
        return self.settings.retry

    @property
    def expire(self) -> float:
        """Age in seconds at which a message is given up."""
        return self.settings.expire

    @property
    def delay_report(self) -> float:
        """Age in seconds at which the sender gets a report of the delay; 0 for never."""
        return self.settings.delay_report

    @property
    def connections(self) -> int:
        """Most connections for messages to the next hop at the same time."""
        most = self.settings.connections
        return max(1, most - self.connections_for_callouts) if self.asked else most

    @property
    def connections_for_callouts(self) -> int:
        """Most connections that ask the next hop for recipients; where `connections` is 1, there is one beside it."""
        return max(1, self.settings.connections // CALLOUTS_SHARE)


def covers(pattern: str, domain: str) -> bool:
    """Return whether a pattern has a domain."""
    return pattern in {EVERY_DOMAIN, domain} or (
        pattern.startswith(".") and domain.endswith(pattern) and domain != pattern
    )


def default_route(settings: DeliverySettings) -> Route:
    """Return the route of recipients that no other one has."""
    return Route(DEFAULT_ROUTE, in_common(settings))


def redirected_route(settings: NextHopSettings, next_hop: str) -> Route:
    """Return the route of recipients that an administrator has redirected to a next hop, where that of `[delivery]` has these settings.

    ValueError when it is no next hop, or cannot have what the settings ask for.
    """
    return Route(next_hop, redirected(settings, next_hop))


class RouteTable:
    """The routes, found by the domain of a recipient. The first that has a domain counts, whichever kind of pattern it has."""

    def __init__(self, routes: Iterable[Route], default: Route) -> None:
        self.routes = tuple(routes)
        self.default = default
        # Each with its number: the smallest wins.
        self._exact: dict[str, int] = {}
        self._below: dict[str, int] = {}
        self._every: int | None = None
        for number, route in enumerate(self.routes):
            for pattern in route.domains:
                if pattern == EVERY_DOMAIN:
                    self._every = number if self._every is None else self._every
                elif pattern.startswith("."):
                    self._below.setdefault(pattern[1:], number)
                else:
                    self._exact.setdefault(pattern, number)

    def find(self, domain: str) -> Route:
        """Return the route of a domain, that of an address; the default one where no other has it."""
        first = self._first(domain, self._exact) if self.routes else None
        return self.default if first is None else self.routes[first]

    def number_of(self, pattern: str) -> int | None:
        """Return the place of the first route that has all domains of a pattern, from 0; None where none has."""
        if pattern == EVERY_DOMAIN:
            return self._every
        if pattern.startswith("."):
            return self._first(f"all{pattern}", {})
        return self._first(pattern, self._exact)

    def _first(self, domain: str, exact: dict[str, int]) -> int | None:
        found = [self._every, exact.get(domain)]
        above = domain.partition(".")[2] if self._below else ""
        while above:
            found.append(self._below.get(above))
            above = above.partition(".")[2]
        return min((number for number in found if number is not None), default=None)

    @property
    def described(self) -> tuple[str, ...]:
        """Each route as `domains: next hop`, in the order in which they count."""
        hops = (str(route.next_hop or "no next hop") for route in self.all)
        domains = (", ".join(route.domains) or "no domains" for route in self.routes)
        others = "all other domains" if self.routes else "all domains"
        return tuple(f"{whose}: {hop}" for whose, hop in zip((*domains, others), hops, strict=True))

    @property
    def all(self) -> tuple[Route, ...]:
        """Every route, the default one last."""
        return (*self.routes, self.default)


def route_table(settings: Settings) -> RouteTable:
    """Return the routes of the settings."""
    table = RouteTable(_routes(settings), default_route(settings.delivery))
    rows = [row for row in settings.directories if row.url.family == NEXT_HOP]
    asked = {table.find(domain) for row in rows for domain in row.domains or settings.relay.local_domains}
    if not asked:
        return table
    names = destination_names(table)
    asked_names = {names[route] for route in asked}  # routes with the same settings have their connections in common
    default, *routes = (replace(route, asked=names[route] in asked_names) for route in (table.default, *table.routes))
    return RouteTable(routes, default)


def _routes(settings: Settings) -> Iterator[Route]:
    names: set[str] = {DEFAULT_ROUTE}
    for number, row in enumerate(settings.routes, 1):
        first = row.domains[0] if row.domains else f"routes[{number}]"
        name = f"{first} #{number}" if first in names else first
        names.add(name)
        yield Route(name, merged(settings.delivery, row), row.domains)


def destination_names(table: RouteTable) -> dict[Route, str]:
    """Return the name of each route's destinations: its next hop as it is written, with a number where routes to it differ in settings.

    The default route's has no number, as it had none when it was the only one.
    """
    names: dict[Route, str] = {}
    known: list[tuple[object, str]] = []
    count: Counter[str] = Counter()
    for route in (table.default, *table.routes):
        named = next((name for settings, name in known if settings == route.settings), None)
        if named is None:
            text = str(route.next_hop)
            count[text] += 1
            named = text if count[text] == 1 else f"{text} ({route.name})"
            known.append((route.settings, named))
        names[route] = named
    return names
