"""What an agent is: one rule, asked at the stages it listens to, answering with a verdict.

An agent overrides the methods of the stages it wants; a stage no agent listens to is never crossed. A method answers at once
or returns an awaitable. It never writes to the peer and never does I/O on the loop's thread; what it raises costs that client
a 451 and is logged with the agent's name. Stages and their order: RFC 5321 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat._native import Address


@dataclass(frozen=True, slots=True)
class Reply:
    """Code, enhanced status code and text of a refusal (RFC 5321 4.2, RFC 3463)."""

    code: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


@dataclass(frozen=True, slots=True)
class Pass:
    """Go on to the next agent; `stamps` are whole header fields, CRLF-ended, for the top of the message.

    `dropped`, at a content stage: recipients whose copy is discarded, while the message goes to the rest. The client hears
    nothing of it. With nobody left it is a discard. `redirected`, at RCPT: the address that gets the message instead of the recipient,
    whom the client is told to be accepted.
    """

    stamps: tuple[bytes, ...] = ()
    dropped: tuple[Address, ...] = ()
    redirected: Address | None = None

    def and_then(self, other: Pass) -> Pass:
        """What both say together, this one first."""
        return Pass(self.stamps + other.stamps, self.dropped + other.dropped, other.redirected or self.redirected)


@dataclass(frozen=True, slots=True)
class Report:
    """At RCPT: accept the recipient now and report it as failed with this reply later. `rule` names why, for the log."""

    reply: Reply
    rule: str


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse for good: a 5xx reply."""

    reply: Reply
    rule: str


@dataclass(frozen=True, slots=True)
class Tempfail:
    """Refuse for now: a 4xx reply."""

    reply: Reply
    rule: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Tell the client its message was taken, and keep nothing."""

    reason: str


Verdict = Pass | Report | Reject | Tempfail | Discard
PASS = Pass()


class SessionView(Protocol):
    """What an agent may know of a session."""

    @property
    def session_id(self) -> str:
        """Unique name of the session in logs."""

    @property
    def peer(self) -> str:
        """Address of the client, without port: the PROXY header's when one was given."""

    @property
    def hello(self) -> str:
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
    def head(self) -> bytes:
        """From END_OF_HEADERS on: the header section as sent, with the empty line that ends it."""


class Agent:
    """A rule: override the stages you listen to. The others are never called."""

    name: ClassVar[str]

    def on_connect(self, session: SessionView) -> Verdict | Awaitable[Verdict]:
        """The connection stands, nothing was said."""
        raise NotImplementedError

    def on_helo(self, session: SessionView) -> Verdict | Awaitable[Verdict]:
        """HELO or EHLO was given."""
        raise NotImplementedError

    def on_mail(self, session: SessionView) -> Verdict | Awaitable[Verdict]:
        """MAIL was given."""
        raise NotImplementedError

    def on_rcpt(self, session: SessionView, recipient: Address) -> Verdict | Awaitable[Verdict]:
        """RCPT was given."""
        raise NotImplementedError

    def on_data(self, session: SessionView) -> Verdict | Awaitable[Verdict]:
        """DATA was given; 354 not yet."""
        raise NotImplementedError

    def on_end_of_headers(self, session: SessionView) -> Verdict | Awaitable[Verdict]:
        """The header section is there."""
        raise NotImplementedError

    def on_end_of_data(self, session: SessionView) -> Verdict | Awaitable[Verdict]:
        """The content is there."""
        raise NotImplementedError

    def on_disconnect(self, session: SessionView) -> None:
        """The connection is gone; there is nobody to answer."""
        raise NotImplementedError
