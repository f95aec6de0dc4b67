"""Sends recipients that the directory does not have to a host of their own, in place of a report: `ndr.unresolved_next_hop`.

Never a loop: a message that has been here before goes where the routes say, and is reported if nobody there takes it; so is one that
the host refuses. A directory that cannot answer makes no recipient unresolved. Where nothing is set, the router is as it was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailmoat._native import Address
from mailmoat.delivery.route import Route
from mailmoat.directory.directory import Presence
from mailmoat.reports.original import header_section
from mailmoat.settings.sections.delivery import NextHopSettings
from mailmoat.settings.sections.routes import NOT_INHERITED, in_common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Message, Recipient
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.router import Open, Router
    from mailmoat.directory.directory import Directory
    from mailmoat.settings import Settings

NAME: Final = "unresolved"
"""Of the route, for the log; its destination is `unresolved` and the next hop."""


def with_unresolved(router: Router, open_: Open, settings: Settings, directory: Directory | None) -> Router:
    """Return the router that the settings ask for: this one, or one that looks for unresolved recipients first."""
    if settings.ndr.unresolved_next_hop is None or directory is None:
        return router
    return UnresolvedRouter(router, open_, settings, directory)


class UnresolvedRouter:
    """Asks the directory about recipients at local domains, and another router about all others."""

    def __init__(self, router: Router, open_: Open, settings: Settings, directory: Directory) -> None:
        self._router = router
        self._directory = directory
        self._local = frozenset(settings.relay.local_domains)
        # What belongs to another server is as without a setting.
        own = {name: NextHopSettings.model_fields[name].default for name in NOT_INHERITED}
        own["next_hop"] = settings.ndr.unresolved_next_hop
        route = Route(NAME, in_common(settings.delivery).model_copy(update=own))
        self._unresolved = open_(f"{NAME} {settings.ndr.unresolved_next_hop}", route, "", tls_optional=False)
        self._by_us = re.compile(rb"\sby\s+" + re.escape(settings.hostname.encode()) + rb"\s", re.IGNORECASE)

    @property
    def destinations(self) -> Sequence[Destination]:
        """Those that are open."""
        return (*self._router.destinations, self._unresolved)

    @property
    def default(self) -> Destination | None:
        """Where recipients go that no route names."""
        return self._router.default

    def __call__(self, recipient: Recipient, message: Message) -> Destination | None:
        """Return where a recipient of a message goes; None when nothing is configured for it."""
        # What an administrator has redirected goes there.
        if recipient.next_hop_fixed or not self._is_unresolved(recipient.address) or self._was_here(message):
            return self._router(recipient, message)
        return self._unresolved

    def destination(self, name: str) -> Destination | None:
        """Return the destination of this name, opened again if need be; None when no route has it any more."""
        return self._unresolved if name == self._unresolved.name else self._router.destination(name)

    def drop(self, destination: Destination) -> None:
        """Forget a destination at which nothing is."""
        if destination is not self._unresolved:
            self._router.drop(destination)

    def _is_unresolved(self, recipient: str) -> bool:
        local, _, domain = recipient.rpartition("@")
        if domain not in self._local or local.lower() == "postmaster":
            return False
        try:
            return self._directory.lookup(Address.parse(recipient)) is Presence.ABSENT
        except ValueError:  # longer than usual, by setting
            return False

    def _was_here(self, message: Message) -> bool:
        """Return whether the header section has more than one trace field of ours (RFC 5321 6.3)."""
        return len(self._by_us.findall(header_section(message.octets()))) > 1
