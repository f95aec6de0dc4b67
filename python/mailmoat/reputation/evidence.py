"""What is seen of the hosts that send to us, and the protocol by which it is noted. Values; nothing here counts.

A source is an IPv4 address or an IPv6 /64. Evidence is noted where it is seen: by an agent with its verdict, by the session for what
it accepts and what it cannot read.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Evidence(StrEnum):
    """One thing that a source did; the value is its name in the log and in `mailmoat reputation show`."""

    ACCEPTED_MESSAGE = "accepted-message"
    """Recipients of a message that was accepted: one for each."""
    UNKNOWN_RECIPIENT = "unknown-recipient"
    LISTED = "listed"
    """It is on a block list: ours, or one in the DNS. One for each session."""
    SENDER_ID_FAIL = "sender-id-fail"
    """Sender ID or SPF says Fail. One for each message."""
    BLOCKED_SENDER = "blocked-sender"
    HELO_MISMATCH = "helo-mismatch"
    """Its HELO name is refused or does not fit its address. One for each session."""
    MALFORMED = "malformed"
    """Its session ended because it was no SMTP, or had too many errors."""
    AUTH_FAILURE = "auth-failure"
    HARVEST = "harvest"
    """An unknown recipient that was part of a harvest attack, beside UNKNOWN_RECIPIENT."""


class Reputation(Protocol):
    """What agents and sessions see of the records of sources. Never raises, never waits."""

    def accepted(self, address: str, recipients: int) -> None:
        """Record a message that was accepted for so many recipients from a client that is judged, as its trust says: the frequent case."""

    def note(self, address: str, evidence: Evidence, count: int = 1) -> None:
        """Record `count` times this evidence for the source of an address (text form without port).

        Nothing is recorded for an empty address, and for one that is trusted or that of a server in front. A client that has
        authenticated cannot be known by its address: the caller leaves it out.
        """

    def level(self, address: str) -> int | None:
        """Return the level of the source, 0 (good) to 9 (bad); None before there is enough to judge by."""
