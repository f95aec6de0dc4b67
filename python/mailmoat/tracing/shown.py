"""A history as lines of text for a terminal: one for each event, and one for each recipient of an attempt below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mailmoat.events import Event
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mailmoat.tracing.lines import Line

HOUR: Final = 3600
_NOT_SHOWN: Final = {"time", "level", "event", "queue_id", "session", "outcomes", "left_out"}
"""Fields that have a place of their own in the text, or say nothing about the message."""


def event_lines(lines: Sequence[Line], *, naming_messages: bool = False) -> Iterator[str]:
    """Give the text of log lines, in their order; no value in them can steer a terminal. A line may name its message."""
    for line in lines:
        show = _SHOWN.get(str(line["event"]), _any_event)
        named = f"{line['queue_id']}  " if naming_messages and "queue_id" in line else ""
        for number, text in enumerate(show(line)):
            yield printable(f"  {line['time']}  {named}{text}" if number == 0 else f"      {text}")


def _accepted(line: Line) -> Iterator[str]:
    client, helo = line.get("client", ""), line.get("helo", "")
    named = f"{client} ({helo})" if helo and helo != client else client
    parts = [f"accepted from {named or 'an unknown client'}", f"<{line.get('mail_from', '')}>", *_octets(line)]
    if tls := line.get("tls"):
        parts.append(str(tls))
    if session := line.get("session"):
        parts.append(f"session {session}")
    yield ", ".join(parts)
    for recipient in _list(line, "recipients"):
        yield f"for <{recipient}>"
    left_out = line.get("left_out")
    if isinstance(left_out, dict) and left_out.get("recipients"):
        yield f"and for {left_out['recipients']} more"


def _attempt(line: Line) -> Iterator[str]:
    parts = [f"attempt {line.get('attempt', '?')} at {line.get('next_hop') or 'no next hop'}"]
    if tls := line.get("tls"):
        parts.append(f"{tls}, {'verified' if line.get('verified') else 'not verified'}")
    if (duration := line.get("duration")) is not None:
        parts.append(f"{duration} s")
    if following := line.get("next_attempt"):
        parts.append(f"next attempt {following}")
    yield ", ".join(parts)
    for one in _list(line, "outcomes"):
        if isinstance(one, dict):
            yield f"<{one.get('recipient', '')}> {one.get('outcome', '')}: {one.get('reply', '')}"


def _refused(line: Line) -> Iterator[str]:
    reason = f" ({line['reason']})" if line.get("reason") else ""
    detail = f": {line['detail']}" if line.get("detail") else ""
    what = f"<{line['recipient']}>" if line.get("recipient") else line.get("command", "a command")
    yield f"refused {what}: {line.get('reply', '')}{reason}{detail}"


def _bounced(line: Line) -> Iterator[str]:
    to = ", ".join(f"<{one}>" for one in _list(line, "to"))
    about = ", ".join(f"<{one}>" for one in _list(line, "recipients"))
    kind = line.get("kind", "failed")
    made = "bounce" if kind == "failed" else f"report ({kind})"
    yield f"{made} {line.get('queue_id', '')} about {line.get('about', '')} to {to}: {about}"


def _not_bounced(line: Line) -> Iterator[str]:
    to = f" to <{line['mail_from']}>" if line.get("mail_from") else ""
    about = ", ".join(f"<{one}>" for one in _list(line, "recipients"))
    yield f"no bounce{to} about {line.get('about', '')} ({line.get('reason', '?')}): {about}"


def _expired(line: Line) -> Iterator[str]:
    to = ", ".join(f"<{one}>" for one in _list(line, "recipients"))
    age = line.get("age", 0)
    old = f"{age // HOUR} h" if age >= 2 * HOUR else f"{age} s"
    yield f"expired at an age of {old}, after {line.get('attempts', '?')} attempts: {to}"


def _commanded(line: Line) -> Iterator[str]:
    detail = f": {line['detail']}" if line.get("detail") else ""
    at = f" at {line['at']}" if line.get("at") else ""
    yield f"queue {line.get('command', '?')}, by an administrator{at}{detail}"


def _any_event(line: Line) -> Iterator[str]:
    fields = ", ".join(f"{name} {_value(value)}" for name, value in line.items() if name not in _NOT_SHOWN)
    yield f"{line['event']}{': ' if fields else ''}{fields}"


def _value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_value, value))
    if isinstance(value, dict):
        return " ".join(f"{key}={_value(entry)}" for key, entry in value.items())
    return str(value)


def _octets(line: Line) -> list[str]:
    return [f"{line['octets']} octets"] if "octets" in line else []


def _list(line: Line, name: str) -> list[Any]:
    value = line.get(name)
    return value if isinstance(value, list) else []


_SHOWN: Final[dict[str, Callable[[Line], Iterator[str]]]] = {
    Event.MESSAGE_ACCEPTED: _accepted,
    Event.DELIVERY_ATTEMPT: _attempt,
    Event.RECIPIENT_REFUSED: _refused,
    Event.COMMAND_REFUSED: _refused,
    Event.BOUNCE_MADE: _bounced,
    Event.BOUNCE_SUPPRESSED: _not_bounced,
    Event.MESSAGE_EXPIRED: _expired,
    Event.QUEUE_COMMAND: _commanded,
}
