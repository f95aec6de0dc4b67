"""`mailmoat trace`: the life of a message, of the messages of a session, or of those from and to an address, out of the log and the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mailmoat.cli.log_reading import LogOption, SinceOption, reading_log, sources_of
from mailmoat.cli.options import ConfigOption, JsonOption, fail, print_json, settings_in_force
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mailmoat._native import StoredMessage
    from mailmoat.tracing.history import History, Target

LIMIT: Final = 20

TargetArgument = Annotated[
    str, typer.Argument(metavar="QUEUE-ID|SESSION|ADDRESS", help="@example.com is every address at that domain.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="The latest messages of an address.")]


def trace(
    what: TargetArgument,
    log: LogOption = None,
    config: ConfigOption = None,
    *,
    since: SinceOption = None,
    limit: LimitOption = LIMIT,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to a message, from its client to its next hop: exit 0 if something was found, 1 if not."""
    from mailmoat.tracing import history

    try:
        target = history.Target.parse(what)
    except ValueError as error:
        raise typer.BadParameter(f"{what}: {error}") from None
    spool_dir = settings_in_force(config).spool_dir
    found, looked_at = _in_log(spool_dir, target, log, since, limit)
    queued = _in_queue(spool_dir, target, found, limit)
    if as_json:
        print_json(_document(target, looked_at, found, queued))
    else:
        for line in _lines(target, looked_at, found, queued):
            typer.echo(line)
    if not (any(found.messages.values()) or found.others or queued):
        raise typer.Exit(1)


def _in_log(
    spool_dir: Path, target: Target, logs: list[str] | None, since: str | None, limit: int
) -> tuple[History, list[str]]:
    """Return what the log has and the names of its parts. Without a log it says so on standard error: the queue is still shown."""
    from mailmoat.tracing import history
    from mailmoat.tracing.sources import LogError

    with reading_log():
        try:
            found = sources_of(spool_dir, logs, since)
            return history.find(target, found, limit), [source.name for source in found]
        except LogError as error:
            if logs:
                fail(str(error))
            typer.echo(f"mailmoat: the queue alone is shown: {error}", err=True)
    return history.History(), []


def _in_queue(spool_dir: Path, target: Target, found: History, limit: int) -> dict[str, StoredMessage]:
    """Return the messages that were found and are in the queue now; of an address also those that the log does not have."""
    from mailmoat._native import QueueFilter, queue_message
    from mailmoat.cli.queue_selection import Selection, reading
    from mailmoat.tracing.history import Kind

    queue_ids = dict.fromkeys(found.messages)
    if target.kind is Kind.MESSAGE:
        queue_ids.setdefault(target.text)
    pattern = target.text.removeprefix("@")  # a domain alone is every address at it
    stored: dict[str, StoredMessage] = {}
    with reading(spool_dir):
        if target.kind is Kind.ADDRESS:
            for wanted in (QueueFilter(to=pattern), QueueFilter(sender=pattern)):
                queued = Selection((), wanted, has_filter=True, limit=limit).select(spool_dir)
                queue_ids |= dict.fromkeys(one["queue_id"] for one in queued)
        for queue_id in queue_ids:
            try:
                message = queue_message(str(spool_dir), queue_id)
            except OSError as error:
                if error.errno is not None:
                    raise
                typer.echo(printable(f"what is stored of {queue_id} is damaged: {error}"), err=True)
            else:
                if message is not None:
                    stored[queue_id] = message
    return stored


def _document(target: Target, looked_at: list[str], found: History, queued: dict[str, StoredMessage]) -> dict[str, Any]:
    from mailmoat.cli.queue_text import stored_document

    messages = {**found.messages, **{queue_id: [] for queue_id in queued if queue_id not in found.messages}}
    return {
        "target": {"kind": target.kind, "text": target.text},
        "log": looked_at,
        "log_lines": found.read.lines,
        "messages": [
            {
                "queue_id": queue_id,
                "events": lines,
                "queued": stored_document(queued[queue_id]) if queue_id in queued else None,
            }
            for queue_id, lines in messages.items()
        ],
        "others": found.others,
        "messages_left_out": found.messages_left_out,
        "is_cut": found.is_cut,
        "not_json": found.read.not_json,
    }


def _lines(target: Target, looked_at: list[str], found: History, queued: dict[str, StoredMessage]) -> Iterator[str]:
    from mailmoat import clock
    from mailmoat.cli.queue_text import state_lines
    from mailmoat.tracing.shown import event_lines

    for queue_id in dict.fromkeys((*found.messages, *queued)):
        yield f"message {queue_id}"
        yield from event_lines(found.messages.get(queue_id, ()))
        yield from state_lines(queued[queue_id], clock.wall_ms()) if queue_id in queued else ("  not in the queue now",)
        yield ""
    if found.others:
        yield f"other events of this {target.kind}"
        yield from event_lines(found.others)
        yield ""
    if found.messages_left_out:
        yield f"{found.messages_left_out} older messages of this address are left out: see --limit"
    if found.is_cut:
        yield "There is more in the log than is kept here: trace one message, or name a shorter log."
    if found.read.not_json:
        yield f"{found.read.not_json} lines of the log name it and are not JSON: log.format = json makes them so"
    where = ", ".join(looked_at) or "no log"
    yield f"Looked at {where} ({found.read.lines:,} lines) and at the queue."
