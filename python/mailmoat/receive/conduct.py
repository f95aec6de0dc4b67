"""Notes for the reputation of a client what its session shows: messages accepted, octets that are no SMTP, failed authentication.

Clients that are not judged, such as those that have authenticated, are left out. Never raises; does nothing where nothing is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import End
from mailmoat.reputation.evidence import Evidence

if TYPE_CHECKING:
    from mailmoat._native import Message, Session
    from mailmoat.policy.client import Client
    from mailmoat.reputation.evidence import Reputation

MALFORMED: Final = frozenset({End.NOT_SMTP, End.BAD_CHUNK, End.TOO_MANY_ERRORS, End.NO_PROGRESS})
"""Ends of sessions that are the client's fault."""


def accepted(reputation: Reputation, client: Client, message: Message) -> None:
    """Note a message that is on disk, once for each recipient that exists."""
    if client.trust.judged:
        reputation.accepted(client.address, message.pending)


def ended(reputation: Reputation, client: Client, session: Session) -> None:
    """Note how a session ended."""
    if session.end in MALFORMED and client.trust.judged:
        reputation.note(client.address, Evidence.MALFORMED)


def not_authenticated(reputation: Reputation | None, client: Client) -> None:
    """Note an authentication that failed for what the client said."""
    if reputation is not None and client.trust.judged:
        reputation.note(client.address, Evidence.AUTH_FAILURE)
