"""The lines of this program in a log, by their fields. Raises what a source raises."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from mailmoat.events import Event
    from mailmoat.tracing.sources import LogSource

Line = dict[str, Any]
"""One line of the log, by its fields."""
_START: Final = b'{"time":'


@dataclass(slots=True)
class Count:
    """What was read in one pass."""

    lines: int = 0
    not_json: int = 0
    """Lines in which the pattern was found, and which are not JSON."""


def matching(sources: Iterable[LogSource], pattern: re.Pattern[bytes], count: Count) -> Iterator[Line]:
    """Yield the lines that a pattern is found in, in the order of the sources, and count those that were read from 0 on."""
    decode = msgspec.json.Decoder(Line).decode
    count.lines = count.not_json = 0
    for source in sources:
        for octets in source.lines():
            count.lines += 1
            if not pattern.search(octets):
                continue
            start = octets.find(_START)  # a container or a syslog daemon may have put something in front
            try:
                line = decode(octets[start:]) if start >= 0 else None
            except (msgspec.DecodeError, RecursionError):  # of another program, or cut
                line = None
            if line is not None and isinstance(line.get("event"), str):
                yield line
            else:
                count.not_json += 1


def of_events(events: Collection[Event], sources: Iterable[LogSource], count: Count) -> Iterator[Line]:
    """Yield the lines of these events, and count what was read: in the form for people no line is JSON."""
    pattern = re.compile(b"|".join(re.escape(event.encode()) for event in events))
    return (line for line in matching(sources, pattern, count) if line["event"] in events)
