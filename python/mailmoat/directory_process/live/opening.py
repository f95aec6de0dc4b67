"""The live sources of the settings, opened, each with its limits. A source that cannot be opened answers with what is wrong: an outage.

`next_hop:` is opened here, and not where the others are, because it uses the connections of delivery.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailmoat import maillog
from mailmoat.callout.opening import open_next_hop
from mailmoat.callout.source import answer_time
from mailmoat.directory.unopened import Unopened
from mailmoat.directory_process.bounded import open_bounded_live
from mailmoat.directory_process.live.row import LiveRow
from mailmoat.directory_process.spellings import handed_on, others
from mailmoat.errors import SourceError
from mailmoat.events import Event
from mailmoat.settings.sections.directories import sources
from mailmoat.settings.source_url import NEXT_HOP

if TYPE_CHECKING:
    from mailmoat.directory.source import LeftOut, LiveSource
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings


def live_rows(settings: Settings) -> list[LiveRow]:
    """Return the live sources in their order, on the running loop."""
    merged = sources(settings.directory, settings.directories)
    return [_live_row(settings, row) for row in merged if row.mode == "live"]


def _live_row(settings: Settings, row: SourceSettings) -> LiveRow:
    normalisation = settings.normalisation
    if row.url.family != NEXT_HOP:
        opened = _opened(settings, row)
        return LiveRow(
            row,
            opened,
            key=normalisation.key,
            others=partial(others, normalisation),
            handed_on=partial(handed_on, normalisation),
        )
    hop = open_next_hop(settings, row)
    # Only the next hop itself can say whether a subaddress exists, or another spelling.
    return LiveRow(
        row,
        hop,
        key=normalisation.key,
        upstream_of=hop.upstream_of,
        room_of=hop.room_of,
        answer_time=answer_time(row),
    )


def open_live_row(settings: Settings, row: SourceSettings) -> LiveSource:
    """Return the live source of a merged row, on the running loop. SourceError when it cannot be opened."""
    return open_next_hop(settings, row) if row.url.family == NEXT_HOP else open_bounded_live(settings, row)


def _opened(settings: Settings, row: SourceSettings) -> LiveSource:
    def left_out(step: LeftOut) -> None:
        maillog.event(Event.DIRECTORY_LEFT_OUT, source=row.name, entries=step.entries, detail=step.example)

    try:
        return open_bounded_live(settings, row, left_out)
    except SourceError as error:
        return Unopened(error)
