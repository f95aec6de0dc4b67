"""Which destination each recipient has (RFC 5321 5).

A router is asked for each recipient of a message and opens the destinations it needs. In this version every recipient goes to the one
next hop of the settings; routes per domain and MX records belong behind the same question. A router returns the same destination for
the same message and address as long as it lives: the queue relies on that to find the recipients of a group again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mailmoat.delivery.tls_policy import tls_optional_policy, tls_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailmoat._native import Message
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

    def __call__(self, recipient: str, message: Message) -> Destination | None:
        """Return where a recipient of a message goes, given by its normalised address; None when nothing is configured for it.

        Then it is deferred, not failed.
        """


class SingleRouter:
    """Sends every recipient to one next hop; messages with `TLS-Required: No` by a destination of their own, where that differs."""

    def __init__(self, default: Destination | None, tls_optional: Destination | None) -> None:
        self.default = default
        self._tls_optional = tls_optional
        self.destinations = tuple(one for one in (default, tls_optional) if one is not None)

    def __call__(self, recipient: str, message: Message) -> Destination | None:  # noqa: ARG002 - the question, though one answer fits all
        """Return the destination of the one next hop; None when none is configured."""
        if self._tls_optional is not None and message.is_tls_optional:
            return self._tls_optional
        return self.default


def make_router(
    settings: DeliverySettings,
    open_: Callable[[NextHop], Destination],
    open_tls_optional: Callable[[NextHop], Destination],
) -> Router:
    """Return the router that the settings ask for; it calls `open_` once for each next hop, and the other where TLS is not always required."""
    next_hop = settings.next_hop
    if next_hop is None:
        return SingleRouter(None, None)
    differs = bool(next_hop.host) and tls_optional_policy(next_hop, settings) != tls_policy(next_hop, settings)
    return SingleRouter(open_(next_hop), open_tls_optional(next_hop) if differs else None)
