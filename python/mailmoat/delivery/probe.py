"""Asks next hops what they offer, and whether they are back, when no message is due that would show it.

Once at a start, so that the first client is offered no more than the next hop takes; then whenever a next hop that does not take
everything was not asked for a while, or one is away and nothing is due that could try it. One question at a time for each destination.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.router import Router


class Listener(Protocol):
    """The queue, as far as a probe notifies it."""

    def reached(self, destination: Destination) -> None:
        """Record that the next hop answers."""

    def unreachable(self, destination: Destination) -> None:
        """Record that the next hop cannot be reached."""

    def unasked(self, destination: Destination) -> bool:
        """Return whether a next hop has to be asked although no message for it is due."""


class Prober:
    """The questions of one worker to its next hops."""

    def __init__(self, loop: asyncio.AbstractEventLoop, router: Router, queue: Listener) -> None:
        self._loop = loop
        self._router = router
        self._queue = queue
        self._probes: dict[Destination, asyncio.Task[None]] = {}

    async def start(self, seconds: float) -> None:
        """Take what is known from before, ask every next hop, and wait for the answers, so long at most."""
        for destination in self._router.destinations:
            if destination.learned is not None:
                destination.learned.refresh()
                self._begin(destination)
        if self._probes:
            await asyncio.wait(self._probes.values(), timeout=seconds)

    def tick(self) -> None:
        """Take what other workers have learned, and ask where it is time to; call it about once a second."""
        for destination in self._router.destinations:
            learned = destination.learned
            if learned is None:
                continue
            learned.refresh()
            if destination not in self._probes and (learned.stale() or self._queue.unasked(destination)):
                self._begin(destination)

    def _begin(self, destination: Destination) -> None:
        probe = self._probes[destination] = self._loop.create_task(self._ask(destination))
        probe.add_done_callback(partial(self._asked, destination))

    def _asked(self, destination: Destination, _probe: asyncio.Task[None]) -> None:
        del self._probes[destination]

    async def _ask(self, destination: Destination) -> None:
        answered = await destination.transport.probe()
        if answered:
            self._queue.reached(destination)
        elif answered is not None and not destination.active:
            self._queue.unreachable(destination)
