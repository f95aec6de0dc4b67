"""What is left to a source that has failed to authenticate too often: nobody is authenticated from there, so TLS for it is spent in vain.

Where clients must authenticate, its connections are refused before a handshake, with 421 in clear or without a word where TLS comes
first. At public listeners AUTH is not offered to it; its mail is received as before. But after `IDLE_TLS` TLS connections that brought no
message STARTTLS is not offered either, for a while. Clients that the tar pit exempts are not judged, as their failures are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import Incident
from mailmoat.limits.limiter import CONNECTIONS_REFUSED, Limit
from mailmoat.net.address import packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.metrics import Metrics
    from mailmoat.policy.client import Client

WINDOW: Final = 600
"""Seconds."""
IDLE_TLS: Final = 20
"""TLS connections without a message that such a source may have in `WINDOW` seconds."""
IDLE: Final = Incident.IDLE_TLS
"""Here, since a member is slow to reach through its class."""
REFUSAL: Final = f"421 4.7.0 {Limit.AUTH_FAILURES.text}\r\n".encode()


class Guessers:
    """The sources that guess, as one worker sees them; `reached` says of an address whether it has failed too often."""

    def __init__(self, reached: Callable[[str], bool], metrics: Metrics) -> None:
        self._reached = reached
        self._metrics = metrics

    def has(self, client: Client) -> bool:
        """Return whether a client is one of them."""
        return not client.trust.exempt and self._reached(client.address)

    def refusal(self, client: Client) -> bytes | None:
        """Return what a client that has come to a listener with AUTH required is told instead of a greeting; None for others."""
        if not self.has(client):
            return None
        self._metrics.add(CONNECTIONS_REFUSED[Limit.AUTH_FAILURES])
        return b"" if client.listener.implicit_tls else REFUSAL

    def left(self, client: Client, messages: int) -> None:
        """Note that a TLS connection is over."""
        if messages or not client.address or not self.has(client):
            return
        now = int(clock.monotonic())
        self._metrics.shared.incident_add(IDLE, packed(client.address), now, WINDOW)

    def may_use_tls(self, source: bytes, now: int) -> bool:
        """Return whether STARTTLS may be offered to a packed address at this monotonic second."""
        return self._metrics.shared.incidents(IDLE, source, now) < IDLE_TLS
