"""What limits a client: how many sessions it has at the same time, and what it does in a time.

Contract of every limiter: it answers at once and never raises; an error of its own admits the client, for a limit must not close the
server. Each admission, one that refuses among them, is given back exactly once. A rate is that of a source; the networks around it
have a multiple, and what is refused is not counted. Decisions are local: a limiter that several machines share decides by its own cells
(class, prefix, time at which all is paid for, units spent), reports what was spent afterwards, and adds what others report.

Time passes for a client whatever it waits for, so a delay that we cause never counts against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from mailmoat.metrics import Family


class LimitClass(StrEnum):
    """What has a rate: the label in metrics, and the name in the log and the tools. The settings have it as `limits.<name>_rate`."""

    CONNECTIONS = "connections"
    MESSAGES = "messages"
    RECIPIENTS = "recipients"
    UNKNOWN_RECIPIENTS = "unknown-recipients"
    AUTH_FAILURES = "auth-failures"
    NULL_SENDERS = "null-senders"
    BYTES = "bytes"

    @property
    def setting(self) -> str:
        """The name of its setting in `[limits]`."""
        return f"{self.removesuffix('s').replace('-', '_')}_rate"


class Direction(StrEnum):
    """Which way the mail goes that is limited."""

    IN = "in"


class Limit(StrEnum):
    """Which limit refuses a connection: the label in the metrics."""

    SERVER = "server"
    SOURCE = "source"
    PRESSURE = "pressure"
    AUTH_FAILURES = "auth-failures"
    NETWORK = "network"
    SHARE = "share"
    RATE = "rate"

    @property
    def text(self) -> str:
        """The reply to a client that is over the limit."""
        return _TEXTS[self]


_TEXTS: Final = {
    Limit.SERVER: "Too many connections; try again later",
    Limit.SOURCE: "Too many connections from your address; try again later",
    Limit.NETWORK: "Too many connections from your network; try again later",
    Limit.SHARE: "Too many connections from your address while few are left; try again later",
    Limit.RATE: "Too many new connections from your address; try again later",
    Limit.PRESSURE: "Insufficient system resources; try again later",
    Limit.AUTH_FAILURES: "Too many failed authentications from your address; try again later",
}

CONNECTIONS_REFUSED: Final = Family(
    "mailmoat_connections_refused_total", "Connections refused because of a limit, by limit.", {"limit": Limit}
)
LIMITED: Final = Family(
    "mailmoat_limited_total",
    "Commands and connections refused because of a rate, by class and direction.",
    {"class": LimitClass, "direction": Direction},
)


@dataclass(frozen=True, slots=True)
class Admission:
    """The place of one session among those of its source."""

    source: bytes = b""
    """What is counted; empty when nothing is."""
    refused: Limit | None = None
    wait: float = 0.0
    """Seconds until a new connection is admitted, where that is known."""

    @property
    def text(self) -> str:
        """The reply to a client that is refused."""
        text = "" if self.refused is None else self.refused.text
        return text.replace("later", f"in {words(self.wait)}") if self.wait else text


UNCOUNTED: Final = Admission()


class Limiter(Protocol):
    """Limits on the connections of clients."""

    def admit(self, address: str, *, limited: bool) -> Admission:
        """Count a session from this address (text form without port; empty when it is not known).

        Where it is not `limited`, only the connections of the whole server are a limit for it.
        """

    def give_back(self, source: bytes) -> None:
        """Take an `Admission.source` out of the count."""


class RateLimiter(Protocol):
    """Limits on what clients do in a time. An address is in text form without port; an empty one is never limited."""

    def limits(self, kind: LimitClass) -> bool:
        """Return whether there is a rate for this class."""

    def spend(self, kind: LimitClass, address: str) -> float:
        """Spend one, and return 0; or spend nothing, and return the seconds until that is possible. A refusal is counted."""

    def charge(self, kind: LimitClass, address: str, units: int = 1) -> None:
        """Spend what has happened already, whether there is enough or not."""

    def wait(self, kind: LimitClass, address: str) -> float:
        """Return the seconds until more can be spent; 0 for now. A refusal is counted."""

    def classes(self, *kinds: LimitClass) -> int:
        """Return those of these classes that have a rate, as a set for `take`; 0 for none."""

    def take(self, waits: int, spends: int, address: str) -> tuple[LimitClass, float] | None:
        """Do what `wait` does for each class of one set, then what `spend` does for each of another, in the order of the classes.

        Return the first that refuses, and the seconds; those before it are spent. None when all is admitted: one call decides several.
        """

    def is_spent(self, kind: LimitClass, address: str) -> bool:
        """Return whether nothing more can be spent now; nothing is counted."""


def words(seconds: float) -> str:
    """Return a time that is to be waited, rounded up, for a client's reply."""
    whole = max(math.ceil(seconds), 1)
    for length, unit in ((3600, "h"), (60, "min")):
        if whole > 2 * length:
            return f"{math.ceil(whole / length)} {unit}"
    return f"{whole} s"
