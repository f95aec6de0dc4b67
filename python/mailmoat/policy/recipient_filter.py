"""Refuse recipients this organisation does not have, before any content is sent (behaviours 2; RFC 5321 3.3, 4.5.1, 7.9).

Blocked addresses are refused whatever the directory says. `postmaster` is accepted at every local domain. A directory that
cannot answer never turns into "user unknown": it costs a 451. With lookup off an absent recipient is accepted and reported
later, so that the dialogue tells a harvester nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory import Answer
from mailmoat.policy.agent import PASS, Agent, Reject, Reply, Report, Tempfail

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.directory import Directory
    from mailmoat.policy.agent import SessionView, Verdict
    from mailmoat.settings import Settings

USER_UNKNOWN = Reply(550, "5.1.1", "User unknown")
DIRECTORY_DOWN = Reply(451, "4.3.0", "Recipient directory is not available; try again later")


class RecipientFilter(Agent):
    """Judges each recipient at a local domain; the block list holds at every domain."""

    name = "recipient_filter"

    def __init__(self, settings: Settings, directory: Directory | None) -> None:
        self._blocked = frozenset(settings.recipients.blocked)
        self._local = frozenset(settings.relay.local_domains)
        self._lookup = settings.recipients.lookup
        self._directory = directory

    def on_rcpt(self, session: SessionView, recipient: Address) -> Verdict:  # noqa: ARG002 - the agent's signature
        """550 5.1.1 for a blocked or absent recipient, 451 when nobody can tell."""
        local = recipient.domain in self._local
        if local and recipient.local.lower() == "postmaster":
            return PASS
        if recipient.key in self._blocked:
            return Reject(USER_UNKNOWN, "blocked recipient")
        if not local or self._directory is None:
            return PASS
        answer = self._directory.lookup(recipient)
        if answer is Answer.EXISTS:
            return PASS
        if answer is Answer.UNKNOWN:
            return Tempfail(DIRECTORY_DOWN, "directory not available")
        rule = "not in the directory"
        return Reject(USER_UNKNOWN, rule) if self._lookup else Report(USER_UNKNOWN, rule)
