"""The running queries: equal ones at the same time are one query, a cancelled caller does not affect the others, and all who ask get a share.

There is room for so many queries at a time, and none of those between whom it is shared (such as clients and zones) takes more of it than
it leaves free: one that has no query on its way yet finds room, though hundreds of others fill what they can. A query that finds none
waits in line.

A query that nobody waits for any more takes no room. It goes on all the same, since its answer, or that there was none, is worth
keeping, until its socket is needed for another one.
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

    __slots__ = ("answer", "askers", "key", "shares", "task", "waited")

    def __init__(self, key: K, shares: tuple[Hashable, ...]) -> None:
        self.key = key
        self.shares = shares
        self.answer: asyncio.Future[A | Unanswered] = asyncio.get_running_loop().create_future()
        self.askers = 0
        """Who wait for the answer. While there are any the query has its room, or a place in the line."""
        self.task: asyncio.Task[A] | None = None
        """None in the line."""
        self.waited = False
        """Whether it has been in the line."""


class SingleFlight(Generic[K, A]):
    """Asked and not yet answered. `ask` puts a query to the servers; what it raises comes out of `answer`."""

    def __init__(self, ask: Callable[[K], Coroutine[object, object, A]], most: int) -> None:
        """Make room for `most` queries on their way at a time."""
        self._ask = ask
        self._in_flight: dict[K, _InFlight[K, A]] = {}
        self._line: dict[K, _InFlight[K, A]] = {}
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
            flight = self._in_flight[key] = _InFlight(key, shares)
        flight.askers += 1
        if self._abandoned.pop(key, None):
            self._count(flight, 1)
        elif flight.task is None and self._has_room(flight) and not self._admitting:
            self._start(flight)
        elif flight.task is None:
            self._line[key] = flight
            flight.waited = True
        try:
            await asyncio.wait((flight.answer,), timeout=seconds)
        finally:
            flight.askers -= 1
            if not flight.askers and not flight.answer.done():
                self._abandon(flight)
        if flight.answer.done():
            return flight.answer.result()
        return Unanswered.NO_ROOM if flight.waited else Unanswered.BUDGET

    async def close(self) -> None:
        """Give all of them up."""
        tasks = [flight.task for flight in self._in_flight.values() if flight.task]
        for flight in self._line.values():
            flight.answer.set_result(Unanswered.BROKEN)
            del self._in_flight[flight.key]
        self._line.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _has_room(self, flight: _InFlight[K, A]) -> bool:
        return max((self._taken[share] for share in flight.shares), default=0) < self._room

    def _count(self, flight: _InFlight[K, A], one: int) -> None:
        self._room -= one
        for share in flight.shares:
            self._taken[share] += one
            if not self._taken[share]:
                del self._taken[share]

    def _start(self, flight: _InFlight[K, A]) -> None:
        self._line.pop(flight.key, None)
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
            del self._line[flight.key], self._in_flight[flight.key]
            return
        self._abandoned[flight.key] = flight
        self._free(flight)

    def _land(self, flight: _InFlight[K, A], task: asyncio.Task[A]) -> None:
        if self._in_flight.get(flight.key) is flight:
            del self._in_flight[flight.key]
            self._abandoned.pop(flight.key, None)
        if flight.askers:
            self._free(flight)
        if task.cancelled():
            flight.answer.set_result(Unanswered.BROKEN)
        elif error := task.exception():
            flight.answer.set_exception(error)
        else:
            flight.answer.set_result(task.result())

    def _free(self, flight: _InFlight[K, A]) -> None:
        self._count(flight, -1)
        if self._line and not self._admitting:
            self._admitting = True
            asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        """Let go on, in the order of the line, what there is room for."""
        self._admitting = False
        for flight in list(self._line.values()):
            if not self._room:
                break
            if self._has_room(flight):
                self._start(flight)
