"""The log: one function per mail event, one line per event.

Promises: a line is one JSON object (or, on a terminal, one readable line) of at most 4,000 octets, and no value from a peer can
break or forge one; a session's lines are gathered and written once per turn of the loop; the process never waits for
the reader of the log. If the reader hangs, lines beyond a limit are dropped and counted, and the next line that fits says as
`lines_lost` how many the process has lost so far. Never raises for a value it is given, and never decides anything.

Every line has `time` (RFC 3339, UTC, milliseconds), `level` and `event`; `Event` has the fields of each event. A field that is None or
empty is left out. Of a list that is too long the first and the last values stay, and `left_out` says of how many values a list was
cut. Seconds are floats. `configure` is called once before the fork, `bind_loop` in each process that has a loop.
"""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from mailmoat.events import Event
from mailmoat.logstream import LogStream, timestamp

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence

    from mailmoat._native import TlsFacts
    from mailmoat.events import Level
    from mailmoat.logstream import Format

PORTION: Final = 2500
"""Octets of recipients in one line, where an event has several lines so that all are named."""
LISTED: Final = 20
"""Recipients of a message that the line of its acceptance names: the first and the last ones."""

_Value = TypeVar("_Value")
_RANK: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_stream = LogStream()
os.register_at_fork(after_in_child=_stream.forget)
_threshold = _RANK["info"]


class Transaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One envelope of a session, as its line shows it."""

    mail_from: str
    recipients: Sequence[tuple[str, int]]
    """Address and the code of its reply: the first and the last ones."""
    queue_id: str = ""
    """Empty when no message was accepted."""
    octets: int = 0
    recipients_left_out: int = 0


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one identity of a message's sender; `lenient`: its field breaks the grammar of RFC 5322."""

    identity: Literal["pra", "mailfrom", "helo"]
    domain: str
    status: str
    reason: str = ""
    lenient: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What became of one recipient in a delivery attempt."""

    recipient: str
    outcome: Literal["delivered", "deferred", "failed"]
    reply: str


def configure(format: Format, level: Level, stream_fd: int = 1) -> None:  # noqa: A002 - the setting's name
    """Set form (`auto`: human on a terminal, else JSON), threshold and stream; again after a reload. OSError: it is closed."""
    global _threshold  # noqa: PLW0603 - one process, one log
    _threshold = _RANK[level]
    human = format == "human" or (format == "auto" and os.isatty(stream_fd))
    _stream.open(stream_fd, human=human)


def bind_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Gather lines and write them once per turn of `loop`; without a loop each is written at once."""
    _stream.bind_loop(loop)


def count_lost(count: Callable[[int], None]) -> None:
    """Tell `count` of lines that are lost, from now on."""
    _stream.count_lost(count)


def tell_lost() -> None:
    """Say how many lines were lost, unless that has been said or the stream takes no line; to be called now and then."""
    _stream.tell_lost()


def close() -> None:
    """Let go of the loop and write what waits, giving a slow reader one second."""
    _stream.close()


def event(name: Event, *, level: Level | None = None, **fields: object) -> None:
    """Log an event that has no function of its own here, with the fields that its line in `Event` names."""
    level = level or name.level
    if _RANK[level] >= _threshold:
        _stream.write(name, level, fields)


def session_ended(
    *,
    duration: float,
    held: float = 0.0,
    transactions: Sequence[Transaction] = (),
    transactions_left_out: int = 0,
    refusals_left_out: int = 0,
    **fields: object,
) -> None:
    """Log one SMTP session when it is over; its messages and refusals have had lines of their own.

    `transactions`: the first and the last; `transactions_left_out` are those between. `replies`: how many of each class
    (`5xx`). `refusals`: the last 4xx and 5xx replies; `refusals_left_out` had no line of their own,
    because there were so many. `reasons`: why, in the words of agents. `messages`, `octets`: accepted. `holds`,
    `held`: tarpit delays and their sum in seconds. `reason`: how it ended when not by QUIT, such as `disconnected` or `timeout`.
    `authenticated`, `mechanism`: the account, and by what. `tls`: version and cipher suite; `server_name` that the client asked for;
    `resumed`: by a ticket; `certificate`: fingerprint of the client's, which was `verified` or not. `injected`: octets behind STARTTLS
    that were thrown away: an attack, or a client with a mistake (RFC 3207 6).
    """
    if _RANK["info"] < _threshold:
        return
    fields |= {
        "queue_ids": [transaction.queue_id for transaction in transactions if transaction.queue_id],
        "transactions": transactions,
        "transactions_left_out": transactions_left_out or None,
        "refusals_left_out": refusals_left_out or None,
        "held": round(held, 3),
        "duration": round(duration, 3),
    }
    _stream.write(Event.SESSION_ENDED, "info", fields)


def message_accepted(*, recipients: Sequence[str], **fields: object) -> None:
    """Log that a message is on disk and its client gets 250; a long list of recipients is named by its ends and `count`.

    `origin`: where a server in front says that it comes from (XFORWARD). `tls`: version and cipher suite.
    """
    if _RANK["info"] < _threshold:
        return
    fields["recipients"] = recipients
    count = len(recipients)
    if count > LISTED:
        fields["recipients"] = [*recipients[: LISTED // 2], *recipients[-LISTED // 2 :]]
        fields["left_out"] = {"recipients": count - LISTED}
    _stream.write(Event.MESSAGE_ACCEPTED, "info", fields)


def refused(
    *, session: str, client: str, helo: str, mail_from: str, recipient: str, command: str, reply: str, reason: str,
    detail: str = "",
) -> None:  # fmt: skip
    """Log a refusal at once: of a `recipient`, or of a `command` (`end of data`: a content); `reason` if policy decided it."""
    if _RANK["info"] < _threshold:
        return
    fields = {
        "session": session,
        "client": client,
        "helo": helo,
        "mail_from": mail_from,
        "recipient": recipient,
        "command": command,
        "reply": reply,
        "reason": reason,
        "detail": detail,
    }
    _stream.write(Event.RECIPIENT_REFUSED if recipient else Event.COMMAND_REFUSED, "info", fields)


def sender_checked(*, session: str, source: str, checks: Sequence[Check], reason: str = "") -> None:
    """Log what Sender ID and SPF found about one message: the address checked, and the `reason` if it was stopped."""
    event(Event.SENDER_CHECKED, session=session, source=source, checks=checks, reason=reason)


def sender_unchecked(*, session: str, client: str, reason: str) -> None:
    """Log that a message goes on without a status, and why."""
    event(Event.SENDER_UNCHECKED, session=session, client=client, reason=reason)


def message_dropped(*, session: str, mail_from: str, recipients: Sequence[str], reason: str, detail: str) -> None:
    """Log the recipients that do not get a message although its client got 250; all of them, in several lines."""
    for some in _portions(recipients, len):
        event(
            Event.MESSAGE_DROPPED, session=session, mail_from=mail_from, recipients=some, reason=reason, detail=detail
        )


def delivery_attempt(
    *,
    queue_id: str,
    attempt: int,
    next_hop: str,
    outcomes: Sequence[Outcome],
    duration: float,
    session: str = "",
    mail_from: str = "",
    octets: int = 0,
    host: str = "",
    next_attempt_ms: int | None = None,
    tls: TlsFacts | None = None,
) -> None:
    """Log one attempt to hand a message to a next hop; in several lines when the outcomes are many, so that each is named.

    `attempt` counts from 1. `session`: the one that brought the message. `next_attempt_ms`: since the epoch, if
    any recipient was deferred; in the line `next_attempt` like `time`. The level is `warning` when a recipient failed.
    """
    level: Level = "warning" if any(outcome.outcome == "failed" for outcome in outcomes) else "info"
    if _RANK[level] < _threshold:
        return
    fields: dict[str, object] = {
        "queue_id": queue_id,
        "session": session,
        "attempt": attempt,
        "next_hop": next_hop,
        "host": host,
        "tls": f"{tls.version} {tls.cipher_suite}" if tls is not None else "",
        "verified": tls is not None and tls.verified,
        "mail_from": mail_from,
        "outcomes": outcomes,
        "octets": octets,
        "duration": round(duration, 3),
        "next_attempt": timestamp(next_attempt_ms) if next_attempt_ms is not None else None,
    }
    for some in _portions(outcomes, lambda outcome: len(outcome.recipient) + len(outcome.reply) + 60):
        fields["outcomes"] = some
        _stream.write(Event.DELIVERY_ATTEMPT, level, fields)


def _portions(values: Sequence[_Value], size: Callable[[_Value], int]) -> Iterator[Sequence[_Value]]:
    """Yield the values in runs of which each fits into a line; one run without values when there are none."""
    start = octets = 0
    for at, value in enumerate(values):
        more = size(value)
        if octets and octets + more > PORTION:
            yield values[start:at]
            start, octets = at, 0
        octets += more
    yield values[start:]


def bounce_made(*, queue_id: str, about: str, kind: str, to: Sequence[str], recipients: Sequence[str]) -> None:
    """Log a report: its own queue id, the queue id it is `about`, its kind, who gets it, and the recipients that it names."""
    event(Event.BOUNCE_MADE, queue_id=queue_id, about=about, kind=kind, to=to, recipients=recipients)


def bounce_suppressed(*, about: str, reason: str, mail_from: str, recipients: Sequence[str]) -> None:
    """Log that recipients of message `about` from `mail_from` failed and why nobody gets a bounce."""
    event(Event.BOUNCE_SUPPRESSED, about=about, reason=reason, mail_from=mail_from, recipients=recipients)


def message_expired(*, queue_id: str, age: float, attempts: int, recipients: Sequence[str]) -> None:
    """Log that a message was given up for age (seconds) with these recipients still waiting."""
    event(Event.MESSAGE_EXPIRED, queue_id=queue_id, age=round(age), attempts=attempts, recipients=recipients)


def agent_failed(name: str, error: BaseException, *, session_id: str, stage: str) -> None:
    """Log that an agent raised; its client got 451 4.3.0."""
    raised_by = [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)[-5:]
    ]
    event(
        Event.AGENT_FAILED,
        agent=name,
        error=describe(error),
        session=session_id,
        stage=stage,
        raised_by=raised_by,
    )


def describe(error: BaseException) -> str:
    """Return type and text of an exception, for the administrator; also if its text cannot be made."""
    return traceback.format_exception_only(error)[-1].strip()
