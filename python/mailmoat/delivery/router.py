"""Where a message for a domain goes next.

Pure. In this version every domain has the one next hop of the settings; routes per domain and MX records find their place
behind the same question. A worker asks it once, for the transport its scheduler hands messages to. RFC 5321 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailmoat.settings import NextHop
    from mailmoat.settings.sections.delivery import DeliverySettings


def route(address_domain: str, delivery: DeliverySettings) -> NextHop | None:  # noqa: ARG001 - the question, though one answer fits all
    """The next hop for recipients at `address_domain` (A-label), or None when none is configured: deferred, never failed."""
    return delivery.next_hop
