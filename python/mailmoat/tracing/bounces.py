"""Counts the bounces that a log says were not sent: by reason and by domain of the sender, and finds the floods.

Bounded, however long the log is: of many domains those with few bounces are forgotten. Raises what a source raises.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from mailmoat.events import Event
from mailmoat.tracing.lines import of_events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailmoat.tracing.lines import Count, Line
    from mailmoat.tracing.sources import LogSource

MOST_DOMAINS: Final = 20_000
_EVENTS: Final = (Event.BOUNCE_SUPPRESSED, Event.BOUNCE_FLOOD_BEGAN, Event.BOUNCE_FLOOD_ENDED)


class Suppressions:
    """What was found."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self.domains: Counter[str] = Counter()
        self.floods: deque[Line] = deque(maxlen=most)

    def add(self, line: Line) -> None:
        """Count a bounce that was not sent."""
        self.count += 1
        self.reasons[str(line.get("reason"))] += 1
        domain = str(line.get("mail_from") or "").rpartition("@")[2]
        if domain:
            self.domains[domain] += 1
        if len(self.domains) > MOST_DOMAINS:
            self.domains = Counter(dict(self.domains.most_common(MOST_DOMAINS // 2)))


def find(sources: Iterable[LogSource], count: Count, *, reason: str | None, most: int) -> Suppressions:
    """Return what the sources have, of one reason if it is given; `most`: floods that are kept."""
    found = Suppressions(most)
    for line in of_events(_EVENTS, sources, count):
        if line["event"] != Event.BOUNCE_SUPPRESSED:
            found.floods.append(line)
        elif reason in (None, line.get("reason")):
            found.add(line)
    return found
