"""The transports that reach nobody: one that delivers everything to nowhere, one that defers everything.

Nothing runs in them, nothing fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat._native import RecipientState
from mailmoat.delivery.attempt import AttemptRecord, outcome_of_all

if TYPE_CHECKING:
    import asyncio

    from mailmoat.delivery.attempt import Attempt

_DISCARDED = AttemptRecord(next_hop="discard:", peer="discard", reused=False, seconds=0.0)
_NOWHERE = AttemptRecord(next_hop="none", peer="", reused=False, seconds=0.0)


class _Immediate:
    """Gives every recipient of an attempt the same outcome, at the next turn of the loop."""

    connections = 0

    def __init__(
        self, loop: asyncio.AbstractEventLoop, state: RecipientState, reply: str, record: AttemptRecord
    ) -> None:
        self._loop = loop
        self._state = state
        self._reply = reply
        self._record = record

    def submit(self, attempt: Attempt) -> None:
        """Finish it."""
        self._loop.call_soon(attempt.finished, outcome_of_all(attempt, self._state, self._reply), self._record)

    async def probe(self) -> None:
        """Do nothing: there is nothing to ask."""

    def close(self) -> None:
        """Do nothing: nothing runs."""

    def abort(self) -> None:
        """Do nothing: nothing runs."""


class DiscardTransport(_Immediate):
    """Delivers to nobody: for measuring, and for sinks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, RecipientState.DELIVERED, "250 2.0.0 discarded", _DISCARDED)


class UnroutedTransport(_Immediate):
    """No next hop is configured: messages wait, are reported and expire as with one that is down."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, RecipientState.PENDING, "451 4.3.5 No next hop is configured", _NOWHERE)
