"""Live sources, asked on behalf of all workers: in order, the first that has an address decides.

Promises: equal lookups at the same time are one; an answer is kept for its time; a source is asked so many lookups at a time, each has
its time, and a server that does not answer is not asked for a while, so that nobody waits in vain. One that answers some and is slow with
others, as a server that holds its refusals is, is not away. No client has more of these lookups than it leaves free, and what waits is asked for in turns, so
that one which guesses addresses leaves room for the others. An outage is UNKNOWN, never ABSENT, and
never raised; an address that a source had is EXISTS during an outage, as long as `max_age` permits. ABSENT needs the answer of every
source that is responsible for the domain. One lookup that fails at a source which answers others is no outage: strangers choose the addresses.

Absence is kept by the spelling that was asked for, presence for all spellings of a mailbox.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from mailmoat import clock
from mailmoat.directory.directory import Presence
from mailmoat.directory.freshness import LiveState, SourceAnswer
from mailmoat.directory.live.wire import UNKNOWN, LiveReply
from mailmoat.directory.source import Closing, LiveAnswer, Remarked
from mailmoat.directory_process.live.row import Refutable
from mailmoat.directory_process.live.upstreams import Upstreams
from mailmoat.errors import LookupFailedError, SourceError
from mailmoat.upstream.cache import Cache, memory
from mailmoat.upstream.deadlines import Deadlines
from mailmoat.upstream.single_flight import ServerQueries, Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailmoat._native import Address
    from mailmoat.directory_process.live.row import LiveRow

OCTETS_PER_ENTRY: Final = 800
"""Memory of an answer in the cache, about."""


class LiveLookups:
    """The live sources of the settings."""

    def __init__(self, rows: Sequence[LiveRow], changed: Callable[[LiveState], None] = lambda _: None) -> None:
        """Take the sources in their order; `changed` is called with the state of a source when `Upstreams` says so."""
        self._asked = [_SourceLookups(row, changed) for row in rows]

    def report(self) -> tuple[LiveState, ...]:
        """Return what is known of each source, for the administrator."""
        return tuple(asked.report() for asked in self._asked)

    def known(self, address: Address) -> LiveReply | None:
        """Return what can be said at once; None when somebody has to be asked."""
        reply = LiveReply(Presence.ABSENT)
        for asked in self._of(address):
            answer = asked.cached(address)
            if answer is None:
                return None
            if answer.presence is Presence.EXISTS:
                return LiveReply(answer.presence, answer.targets_of(address), asked.row.name)
            reply = LiveReply(Presence.ABSENT, (), asked.row.name)
        return reply if reply.source else UNKNOWN

    async def ask(self, address: Address, client: str = "") -> LiveReply:
        """Return what the sources say; UNKNOWN where none is responsible. `client` gets its share of the lookups and no more; empty = none is counted."""
        reply, silent = UNKNOWN, None
        for asked in self._of(address):
            answer = await asked.find(address, client)
            if answer is None:
                silent = asked.row if silent is None or silent.accepts_unknown else silent
            elif answer.presence is Presence.EXISTS:
                return LiveReply(answer.presence, answer.targets_of(address), asked.row.name)
            else:
                reply = LiveReply(Presence.ABSENT, (), asked.row.name)
        if silent is None:
            return reply
        accepted = silent.accepts_unknown and not address.may_route  # else an outage would make us a relay
        return LiveReply(Presence.EXISTS if accepted else Presence.UNKNOWN, (), silent.name)

    def refused_late(self, address: Address, reply: str) -> None:
        """Take the reply with which a next hop has refused a message for an address."""
        for asked in self._of(address):
            asked.refused_late(address, reply)

    async def close(self) -> None:
        """Give up what runs, and close the sources."""
        for asked in self._asked:
            await asked.in_flight.close()
            if isinstance(asked.row.source, Closing):
                await asked.row.source.close()

    def _of(self, address: Address) -> list[_SourceLookups]:
        return [asked for asked in self._asked if not asked.domains or address.domain in asked.domains]


class _SourceLookups:
    """One source with its cache, its servers and the lookups on their way."""

    def __init__(self, row: LiveRow, changed: Callable[[LiveState], None]) -> None:
        self.row, self._settings = row, row.settings
        self.domains = frozenset(row.settings.domains)
        """Those it is responsible for; empty = all."""
        self._counts: Counter[SourceAnswer] = Counter()
        self._answered_ms, self._answer_seconds = 0, 0.0
        self._upstreams = Upstreams(lambda: changed(self.report()))
        octets = row.settings.cache_entries * OCTETS_PER_ENTRY // 2
        self._present: Cache[str, tuple[float, LiveAnswer]] = Cache(octets, _size)
        """By mailbox, with the time up to which an answer counts as fresh."""
        self._absent: Cache[str, tuple[float, LiveAnswer]] = Cache(octets, _size)
        """By spelling; apart, so that guesses take no room from those that exist."""
        self._lates = Deadlines(row.settings.timeout)
        """When a lookup that goes on counts as an outage."""
        self._limits = Deadlines(max(row.settings.timeout, row.answer_time))
        """When one is given up."""
        self.in_flight: ServerQueries[Address, LiveAnswer | None] = ServerQueries(self._ask, self._room_of)

    def report(self) -> LiveState:
        """Return what is known of the source, for the administrator."""
        source = self.row.source
        remarks = source.remarks if isinstance(source, Remarked) else ()
        doubts = len(remarks) if isinstance(source, Refutable) else 0  # of the next hop each is about a domain
        return LiveState(
            self.row.name,
            self._upstreams.error,
            self._answered_ms,
            dict(self._counts),
            self._answer_seconds,
            remarks,
            doubts,
        )

    def cached(self, address: Address) -> LiveAnswer | None:
        """Return what is known of an address without asking: of itself, and of the one that it is a subaddress of."""
        answer = self._fresh(address)
        for other in self.row.others(address):
            if answer is None or not answer.is_of_others:
                break
            answer = self.row.answer_of(other, address, answer, self._fresh(other))
        if answer is not None:
            self._counts[SourceAnswer.CACHED] += 1
        return answer

    async def find(self, address: Address, client: str) -> LiveAnswer | None:
        """Return the answer of the source; None when there is none."""
        answer = await self._find(address, client)
        for other in self.row.others(address):
            if answer is None or not answer.is_of_others:
                break
            answer = self.row.answer_of(other, address, answer, await self._find(other, client))
        return answer

    def refused_late(self, address: Address, reply: str) -> None:
        """Forget that the address exists, if the source is the next hop and had it: it is asked again."""
        now = clock.monotonic()
        kept = self._present.get(self.row.key(address), now)
        if kept is not None and isinstance(self.row.source, Refutable) and self.row.source.refused_late(address, reply):
            self._present.put(self.row.key(address), kept, now)

    async def _find(self, address: Address, client: str) -> LiveAnswer | None:
        answer = self._fresh(address)
        if answer is not None:
            return answer
        found, upstream = None, self.row.upstream_of(address)
        if self._upstreams.breakers.refuses(upstream):
            self._counts[SourceAnswer.REFUSED] += 1
        else:
            found = await self.in_flight.answer(upstream, address, self._settings.timeout, (client,) if client else ())
            if found is Unanswered.NO_ROOM:
                self._counts[SourceAnswer.NO_ROOM] += 1
        is_known = isinstance(found, LiveAnswer) and found.presence is not Presence.UNKNOWN
        return cast("LiveAnswer", found) if is_known else self._stale(address)

    def _room_of(self, upstream: str) -> int:
        return min(self.row.room_of(upstream), self._settings.concurrency)

    async def _ask(self, address: Address) -> LiveAnswer | None:
        """Ask the source; the answer is kept, whether or not somebody still waits for it."""
        upstream = self.row.upstream_of(address)
        if self._upstreams.breakers.refuses(upstream):  # since it waits for room
            return None
        self._upstreams.breakers.asked(upstream)
        begun = clock.monotonic()
        late = self._lates.begin(partial(self._late, upstream, begun))
        try:
            answer = await self._within_limit(address)
        except asyncio.CancelledError:
            self._upstreams.breakers.abandoned(upstream)
            raise
        except TimeoutError:
            if late in self._lates:
                self._late(upstream, begun)
            return None
        except SourceError as error:
            if isinstance(error, LookupFailedError) and clock.monotonic() - begun < self._settings.timeout / 2:
                self._counts[SourceAnswer.ERROR] += 1
                self._upstreams.erred(upstream, str(error))
            else:
                self._failed(upstream, str(error))
            return None
        except Exception as error:
            # A mistake of ours is an outage, too: else a source that is held back is never asked again.
            self._failed(upstream, f"an error in mailmoat: {type(error).__name__}; please report it")
            raise
        finally:
            self._lates.end(late)
        self._upstreams.answered(upstream)
        self._answered_ms = clock.wall_ms()
        self._answer_seconds += clock.monotonic() - begun
        self._counts[SourceAnswer(answer.presence)] += 1
        self._keep(address, answer)
        return answer

    async def _within_limit(self, address: Address) -> LiveAnswer:
        """Ask the source; TimeoutError at the limit. What `asyncio.timeout` does, without a timer of its own."""
        task = cast("asyncio.Task[object]", asyncio.current_task())
        limit = self._limits.begin(task.cancel)
        try:
            return await self.row.source.lookup(address)
        except asyncio.CancelledError:
            if limit in self._limits or task.uncancel():
                raise  # it was given up
            raise TimeoutError from None
        finally:
            self._limits.end(limit)

    def _keep(self, address: Address, answer: LiveAnswer) -> None:
        now = clock.monotonic()
        if answer.presence is Presence.EXISTS:
            until = now + self._settings.cache_time
            self._present.put(self.row.key(address), (until, answer), max(until, now + self._settings.max_age))
        elif answer.presence is Presence.ABSENT:
            until = now + self._settings.absent_cache_time
            self._absent.put(str(address), (until, answer), until)
            kept = self._present.get(self.row.key(address), now)
            if kept is not None and not self.row.others(address):  # it is gone: no outage brings it back
                self._present.put(self.row.key(address), kept, now)

    def _fresh(self, address: Address) -> LiveAnswer | None:
        now = clock.monotonic()
        for kept in (self._present.get(self.row.key(address), now), self._absent.get(str(address), now)):
            if kept is not None and kept[0] > now:
                return kept[1]
        return None

    def _stale(self, address: Address) -> LiveAnswer | None:
        """Return an old answer that still counts while the source cannot be asked."""
        kept = self._present.get(self.row.key(address), clock.monotonic())
        if kept is None:
            return None
        self._counts[SourceAnswer.STALE] += 1
        return kept[1]

    def _late(self, upstream: str, begun: float) -> None:
        """Count a lookup without an answer in time as an outage, unless its server has answered another one since."""
        if self._upstreams.was_heard(upstream, begun):
            self._upstreams.breakers.abandoned(upstream)
        else:
            where = f"{upstream}: " if upstream else ""
            self._failed(upstream, f"{where}no answer within {self._settings.timeout:g} s")

    def _failed(self, upstream: str, error: str) -> None:
        self._counts[SourceAnswer.FAILED] += 1
        self._upstreams.failed(upstream, error)


def _size(key: str, kept: tuple[float, LiveAnswer]) -> int:
    return memory(key) + memory(kept)
