"""What waits, and when it is due: the backlog with its clock, its timer, and the destinations of its lines.

Promises: a destination is announced when something at it has become due; there is one timer, set for the first line of the backlog that
wakes, and none for a message. Waiting is measured by a clock that never jumps, so a wrong calendar delays nothing. A destination of which
nothing is in memory is not needed here: it is asked for by its name when something at it is due.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import Backlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mailmoat._native import Message, Recipient, Waiting
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.entry import QueueEntry
    from mailmoat.delivery.router import Router
    from mailmoat.runtime.timers import Timers

_NEVER: Final = 1 << 64
MOST_AWAY: Final = 10_000
"""Destinations that are remembered to be away."""
_AFTER_ALL: Final = 1 << 62
"""Milliseconds since the epoch: every message came before."""


class Schedule:
    """The backlog of one worker."""

    def __init__(self, timers: Timers, router: Router, unrouted: Destination) -> None:
        self._timers = timers
        self._router = router
        self._unrouted = unrouted
        self.on_due: Callable[[Destination], None] = _nobody_listens
        """Called with each destination that has something due."""
        self.backlog = Backlog()
        self._destinations: dict[int, Destination] = {}
        # Those of which nothing is in memory any more; not needed when their connections are closed.
        self._idle: set[Destination] = set()
        self._timer = 0
        self._armed_ms = _NEVER

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """All that are open."""
        return (*self._router.destinations, self._unrouted)

    def groups(self, message: Message, recipients: Sequence[Recipient]) -> dict[Destination, list[int]]:
        """Return the indexes of the recipients of a message that are open, by destination."""
        groups: dict[Destination, list[int]] = {}
        for index, recipient in enumerate(recipients):
            if recipient.is_open:
                groups.setdefault(self._router(recipient, message) or self._unrouted, []).append(index)
        return groups

    def put(
        self,
        entry: QueueEntry,
        arrival_ms: int,
        seconds: float = 0.0,
        *,
        fresh: bool,
        big: bool,
        stranded: bool = False,
        firm: bool = False,
    ) -> None:
        """Let an entry wait, for some seconds or for its turn.

        `stranded`: until its destination is released, if that is earlier. `firm`: `take_older` leaves it, however old it is.
        """
        destination, now = entry.destination, clock.monotonic_ms()
        due = now + math.ceil(seconds * 1000)
        if fresh:
            destination.fresh += 1
        destination.ready = self.backlog.put(
            self.line(destination),
            entry.queue_id,
            due=due,
            now=now,
            arrival=arrival_ms,
            fresh=fresh,
            big=big,
            parted=entry.parted,
            delayed=entry.delayed,
            stranded=stranded,
            firm=firm,
        )
        if due < self._armed_ms and not destination.ready:
            self._arm(due)

    def take(self, destination: Destination, *, fresh: bool, old: bool, big: bool) -> Waiting | None:
        """Take what has its turn of what is due and fits; None when nothing does."""
        waiting = self.backlog.take(destination.line, clock.monotonic_ms(), fresh=fresh, old=old, big=big)
        destination.ready = self.backlog.is_ready(destination.line) if waiting is None else waiting.more
        if not destination.ready:
            self._set_timer()
        if waiting is not None and waiting.fresh and destination.fresh:
            destination.fresh -= 1
        return waiting

    def take_older(self, destination: Destination, *, expired_ms: int, overdue_ms: int, most: int) -> list[Waiting]:
        """Take what arrived before a time, or before the other where its delay was not reported, due or not; so many at most."""
        if destination.line < 0 or most <= 0:
            return []
        older = self.backlog.take_older(destination.line, clock.monotonic_ms(), expired_ms, overdue_ms, most)
        destination.ready = self.backlog.is_ready(destination.line)
        self._set_timer()
        return older

    def release(self, destination: Destination) -> None:
        """Make everything due that is stranded at a destination."""
        if destination.line >= 0:
            destination.ready = self.backlog.release(destination.line, clock.monotonic_ms())
            self._set_timer()

    def waiting(self, destination: Destination) -> int:
        """Return how many groups wait for a destination."""
        return self.backlog.waiting(destination.line) if destination.line >= 0 else 0

    def has(self, queue_id: str) -> bool:
        """Return whether a group of a message waits."""
        return bool(self.backlog.lines_of(queue_id))

    def has_at(self, queue_id: str, destination: Destination) -> bool:
        """Return whether a group of a message waits for a destination."""
        return destination.line in self.backlog.lines_of(queue_id)

    def forget(self, queue_id: str) -> bool:
        """Take all groups of a message out; return whether there was one."""
        lines = self.backlog.forget(queue_id, clock.monotonic_ms())
        self._idle.update(self._settle(line for line in lines if line in self._destinations))
        self._set_timer()
        return bool(lines)

    def hurry(self, queue_id: str) -> list[Destination]:
        """Make all groups of a message due; return their destinations."""
        destinations = self._settle(self.backlog.hurry(queue_id, clock.monotonic_ms()))
        self._set_timer()
        return destinations

    def line(self, destination: Destination) -> int:
        """Return the number of a destination's line."""
        if destination.line < 0:
            destination.line = self.backlog.line(destination.name)
            destination.ready = self.backlog.is_ready(destination.line)
            self._destinations[destination.line] = destination
        return destination.line

    def find(self, name: str) -> Destination:
        """Return the destination of this name; where there is none any more, that of recipients without a route."""
        found = self._router.destination(name) or self._router.default or self._unrouted
        self._idle.add(found)
        return found

    def idle(self, destination: Destination) -> None:
        """Take a destination of which nothing is in memory any more."""
        self._idle.add(destination)

    def drop_idle(self) -> None:
        """Forget destinations that are not needed; what waits for them goes on waiting.

        That one is away is forgotten only where very many are: each costs three kilobytes.
        """
        for destination in tuple(self._idle):
            stays = destination.away and self.waiting(destination) and len(self._destinations) <= MOST_AWAY
            if destination.active or destination.ready or stays:
                self._idle.discard(destination)
            elif not (destination.rest or destination.transport.connections):
                self._idle.discard(destination)
                if destination.line >= 0:
                    del self._destinations[destination.line]
                    self.backlog.close(destination.line)
                    destination.line = -1
                self._router.drop(destination)

    def due(self) -> None:
        """Announce the destinations that have something due, also after groups were added from a spool."""
        self._timers.cancel(self._timer)
        self._timer, self._armed_ms = 0, _NEVER
        for destination in self._settle(self.backlog.advance(clock.monotonic_ms())):
            self.on_due(destination)
        self._set_timer()

    def _settle(self, lines: Iterable[int]) -> list[Destination]:
        """Return the destinations of lines whose state has changed."""
        changed = [self._destination(line) for line in lines]
        for destination in changed:
            destination.ready = self.backlog.is_ready(destination.line)
        return changed

    def _destination(self, line: int) -> Destination:
        known = self._destinations.get(line)
        if known is None:
            known = self.find(self.backlog.name(line) or "")
            if known.line not in (-1, line):
                self._move(line, known)
                return known
            self._destinations[line] = known
            known.line = line
        return known

    def _move(self, line: int, to: Destination) -> None:
        """Put what waits in the line of a next hop that no route has any more into that of another destination, due now.

        When a message is loaded, it shows where it goes; until then it counts as old enough for whatever is due to old ones.
        """
        now = clock.monotonic_ms()
        for waiting in self.backlog.take_older(line, now, _AFTER_ALL, 0, self.backlog.waiting(line)):
            if to.line not in self.backlog.lines_of(waiting.queue_id):
                self.backlog.put(to.line, waiting.queue_id, due=now, now=now, arrival=0, parted=True)
        self.backlog.close(line)

    def _set_timer(self) -> None:
        """Set the timer for the line that wakes first; it passes over lines that wake when nothing is due any more."""
        first = self.backlog.next_due()
        if first is not None:
            self._arm(first)
        elif self._timer:
            self._timers.cancel(self._timer)
            self._timer, self._armed_ms = 0, _NEVER

    def _arm(self, due_ms: int) -> None:
        if due_ms != self._armed_ms or not self._timer:
            self._timers.cancel(self._timer)
            self._timer = self._timers.call_at_ms(due_ms, self)
            self._armed_ms = due_ms


def _nobody_listens(_destination: Destination) -> None:
    """Leave what is due."""
