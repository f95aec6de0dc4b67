"""`mailmoat queue`: what is in the queue. `list`, `show` and `stats` read the partitions, also those of a running server, and change nothing."""

from __future__ import annotations

from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mailmoat.cli import queue_actions, queue_log, queue_top, queue_transfer
from mailmoat.cli.options import ConfigOption, JsonOption, fail, print_json, settings_in_force
from mailmoat.cli.queue_selection import Selection, reading, with_selection
from mailmoat.cli.reflexes import Group
from mailmoat.printable import printable, printable_json
from mailmoat.runtime.queue_id import is_queue_id
from mailmoat.span import span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mailmoat._native import QueueStats

SORTED: Final = 10_000
"""Messages that are put in the order of their coming; what follows them is in that of each worker."""
ROWS: Final = 20
"""Next hops and domains that `stats` shows, those with the most recipients."""

app = typer.Typer(
    cls=Group, help="Show the messages in the queue, and change what becomes of them.", no_args_is_help=True
)

QueueIdArgument = Annotated[str, typer.Argument(metavar="QUEUE-ID", help="The message.")]
RowsOption = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Next hops and domains that are shown.")]


@app.callback()
def group() -> None:
    """Show the messages in the queue, and change what becomes of them."""


@app.command("list")
@with_selection
def list_messages(selection: Selection, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the messages in the queue, the oldest first, also while the server runs."""
    from mailmoat import clock
    from mailmoat.cli.queue_text import document, list_lines

    if selection.queue_ids:
        raise typer.BadParameter("`mailmoat queue show QUEUE-ID` shows one message")
    spool_dir = settings_in_force(config).spool_dir
    with reading(spool_dir):
        newer = _say_newer(spool_dir)
        found = selection.select(spool_dir)
        first = sorted(islice(found, SORTED), key=itemgetter("arrival"))
        messages = chain(first, found)
        if as_json:
            _print_array(document(message) for message in messages)
            return
        number, now = 0, clock.wall_ms()
        for message in messages:
            number += 1
            for line in list_lines(message, now):
                typer.echo(line)
    if number:
        typer.echo(f"\n{number} {'message' if number == 1 else 'messages'}")
    elif selection.has_filter:
        typer.echo("No message is selected.")
    else:
        typer.echo("No other message is in the spool." if newer else "The spool is empty.")


@app.command("show")
def show(queue_id: QueueIdArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show a message: envelope, attempts with the words of the next hop, next attempt, header section; exit 1 if it is not there."""
    from mailmoat import clock
    from mailmoat._native import queue_message
    from mailmoat.cli.queue_text import show_lines, stored_document

    if not is_queue_id(queue_id):
        raise typer.BadParameter(f"{queue_id}: not a queue ID; `mailmoat queue list` shows them")
    spool_dir = settings_in_force(config).spool_dir
    with reading(spool_dir):
        message = queue_message(str(spool_dir), queue_id)
    if message is None:
        fail(f"{queue_id} is not in the queue; `mailmoat trace {queue_id}` says what the log has about it")
    if as_json:
        print_json(stored_document(message))
        return
    for line in show_lines(message, clock.wall_ms()):
        typer.echo(line)


@app.command("stats")
def stats(config: ConfigOption = None, *, limit: RowsOption = ROWS, as_json: JsonOption = False) -> None:
    """Count the messages in the queue: by status, by next hop, by domain of their recipients."""
    from mailmoat import clock
    from mailmoat._native import queue_stats
    from mailmoat.cli.queue_text import stats_document

    spool_dir = settings_in_force(config).spool_dir
    with reading(spool_dir):
        _say_newer(spool_dir)
        found = queue_stats(str(spool_dir))
    if as_json:
        print_json(stats_document(found))
        return
    for line in _stats_lines(found, limit, clock.wall_ms()):
        typer.echo(line)


def _stats_lines(found: QueueStats, limit: int, now: int) -> Iterator[str]:
    from mailmoat.cli.queue_text import by_size, status_counts

    oldest = "" if found.oldest is None else f", the oldest came {span(now - found.oldest)} ago"
    yield f"{found.messages:,} messages for {found.recipients:,} recipients, {found.octets:,} octets{oldest}"
    yield ", ".join(f"{number:,} {status}" for number, status in status_counts(found))
    for title, of in (("NEXT HOP", found.next_hops), ("DOMAIN", found.domains)):
        if not of:
            continue
        yield ""
        yield f"{'RECIPIENTS':>10}  {'DEFERRED':>10}  {'OLDEST':>7}  {title}"
        for name, one in by_size(of)[:limit]:
            shown = printable(name) or "not tried yet"
            yield f"{one.recipients:>10,}  {one.deferred:>10,}  {span(now - one.oldest):>7}  {shown}"
        if len(of) > limit:
            yield f"and {len(of) - limit:,} more"


def _print_array(documents: Iterable[dict[str, Any]]) -> None:
    """Print one JSON array, one element after the other."""
    comma = "["
    for one in documents:
        typer.echo(f"{comma}\n{printable_json(one)}", nl=False)
        comma = ","
    typer.echo("[]" if comma == "[" else "\n]")


def _say_newer(spool_dir: Path) -> bool:
    """Name the partitions of a later version on standard error, and return whether there are any."""
    from mailmoat import _native

    newer = _native.newer_partitions(str(spool_dir))
    for tag, messages_there in newer:
        many = "messages" if messages_there is None else f"{messages_there} messages"
        typer.echo(f"partition {tag}: {many} of a later version of mailmoat; only that version can read them", err=True)
    return bool(newer)


for _name, _command in (
    ("flush", queue_actions.flush),
    ("retry", queue_actions.retry),
    ("hold", queue_actions.hold),
    ("release", queue_actions.release),
    ("remove", queue_actions.remove),
    ("bounce", queue_actions.bounce),
    ("redirect", queue_actions.redirect),
    ("export", queue_transfer.export),
    ("import", queue_transfer.import_),
    ("log", queue_log.log),
    ("top", queue_top.top),
):
    app.command(_name)(_command)
