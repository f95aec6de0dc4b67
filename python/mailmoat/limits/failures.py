"""Failed authentications of each source, counted by all workers together.

A source is an IPv4 address or an IPv6 /64. Its count begins with a failure and ends `WINDOW` seconds later. A client in
`tarpit.exempt_networks`, such as a webmail server that logs many people in, is not counted. Never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import Incident
from mailmoat.net.address import packed

if TYPE_CHECKING:
    from mailmoat._native import Shared
    from mailmoat.settings.sections.limits import LimitsSettings

WINDOW: Final = 600
"""Seconds."""


class AuthFailures:
    """`limits.auth_failures_per_source`, as one worker sees it."""

    def __init__(self, limits: LimitsSettings, shared: Shared) -> None:
        self._most = limits.auth_failures_per_source
        self._shared = shared

    def reached(self, address: str) -> bool:
        """Return whether this address (text form without port) has had so many failures that nobody is asked any more."""
        if not self._most or not address:
            return False
        return self._shared.incidents(Incident.AUTH_FAILURE, packed(address), int(clock.monotonic())) >= self._most

    def add(self, address: str) -> None:
        """Count a failure."""
        if self._most and address:
            self._shared.incident_add(Incident.AUTH_FAILURE, packed(address), int(clock.monotonic()), WINDOW)
