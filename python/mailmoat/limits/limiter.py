"""What admits clients: a limiter counts each session's source from its beginning until its place is given back.

Contract of every limiter: it answers at once and never raises; an error of its own admits the client, for a limit must not close the
server. Each admission, one that refuses among them, is given back exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, assert_never

from mailmoat.metrics import Family


class Limit(StrEnum):
    """Which limit refuses a client: the label in the metrics."""

    SERVER = "server"
    SOURCE = "source"
    PRESSURE = "pressure"
    AUTH_FAILURES = "auth-failures"

    @property
    def text(self) -> str:
        """The reply to a client that is over the limit."""
        match self:
            case Limit.SERVER:
                return "Too many connections; try again later"
            case Limit.SOURCE:
                return "Too many connections from your address; try again later"
            case Limit.PRESSURE:
                return "Insufficient system resources; try again later"
            case Limit.AUTH_FAILURES:
                return "Too many failed authentications from your address; try again later"
        assert_never(self)


CONNECTIONS_REFUSED: Final = Family(
    "mailmoat_connections_refused_total", "Connections refused because of a limit, by limit.", {"limit": Limit}
)


@dataclass(frozen=True, slots=True)
class Admission:
    """The place of one session among those of its source."""

    source: bytes = b""
    """What is counted; empty when nothing is."""
    refused: Limit | None = None


UNCOUNTED: Final = Admission()


class Limiter(Protocol):
    """Limits on the connections of clients."""

    def admit(self, address: str) -> Admission:
        """Count a session from this address (text form without port; empty when it is not known)."""

    def give_back(self, source: bytes) -> None:
        """Take an `Admission.source` out of the count."""
