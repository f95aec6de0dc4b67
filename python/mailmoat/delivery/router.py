"""Which destination each recipient has (RFC 5321 5).

A router is asked for each recipient and opens the destinations it needs. In this version every recipient goes to the one next hop of
the settings; routes per domain and MX records belong behind the same question. A router returns the same destination for the same
address as long as it lives: the queue relies on that to find the recipients of a group again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailmoat.delivery.destination import Destination
    from mailmoat.settings import NextHop
    from mailmoat.settings.sections.delivery import DeliverySettings


class Router(Protocol):
    """Finds destinations."""

    @property
    def destinations(self) -> Sequence[Destination]:
        """Those opened so far."""

    @property
    def default(self) -> Destination | None:
        """Where recipients go that no route names."""

    def __call__(self, recipient: str) -> Destination | None:
        """Return where a recipient goes, given by its normalised address; None when nothing is configured for it: deferred, not failed."""


class SingleRouter:
    """Sends every recipient to one next hop."""

    def __init__(self, next_hop: NextHop | None, open_: Callable[[NextHop], Destination]) -> None:
        self.default = None if next_hop is None else open_(next_hop)
        self.destinations = () if self.default is None else (self.default,)

    def __call__(self, recipient: str) -> Destination | None:  # noqa: ARG002 - the question, though one answer fits all
        """Return the destination of the one next hop; None when none is configured."""
        return self.default


def make_router(settings: DeliverySettings, open_: Callable[[NextHop], Destination]) -> Router:
    """Return the router that the settings ask for; it calls `open_` once for each next hop."""
    return SingleRouter(settings.next_hop, open_)
