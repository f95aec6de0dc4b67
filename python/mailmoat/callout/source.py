"""The next hop as a live source of recipients: MAIL FROM:<>, RCPT and RSET at the route of the address, never more.

The connections are those of delivery in kind (servers, ranks, TLS, account) and a part of them in number: they are kept open between callouts,
and no message is ever sent on them. An address is absent only when the next hop says so of the address itself, and still accepts one
that it accepted before, or postmaster; a next hop that refuses the null sender, does not answer, or refuses for another reason leaves it unknown.
Once in a while, a domain is tested with an address that cannot exist: see `domains`.

A local part that the next hop may read as an address elsewhere is absent without a callout: that the next hop takes it shows no mailbox.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.callout.attempt import ask
from mailmoat.callout.connections import SharedAllowance
from mailmoat.callout.domains import Domains, Doubt
from mailmoat.callout.judgement import Judgement, is_unknown_recipient, needs_smtputf8
from mailmoat.callout.proofs import Proofs
from mailmoat.delivery.allowance import WorkerConnections
from mailmoat.delivery.hosts import FixedHosts
from mailmoat.delivery.pool import Pool
from mailmoat.delivery.route import destination_names, route_table
from mailmoat.delivery.security import security_of
from mailmoat.delivery.tls_policy import tls_policy
from mailmoat.directory.directory import Presence
from mailmoat.directory.source import LiveAnswer
from mailmoat.errors import LookupFailedError, SourceError
from mailmoat.upstream.cache import Cache, memory

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mailmoat._native import Address
    from mailmoat.delivery.route import Route
    from mailmoat.metrics import Metrics
    from mailmoat.runtime.timers import Timers
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.delivery import NextHopSettings
    from mailmoat.settings.sections.directories import SourceSettings

TEST_NAME: Final = "no-such-mailbox-"
"""What the local part of an address that cannot exist begins with; a random number follows."""
_RANDOM: Final = 1 << 64
ANSWER_TIME: Final = 30.0
"""Seconds in which an answer is of use though nobody waits for it any more: servers hold refusals, as our tar pit does, and greetings."""
_LATE_OCTETS: Final = 1 << 20
"""Memory for addresses that were refused late."""


@dataclass(frozen=True)
class _Limits:
    """What the pool needs of settings: those of the route, within the time for one callout."""

    connections: int
    connect_time: float
    greeting_time: float
    handshake_time: float
    mail_time: float
    rcpt_time: float
    data_time: float
    block_time: float
    end_of_data_time: float
    idle_time: float
    xclient: bool = False
    chunking: bool = False


def answer_time(row: SourceSettings) -> float:
    """Return the seconds after which a question is given up."""
    return max(row.timeout, ANSWER_TIME)


def _limits(settings: NextHopSettings, row: SourceSettings, connections: int) -> _Limits:
    names = ("greeting", "handshake", "mail", "rcpt", "data", "block", "end_of_data")
    times = {f"{name}_time": min(getattr(settings, f"{name}_time"), answer_time(row)) for name in names}
    connect_time = min(settings.connect_time, row.timeout)  # or another server would be tried too late
    return _Limits(connections, connect_time, idle_time=settings.idle_time, **times)


class NextHopSource:
    """A `LiveSource`: the next hops of the routes, for one row that is merged with `[directory]`."""

    def __init__(
        self,
        settings: Settings,
        row: SourceSettings,
        timers: Timers,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings, self._row, self._timers, self._metrics = settings, row, timers, metrics
        self._loop = asyncio.get_running_loop()
        self._table = route_table(settings)
        self._names = destination_names(self._table)
        self._room = {name: route.connections_for_callouts for route, name in self._names.items()}
        self._pools: dict[str, Pool] = {}
        self._tests: set[asyncio.Task[None]] = set()
        self._connections, self._allowances = WorkerConnections(row.concurrency), list[SharedAllowance]()
        self._late: Cache[str, str] = Cache(_LATE_OCTETS, lambda address, reply: memory((address, reply)))
        """Addresses that were accepted, and messages for them refused, with the reply."""
        self.domains = Domains(row.name)
        self._proofs = Proofs(self.domains)

    async def lookup(self, address: Address) -> LiveAnswer:
        """Return whether the next hop accepts an address. SourceError when it cannot be asked."""
        if address.may_route:
            return LiveAnswer(Presence.ABSENT, entry="the next hop may read it as an address elsewhere")
        route = self._table.find(address.domain)
        pool = self._pool(route)
        if pool is None:
            return LiveAnswer(Presence.UNKNOWN, entry=f"{route.next_hop or 'no next hop'} cannot be asked")
        judgement, reply = await ask(pool, str(address))
        entry = f"{route.next_hop}: {reply}"
        match judgement:
            case Judgement.EXISTS:
                return self._exists(address, pool, route, entry)
            case Judgement.ABSENT | Judgement.UNPROVEN:
                stands = await self._proofs.stands(address, pool, str(route.next_hop))
                return LiveAnswer(Presence.ABSENT if stands else Presence.UNKNOWN, entry=entry)
            case Judgement.UNSURE:
                nobody_takes = needs_smtputf8(reply) and route.next_hop is not None and len(route.next_hop.servers) == 1
                return LiveAnswer(Presence.ABSENT if nobody_takes else Presence.UNKNOWN, entry=entry)
            case Judgement.BROKEN_OFF:
                raise LookupFailedError(entry)
            case Judgement.OUTAGE:
                raise SourceError(entry)

    def upstream_of(self, address: Address) -> str:
        """Return where an address is asked for: an outage there says nothing of the others."""
        return self._names[self._table.find(address.domain)]

    def room_of(self, upstream: str) -> int:
        """Return how many callouts there can be at the same time: each has a connection."""
        return self._room[upstream]

    def refused_late(self, address: Address, reply: str) -> bool:
        """Take the reply with which a delivery failed to an address that the next hop had accepted; return whether it has to be asked again."""
        if not is_unknown_recipient(reply):
            return False
        route = self._table.find(address.domain)
        pool = self._pool(route)
        if pool is not None:
            self._begin(self._confirm(address, pool, str(route.next_hop), reply))
        return True

    @property
    def remarks(self) -> tuple[str, ...]:
        """What an administrator should know, a sentence each."""
        return tuple(
            f"the next hop of {domain} {_SENTENCES[doubt]}: {_FOLLOWS[doubt]}"
            for domain, doubt in self.domains.doubts.items()
        )

    async def close(self) -> None:
        """End the connections; never raises."""
        for test in self._tests:
            test.cancel()
        self._proofs.close()
        for pool in self._pools.values():
            pool.abort()

    def _exists(self, address: Address, pool: Pool, route: Route, entry: str) -> LiveAnswer:
        domain = address.domain
        if late := self._late.get(str(address), clock.monotonic()):
            return LiveAnswer(Presence.ABSENT, entry=f"{entry}, but for a message: {late}")
        self.domains.accepted(domain, str(address), str(route.next_hop))
        if self.domains.needs_test(domain):
            self._begin(self._test(domain, pool, str(route.next_hop)))
        doubt = self.domains.doubt(domain)
        return LiveAnswer(Presence.EXISTS, entry=entry if doubt is None else f"{entry} ({_SENTENCES[doubt]})")

    def _begin(self, test: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(test)
        self._tests.add(task)
        task.add_done_callback(self._tests.discard)

    async def _confirm(self, address: Address, pool: Pool, next_hop: str, reply: str) -> None:
        """Ask again for an address that a delivery failed to: one that was removed meanwhile is refused now."""
        judgement, _ = await ask(pool, str(address))
        if judgement is Judgement.EXISTS:
            self._late.put(str(address), reply, clock.monotonic() + self._row.absent_cache_time)
            self.domains.refused_late(address.domain, next_hop)

    async def _test(self, domain: str, pool: Pool, next_hop: str) -> None:
        """Ask for an address that cannot exist."""
        judgement, _ = await ask(pool, f"{TEST_NAME}{clock.random_below(_RANDOM):016x}@{domain}")
        if judgement in {Judgement.EXISTS, Judgement.ABSENT, Judgement.UNPROVEN}:
            self.domains.tested(domain, next_hop, accepted=judgement is Judgement.EXISTS)

    def _pool(self, route: Route) -> Pool | None:
        """Return the connections to the next hop of a route; None where nobody can be asked."""
        hop, name = route.next_hop, self._names[route]
        if hop is None or hop.kind != "servers":
            return None
        if name not in self._pools:
            self._pools[name] = Pool(
                self._loop,
                str(hop),
                FixedHosts(hop.ranks, partial(tls_policy, settings=route.settings)),
                _limits(route.settings, self._row, route.connections_for_callouts),
                helo_name=self._settings.hostname,
                timers=self._timers,
                security=security_of(hop, route.settings, self._metrics, callout=True),
                allowance=SharedAllowance(self._connections, self._allowances),
            )
        return self._pools[name]


_SENTENCES: Final = {
    Doubt.ACCEPTS_ALL: "accepts every address",
    Doubt.REJECTS_LATE: "refuses messages for addresses that it has accepted",
    Doubt.LOST: "refuses all addresses that it has accepted before",
    Doubt.NO_POSTMASTER: "refuses postmaster, and has accepted no address yet",
}
_FOLLOWS: Final = {
    Doubt.ACCEPTS_ALL: "that it accepts an address means nothing",
    Doubt.REJECTS_LATE: "that it accepts an address means nothing",
    Doubt.LOST: "until it accepts one, no address there is taken for absent",
    Doubt.NO_POSTMASTER: "until it accepts one, no address there is taken for absent; add postmaster there, which every domain has (RFC 5321 4.5.1)",
}
