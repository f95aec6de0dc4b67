"""By what clients authenticate: the names of the mechanisms, and what is counted of each."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from mailmoat.auth.authenticator import Cause
from mailmoat.metrics import Family


class Mechanism(StrEnum):
    """By what a client has authenticated, or tried to: the label in the metrics."""

    PLAIN = "PLAIN"
    LOGIN = "LOGIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"
    OAUTHBEARER = "OAUTHBEARER"
    XOAUTH2 = "XOAUTH2"
    EXTERNAL = "EXTERNAL"
    OTHER = "other"


AUTHENTICATED: Final = Family(
    "mailmoat_authenticated_total", "Clients that authenticated, by mechanism.", {"mechanism": Mechanism}
)
AUTH_FAILURES: Final = Family[StrEnum](
    "mailmoat_auth_failures_total",
    "Failed authentications, by mechanism and reason.",
    {"mechanism": Mechanism, "reason": Cause},
)


def label(mechanism: str) -> Mechanism:
    """Return the label of a mechanism."""
    return Mechanism(mechanism) if mechanism in set(Mechanism) else Mechanism.OTHER
