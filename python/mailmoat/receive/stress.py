"""Room for new clients when there is little of it: idle ones are closed, so that they cannot block others.

A worker is under stress from nine tenths of the connections its descriptors allow, or from nine tenths of `limits.connections` on the
host, until both are below three quarters again. Then each further connection closes the one that has been idle longest, 421 4.3.2: first
of those without a transaction, then of those within one; never one in DATA, one whose reply is owed, or one idle for less than a
second. And the time for a command shrinks to ten seconds, and content that is slower than `limits.data_rate` for as long ends as well.

Idle connections are kept in the order they became idle, so nothing is ever searched. For `limits.connections` each worker has its own
idle ones only.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Final, Protocol

from mailmoat import clock, maillog
from mailmoat.events import Event
from mailmoat.metrics import CONNECTIONS, IDLE_CLOSED, WORKERS_STRESSED, Metrics

if TYPE_CHECKING:
    from collections.abc import Collection

    from mailmoat.settings.sections.limits import LimitsSettings

COMMAND_SECONDS: Final = 10.0
"""The time for a command under stress."""
PATIENCE_SECONDS: Final = 1.0
"""One that has been idle for less is a client at work."""


class Idle(Protocol):
    """A connection that waits for a command."""

    def make_way(self) -> None:
        """Answer 421 4.3.2 and close."""


class Sending(Protocol):
    """An open connection, which may send content."""

    def make_way_if_slow(self, window: float) -> None:
        """Answer 421 4.3.2 and close if content has come too slowly for so many seconds."""


class Bound:
    """A most of connections, and what is near it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.near = max(most * 9 // 10, 1)
        self.roomy = most * 3 // 4


class Stress:
    """One worker's idle connections and whether it is under stress; `most` connections are what its descriptors allow."""

    def __init__(self, most: int, limits: LimitsSettings, metrics: Metrics) -> None:
        self._own = Bound(most)
        self._host = Bound(limits.connections)
        self._seconds = min(limits.command_time or COMMAND_SECONDS, COMMAND_SECONDS)
        self._metrics = metrics
        self._between: dict[Idle, float] = {}
        self._within: dict[Idle, float] = {}
        self._stressed = False
        self._looked = 0.0

    def waits(self, connection: Idle, *, in_transaction: bool) -> None:
        """Record that the client has its reply and may send its next command."""
        self.leaves(connection)
        (self._within if in_transaction else self._between)[connection] = clock.monotonic()

    def leaves(self, connection: Idle) -> None:
        """Remove a connection that is no longer idle, or closed."""
        if self._between.pop(connection, None) is None:
            self._within.pop(connection, None)

    def opened(self, connections: int) -> None:
        """Count a new connection; this many are open."""
        if connections > self._own.near:
            self._begin(connections)
            self.make_room()

    def make_room(self) -> bool:
        """Close the connection that has been idle longest; False when all are at work."""
        return self._close_oldest(self._between) or self._close_oldest(self._within)

    def fit(self) -> None:
        """Give back the room of connections that are no longer idle; the order stays."""
        self._between, self._within = dict(self._between), dict(self._within)

    def tick(self, sending: Collection[Sending]) -> None:
        """Check once a second; these connections are open."""
        connections = len(sending)
        host = self._metrics.shared.sum(CONNECTIONS) if self._host.most else 0
        if connections > self._own.near or host > self._host.near:
            self._begin(connections)
        elif self._stressed and connections <= self._own.roomy and host <= self._host.roomy:
            self._end(connections)
        if self._stressed:
            self._end_slow_content(sending)
            connections -= self._close_silent(self._between) + self._close_silent(self._within)
            while connections > self._own.near and self.make_room():
                connections -= 1

    def _end_slow_content(self, sending: Collection[Sending]) -> None:
        """Look at all connections, every `COMMAND_SECONDS`."""
        now = clock.monotonic()
        if now - self._looked >= COMMAND_SECONDS:
            self._looked = now
            for connection in list(sending):
                connection.make_way_if_slow(COMMAND_SECONDS)

    def _close_silent(self, idle: dict[Idle, float]) -> int:
        """Close all that have had their time for a command; return how many."""
        late = clock.monotonic() - self._seconds
        # One after the other from the front, each search for the first would pass over the places of all before it.
        silent = list(takewhile(lambda connection: idle[connection] <= late, idle))
        for connection in silent:
            self._close(idle, connection)
        return len(silent)

    def _close_oldest(self, idle: dict[Idle, float]) -> bool:
        connection = next(iter(idle), None)
        if connection is None or idle[connection] > clock.monotonic() - PATIENCE_SECONDS:
            return False
        self._close(idle, connection)
        return True

    def _close(self, idle: dict[Idle, float], connection: Idle) -> None:
        del idle[connection]
        self._metrics.add(IDLE_CLOSED)
        connection.make_way()

    def _begin(self, connections: int) -> None:
        if not self._stressed:
            self._stressed = True
            self._metrics.set(WORKERS_STRESSED, 1)
            maillog.event(Event.STRESS_BEGAN, connections=connections, limit=self._own.most)

    def _end(self, connections: int) -> None:
        self._stressed = False
        self._metrics.set(WORKERS_STRESSED, 0)
        maillog.event(Event.STRESS_ENDED, connections=connections, limit=self._own.most)
