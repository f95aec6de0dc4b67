"""Clients that talk before the greeting, which no client may do (RFC 5321 3.1, 4.3.1): most that do are programs that send spam.

Such input is there when the connection is accepted. It is not looked for where TLS comes first; behind a balancer it is what comes
with the PROXY header. Clients that are not judged are left alone. Costs a system call for each connection, or nothing when it is off.
"""

from __future__ import annotations

import fcntl
import termios
from typing import TYPE_CHECKING, Final

from mailmoat import maillog
from mailmoat.events import Event
from mailmoat.metrics import EARLY_TALKERS
from mailmoat.reputation.evidence import Evidence

if TYPE_CHECKING:
    import asyncio

    from mailmoat.metrics import Metrics
    from mailmoat.policy.client import Client
    from mailmoat.reputation.evidence import Reputation

NOTHING: Final = bytes(4)
TEXT: Final = "You talked before the greeting"


class EarlyTalkers:
    """What follows, by `smtp.early_talkers`: off, note or refuse."""

    def __init__(self, choice: str, metrics: Metrics, reputation: Reputation | None) -> None:
        self.is_on = choice != "off"
        self._refuses = choice == "refuse"
        self._metrics = metrics
        self._reputation = reputation

    def has_talked(self, transport: asyncio.Transport, client: Client) -> bool:
        """Return whether there is input from a client that was not greeted yet."""
        if not self.is_on or client.listener.implicit_tls:
            return False
        descriptor = transport.get_extra_info("socket").fileno()
        return fcntl.ioctl(descriptor, termios.FIONREAD, NOTHING) != NOTHING

    def refuses(self, client: Client, session_id: str) -> bool:
        """Note a client that has talked, and return whether it is refused."""
        if not client.trust.judged:
            return False
        self._metrics.add(EARLY_TALKERS)
        if self._reputation is not None:
            self._reputation.note(client.address, Evidence.MALFORMED)
        maillog.event(Event.EARLY_TALKER, session=session_id, client=client.address, refused=self._refuses)
        return self._refuses
