"""How many connections a worker may have open: the descriptors that all other parts leave.

Counted are those open when the worker begins to serve, and the most that each part may open later: a content file that is received
(the files beyond `_native.OPEN_CONTENT_FILES` are opened for one write each), a query to a name server, a connection to the next
hop and the content file sent through it, the adopted partitions. So an accepted connection never lacks a descriptor.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailmoat import _native
from mailmoat.receive.acceptor import A_TURN
from mailmoat.resolver.single_flight import MOST as MOST_QUERIES
from mailmoat.settings.sections.routes import merged

if TYPE_CHECKING:
    from mailmoat.settings import Settings

LEAST: Final = 16
"""Connections a worker has in any case."""
SPARE: Final = 64
"""For adopted partitions (five each), files and directories opened for one step, and queries whether a zone is dead
(`zones.MOST_CHECKS`)."""


def limit() -> int:
    """Return the number of descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most_queries() -> int:
    """Return the number of DNS queries at the same time: an eighth of the descriptors at most."""
    return min(MOST_QUERIES, limit() // 8)


def most_outgoing(settings: Settings) -> int:
    """Return the number of connections to next hops at the same time: those of all routes, a quarter of the descriptors at most.

    Where a next hop is `mx` there may be any number of them.
    """
    most = limit() // 4
    rows = [merged(settings.delivery, row) for row in settings.routes]
    hops = [settings.delivery, *rows]
    if any(hop.next_hop is not None and hop.next_hop.kind == "mx" for hop in hops):
        return most
    # Where TLS is required, messages with `TLS-Required: No` have connections of their own.
    return min(most, sum(hop.connections * (1 + (hop.tls in {"encrypt", "verify", "dane"})) for hop in hops))


def most_connections(settings: Settings, *, asks_dns: bool) -> int:
    """Return the number of connections of a worker; call this when everything else that it needs is open."""
    used = sum(1 for _ in Path("/proc/self/fd").iterdir())
    elsewhere = _native.OPEN_CONTENT_FILES + 2 * most_outgoing(settings) + SPARE
    elsewhere += most_queries() if asks_dns else 0
    elsewhere += 2 * A_TURN * len(settings.listen)
    return max(LEAST, limit() - used - elsewhere)
