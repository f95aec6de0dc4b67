"""Clients on the block list: whether one is refused, with the reply of the settings, and recipients that it reaches all the same.

The agents of the connection filter share this, one for each stage. A client that is trusted is not refused, and a front server is never
judged itself. Never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.policy.open_recipients import OpenRecipients
from mailmoat.policy.verdict import Reject, Reply, Rule
from mailmoat.reputation.evidence import Evidence
from mailmoat.reputation.once import OncePerSession

if TYPE_CHECKING:
    from mailmoat._native import ListEntry
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.services import Services


class ConnectionRule(Rule):
    """Why a client is refused."""

    BLOCKED = "blocked-client"


class BlockedClients:
    """What the block list says of clients, in the words of the settings."""

    def __init__(self, services: Services) -> None:
        settings = services.settings.lists
        self.open_recipients = OpenRecipients(services.settings)
        self._lists = services.lists
        self._evidence = OncePerSession(services.reputation)
        self._text = f"{settings.reply}; see {settings.url}" if settings.url else settings.reply

    def refusal(self, view: SessionView, address: str, code: int) -> Reject | None:
        """Return the refusal of what this address does in a session; None for one that is not blocked."""
        entry = self._lists.find(address)
        if entry is None or entry.allows:
            return None
        self._evidence.note(view.session_id, address, Evidence.LISTED)
        reply = Reply.showing(code, "5.7.1", self._text.replace("%s", address))
        return Reject(reply, ConnectionRule.BLOCKED, _detail(entry))


def _detail(entry: ListEntry) -> str:
    """Return what the log says of an entry: where it is, and why."""
    where = f"{entry.prefix} in {entry.source.name}"
    return f"{where}: {entry.reason}" if entry.reason else where
