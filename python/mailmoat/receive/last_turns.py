"""The turns of connections whose sessions make no progress: after those of all others, and few in one turn of the loop.

A turn of the loop works on every client that has sent something, so however many say NOOP or RSET without end, good mail would wait for all of
them at each of its commands. Those here are served in the order they came, `A_TURN` in one turn of the loop; between two turns the loop looks
for input of the others.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

A_TURN: Final = 16
"""Connections served in one turn of the loop: about a millisecond."""


class LastTurns:
    """The connections of one worker that wait for such a turn: each is in here once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, take: Callable[[], None]) -> None:
        """Call `take` when its turn comes; it must not raise."""
        if not self._waiting:
            self._loop.call_soon(self._serve)
        self._waiting.append(take)

    def _serve(self) -> None:
        waiting = self._waiting
        for _ in range(min(A_TURN, len(waiting))):
            waiting.popleft()()
        if waiting:
            self._loop.call_soon(self._serve)
