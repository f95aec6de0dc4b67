"""Finds the lines of a log that are about a message, a session or an address, and puts them together by message.

A log is read as often as it gives something new to look for: the session that brought a message, the bounce about it. Of each message
and session all lines are kept up to a bound; of an address that many messages have, the latest messages. Raises what a source raises.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from mailmoat.events import Event
from mailmoat.runtime.queue_id import is_queue_id, is_session_id
from mailmoat.tracing.lines import Count, matching

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mailmoat.tracing.lines import Line
    from mailmoat.tracing.sources import LogSource

MOST_LINES: Final = 50_000
"""Lines that are kept of a log."""
MOST_MESSAGES: Final = 1_000
"""Messages that are followed, whatever was asked for."""


class Kind(StrEnum):
    """What a trace is about."""

    MESSAGE = "queue ID"
    SESSION = "session"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Target:
    """What is looked for."""

    kind: Kind
    text: str

    @classmethod
    def parse(cls, written: str) -> Target:
        """Return what somebody has written; ValueError with a plain sentence when it can be none of the three."""
        text = written.strip().removeprefix("<").removesuffix(">")
        if "@" in text:
            return cls(Kind.ADDRESS, text)
        if is_session_id(text.lower()):
            return cls(Kind.SESSION, text.lower())
        if is_queue_id(text.lower()):
            return cls(Kind.MESSAGE, text.lower())
        raise ValueError("neither a queue ID nor a session ID nor an address")


@dataclass(slots=True)
class History:
    """What was found."""

    messages: dict[str, list[Line]] = field(default_factory=dict)
    """By queue ID, the oldest first: lines about the message, and those of its session up to its acceptance."""
    others: list[Line] = field(default_factory=list)
    """Lines of the session or of refusals of the address that belong to no message."""
    messages_left_out: int = 0
    """Older messages of the address."""
    is_cut: bool = False
    """There were more lines than are kept."""
    read: Count = field(default_factory=Count)
    """Of the last pass."""


def find(target: Target, sources: Sequence[LogSource], limit: int) -> History:
    """Return what the sources have about a target; of an address about its latest `limit` messages, and as many refusals."""
    history = History()
    if target.kind is Kind.ADDRESS:
        queue_ids, refusals = _of_address(target.text, sources, limit, history)
        search = _Search(queue_ids, ())
        history.others = refusals
    elif target.kind is Kind.SESSION:
        search = _Search((), (target.text,))
    else:
        search = _Search((target.text,), ())
    while search.needles and search.grows(sources, history):
        pass
    search.put_together(history)
    return history


class _Search:
    """What is looked for in one pass, and the lines that the last pass has found."""

    def __init__(self, queue_ids: Iterable[str], sessions: Iterable[str]) -> None:
        self._queue_ids = dict.fromkeys(queue_ids)
        self._whole = set(sessions)
        self._sessions = dict.fromkeys(sessions)
        self._lines: list[Line] = []

    @property
    def needles(self) -> list[str]:
        return [*self._queue_ids, *self._sessions]

    def grows(self, sources: Sequence[LogSource], history: History) -> bool:
        """Read all sources; return whether there is more to look for than before, so that they have to be read again."""
        before = len(self.needles)
        self._lines = []
        history.is_cut = False
        for line in matching(sources, _naming(self.needles), history.read):
            if not self._concerns(line):
                continue
            self._follow(line)
            if len(self._lines) < MOST_LINES:
                self._lines.append(line)
            else:
                history.is_cut = True
        return len(self.needles) > before

    def _concerns(self, line: Line) -> bool:
        return (
            line.get("queue_id") in self._queue_ids
            or line.get("about") in self._queue_ids
            or line.get("session") in self._sessions
        )

    def _follow(self, line: Line) -> None:
        queue_id, session = line.get("queue_id"), line.get("session")
        if line["event"] == Event.MESSAGE_ACCEPTED:
            if queue_id in self._queue_ids and isinstance(session, str):
                self._sessions.setdefault(session)
            elif session in self._whole:
                self._add(queue_id)
        elif line.get("about") in self._queue_ids:
            self._add(queue_id)

    def _add(self, queue_id: object) -> None:
        if isinstance(queue_id, str) and len(self._queue_ids) < MOST_MESSAGES:
            self._queue_ids.setdefault(queue_id)

    def put_together(self, history: History) -> None:
        """Give each line to its message, in the order of time."""
        messages: dict[str, list[Line]] = {queue_id: [] for queue_id in self._queue_ids}
        sessions: dict[str, list[Line]] = {session: [] for session in self._sessions}
        for line in sorted(self._lines, key=lambda line: str(line["time"])):
            queue_id, session = line.get("queue_id"), line.get("session")
            for about in messages.keys() & {queue_id, line.get("about")}:
                messages[about].append(line)
            if session not in sessions:
                continue
            if line["event"] == Event.MESSAGE_ACCEPTED and queue_id in messages:
                messages[queue_id][:0] = sessions[session]
                sessions[session] = []
            elif line["event"] == Event.MESSAGE_ACCEPTED:
                sessions[session] = []  # what was before it belongs to another message
            elif queue_id is None:
                sessions[session].append(line)
        history.messages = dict(sorted(messages.items(), key=lambda entry: _begin(entry[1])))
        history.others += [line for session in self._whole for line in sessions[session]]


def _begin(lines: list[Line]) -> str:
    return str(lines[0]["time"]) if lines else ""


def _of_address(
    address: str, sources: Sequence[LogSource], limit: int, history: History
) -> tuple[list[str], list[Line]]:
    """Return the queue IDs of the latest messages from or to an address, and the latest refusals of it."""
    queue_ids: dict[str, None] = {}
    refusals: deque[Line] = deque(maxlen=limit)
    left_out = 0
    for line in matching(sources, _naming([address]), history.read):
        if not _names(line, address.casefold()):
            continue
        queue_id = line.get("about") or line.get("queue_id")
        if not isinstance(queue_id, str):
            if line["event"] != Event.SESSION_ENDED:
                refusals.append(line)
            continue
        if queue_id not in queue_ids and len(queue_ids) >= limit:
            del queue_ids[next(iter(queue_ids))]
            left_out += 1
        queue_ids.setdefault(queue_id)
    history.messages_left_out = left_out
    return list(queue_ids), list(refusals)


def _names(line: Line, address: str) -> bool:
    """Return whether an address is one of those in a line; `@example.com` is every address at this domain."""
    at_domain = address.startswith("@")
    folded = (one.casefold() for one in _addresses(line))
    return any(one.endswith(address) if at_domain else one == address for one in folded)


def _addresses(line: Line) -> Iterator[str]:
    for name in ("mail_from", "recipient", "recipients", "to"):
        value = line.get(name)
        yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))
    outcomes = line.get("outcomes")
    for outcome in outcomes if isinstance(outcomes, list) else ():
        if isinstance(outcome, dict) and isinstance(outcome.get("recipient"), str):
            yield outcome["recipient"]


def _naming(texts: Sequence[str]) -> re.Pattern[bytes]:
    """Return what finds the lines that contain one of these texts, as JSON has it."""
    in_json = (msgspec.json.encode(text)[1:-1] for text in texts)
    return re.compile(b"|".join(map(re.escape, in_json)), re.IGNORECASE)
