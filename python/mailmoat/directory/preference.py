"""Servers in their order of preference: which one to try, and for how long one that failed is passed over.

One that failed comes after all others until its pause is over; the pause is the longer the more often it failed in a row. Nothing here runs by
itself, and nobody is connected to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from mailmoat import clock
from mailmoat.growing_pause import next_pause

if TYPE_CHECKING:
    from collections.abc import Sequence

S = TypeVar("S")
FIRST_PAUSE: Final = 15.0
LONGEST_PAUSE: Final = 300.0
"""Seconds."""
PASSED_OVER: Final = "passed over: {}"
"""How it is shown to the administrator why a preferred server is not asked."""


class _Away(NamedTuple):
    """How a server failed of late."""

    until: float = 0.0
    """When it is tried again, by the monotonic clock."""
    pause: float = 0.0
    reason: str = ""
    """Why it failed; empty when it served since."""


class Preference(Generic[S]):
    """The servers of one source, the preferred one first."""

    def __init__(self, servers: Sequence[S]) -> None:
        self._servers = tuple(servers)
        self._away = [_Away()] * len(self._servers)

    def in_turn(self) -> list[S]:
        """Return all servers in the order in which to try them now."""
        now = clock.monotonic()
        order = sorted(range(len(self._servers)), key=lambda number: self._away[number].until > now)
        return [self._servers[number] for number in order]

    def before(self, server: S) -> list[S]:
        """Return the servers that are preferred to this one and may be tried now."""
        now = clock.monotonic()
        earlier = range(self._servers.index(server))
        return [self._servers[number] for number in earlier if self._away[number].until <= now]

    def passed_over(self, server: S) -> tuple[str, ...]:
        """Return why each server that is preferred to this one was left, unless it has served since."""
        earlier = self._away[: self._servers.index(server)]
        return tuple(away.reason for away in earlier if away.reason)

    def failed(self, server: S, reason: str) -> None:
        """Pass over a server for a while."""
        number = self._servers.index(server)
        pause = next_pause(self._away[number].pause, FIRST_PAUSE, LONGEST_PAUSE)
        self._away[number] = _Away(clock.monotonic() + pause, pause, reason)

    def served(self, server: S) -> None:
        """Count a server as well again: it answered what it was asked."""
        self._away[self._servers.index(server)] = _Away()
