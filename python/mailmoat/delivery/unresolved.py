"""Sends recipients at local domains that do not exist to a host of their own, in place of a report: `ndr.unresolved_next_hop`.

A recipient is unresolved when the directory does not have it, or when the next hop says so with 5.1.1 or 5.1.10 (Exchange); then it goes
there once and stays there. Never a loop: a message that has been here before goes where the routes say, and is reported if nobody there takes it;
so is one that the host refuses. A directory that cannot answer makes no recipient unresolved. Where nothing is set, the router is as it was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailmoat import maillog
from mailmoat._native import Address, RecipientState
from mailmoat.delivery.route import Route
from mailmoat.directory.directory import Presence
from mailmoat.events import Event
from mailmoat.reports.original import header_section
from mailmoat.reports.status import status_of
from mailmoat.settings.sections.delivery import NextHopSettings
from mailmoat.settings.sections.routes import NOT_INHERITED, in_common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Message, Outcome, Recipient
    from mailmoat.delivery.destination import Destination
    from mailmoat.delivery.router import Open, Router
    from mailmoat.directory.directory import Directory
    from mailmoat.settings import Settings

NAME: Final = "unresolved"
"""Of the route, for the log; its destination is `unresolved` and the next hop."""
UNKNOWN: Final = frozenset({"5.1.1", "5.1.10"})
"""What next hops say of a recipient that they do not have."""


def with_unresolved(router: Router, open_: Open, settings: Settings, directory: Directory | None) -> Router:
    """Return the router that the settings ask for: this one, or one that looks for unresolved recipients first."""
    if settings.ndr.unresolved_next_hop is None:
        return router
    return UnresolvedRouter(router, open_, settings, directory)


class UnresolvedRouter:
    """Looks for unresolved recipients at local domains, and asks another router about all others; `directory` is None where there is none."""

    def __init__(self, router: Router, open_: Open, settings: Settings, directory: Directory | None) -> None:
        self._router = router
        self._directory = directory
        self._local = frozenset(settings.relay.local_domains)
        # What belongs to another server is as without a setting.
        own = {name: NextHopSettings.model_fields[name].default for name in NOT_INHERITED}
        own["next_hop"] = settings.ndr.unresolved_next_hop
        route = Route(NAME, in_common(settings.delivery).model_copy(update=own))
        self._unresolved = open_(f"{NAME} {settings.ndr.unresolved_next_hop}", route, "", tls_optional=False)
        self._by_us = re.compile(rb"\sby\s+" + re.escape(settings.hostname.encode()) + rb"\s", re.IGNORECASE)
        self._looked_at = "", False
        """The queue ID of the last message whose trace was read, and whether it was here: each of its recipients asks, and it may be megabytes."""

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
        if recipient.next_hop_fixed or not self._is_unresolved(recipient) or self._was_here(message):
            return self._router(recipient, message)
        return self._unresolved

    def destination(self, name: str) -> Destination | None:
        """Return the destination of this name, opened again if need be; None when no route has it any more."""
        return self._unresolved if name == self._unresolved.name else self._router.destination(name)

    def drop(self, destination: Destination) -> None:
        """Forget a destination at which nothing is."""
        if destination is not self._unresolved:
            self._router.drop(destination)

    def passed_on(self, route: Route, message: Message, failed: Sequence[Outcome]) -> frozenset[int]:
        """Return the places of those that the next hop does not have, unless an administrator has sent them there."""
        if route is self._unresolved.route:
            return frozenset()
        recipients = message.recipients
        unknown = [
            one for one in failed if status_of(one.reply) in UNKNOWN and not recipients[one.index].next_hop_fixed
        ]
        passed = [one for one in unknown if self._is_local(recipients[one.index].address)]
        if not passed or self._was_here(message):
            return frozenset()
        for one in passed:
            address = recipients[one.index].address
            maillog.event(Event.RECIPIENT_PASSED_ON, queue_id=message.queue_id, recipient=address, detail=one.reply)
        return frozenset(one.index for one in passed)

    def _is_unresolved(self, recipient: Recipient) -> bool:
        """Return whether it does not exist, by the directory, or by a next hop that it has failed at: `passed_on` leaves the reply."""
        if not self._is_local(recipient.address):
            return False
        if recipient.next_hop == self._unresolved.name:
            return True
        if recipient.state is RecipientState.PENDING and status_of(recipient.reply) in UNKNOWN:
            return True
        try:
            return (
                self._directory is not None
                and self._directory.lookup(Address.parse(recipient.address)) is Presence.ABSENT
            )
        except ValueError:  # longer than usual, by setting
            return False

    def _is_local(self, recipient: str) -> bool:
        local, _, domain = recipient.rpartition("@")
        return domain in self._local and local.lower() != "postmaster"

    def _was_here(self, message: Message) -> bool:
        """Return whether the header section has more than one trace field of ours (RFC 5321 6.3)."""
        queue_id = message.queue_id
        if self._looked_at[0] != queue_id:
            self._looked_at = queue_id, len(self._by_us.findall(header_section(message.octets()))) > 1
        return self._looked_at[1]
