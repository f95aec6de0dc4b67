"""`mailmoat queue log`: out of the log, what became of messages that were not delivered, bounces that were not sent, and what administrators did."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Final

import typer

from mailmoat.cli.log_reading import LogOption, SinceOption, reading_log, sources_of
from mailmoat.cli.options import ConfigOption, JsonOption, print_json, settings_in_force
from mailmoat.events import Event

LIMIT: Final = 50
EVENTS: Final = (
    *(event for event in Event if event.startswith("bounce-") and not event.startswith("bounce-tags-")),
    Event.MESSAGE_EXPIRED,
    Event.MESSAGE_DAMAGED,
    Event.MESSAGE_SET_ASIDE,
    Event.QUEUE_COMMAND,
)

LimitOption = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="The latest events.")]


def log(
    log: LogOption = None,
    config: ConfigOption = None,
    *,
    since: SinceOption = None,
    limit: LimitOption = LIMIT,
    as_json: JsonOption = False,
) -> None:
    """Show bounces that were made and that were not, messages that were given up, and what administrators did to messages."""
    from mailmoat.tracing.lines import of_events
    from mailmoat.tracing.shown import event_lines

    spool_dir = settings_in_force(config).spool_dir
    with reading_log():
        sources = sources_of(spool_dir, log, since)
        lines = list(deque(of_events(EVENTS, sources), maxlen=limit))
    if as_json:
        print_json(lines)
        return
    for text in event_lines(lines, naming_messages=True):
        typer.echo(text)
    typer.echo(
        f"{len(lines)} {'event' if len(lines) == 1 else 'events'} in {', '.join(source.name for source in sources)}."
    )
