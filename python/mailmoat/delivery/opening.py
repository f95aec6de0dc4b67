"""Opens destinations: the transport that a route asks for, with its servers, TLS, account and limits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailmoat._native import NextHopShare
from mailmoat.delivery.allowance import Allowance
from mailmoat.delivery.destination import Destination
from mailmoat.delivery.discard import DiscardTransport, UnroutedTransport
from mailmoat.delivery.hosts import FixedHosts
from mailmoat.delivery.maildir import MaildirTransport
from mailmoat.delivery.offers import FILE_NAME, Learned, file_name_of
from mailmoat.delivery.pool import Pool
from mailmoat.delivery.route import DEFAULT_ROUTE
from mailmoat.delivery.security import security_of
from mailmoat.delivery.tls_policy import tls_optional_policy, tls_policy

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mailmoat.delivery.allowance import WorkerConnections
    from mailmoat.delivery.hosts import Hosts
    from mailmoat.delivery.marks import Marks
    from mailmoat.delivery.mx_routing import MxRouting
    from mailmoat.delivery.offers import Offers
    from mailmoat.delivery.route import Route
    from mailmoat.delivery.transport import Transport
    from mailmoat.metrics import Metrics
    from mailmoat.runtime.timers import Timers
    from mailmoat.settings import NextHop, Settings


class Opener:
    """Opens the destinations of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        *,
        timers: Timers,
        metrics: Metrics,
        connections: WorkerConnections,
        offered: Callable[[str, Offers], None],
        mx: MxRouting | None = None,
        marks: Marks | None = None,
    ) -> None:
        """Take what all destinations have in common; `offered` is called with the name of a destination and whatever is new in what its next hop offers.

        `mx`: None where no route goes by MX records. `marks`: None where nothing is signed.
        """
        self._loop = loop
        self._settings = settings
        self._timers = timers
        self._metrics = metrics
        self._connections = connections
        self._offered = offered
        self._marks = marks
        self._mx = mx

    def open(self, name: str, route: Route, domain: str, *, tls_optional: bool) -> Destination:
        """Return a destination for messages of a route, where its next hop is `mx` to recipients of a domain.

        `tls_optional`: for messages with `TLS-Required: No`. Those are a destination of their own, so that a next hop without TLS is away for other messages alone. Nothing is learned
        from it: in clear there may be other offers.
        """
        next_hop = route.next_hop
        learned = None
        if next_hop is None:
            transport: Transport = UnroutedTransport(self._loop)
        elif next_hop.path is not None:
            transport = MaildirTransport(self._loop, next_hop.path, self._settings.hostname)
        elif next_hop.kind == "discard":
            transport = DiscardTransport(self._loop)
        else:
            if next_hop.kind == "servers" and not tls_optional:
                file = FILE_NAME if route.name == DEFAULT_ROUTE else file_name_of(name)
                changed = partial(self._offered, name)
                learned = Learned(self._settings.spool_dir, name, changed, file_name=file)
            hosts = self._hosts(next_hop, route, domain, tls_optional=tls_optional)
            transport = self._pool(name, next_hop, route, hosts, learned)
        return Destination(name, transport, route, learned)

    def _hosts(self, next_hop: NextHop, route: Route, domain: str, *, tls_optional: bool) -> Hosts:
        if next_hop.kind == "mx" and self._mx is not None:
            return self._mx.hosts(domain, route.settings, tls_optional=tls_optional)
        policy = tls_optional_policy if tls_optional else tls_policy
        return FixedHosts(next_hop.ranks, partial(policy, settings=route.settings))

    def _pool(self, name: str, next_hop: NextHop, route: Route, hosts: Hosts, learned: Learned | None) -> Pool:
        shared = self._mx.handshakes if next_hop.kind == "mx" and self._mx is not None else None
        return Pool(
            self._loop,
            str(next_hop),
            hosts,
            route.settings,
            helo_name=self._settings.hostname,
            timers=self._timers,
            learned=learned.learn if learned is not None else lambda *_: None,
            security=security_of(next_hop, route.settings, self._metrics, shared),
            allowance=self._allowance(name, route),
            mark=self._marks.of(next_hop, route.settings.bounce_tags) if self._marks is not None else None,
        )

    def _allowance(self, name: str, route: Route) -> Allowance:
        rate = route.settings.rate
        plain = None if rate is None else (rate.count, float(rate.seconds), rate.burst)
        share = NextHopShare(self._metrics.shared, self._metrics.slot, name, route.connections, plain)
        return Allowance(share, self._connections)


def no_destination(loop: asyncio.AbstractEventLoop, route: Route) -> Destination:
    """Return the destination of recipients that have no next hop: they wait as for one that is down."""
    return Destination("", UnroutedTransport(loop), route)
