"""`mailmoat queue flush`, `retry`, `hold`, `release`, `remove`, `bounce`, `redirect`: change what becomes of messages.

The owner of a message does it: the worker of a running server, or, without one, this process under the lock of the partition. Status 0: done, also when
filters select nothing. 1: a message that was named is not in the queue, one could not be changed, or a worker did not answer. 2: the command
line. 3: messages are in an attempt, and the worker does it when that has ended.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, fail, plain, print_json, settings_in_force
from mailmoat.cli.progress import Progress
from mailmoat.cli.queue_selection import AllOption, DryRunOption, Selection, need, queue_ids_of, with_selection
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mailmoat.queue_work.execution import Report
    from mailmoat.runtime.actions import Action

LATER: Final = 3
"""Exit status: part of it is done later."""
NAMED: Final = 10
"""Queue IDs of one kind that a sentence names."""
NOT_TRIED: Final = "held, or not in the queue"
DEFAULT_REASON: Final = "Delivery cancelled by the administrator"

_OFFLINE: Final = "; no server has them now"

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it with many messages without a question.")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command was asked to do, and how it says it."""

    spool_dir: Path
    selection: Selection
    dry_run: bool
    as_json: bool
    yes: bool = True
    """False where it has to be asked for many messages."""
    done: str = ""
    """What messages then are, such as `removed`."""
    absent: str = "not in the queue"
    """What a message is that the command cannot find."""


@with_selection
def flush(
    selection: Selection, config: ConfigOption = None, *, dry_run: DryRunOption = False, as_json: JsonOption = False
) -> None:
    """Try all messages now, or those that are selected; those that are held stay held. A next hop that is down is tried at once, too."""
    _try(selection, config, dry_run=dry_run, as_json=as_json)


@with_selection
def retry(
    selection: Selection,
    config: ConfigOption = None,
    *,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Try messages now; those that are held stay held. A next hop that is down is tried at once, too."""
    need(selection, everything=everything)
    _try(selection, config, dry_run=dry_run, as_json=as_json)


@with_selection
def hold(
    selection: Selection,
    config: ConfigOption = None,
    *,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Keep messages in the queue and try them no more, until they are released."""
    from mailmoat.runtime.actions import Hold

    need(selection, everything=everything)
    _run(Wanted(_spool_dir(config), selection, dry_run, as_json, done="held"), Hold())


@with_selection
def release(
    selection: Selection,
    config: ConfigOption = None,
    *,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let messages that are held, or were set aside, be tried again."""
    from mailmoat.runtime.actions import Release

    need(selection, everything=everything)
    _run(Wanted(_spool_dir(config), selection, dry_run, as_json, done="released"), Release())


@with_selection
def remove(
    selection: Selection,
    config: ConfigOption = None,
    *,
    everything: AllOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete messages. Neither their senders nor their recipients are told."""
    from mailmoat.runtime.actions import Remove

    need(selection, everything=everything)
    _run(Wanted(_spool_dir(config), selection, dry_run, as_json, yes, "removed"), Remove())


@with_selection
def bounce(
    selection: Selection,
    config: ConfigOption = None,
    *,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="What the sender reads; a code such as 550 5.7.1 may come first."
        ),
    ] = DEFAULT_REASON,
    everything: AllOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give messages up now: their senders get a bounce, where one is allowed."""
    from mailmoat.queue_work.written import bounce_of

    need(selection, everything=everything)
    try:
        action = bounce_of(reason)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _run(Wanted(_spool_dir(config), selection, dry_run, as_json, yes, "given up"), action)


@with_selection
def redirect(
    selection: Selection,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="Addresses with commas between them, a next hop such as smtp://host:25, or routes: where the settings say.",
        ),
    ],
    config: ConfigOption = None,
    *,
    everything: AllOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send what waits to other recipients, or to the same recipients by another next hop."""
    from mailmoat.queue_work.written import redirect_of

    need(selection, everything=everything)
    try:
        action = redirect_of(target)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _run(Wanted(_spool_dir(config), selection, dry_run, as_json, yes, "redirected"), action)


def _try(selection: Selection, config: Path | None, *, dry_run: bool, as_json: bool) -> None:
    from mailmoat.runtime.actions import Retry

    wanted = Wanted(_spool_dir(config), selection.waiting(), dry_run, as_json, done="due now", absent=NOT_TRIED)
    _run(wanted, Retry())


def _spool_dir(config: Path | None) -> Path:
    return settings_in_force(config).spool_dir


def _run(wanted: Wanted, action: Action) -> None:
    from mailmoat.control.channel import ControlError
    from mailmoat.queue_work.execution import Report, execute
    from mailmoat.queue_work.owner import as_owner

    report = Report()
    try:
        with as_owner(wanted.spool_dir):
            queue_ids = queue_ids_of(wanted.selection, wanted.spool_dir)
            if wanted.dry_run:
                _show_dry(wanted, queue_ids)
                return
            _confirm(wanted, len(queue_ids))
            with Progress("messages", len(queue_ids)) as progress:
                execute(wanted.spool_dir, action, queue_ids, progress.advance, report)
    except ControlError as error:
        _show(wanted, report)
        fail(printable(str(error)))
    except OSError as error:
        _show(wanted, report)
        fail(f"{error.filename or wanted.spool_dir}: {plain(error)}; run this as root or as the server's account")
    _show(wanted, report)
    if report.failed or (report.gone and wanted.selection.queue_ids):
        raise typer.Exit(1)
    if report.waiting:
        raise typer.Exit(LATER)


def _confirm(wanted: Wanted, number: int) -> None:
    """Ask before many messages are changed for good that nobody has named; ends the command unless that is wanted."""
    if wanted.yes or number <= 1 or wanted.selection.queue_ids:
        return
    question = f"{_messages(number)} will be {wanted.done}"
    if not sys.stdin.isatty():
        fail(f"{question}: repeat the command with --yes, or see with --dry-run which they are")
    if not typer.confirm(f"{question}. Continue?", err=True):
        fail("nothing was changed")


def _show_dry(wanted: Wanted, queue_ids: list[str]) -> None:
    if wanted.as_json:
        print_json({"dry_run": True, "selected": len(queue_ids), "queue_ids": queue_ids})
        return
    for queue_id in queue_ids:
        typer.echo(queue_id)
    typer.echo(f"{_messages(len(queue_ids))} would be {wanted.done}.", err=True)


def _show(wanted: Wanted, report: Report) -> None:
    if wanted.as_json:
        print_json(
            {
                "dry_run": False,
                "done": report.done,
                "waiting": report.waiting,
                "gone": report.gone,
                "failed": report.failed,
                "errors": dict(report.errors),
                "offline": report.offline,
                "not_noted": report.not_noted,
            }
        )
        return
    typer.echo(f"{_messages(report.done)} {wanted.done}{_OFFLINE if report.offline else ''}.")
    for line in _complaints(wanted, report):
        typer.echo(printable(line), err=True)


def _complaints(wanted: Wanted, report: Report) -> Iterator[str]:
    if report.waiting:
        yield f"{_messages(len(report.waiting))} in an attempt; the worker does it when that has ended: {_some(report.waiting)}"
    if report.gone:
        yield f"{_messages(len(report.gone))} {wanted.absent}: {_some(report.gone)}"
    if report.failed:
        yield f"{_messages(len(report.failed))} not changed: {_some(report.failed)}"
    if report.not_noted:
        yield f"the log will not say what was done: {report.not_noted}"
    for text, number in report.errors.items():
        yield f"  {number} times: {text}"


def _messages(number: int) -> str:
    return f"{number:,} {'message' if number == 1 else 'messages'}"


def _some(queue_ids: list[str]) -> str:
    more = len(queue_ids) - NAMED
    return " ".join(queue_ids[:NAMED]) + (f" and {more} more" if more > 0 else "")
