"""Which servers a connection is tried at, and in which order.

The dialler asks for each connection anew, and the answer may differ each time: servers may have been away, weights are random, MX records change.
Never raises for what the network or the resolver does: that is a refusal for what waits, or no address.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.delivery.tls_policy import TlsPolicy
from mailmoat.growing_pause import next_pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from mailmoat._native import Client
    from mailmoat.mx.refusal import Refusal
    from mailmoat.settings.next_hop import Server

FIRST_ABSENCE: Final = 5.0
LONGEST_ABSENCE: Final = 60.0
"""Seconds for which a server that could not be reached is tried after all others."""
GRAINS: Final = 1 << 30
"""Steps of a chance from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Host:
    """A server, and what is asked of TLS there."""

    name: str
    """As in the settings or the MX record: a name, or an address without brackets; empty at a Unix socket."""
    port: int
    addresses: tuple[str, ...] = ()
    """Numeric, in the order in which they are tried. None: the system's resolver is asked for them when its turn comes."""
    tls: TlsPolicy = field(default_factory=TlsPolicy)
    lmtp: bool = False
    socket: Path | None = None
    """The Unix socket that takes the place of addresses and port."""

    @property
    def found_as(self) -> str:
        """The name under which the DNS has it for a domain, for the log; empty for a server of the settings."""
        return ""


class Hosts(ABC):
    """The servers of one destination."""

    @abstractmethod
    async def find(self) -> Sequence[Host] | Refusal:
        """Return those to try, the best first, or why there are none."""

    def tried(self, host: Host, address: str, client: Client) -> None:  # noqa: B027 - of no concern to some
        """Note how the setup of a connection to an address ended, as its client machine has it: TLS, offers or a refusal."""

    def reached(self, host: Host) -> None:  # noqa: B027 - of no concern to some
        """Note a connection that is ready; `left` follows when it ends."""

    def left(self, host: Host) -> None:  # noqa: B027 - of no concern to some
        """Note the end of a connection."""

    def away(self, host: Host) -> None:  # noqa: B027 - of no concern to some
        """Note that no connection came about at any address of a server."""

    def is_outranked(self, host: Host) -> bool:  # noqa: ARG002 - of servers that differ in nothing
        """Return whether a better server than this is in use, so that its connections are given up."""
        return False

    def returns_in(self) -> float | None:
        """Return the seconds until a better server than those in use may be back; None while the best is in use, or none is."""
        return None


class FixedHosts(Hosts):
    """Servers that the settings list: by rank, those of one rank by weight.

    One that could not be reached is tried after all others for a while; then one connection tries whether it is back. As long as a rank
    has a connection, no later one is used: a server that refuses one connection more is not away.
    """

    def __init__(
        self,
        ranks: Iterable[Iterable[Server]],
        policy: Callable[[Server], TlsPolicy],
        chance: Callable[[], float] = lambda: clock.random_below(GRAINS) / GRAINS,
    ) -> None:
        """Take the servers of each rank; `policy` says what is asked of TLS at one; `chance` gives numbers in [0, 1)."""
        self._ranks = [[(_host(server, policy(server)), server.weight) for server in rank] for rank in ranks]
        self._chance = chance
        self._absences: dict[Host, tuple[float, float]] = {}
        """Until when a server counts as away, and for how long it did."""
        self._open: dict[Host, int] = {}
        self._rank = {host: rank for rank, hosts in enumerate(self._ranks) for host, _ in hosts}

    async def find(self) -> Sequence[Host] | Refusal:
        """Return the servers in the order for one connection."""
        now = clock.monotonic()
        present: list[Host] = []
        away: list[Host] = []
        for rank in self._ranks:
            for host in self._shuffled(rank):
                until, seconds = self._absences.get(host, (0.0, 0.0))
                (away if until > now else present).append(host)
                if 0 < until <= now:  # for this connection alone
                    self._absences[host] = now + seconds, seconds
            if any(host in self._open for host, _ in rank):
                break
        return present + away

    def reached(self, host: Host) -> None:
        """Note a connection that is ready; `left` follows when it ends."""
        self._absences.pop(host, None)
        self._open[host] = self._open.get(host, 0) + 1

    def left(self, host: Host) -> None:
        """Note the end of a connection."""
        count = self._open.pop(host, 0) - 1
        if count > 0:
            self._open[host] = count

    def away(self, host: Host) -> None:
        """Note that no connection came about at any address of a server."""
        if host not in self._open:
            _, seconds = self._absences.get(host, (0.0, 0.0))
            seconds = next_pause(seconds, FIRST_ABSENCE, LONGEST_ABSENCE)
            self._absences[host] = clock.monotonic() + seconds, seconds

    def is_outranked(self, host: Host) -> bool:
        """Return whether a better server than this is in use, so that its connections are given up."""
        rank = self._rank[host]
        return rank > 0 and any(self._rank[other] < rank for other in self._open)

    def returns_in(self) -> float | None:
        """Return the seconds until a better server than those in use may be back; None while the best is in use, or none is."""
        best = min((self._rank[host] for host in self._open), default=0)
        if best == 0:
            return None
        better = (host for host, rank in self._rank.items() if rank < best)
        return max(0.0, min(self._absences.get(host, (0.0, 0.0))[0] for host in better) - clock.monotonic())

    def _shuffled(self, rank: list[tuple[Host, int]]) -> list[Host]:
        """Return the servers of a rank in a random order in which each is first by its weight."""
        if len(rank) == 1:
            return [rank[0][0]]
        # The smallest of exponentially distributed numbers falls to each in proportion to its rate.
        return [host for host, weight in sorted(rank, key=lambda each: -((1 - self._chance()) ** (1 / each[1])))]


def _host(server: Server, policy: TlsPolicy) -> Host:
    return Host(server.host, server.port, tls=policy, lmtp=server.scheme == "lmtp", socket=server.socket)
