"""Messages in the queue as text and as JSON: what `queue list`, `queue show`, `queue stats` and `trace` have in common.

Nothing is cut or wrapped: a terminal wraps what is too wide, and a script finds a line whole. Everything that a stranger wrote is made printable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mailmoat._native import QueueStatus, RecipientState
from mailmoat.logstream import timestamp
from mailmoat.printable import printable
from mailmoat.runtime.queue_id import partition_of
from mailmoat.span import span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailmoat._native import QueueAttempt, QueueStats, QueueTally, Recipient, SpoolEntry, StoredMessage

CLOSED: Final = "failed and reported"
"""How a recipient is shown that nothing more is done for; the others are shown by the name of their state."""
REDIRECTED: Final = "redirected"
"""The same, where others took its place."""
_HELD: Final = {
    QueueStatus.HELD: "held",
    QueueStatus.CRASHED: "set aside: workers died while they were busy with it",
    QueueStatus.DAMAGED: "set aside: it is damaged",
}


def entry_of(stored: StoredMessage) -> SpoolEntry:
    """Return a message with its history as a list has it."""
    message = stored.message
    return {
        "queue_id": message.queue_id,
        "arrival": message.arrival,
        "reverse_path": message.reverse_path,
        "size": message.size,
        "recipients": message.recipients,
        "status": stored.status,
        "crashes": stored.crashes,
        "partition": partition_of(message.queue_id),
        "owned": stored.owned,
    }


def document(message: SpoolEntry) -> dict[str, Any]:
    """Return a message of `queue list` as JSON has it; times in milliseconds since the epoch."""
    return {
        **message,
        "status": message["status"].name.lower(),
        "due": _due(message),
        "attempts": _attempts(message["recipients"]),
        "recipients": [_recipient(one) for one in message["recipients"]],
    }


def stored_document(stored: StoredMessage) -> dict[str, Any]:
    """Return a message of `queue show` as JSON has it."""
    message = stored.message
    return {
        **document(entry_of(stored)),
        "session": message.session_id,
        "client": message.client,
        "parameters": message.parameters,
        "damage": stored.damage,
        "history": [
            {
                "number": one.number,
                "at": one.at,
                "next_hop": one.next_hop,
                "peer": one.peer,
                "outcomes": [
                    {
                        "recipient": _address(message.recipients, outcome.index),
                        "state": _state(outcome.state, outcome.reply),
                        "reply": outcome.reply,
                    }
                    for outcome in one.outcomes
                ],
            }
            for one in stored.attempts
        ],
        "header": stored.header.decode(errors="replace"),
    }


def stats_document(found: QueueStats) -> dict[str, Any]:
    """Return the counts as JSON has them; times in milliseconds since the epoch."""

    def tallies(of: dict[str, QueueTally]) -> list[dict[str, Any]]:
        return [
            {"name": name, "recipients": one.recipients, "deferred": one.deferred, "oldest": one.oldest}
            for name, one in by_size(of)
        ]

    return {
        "messages": found.messages,
        "recipients": found.recipients,
        "octets": found.octets,
        "oldest": found.oldest,
        "statuses": {status: number for number, status in status_counts(found)},
        "next_hops": tallies(found.next_hops),
        "domains": tallies(found.domains),
    }


def status_counts(found: QueueStats) -> list[tuple[int, str]]:
    """Return the number of messages of each status, with its name."""
    return [(number, QueueStatus(place).name.lower()) for place, number in enumerate(found.statuses)]


def by_size(of: dict[str, QueueTally]) -> list[tuple[str, QueueTally]]:
    """Return names and counts, those with the most recipients first."""
    return sorted(of.items(), key=lambda entry: (-entry[1].recipients, entry[0]))


def list_lines(message: SpoolEntry, now: int) -> Iterator[str]:
    """Yield the lines about a message: its state, its sender, and each recipient."""
    attempts = _attempts(message["recipients"])
    yield (
        f"{message['queue_id']}  age {span(now - message['arrival'])}  {message['size']} octets  "
        f"{attempts} {'attempt' if attempts == 1 else 'attempts'}  {_next(message, now)}"
    )
    yield printable(f"    from <{message['reverse_path']}>")
    for one in message["recipients"]:
        yield printable(f"    to {one.address}: {_standing(one)}")


def show_lines(stored: StoredMessage, now: int) -> Iterator[str]:
    """Yield everything that is known of a message but its body."""
    message = stored.message
    yield from list_lines(entry_of(stored), now)
    for one in message.recipients:
        if one.is_open:
            yield printable(f"    next attempt for {one.address}: {timestamp(one.due)}{_where(one)}")
    yield printable(f"    arrived {timestamp(message.arrival)}{_origin(stored)}")
    if message.parameters:
        written = (f"{keyword}={value}" if value else keyword for keyword, value in message.parameters.items())
        yield printable(f"    parameters of MAIL: {' '.join(written)}")
    if stored.damage:
        yield printable(f"    damaged: {stored.damage}")
    for attempt in stored.attempts:
        yield from _attempt_lines(message.recipients, attempt)
    yield ""
    fields = stored.header.decode(errors="replace").removesuffix("\r\n")
    # Not `splitlines`: a sender could show a line of its own as a field of ours.
    yield from (printable(line.expandtabs()) for line in fields.split("\r\n"))


def state_lines(stored: StoredMessage, now: int) -> Iterator[str]:
    """Yield where a message is now, for the end of its trace."""
    yield f"  in the queue, {_next(entry_of(stored), now)}"
    for one in stored.message.recipients:
        yield printable(f"      <{one.address}> {_standing(one)}")


def _attempt_lines(recipients: Sequence[Recipient], attempt: QueueAttempt) -> Iterator[str]:
    at = attempt.peer or attempt.next_hop or "no next hop"
    yield printable(f"    attempt {attempt.number}, {timestamp(attempt.at)}, at {at}")
    for outcome in attempt.outcomes:
        address = _address(recipients, outcome.index)
        yield printable(f"        {address}: {_state(outcome.state, outcome.reply)}: {outcome.reply}")


def _recipient(one: Recipient) -> dict[str, Any]:
    return {
        "address": one.address,
        "state": _state(one.state, one.reply),
        "reply": one.reply,
        "due": one.due,
        "attempts": one.attempts,
        "next_hop": one.next_hop,
    }


def _address(recipients: Sequence[Recipient], index: int) -> str:
    return recipients[index].address if index < len(recipients) else "?"


def _standing(one: Recipient) -> str:
    due = ", its bounce is due" if one.state is RecipientState.FAILED else ""
    return f"{_state(one.state, one.reply)}{due}{f': {one.reply}' if one.reply else ''}"


def _state(state: RecipientState, reply: str) -> str:
    if state is not RecipientState.CLOSED:
        return state.name.lower()
    return REDIRECTED if reply.startswith("2") else CLOSED


def _due(message: SpoolEntry) -> int:
    """Return when the next of its recipients is tried."""
    return min((one.due for one in message["recipients"] if one.is_open), default=message["arrival"])


def _attempts(recipients: Sequence[Recipient]) -> int:
    """Return the highest number of attempts for one of them."""
    return max((one.attempts for one in recipients), default=0)


def _next(message: SpoolEntry, now: int) -> str:
    if message["status"] in _HELD:
        return _HELD[message["status"]]
    if not message["owned"]:
        return "next when a worker takes it"
    due = _due(message)
    what = "next" if any(one.state is RecipientState.PENDING for one in message["recipients"]) else "report"
    return f"{what} now" if due <= now else f"{what} in {span(due - now)}"


def _origin(stored: StoredMessage) -> str:
    session = f", session {stored.message.session_id}" if stored.message.session_id else ""
    return f" from {stored.message.client}{session}" if stored.message.client else ", made here"


def _where(one: Recipient) -> str:
    if one.next_hop_fixed:
        return f" at {one.next_hop_fixed}, as it was redirected"
    return f", last at {one.next_hop}" if one.next_hop else ""
