"""Refuse a reverse-path that is not the account's own, where `auth.senders` lists who may use which (RFC 6409 6.1).

The null reverse-path is everybody's (RFC 6409 3.2). A client that has not authenticated is not judged here. The file is read again when
it changes; while none could be used since the start, who has authenticated gets 451.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

from mailmoat import maillog
from mailmoat.auth.senders import read_file
from mailmoat.events import Event
from mailmoat.file_changes import QUIET_TIME
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Reject, Reply, Rule, Tempfail
from mailmoat.watched_file import FileLog

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.client import ClientKind
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
        file, normalisation = cast("Path", settings.auth.senders), settings.normalisation
        self._file = services.watch(file, partial(read_file, normalisation=normalisation), FileLog(_refused, _waits))

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there is a list."""
        return settings.auth.senders is not None

    def concerns(self, kind: ClientKind) -> bool:
        """Return whether it has authenticated."""
        return kind.trust.authenticated

    def on_mail(self, view: SessionView) -> Verdict:
        """Refuse with 553 5.7.1 what is not the account's own."""
        identity, sender = view.client.identity, view.reverse_path
        if identity is None or sender is None:
            return PASS
        senders = self._file.value
        if senders is None:
            return Tempfail(UNKNOWN, LoginRule.UNREADABLE)
        if senders.may_use(identity.name, sender):
            return PASS
        return Reject(
            Reply.showing(553, "5.7.1", f"{sender} is not a sender address of your account"),
            LoginRule.NOT_OWN,
            identity.name,
        )


def _refused(detail: str) -> None:
    maillog.event(Event.SENDERS_REFUSED, detail=detail)


def _waits(source: str, detail: str) -> None:
    maillog.event(Event.SENDERS_WAIT, source=source, detail=detail, quiet=QUIET_TIME)
