"""What the log says of a session: a line for each accepted message and each refusal at once, and one when the connection is gone.

That one says, beyond what the session machine keeps of envelopes and refusals, the reasons of agents. Bounded at 8 KiB: see
`rust/machine/smtp/server/envelopes.rs`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from mailmoat import maillog
from mailmoat._native import End
from mailmoat.events import Event
from mailmoat.metrics import BYTES_ACCEPTED, MESSAGES_ACCEPTED, Family
from mailmoat.policy.verdict import POLICY_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Address, Message, Session, TlsFacts
    from mailmoat.metrics import Metrics
    from mailmoat.policy.client import Client
    from mailmoat.policy.verdict import Rule
    from mailmoat.receive.view import View

REASONS: Final = 10
"""Reasons a session's line names."""


class ReplyClass(StrEnum):
    """Classes of replies, by the first digit of the code (RFC 5321 4.2.1)."""

    SUCCESS = "2xx"
    INTERMEDIATE = "3xx"
    TRANSIENT = "4xx"
    PERMANENT = "5xx"


class SessionEnd(StrEnum):
    """Why a session ended, in the words of log and metrics: an `End` of the session machine, or the client left."""

    QUIT = "quit"
    DISCONNECTED = "disconnected"
    NOT_SMTP = "not-smtp"
    BAD_CHUNK = "bad-chunk"
    TOO_MANY_ERRORS = "too-many-errors"
    NO_PROGRESS = "no-progress"
    TARPIT_LIMIT = "tarpit-limit"
    REFUSED = "refused"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    TIMEOUT = "timeout"
    SESSION_TIME = "session-time"
    EVICTED = "evicted"
    IDLE_CLOSED = "idle-closed"
    SHUTDOWN = "shutdown"
    FAULT = "fault"
    TLS_FAILED = "tls-failed"
    AUTH_FAILURES = "auth-failures"
    PRESSURE = "pressure"


REPLIES: Final = Family("mailmoat_replies_total", "Replies sent, by class.", {"class": ReplyClass})
SESSIONS_ENDED: Final = Family(
    "mailmoat_sessions_ended_total", "Sessions that ended, by reason.", {"reason": SessionEnd}
)
_CLASSES: Final = tuple((int(each[0]), each.value, REPLIES[each]) for each in ReplyClass)
"""First digit, name and metric of each."""
QUIT: Final = SessionEnd.QUIT
"""Here, since a member is slow to reach through its class."""
_ENDS: Final = {None: SessionEnd.DISCONNECTED} | {end: SessionEnd[end.name] for end in End}


class SessionLog:
    """The log of one session: the line of each refusal and each message at once, and what its own line will say."""

    __slots__ = ("_octets", "_reasons")

    def __init__(self) -> None:
        # A tuple: most sessions are held with one refused recipient, and an empty list costs each of them 56 octets.
        self._reasons: tuple[str, ...] = ()
        self._octets = 0

    def decided(self, rule: Rule, metrics: Metrics) -> None:
        """Note and count why policy refused something."""
        metrics.add(POLICY_REFUSALS[rule])
        if rule not in self._reasons and len(self._reasons) < REASONS:
            self._reasons = (*self._reasons, rule)

    def redirected(self, session: Session, view: View, targets: Sequence[Address]) -> None:
        """Log that messages for the recipient that policy is asked about go to other addresses."""
        recipient, to = str(session.recipient), [str(target) for target in targets]
        maillog.event(Event.RECIPIENT_REDIRECTED, session=view.session_id, recipient=recipient, to=to)

    def refused(self, session: Session, view: View, reason: str = "", detail: str = "") -> None:
        """Write a line for each refusal since the last call; `reason` and `detail` are those of the first."""
        for refusal in session.take_refused():
            maillog.refused(
                session=view.session_id,
                client=view.client.address,
                helo=session.helo_name,
                mail_from=refusal.mail_from,
                recipient=refusal.recipient,
                command=refusal.command,
                reply=refusal.reply,
                reason=reason,
                detail=detail,
            )
            reason = detail = ""

    def accepted(self, session: Session, view: View, message: Message, metrics: Metrics) -> None:
        """Log and count the message of the transaction, which is on disk."""
        queue_id, octets = message.queue_id, message.size
        self._octets += octets
        session.message_accepted(queue_id, octets)
        maillog.message_accepted(
            session=view.session_id,
            client=message.client,
            helo=session.helo_name,
            mail_from=message.reverse_path,
            recipients=[recipient.address for recipient in message.recipients],
            queue_id=queue_id,
            octets=octets,
            **_known(view.client, session),
        )
        metrics.add(MESSAGES_ACCEPTED)
        metrics.add(BYTES_ACCEPTED, octets)

    def not_stored(self, view: View, detail: str) -> None:
        """Log that the message of the transaction could not be stored."""
        maillog.event(Event.MESSAGE_NOT_STORED, session=view.session_id, detail=detail)

    def failed(self, view: View, error: BaseException) -> None:
        """Log an exception of our own code, which ends the session."""
        maillog.event(
            Event.SESSION_FAILED,
            session=view.session_id,
            client=view.client.address,
            error=maillog.describe(error),
        )

    def write(self, session: Session, view: View, duration: float, metrics: Metrics) -> None:
        """Write the session's line, and count its replies; `duration` in seconds."""
        envelopes, left_out = session.take_envelopes()
        counts, replies = session.replies, {}
        for digit, name, row in _CLASSES:
            if count := counts[digit]:
                replies[name] = count
                metrics.add(row, count)
        client, end = view.client, _ENDS[session.end]
        metrics.add(SESSIONS_ENDED[end])
        maillog.session_ended(
            session=view.session_id,
            client=client.address,
            reason="" if end is QUIT else end,
            duration=duration,
            **_identified(client),
            helo=session.helo_name,
            transactions=[maillog.Transaction(*envelope) for envelope in envelopes],
            transactions_left_out=left_out,
            replies=replies,
            reasons=self._reasons,
            commands=session.commands,
            messages=session.messages,
            holds=session.holds,
            held=session.held / 1000,
            octets=self._octets,
            **_troubles(session),
        )


def _known(client: Client, session: Session) -> dict[str, object]:
    """Return the fields that most messages do not have: an empty one costs each message its way through the log."""
    fields: dict[str, object] = {}
    if client.name:
        fields["client_name"] = client.name
    if client.identity is not None:
        fields["authenticated"] = client.identity.name
    if client.tls is not None:
        fields["tls"] = f"{client.tls.version} {client.tls.cipher_suite}"
    if origin := session.origin:
        fields["origin"] = origin
    return fields


def _identified(client: Client) -> dict[str, Any]:
    """Return the fields about a client that is known by more than its address."""
    fields: dict[str, Any] = {}
    if client.name:
        fields["client_name"] = client.name
    if client.identity is not None:
        fields["authenticated"], fields["mechanism"] = client.identity.name, client.identity.mechanism
    return fields if client.tls is None else fields | _tls(client.tls)


def _troubles(session: Session) -> dict[str, Any]:
    """Return the fields that a session has in which something was refused or injected."""
    fields: dict[str, Any] = {}
    if injected := session.injected:
        fields["injected"] = injected
    if refusals := session.refusals:
        fields["refusals"], fields["refusals_left_out"] = refusals, session.refusals_left_out
    return fields


def _tls(facts: TlsFacts) -> dict[str, Any]:
    """Return the fields about TLS; a certificate only where the client has shown one."""
    fields: dict[str, Any] = {
        "tls": f"{facts.version} {facts.cipher_suite}",
        "server_name": facts.server_name,
        "resumed": facts.resumed,
    }
    if facts.peer_fingerprint:
        fields |= {"certificate": facts.peer_fingerprint, "verified": facts.verified}
    return fields
