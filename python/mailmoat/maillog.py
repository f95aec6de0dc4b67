"""The log: one function per mail event, one line per event.

Promises: a line is one JSON object (or, on a terminal, one readable line) and no value from a peer can break or forge one; a
session's lines are gathered and written once per turn of the loop; the process never waits for whoever reads the log. When the
reader hangs, lines beyond a bound are dropped and counted, and the next line that fits says as `lines_lost` how many
the process has lost so far. Never raises for a value it is given, and never decides anything.

Every line has `time` (RFC 3339, UTC, milliseconds), `level` and `event`; the fields of each event are the parameters of its
function. A field that is None or empty is left out, a list is cut to its last `MAX_VALUES`. Seconds are floats.
Everybody calls it; `configure` is called once before the fork, `bind_loop` in each process that has a loop.
"""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from mailmoat.logstream import LogStream, timestamp

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from mailmoat.logstream import Format

Level = Literal["debug", "info", "warning", "error"]

MAX_VALUES: Final = 100
"""Values of one list that a line keeps."""

_RANK: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_stream = LogStream()
os.register_at_fork(after_in_child=_stream.forget)
_threshold = _RANK["info"]


class Transaction(msgspec.Struct, frozen=True):
    """One envelope of a session, as its line shows it."""

    mail_from: str
    recipients: Sequence[tuple[str, int]]
    """Address and the code of its reply."""
    queue_id: str = ""
    """Empty when no message was accepted."""
    octets: int = 0


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


def close() -> None:
    """Let go of the loop and write what waits, giving a slow reader one second."""
    _stream.close()


def event(name: str, *, level: Level = "info", **fields: object) -> None:
    """Log what happens to the server itself: `worker-started`, `reload-refused`, `spool-unhealthy` ..."""
    if _RANK[level] >= _threshold:
        _stream.write(name, level, fields)


def session_ended(
    *,
    session: str,
    client: str,
    duration: float,
    helo: str = "",
    transactions: Sequence[Transaction] = (),
    replies: Sequence[int] = (),
    refusals: Sequence[str] = (),
    rules: Sequence[str] = (),
    commands: int = 0,
    messages: int = 0,
    octets: int = 0,
    holds: int = 0,
    held: float = 0.0,
    reason: str = "",
) -> None:
    """Log one SMTP session.

    `replies`: how many of each class, indexed by the first digit of the code. `refusals`: the last 4yz and 5yz replies. `rules`:
    the agents and limits that decided them. `messages`, `octets`: accepted. `holds`, `held`: tarpit delays and their sum in
    seconds. `reason`: how it ended when not by QUIT, such as `disconnected` or `command-time`.
    """
    if _RANK["info"] < _threshold:
        return
    fields = {
        "session": session,
        "client": client,
        "helo": helo,
        "queue_ids": [transaction.queue_id for transaction in transactions if transaction.queue_id][-MAX_VALUES:],
        "transactions": [_cut(transaction) for transaction in transactions[-MAX_VALUES:]],
        "replies": {f"{digit}yz": count for digit, count in enumerate(replies) if count},
        "refusals": refusals[-MAX_VALUES:],
        "rules": rules[-MAX_VALUES:],
        "commands": commands,
        "messages": messages,
        "octets": octets,
        "holds": holds,
        "held": round(held, 3),
        "reason": reason,
        "duration": round(duration, 3),
    }
    _stream.write("session-ended", "info", fields)


def _cut(transaction: Transaction) -> Transaction:
    if len(transaction.recipients) <= MAX_VALUES:
        return transaction
    return msgspec.structs.replace(transaction, recipients=transaction.recipients[-MAX_VALUES:])


def sender_checked(*, session: str, source: str, checks: Sequence[Check], rule: str = "") -> None:
    """Log what Sender ID and SPF found about one message: the address judged, and the `rule` that stopped it, if one did."""
    if _RANK["info"] >= _threshold:
        _stream.write("sender-checked", "info", {"session": session, "source": source, "checks": checks, "rule": rule})


def sender_unchecked(*, session: str, client: str, reason: str) -> None:
    """Log that a message goes on without a status, and why."""
    event("sender-unchecked", session=session, client=client, reason=reason)


def message_dropped(*, session: str, mail_from: str, recipients: Sequence[str], rule: str) -> None:
    """Log that these recipients do not get a message whose client was told that it was taken; all of them, in several lines."""
    for at in range(0, len(recipients), MAX_VALUES):
        some = recipients[at : at + MAX_VALUES]
        event("message-dropped", level="warning", session=session, mail_from=mail_from, recipients=some, rule=rule)


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
    next_attempt_ms: int | None = None,
) -> None:
    """Log one attempt to hand a message to a next hop.

    `attempt` counts from 1. `session`: the one that brought the message. `next_attempt_ms`: since the epoch, if
    any recipient was deferred; in the line `next_attempt` like `time`. The level is `warning` when a recipient failed.
    """
    level: Level = "warning" if any(outcome.outcome == "failed" for outcome in outcomes) else "info"
    if _RANK[level] < _threshold:
        return
    fields = {
        "queue_id": queue_id,
        "session": session,
        "attempt": attempt,
        "next_hop": next_hop,
        "mail_from": mail_from,
        "outcomes": outcomes[-MAX_VALUES:],
        "octets": octets,
        "duration": round(duration, 3),
        "next_attempt": timestamp(next_attempt_ms) if next_attempt_ms is not None else None,
    }
    _stream.write("delivery-attempt", level, fields)


def report_made(*, queue_id: str, about: str, to: Sequence[str], recipients: Sequence[str]) -> None:
    """Log a report: its own queue id, the queue id it is `about`, who gets it, and the failed recipients."""
    event("report-made", queue_id=queue_id, about=about, to=to, recipients=recipients[-MAX_VALUES:])


def report_suppressed(*, about: str, reason: str, recipients: Sequence[str]) -> None:
    """Log that recipients of message `about` failed and why nobody is told."""
    event("report-suppressed", level="warning", about=about, reason=reason, recipients=recipients[-MAX_VALUES:])


def message_expired(*, queue_id: str, age: float, attempts: int, recipients: Sequence[str]) -> None:
    """Log that a message was given up for age (seconds) with these recipients still waiting."""
    fields = {"age": round(age), "attempts": attempts, "recipients": recipients[-MAX_VALUES:]}
    event("message-expired", level="warning", queue_id=queue_id, **fields)


def agent_failed(name: str, error: BaseException, *, session_id: str = "", stage: str = "") -> None:
    """Log that an agent raised; its client got 451 4.3.0."""
    raised_by = [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)[-5:]
    ]
    event(
        "agent-failed",
        level="error",
        agent=name,
        error=describe(error),
        session=session_id,
        stage=stage,
        raised_by=raised_by,
    )


def describe(error: BaseException) -> str:
    """Type and text of an exception, for the operator; total, even when its text cannot be made."""
    return traceback.format_exception_only(error)[-1].strip()
