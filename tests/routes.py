"""Routes and next hops for tests: what the settings would make."""

from __future__ import annotations

from mailmoat.delivery.hosts import FixedHosts
from mailmoat.delivery.pool import Pool
from mailmoat.delivery.route import Route, default_route, route_table
from mailmoat.delivery.router import RoutingRouter
from mailmoat.delivery.tls_policy import TlsPolicy
from mailmoat.settings import Settings
from mailmoat.settings.next_hop import Server
from mailmoat.settings.sections.delivery import DeliverySettings


def a_route(**settings: object) -> Route:
    """Return a default route with these settings of `[delivery]`."""
    return default_route(DeliverySettings(**settings))


def no_routes() -> RoutingRouter:
    """Return the router of a server without a next hop, which opens nothing."""
    return RoutingRouter(route_table(Settings(hostname="mx.a.test")), None)


def server_of(hop) -> Server:
    """Return the server that a double of a next hop is."""
    path = getattr(hop, "path", None)
    return Server(hop.kind, "", 0, path) if path is not None else Server(hop.kind, hop.host, hop.port)


def list_pool(loop, ranks, settings, helo_name, timers, **more) -> Pool:
    """Return a pool to a list of servers, doubles of next hops by rank."""
    servers = [[server_of(hop) for hop in rank] for rank in ranks]
    name = ", ".join(" | ".join(map(str, rank)) for rank in servers)
    return Pool(
        loop, name, FixedHosts(servers, lambda _: TlsPolicy()), settings, helo_name=helo_name, timers=timers, **more
    )


def pool_of(loop, hop, settings, helo_name, timers, *, policy: TlsPolicy | None = None, **more) -> Pool:
    """Return a pool to one server, the double of a next hop."""
    server = server_of(hop)
    return Pool(
        loop,
        server.place,
        FixedHosts([[server]], lambda _: policy or TlsPolicy()),
        settings,
        helo_name=helo_name,
        timers=timers,
        **more,
    )
