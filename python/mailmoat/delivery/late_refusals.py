"""Notes recipients that a next hop refuses when a message is delivered, for who had asked the next hop before and was told that they exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.composed import ComposedDirectory
from mailmoat.directory.live.client import LiveClient
from mailmoat.settings.source_url import NEXT_HOP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailmoat._native import Message, Outcome, Recipient
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.route import Route
    from mailmoat.delivery.router import Router
    from mailmoat.directory.directory import Directory
    from mailmoat.settings import Settings


def with_late_refusals(router: Router, settings: Settings, directory: Directory | None) -> Router:
    """Return the router that the settings ask for: this one, or one that notes refusals for a source `next_hop:`."""
    asked = any(row.url.family == NEXT_HOP for row in settings.directories)
    live = directory.live if isinstance(directory, ComposedDirectory) else None
    return LateRefusals(router, live.refused) if asked and isinstance(live, LiveClient) else router


class LateRefusals:
    """Another router, which calls `note` with the address and the reply of each recipient that failed at a server."""

    def __init__(self, router: Router, note: Callable[[str, str], None]) -> None:
        self._router, self._note = router, note

    @property
    def destinations(self) -> Sequence[Destination]:
        """Those that are open."""
        return self._router.destinations

    @property
    def default(self) -> Destination | None:
        """Where recipients go that no route names."""
        return self._router.default

    def __call__(self, recipient: Recipient, message: Message) -> Destination | None:
        """Return where a recipient of a message goes; None when nothing is configured for it."""
        return self._router(recipient, message)

    def destination(self, name: str) -> Destination | None:
        """Return the destination of this name, opened again if need be; None when no route has it any more."""
        return self._router.destination(name)

    def drop(self, destination: Destination) -> None:
        """Forget a destination at which nothing is."""
        self._router.drop(destination)

    def passed_on(self, route: Route, message: Message, failed: Sequence[Outcome]) -> frozenset[int]:
        """Note who failed; return what the other router does."""
        if failed:
            recipients = message.recipients
            for one in failed:
                if not recipients[one.index].next_hop_fixed:  # an administrator's choice: another server was asked
                    self._note(recipients[one.index].address, one.reply)
        return self._router.passed_on(route, message, failed)
