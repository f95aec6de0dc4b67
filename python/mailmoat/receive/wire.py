"""What the driver of a session needs of its connection."""

from __future__ import annotations

from typing import Protocol


class Wire(Protocol):
    """The connection of a session, as its driver sees it."""

    @property
    def ended(self) -> bool:
        """The peer has closed its sending side."""

    @property
    def is_closing(self) -> bool:
        """Nothing is read from it or written to it any more."""

    @property
    def is_clogged(self) -> bool:
        """The peer does not take its replies."""

    def write(self, octets: bytes) -> None:
        """Send octets."""

    def read_on(self) -> None:
        """Read again what was left because the peer was far ahead of a reply."""

    def stop_ahead(self) -> None:
        """Read nothing while the peer is far ahead of the reply that is owed to it."""

    def take_turns(self) -> None:
        """Let the other connections have their turn, then proceed."""

    def close(self) -> None:
        """Close once the peer has read what is written, and soon in any case."""

    def abort(self) -> None:
        """Close at once."""
