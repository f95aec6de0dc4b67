"""The running queries: equal ones at the same time are one query, a cancelled caller does not affect the others, and all clients get a share.

There is room for so many questions at a time, and no client and no zone takes more of it than it leaves free: one that has no question
on its way yet finds room, though hundreds of others fill what they can. A question that finds none waits in line.

A question that nobody waits for any more takes no room. It goes on all the same, since its answer, or that there was none, is worth
keeping, until its socket is needed for another one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from mailmoat.net.address import site
from mailmoat.resolver import names
from mailmoat.resolver.answer import Answer, Failed, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mailmoat.resolver.cache import Key

MOST: Final = 1000
"""Questions on their way at a time; each has a socket."""


class _InFlight:
    """A question, from when it is asked until its answer comes."""

    __slots__ = ("answer", "askers", "client", "key", "task", "waited", "zone")

    def __init__(self, key: Key, client: str) -> None:
        self.key = key
        self.zone = names.zone(key[0])
        self.client = site(client)
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.askers = 0
        """Who wait for the answer. While there are any the question has its room, or a place in the line."""
        self.task: asyncio.Task[Answer] | None = None
        """None in the line."""
        self.waited = False
        """Whether it has been in the line."""


class SingleFlight:
    """Asked and not yet answered. `ask` puts a question to the servers; what it raises comes out of `answer`."""

    def __init__(self, ask: Callable[[Key], Coroutine[object, object, Answer]], most: int | None = None) -> None:
        self._ask = ask
        self._in_flight: dict[Key, _InFlight] = {}
        self._line: dict[Key, _InFlight] = {}
        self._abandoned: dict[Key, _InFlight] = {}
        """Nobody waits for them; the oldest first."""
        self._room = MOST if most is None else most
        self._zones: Counter[str] = Counter()
        self._clients: Counter[str] = Counter()
        self._admitting = False

    def __contains__(self, key: Key) -> bool:
        return key in self._in_flight

    def __len__(self) -> int:
        return len(self._in_flight)

    async def answer(self, key: Key, client: str, seconds: float) -> Answer:
        """Return the answer to a question of this client, and query unless a query is running.

        After so many seconds it is Failed: NO_ROOM for a question that has been in the line, else BUDGET.
        """
        flight = self._in_flight.get(key)
        if flight is None:
            flight = self._in_flight[key] = _InFlight(key, client)
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
        return Failed(Failure.NO_ROOM if flight.waited else Failure.BUDGET)

    async def close(self) -> None:
        """Give all of them up."""
        tasks = [flight.task for flight in self._in_flight.values() if flight.task]
        for flight in self._line.values():
            flight.answer.set_result(Failed(Failure.BROKEN))
            del self._in_flight[flight.key]
        self._line.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _has_room(self, flight: _InFlight) -> bool:
        return max(self._zones[flight.zone], self._clients[flight.client]) < self._room

    def _count(self, flight: _InFlight, one: int) -> None:
        self._room -= one
        for counter, key in ((self._zones, flight.zone), (self._clients, flight.client)):
            counter[key] += one
            if not counter[key]:
                del counter[key]

    def _start(self, flight: _InFlight) -> None:
        self._line.pop(flight.key, None)
        self._count(flight, 1)
        if len(self._abandoned) > self._room:
            self._give_up(next(iter(self._abandoned.values())))
        flight.task = asyncio.create_task(self._ask(flight.key))
        flight.task.add_done_callback(partial(self._land, flight))

    def _give_up(self, flight: _InFlight) -> None:
        del self._abandoned[flight.key], self._in_flight[flight.key]
        if flight.task:
            flight.task.cancel()

    def _abandon(self, flight: _InFlight) -> None:
        if flight.task is None:
            del self._line[flight.key], self._in_flight[flight.key]
            return
        self._abandoned[flight.key] = flight
        self._free(flight)

    def _land(self, flight: _InFlight, task: asyncio.Task[Answer]) -> None:
        if self._in_flight.get(flight.key) is flight:
            del self._in_flight[flight.key]
            self._abandoned.pop(flight.key, None)
        if flight.askers:
            self._free(flight)
        if task.cancelled():
            flight.answer.set_result(Failed(Failure.BROKEN))
        elif error := task.exception():
            flight.answer.set_exception(error)
        else:
            flight.answer.set_result(task.result())

    def _free(self, flight: _InFlight) -> None:
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
