"""`mailmoat queue log`: out of the log, what became of messages that were not delivered, bounces that were not sent, and what administrators did."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from mailmoat.cli.log_reading import LogOption, SinceOption, reading_log, sources_of
from mailmoat.cli.options import ConfigOption, JsonOption, print_json, settings_in_force
from mailmoat.events import Event
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailmoat.tracing.lines import Count
    from mailmoat.tracing.sources import LogSource

LIMIT: Final = 50
EVENTS: Final = (
    *(event for event in Event if event.startswith("bounce-") and not event.startswith("bounce-tags-")),
    Event.MESSAGE_EXPIRED,
    Event.MESSAGE_DAMAGED,
    Event.MESSAGE_SET_ASIDE,
    Event.QUEUE_COMMAND,
)

LimitOption = Annotated[
    int, typer.Option("--limit", min=1, metavar="N", help="The latest events; with --counts, the lines of a table.")
]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="REASON", help="Bounces alone that were not sent for this reason.")
]
CountsOption = Annotated[
    bool, typer.Option("--counts", help="Count the bounces that were not sent, by reason and by domain of the sender.")
]


def log(
    log: LogOption = None,
    config: ConfigOption = None,
    *,
    since: SinceOption = None,
    limit: LimitOption = LIMIT,
    reason: ReasonOption = None,
    counts: CountsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show bounces that were made and that were not, messages that were given up, and what administrators did to messages."""
    from mailmoat.tracing.lines import Count

    spool_dir, read = settings_in_force(config).spool_dir, Count()
    with reading_log():
        sources = sources_of(spool_dir, log, since)
        text = _counts(sources, read, reason, limit) if counts else _latest(sources, read, reason, limit)
    if as_json:
        print_json(text.document)
    else:
        for line in text.lines:
            typer.echo(line)
    if read.not_json:
        typer.echo(f"{read.not_json} lines were left out that are not JSON: log.format = json makes them so", err=True)


class _Text(NamedTuple):
    """What was found, in both forms."""

    document: object
    lines: Iterable[str]


def _latest(sources: list[LogSource], read: Count, reason: str | None, limit: int) -> _Text:
    from mailmoat.tracing.lines import of_events
    from mailmoat.tracing.shown import event_lines

    events = EVENTS if reason is None else (Event.BOUNCE_SUPPRESSED,)
    found = (line for line in of_events(events, sources, read) if reason in (None, line.get("reason")))
    lines = list(deque(found, maxlen=limit))
    end = f"{len(lines)} {'event' if len(lines) == 1 else 'events'} in {_named(sources)}."
    return _Text(lines, [*event_lines(lines, naming_messages=True), end])


def _counts(sources: list[LogSource], read: Count, reason: str | None, limit: int) -> _Text:
    from mailmoat.tracing import bounces
    from mailmoat.tracing.shown import event_lines

    found = bounces.find(sources, read, reason=reason, most=limit)
    reasons, domains, floods = found.reasons.most_common(), found.domains.most_common(limit), list(found.floods)
    document = {"suppressed": found.count, "reasons": dict(reasons), "domains": dict(domains), "floods": floods}
    lines: list[str] = []
    for title, counted in (("REASON", reasons), ("DOMAIN OF THE SENDER", domains)):
        lines += [f"{'BOUNCES':>9}  {title}"] * bool(counted)
        lines += [f"{number:9,}  {printable(name)}" for name, number in counted]
    end = f"{found.count:,} bounces were not sent, by {_named(sources)}."
    return _Text(document, [*lines, *event_lines(floods), end])


def _named(sources: list[LogSource]) -> str:
    return ", ".join(source.name for source in sources)
