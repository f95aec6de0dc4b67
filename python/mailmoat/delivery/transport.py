"""What a way to a next hop has to do, whatever it speaks.

A transport takes an attempt by `submit` and calls its `finished` once, through the loop. One that cannot reach its next hop says so
with an empty `peer` in the record. It never raises for what a next hop does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mailmoat.delivery.attempt import Attempt


class Transport(Protocol):
    """A way to one next hop."""

    @property
    def connections(self) -> int:
        """What must still end after `close`."""

    def submit(self, attempt: Attempt) -> None:
        """Try it; `finished` is called once, never from within this call."""

    async def probe(self) -> bool | None:
        """Ask the next hop what it offers; return whether it answered, None where it was not asked."""

    def close(self) -> None:
        """Begin nothing new; what runs ends by itself."""

    def abort(self) -> None:
        """End what runs, deferring it."""
