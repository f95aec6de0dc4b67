"""What the driver of a session needs of its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mailmoat.receive.intake import Intake


class Wire(Protocol):
    """The connection of a session, as its driver sees it."""

    @property
    def intake(self) -> Intake:
        """Its reading side."""

    @property
    def is_closing(self) -> bool:
        """Nothing is read from it or written to it any more."""

    def write(self, octets: bytes) -> None:
        """Send octets."""

    def take_turns(self) -> None:
        """Let the other connections have their turn, then proceed."""

    def give_way(self) -> None:
        """Let the connections come first whose sessions make progress, then proceed."""

    def close(self) -> None:
        """Close once the peer has read what is written, and soon in any case."""

    def abort(self) -> None:
        """Close at once."""
