"""Who is held in the tar pit: every client but those that are exempt.

The holding itself is the session machine's: each 5xx reply to a session that is not exempt waits for `tarpit.time`. Exempt
are clients in `tarpit.exempt_networks`, and a session from the moment AUTH succeeds (not offered yet).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.net.address import Networks

if TYPE_CHECKING:
    from mailmoat.settings.sections.tarpit import TarpitSettings


class Tarpit:
    """The exemptions."""

    def __init__(self, settings: TarpitSettings) -> None:
        self._networks = Networks(settings.exempt_networks)

    def exempts(self, peer: str) -> bool:
        """Whether a client at this address is never held."""
        return peer in self._networks
