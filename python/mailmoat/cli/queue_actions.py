"""`mailmoat queue flush`, `retry`, `hold`, `release`, `remove`, `bounce`, `redirect`: change what becomes of messages.

The owner of a message does it: the worker of a running server, or, without one, this process under the lock of the partition. Status 0: done, also when
filters select nothing. 1: a message that was named is not in the queue, one could not be changed, or a worker did not answer. 2: the command
line. 3: messages are in an attempt, and the worker does it when that has ended.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, fail, plain, print_json, settings_in_force
from mailmoat.cli.progress import Progress
from mailmoat.cli.queue_selection import AllOption, DryRunOption, Selection, need, queue_ids_of, with_selection
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
ReasonOption = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", help="What the sender reads; a code such as 550 5.7.1 may come first."),
]
TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="Addresses with commas between them, a next hop such as smtp://host:25, or routes: where the settings say.",
    ),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command was asked to do, and how it says it."""

    spool_dir: Path
    selection: Selection
    dry_run: bool
    as_json: bool
    yes: bool
    """False where it has to be asked for many messages."""
    done: str
    """What messages then are, such as `removed`."""
    absent: str = "not in the queue"
    """What a message is that the command cannot find."""


class Care(Enum):
    """What a command asks for before it changes messages, by its options."""

    NONE = frozenset({"config", "dry_run", "as_json"})
    """It changes all messages, or those that are selected."""
    SELECTION = NONE | {"everything"}
    """Without a selection it does nothing."""
    CONSENT = SELECTION | {"yes"}
    """It asks before it changes many messages for good."""


def _common(
    config: ConfigOption = None,
    *,
    everything: AllOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have the options that the commands have in common."""


def _command(done: str, care: Care = Care.SELECTION) -> Callable[[Callable[..., Action]], Callable[..., None]]:
    """Make a command of a function that returns its action, or raises ValueError for a wrong argument; `done` as in `Wanted`."""
    parameters = inspect.signature(_common, eval_str=True).parameters
    common = [one for name, one in parameters.items() if name in care.value]

    def decorate(make: Callable[..., Action]) -> Callable[..., None]:
        def run(selection: Selection, **arguments: object) -> None:
            from mailmoat.queue_work.written import examine
            from mailmoat.runtime.actions import Retry

            given: dict[str, Any] = {one.name: arguments.pop(one.name) for one in common}
            if care is not Care.NONE:
                need(selection, everything=given["everything"])
            settings = settings_in_force(given["config"])
            try:
                action = make(**arguments)
                examine(action, settings)
            except ValueError as error:
                raise typer.BadParameter(str(error)) from None
            wanted = Wanted(
                settings.spool_dir,
                selection,
                dry_run=given["dry_run"],
                as_json=given["as_json"],
                yes=given.get("yes", True),
                done=done,
            )
            if isinstance(action, Retry):
                wanted = replace(wanted, selection=selection.waiting(), absent=NOT_TRIED)
            _run(wanted, action)

        first, *_ = inspect.signature(run).parameters.values()
        own = inspect.signature(make, locals={"Action": None}, eval_str=True).parameters  # imported late
        keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own.values(), *common)]
        run.__signature__ = inspect.Signature([first, *keywords])  # type: ignore[attr-defined]
        run.__doc__ = make.__doc__
        return with_selection(run)

    return decorate


@_command("due now", Care.NONE)
def flush() -> Action:
    """Try all messages now, or those that are selected; those that are held stay held. A next hop that is down is tried at once, too."""
    from mailmoat.runtime.actions import Retry

    return Retry()


@_command("due now")
def retry() -> Action:
    """Try messages now; those that are held stay held. A next hop that is down is tried at once, too."""
    from mailmoat.runtime.actions import Retry

    return Retry()


@_command("held")
def hold() -> Action:
    """Keep messages in the queue and try them no more, until they are released."""
    from mailmoat.runtime.actions import Hold

    return Hold()


@_command("released")
def release() -> Action:
    """Let messages that are held, or were set aside, be tried again."""
    from mailmoat.runtime.actions import Release

    return Release()


@_command("removed", Care.CONSENT)
def remove() -> Action:
    """Delete messages. No bounce is sent."""
    from mailmoat.runtime.actions import Remove

    return Remove()


@_command("given up", Care.CONSENT)
def bounce(*, reason: ReasonOption = DEFAULT_REASON) -> Action:
    """Give messages up now: their senders get a bounce, where one is allowed."""
    from mailmoat.queue_work.written import bounce_of

    return bounce_of(reason)


@_command("redirected", Care.CONSENT)
def redirect(target: TargetArgument) -> Action:
    """Send what waits to other recipients, or to the same recipients by another next hop."""
    from mailmoat.queue_work.written import redirect_of

    return redirect_of(target)


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
