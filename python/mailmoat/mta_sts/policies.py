"""The policy in force for a domain: looked up in the DNS, fetched when it is new, kept until it expires (RFC 8461 5.1).

Promises: a policy that was fetched holds until it expires or another takes its place, whatever fails meanwhile. What fails is tried again
after `REST`. Two who ask for one domain at a time cost one fetch. Raises only CancelledError.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mailmoat import clock, maillog
from mailmoat.events import Event
from mailmoat.metrics import Family
from mailmoat.mta_sts.cache import KeptPolicy
from mailmoat.mta_sts.fetch import FetchError, FetchResult
from mailmoat.mta_sts.policy import Mode, read, record_id
from mailmoat.resolver import Found

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.metrics import Metrics
    from mailmoat.mta_sts.cache import PolicyCache
    from mailmoat.mta_sts.policy import StsPolicy
    from mailmoat.resolver import Budget, Resolver

REST: Final = 300.0
"""Seconds until a fetch that failed is tried again, for one id (RFC 8461 3.3)."""
REFRESH: Final = 86_400_000
"""Milliseconds after which a policy is fetched again although its id is the same (RFC 8461 3.3)."""
LOOK: Final = 60.0
"""Seconds after which the file of a policy in memory is read again: another worker may have a newer one."""
MOST: Final = 1000
"""Domains of which this worker has the policy in memory, and of which it remembers a failure."""
MOST_FETCHES: Final = 16
"""Fetches at a time; a domain above that is as one whose policy cannot be fetched, and is tried again with the next message."""

FETCHES: Final = Family(
    "mailmoat_mta_sts_fetches_total", "Fetches of MTA-STS policies, by result.", {"result": FetchResult}
)


class Fetch(Protocol):
    """How a policy is fetched."""

    def __call__(self, domain: str) -> Awaitable[bytes]:
        """Return the policy of a domain as it is served. Raises FetchError."""
        ...


class Applied(NamedTuple):
    """What holds for a domain."""

    policy: StsPolicy | None = None
    """None: as without MTA-STS."""
    failure: FetchResult | None = None
    """Why a newer policy was not fetched just now; None when none was looked for, or it was."""


class _InMemory(NamedTuple):
    kept: KeptPolicy | None
    until: float


class Policies:
    """The policies of one worker."""

    def __init__(self, resolver: Resolver, cache: PolicyCache, fetch: Fetch, metrics: Metrics | None = None) -> None:
        self._resolver = resolver
        self._cache = cache
        self._fetch = fetch
        self._metrics = metrics
        self._in_memory: OrderedDict[str, _InMemory] = OrderedDict()
        self._rests: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._fetches: dict[str, asyncio.Task[FetchResult]] = {}

    async def find(self, domain: str, budget: Budget) -> Applied:
        """Return what holds for a domain, given in its normal form."""
        answer = await self._resolver.query(f"_mta-sts.{domain}", "TXT", budget)
        published = record_id(answer.records) if isinstance(answer, Found) else None
        kept = self._kept(domain)
        if published is None or self._rests.get((domain, published), 0.0) > clock.monotonic():
            return Applied(_policy(kept))
        if kept is not None and kept.id == published:
            if clock.wall_ms() - kept.fetched >= REFRESH:
                self._begin(domain, published)  # nobody has to wait for it
            return Applied(_policy(kept))
        running = self._begin(domain, published)
        if running is None:
            return Applied(_policy(kept))
        result = await asyncio.shield(running)
        return Applied(_policy(self._kept(domain)), None if result is FetchResult.FETCHED else result)

    async def close(self) -> None:
        """End what is being fetched."""
        tasks = list(self._fetches.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _kept(self, domain: str) -> KeptPolicy | None:
        """Return the policy that was fetched last and has not expired."""
        known = self._in_memory.get(domain)
        if known is None or known.until <= clock.monotonic():
            return self._hold(domain, self._cache.get(domain))
        return known.kept if known.kept is not None and known.kept.holds(clock.wall_ms()) else None

    def _hold(self, domain: str, kept: KeptPolicy | None) -> KeptPolicy | None:
        self._in_memory[domain] = _InMemory(kept, clock.monotonic() + LOOK)
        self._in_memory.move_to_end(domain)
        if len(self._in_memory) > MOST:
            self._in_memory.popitem(last=False)
        return kept

    def _begin(self, domain: str, published: str) -> asyncio.Task[FetchResult] | None:
        """Return the fetch that runs, or begin one; None when too many run."""
        running = self._fetches.get(domain)
        if running is None and len(self._fetches) < MOST_FETCHES:
            running = asyncio.get_running_loop().create_task(self._renew(domain, published))
            self._fetches[domain] = running
            running.add_done_callback(partial(self._ended, domain))
        return running

    def _ended(self, domain: str, _task: asyncio.Task[FetchResult]) -> None:
        del self._fetches[domain]

    async def _renew(self, domain: str, published: str) -> FetchResult:
        try:
            policy = _read(await self._fetch(domain))
        except FetchError as error:
            self._failed(domain, published, error)
            return error.failure
        kept = KeptPolicy(published, clock.wall_ms(), policy)
        self._hold(domain, kept)
        self._count(FetchResult.FETCHED)
        try:
            self._cache.put(domain, kept)
        except OSError as error:
            maillog.event(Event.STS_POLICY_NOT_KEPT, domain=domain, detail=error.strerror or "")
        return FetchResult.FETCHED

    def _failed(self, domain: str, published: str, error: FetchError) -> None:
        self._rests[domain, published] = clock.monotonic() + REST
        if len(self._rests) > MOST:
            self._rests.popitem(last=False)
        self._count(error.failure)
        in_force = _policy(self._kept(domain))
        mode = in_force.mode if in_force is not None else Mode.NONE
        maillog.event(
            Event.STS_POLICY_NOT_FETCHED, domain=domain, reason=error.failure, in_force=mode, detail=str(error)
        )

    def _count(self, result: FetchResult) -> None:
        if self._metrics is not None:
            self._metrics.add(FETCHES[result])


def _policy(kept: KeptPolicy | None) -> StsPolicy | None:
    return None if kept is None else kept.policy


def _read(octets: bytes) -> StsPolicy:
    try:
        return read(octets)
    except ValueError as error:
        raise FetchError(FetchResult.INVALID, str(error)) from None
