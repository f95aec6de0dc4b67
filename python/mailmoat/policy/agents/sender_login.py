"""Refuse a reverse-path that is not the account's own, where `auth.senders` lists who may use which (RFC 6409 6.1).

The null reverse-path is everybody's (RFC 6409 3.2). A client that has not authenticated is not judged here. The file is read at the start
and at each reload; while it cannot be used, who has authenticated gets 451.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import maillog
from mailmoat.auth.senders import read_file
from mailmoat.errors import ConfigError
from mailmoat.events import Event
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Reject, Reply, Rule, Tempfail

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.auth.senders import Senders
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings

UNKNOWN: Final = Reply(451, "4.3.0", "The list of senders is not available; try again later")


class LoginRule(Rule):
    """Why a sender is refused."""

    NOT_OWN = "sender-not-own"
    UNREADABLE = "senders-unavailable"


class SenderLogin(Agent):
    """Holds an account to its addresses."""

    name = "sender_login"

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._senders = (
            None if settings.auth.senders is None else _read(settings.auth.senders, settings.recipients.delimiter)
        )

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a list."""
        return settings.auth.senders is not None

    def on_mail(self, view: SessionView) -> Verdict:
        """Refuse with 553 5.7.1 what is not the account's own."""
        identity, sender = view.client.identity, view.reverse_path
        if identity is None or sender is None:
            return PASS
        if self._senders is None:
            return Tempfail(UNKNOWN, LoginRule.UNREADABLE)
        if self._senders.may_use(identity.name, sender):
            return PASS
        return Reject(
            Reply.showing(553, "5.7.1", f"{sender} is not a sender address of your account"),
            LoginRule.NOT_OWN,
            identity.name,
        )


def _read(file: Path, delimiter: str) -> Senders | None:
    try:
        return read_file(file, delimiter)
    except ConfigError as error:
        for mistake in error.mistakes:
            maillog.event(Event.SENDERS_REFUSED, detail=f"{file}: {mistake}")
        return None
