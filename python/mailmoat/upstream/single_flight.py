"""The running queries: equal ones at the same time are one query, a cancelled caller does not affect the others, and all who ask get a share.

There is room for so many queries at a time, and none of those between whom it is shared (such as clients and zones) takes more of it than
it leaves free: one that has no query on its way yet finds room, though hundreds of others fill what they can. A query that finds none
waits in the line of those who ask, and counts to the first of them whose turn comes. The lines have room in turns, so a long one delays no other by
more than its turn.

A query that nobody waits for any more goes on, since its answer, or that there was none, is worth keeping. Where room is for waiting alone, as with
sockets, it takes none, and goes on until its socket is needed for another one. Else it keeps its room.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

K = TypeVar("K", bound="Hashable")
A = TypeVar("A")


class Unanswered(Enum):
    """Why a query has no answer."""

    NO_ROOM = "no_room"
    """The time was over, and it has been in the line."""
    BUDGET = "budget"
    """The time was over."""
    BROKEN = "broken"
    """It was given up."""


class _InFlight(Generic[K, A]):
    """A query, from when it is asked until its answer comes."""

    __slots__ = ("answer", "askers", "key", "lines", "shares", "task")

    def __init__(self, key: K) -> None:
        self.key = key
        self.shares: tuple[Hashable, ...] = ()
        """What it counts to, from when it is begun."""
        self.answer: asyncio.Future[A | Unanswered] = asyncio.get_running_loop().create_future()
        self.askers: set[asyncio.Future[None]] = set()
        """Who wait for the answer. While there are any the query has its room, or a place in the line."""
        self.task: asyncio.Task[A] | None = None
        """None in the line."""
        self.lines: set[tuple[Hashable, ...]] = set()
        """The lines that it is in, or has been."""

    def settle(self, answer: A | Unanswered | BaseException) -> None:
        """Give the answer, or what was raised in its place, to all who wait."""
        if isinstance(answer, BaseException):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)
        for asker in self.askers:
            _wake(asker)


class SingleFlight(Generic[K, A]):
    """Asked and not yet answered. `ask` puts a query to the servers; what it raises comes out of `answer`."""

    def __init__(
        self, ask: Callable[[K], Coroutine[object, object, A]], most: int, *, keeps_room: bool = False
    ) -> None:
        """Make room for `most` queries on their way at a time; `keeps_room`: also of those that nobody waits for any more."""
        self._ask = ask
        self._keeps_room = keeps_room
        self._in_flight: dict[K, _InFlight[K, A]] = {}
        self._lines: dict[tuple[Hashable, ...], dict[K, _InFlight[K, A]]] = {}
        """What waits for room, by the shares it counts to: where the first of a line finds none, the others find none either. The line whose turn is
        next comes first."""
        self._abandoned: dict[K, _InFlight[K, A]] = {}
        """Nobody waits for them; the oldest first."""
        self._room = most
        self._taken: Counter[Hashable] = Counter()
        """Room taken by each of those between whom it is shared."""
        self._admitting = False

    def __contains__(self, key: K) -> bool:
        return key in self._in_flight

    def __len__(self) -> int:
        return len(self._in_flight)

    async def answer(self, key: K, seconds: float, shares: tuple[Hashable, ...] = ()) -> A | Unanswered:
        """Return the answer to a query, and query unless a query is running; `shares` are those to whose part of the room it counts.

        After so many seconds it is NO_ROOM for a query that has been in the line, else BUDGET.
        """
        flight = self._in_flight.get(key)
        if flight is None:
            flight = self._in_flight[key] = _InFlight(key)
        loop = asyncio.get_running_loop()
        asker: asyncio.Future[None] = loop.create_future()
        flight.askers.add(asker)
        if self._abandoned.pop(key, None):
            self._count(flight, 1)
        elif flight.task is None and self._has_room(shares) and not self._admitting:
            self._start(flight, shares)
        elif flight.task is None:
            flight.lines.add(shares)
            self._lines.setdefault(shares, {})[key] = flight
        timer = loop.call_later(seconds, _wake, asker)
        try:
            await asker
        finally:
            timer.cancel()
            flight.askers.discard(asker)
            if not flight.askers and not flight.answer.done():
                self._abandon(flight)
        if flight.answer.done():
            return flight.answer.result()
        return Unanswered.NO_ROOM if flight.lines else Unanswered.BUDGET

    async def close(self) -> None:
        """Give all of them up."""
        tasks = [flight.task for flight in self._in_flight.values() if flight.task]
        for flight in [flight for flight in self._in_flight.values() if flight.task is None]:
            flight.settle(Unanswered.BROKEN)
            del self._in_flight[flight.key]
        self._lines.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _has_room(self, shares: tuple[Hashable, ...]) -> bool:
        return self._room > 0 and all(self._taken.get(share, 0) < self._room for share in shares)

    def _count(self, flight: _InFlight[K, A], one: int) -> None:
        self._room -= one
        for share in flight.shares:
            self._taken[share] += one
            if not self._taken[share]:
                del self._taken[share]

    def _start(self, flight: _InFlight[K, A], shares: tuple[Hashable, ...]) -> None:
        self._leave_lines(flight)
        flight.shares = shares
        self._count(flight, 1)
        if len(self._abandoned) > self._room:
            self._give_up(next(iter(self._abandoned.values())))
        flight.task = asyncio.create_task(self._ask(flight.key))
        flight.task.add_done_callback(partial(self._land, flight))

    def _give_up(self, flight: _InFlight[K, A]) -> None:
        del self._abandoned[flight.key], self._in_flight[flight.key]
        if flight.task:
            flight.task.cancel()

    def _abandon(self, flight: _InFlight[K, A]) -> None:
        if flight.task is None:
            self._leave_lines(flight)
            del self._in_flight[flight.key]
        elif not self._keeps_room:
            self._abandoned[flight.key] = flight
            self._free(flight)

    def _land(self, flight: _InFlight[K, A], task: asyncio.Task[A]) -> None:
        if self._in_flight.get(flight.key) is flight:
            del self._in_flight[flight.key]
            self._abandoned.pop(flight.key, None)
        if flight.askers or self._keeps_room:
            self._free(flight)
        if task.cancelled():
            flight.settle(Unanswered.BROKEN)
        else:
            flight.settle(task.exception() or task.result())

    def _free(self, flight: _InFlight[K, A]) -> None:
        self._count(flight, -1)
        if self._lines and not self._admitting:
            self._admitting = True
            asyncio.get_running_loop().call_soon(self._admit)

    def _leave_lines(self, flight: _InFlight[K, A]) -> None:
        for shares in flight.lines:
            line = self._lines[shares]
            del line[flight.key]
            if not line:
                del self._lines[shares]

    def _admit(self) -> None:
        """Let go on what there is room for: the first of each line, in turns."""
        self._admitting = False
        while self._room and (shares := next(filter(self._has_room, self._lines), None)) is not None:
            line = self._lines[shares] = self._lines.pop(shares)  # its next turn comes after those of the others
            self._start(next(iter(line.values())), shares)


class ServerQueries(Generic[K, A]):
    """The running queries to servers that each have room of their own, which a query keeps until its answer: it holds a connection there."""

    def __init__(self, ask: Callable[[K], Coroutine[object, object, A]], room_of: Callable[[str], int]) -> None:
        """Make room for as many queries at a time as `room_of` says of a server."""
        self._ask, self._room_of = ask, room_of
        self._servers: dict[str, SingleFlight[K, A]] = {}

    async def answer(self, server: str, key: K, seconds: float, shares: tuple[Hashable, ...] = ()) -> A | Unanswered:
        """Return the answer of a server to a query: see `SingleFlight`."""
        if server not in self._servers:
            self._servers[server] = SingleFlight(self._ask, self._room_of(server), keeps_room=True)
        return await self._servers[server].answer(key, seconds, shares)

    async def close(self) -> None:
        """Give all of them up."""
        for server in self._servers.values():
            await server.close()


def _wake(asker: asyncio.Future[None]) -> None:
    if not asker.done():
        asker.set_result(None)
