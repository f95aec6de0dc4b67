"""The servers in front of this one: they may say by XCLIENT who their clients are, and by XFORWARD where their messages come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.net.address import Networks

if TYPE_CHECKING:
    from mailmoat._native import Session
    from mailmoat.settings.sections.smtp import SmtpSettings


class FrontServers:
    """Those that the settings list, by the address from which they connect."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._xclient = Networks(settings.xclient_networks)
        self._xforward = Networks(settings.xforward_networks)

    def offer(self, session: Session, address: str) -> None:
        """Offer them to the session of a client at this address that may say so."""
        xclient, xforward = address in self._xclient, address in self._xforward
        if xclient or xforward:
            session.offer_proxied(xclient, xforward)
