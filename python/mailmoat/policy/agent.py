"""The agent: one rule, asked at the stages whose methods it overrides, answering with a verdict.

A stage that no agent listens to costs nothing, nor one at which the conditions of all that listen hold (`policy.screens`). A method returns a verdict, or an awaitable of one that is given `policy.agent_time`
seconds. It never writes to the client, never blocks the loop, and sees a view of the session, never the connection. What it raises, a
value that is no verdict, and a verdict that does not come in time are `451 4.3.0` for that command and a line in the log that names
the agent. Stages and their order: RFC 5321 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mailmoat.settings.section import Extension

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from mailmoat._native import Address, Condition, Stage
    from mailmoat.policy.client import Client, ClientKind
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings


class SessionView(Protocol):
    """What an agent can see of a session."""

    @property
    def session_id(self) -> str:
        """Unique name of the session in logs."""

    @property
    def client(self) -> Client:
        """The host at the other end, and how far it is trusted."""

    @property
    def helo_name(self) -> str:
        """Name given with HELO or EHLO."""

    @property
    def reverse_path(self) -> Address | None:
        """None is the null reverse-path."""

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Those accepted in the transaction so far and not dropped since, in their order."""

    @property
    def submitter(self) -> Address | None:
        """What the client gave as SUBMITTER with MAIL (RFC 4405); its domain is never empty."""

    @property
    def header(self) -> bytes:
        """From END_OF_HEADERS on: the header section as it will be kept, with the empty line that ends it."""

    @property
    def received_header(self) -> bytes:
        """The same as the client sent it, with what the header firewall takes out."""


class RcptView(SessionView, Protocol):
    """The same at RCPT."""

    @property
    def recipient(self) -> Address:
        """The recipient that is asked about; it is not among `recipients` yet."""

    @property
    def declared_size(self) -> int:
        """Octets of the content as the client declared them with MAIL (RFC 1870); 0 when it did not."""


class Agent(Extension):
    """A rule: override the stages it listens to. The others are never called.

    `section` is for agents of administrators: the others have theirs in `settings.sections`.
    """

    def __init__(self, services: Services) -> None:
        """Take what it needs from `services`: what no agent takes is never made."""

    @classmethod
    def is_on(cls, settings: Settings) -> bool:  # noqa: ARG003 - for those that override it
        """Return whether the agent has anything to do with these settings."""
        return True

    def concerns(self, kind: ClientKind) -> bool:  # noqa: ARG002 - for those that override it
        """Return whether it may have anything to say about clients of this kind; it is not asked in the sessions of others."""
        return True

    def passes_if(self, stage: Stage) -> Sequence[Condition] | None:  # noqa: ARG002
        """Return conditions, any of which may fail if it does not pass at a stage, the same for ever: it is not asked while all hold.

        None: it is always asked. An empty sequence: it always passes. Asked once for each kind of client.
        """
        return None

    def on_connect(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Judge a client that has connected and said nothing yet."""
        raise NotImplementedError

    def on_helo(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Judge HELO or EHLO."""
        raise NotImplementedError

    def on_mail(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Judge MAIL."""
        raise NotImplementedError

    def on_rcpt(self, view: RcptView) -> Verdict | Awaitable[Verdict]:
        """Judge RCPT."""
        raise NotImplementedError

    def on_data(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Judge DATA, before 354."""
        raise NotImplementedError

    def on_end_of_headers(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Judge the header section."""
        raise NotImplementedError

    def on_end_of_data(self, view: SessionView) -> Verdict | Awaitable[Verdict]:
        """Judge the transaction when the content is complete."""
        raise NotImplementedError

    def on_disconnect(self, view: SessionView) -> None:
        """Note that the connection is closed; there is nobody left to reply to."""
        raise NotImplementedError
