"""Which messages a command of `mailmoat queue` is about: the options that all of them have, and what they mean.

A selection is a list of queue IDs, or filters that all have to hold. It is made of pages read from the partitions, with a server that runs and without one.
"""

from __future__ import annotations

import inspect
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailmoat.cli.options import fail, plain
from mailmoat.cli.progress import Progress
from mailmoat.runtime.queue_id import is_queue_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mailmoat._native import QueueFilter, QueueStatus, SpoolEntry

QueueIdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[QUEUE-ID]...", help="These messages; - reads queue IDs from standard input, one a line."),
]
ToOption = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="PATTERN",
        help="With such a recipient that waits: an address, a domain, .domain for its subdomains, or a pattern with *.",
    ),
]
FromOption = Annotated[
    str, typer.Option("--from", metavar="PATTERN", help="With such a sender; <> is the null sender of bounces.")
]
NextHopOption = Annotated[
    str,
    typer.Option("--next-hop", metavar="PATTERN", help="Last tried there, as `queue stats` names it; * is a wildcard."),
]
OlderOption = Annotated[
    str | None, typer.Option("--older-than", metavar="TIME", help="That came so long ago, such as 90m, 4h or 2d.")
]
StatusOption = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="queued (never tried), deferred, held, crashed or damaged."),
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="No more than so many messages, the oldest of each worker first."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")]
AllOption = Annotated[bool, typer.Option("--all", help="All messages in the queue.")]

_SPAN: Final = re.compile(r"(\d{1,9})\s*([smhdw]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for on the command line."""

    queue_ids: tuple[str, ...]
    """Named one by one; then there are no filters."""
    filter: QueueFilter
    has_filter: bool
    limit: int | None
    has_status: bool = False
    """A status was asked for."""
    only_waiting: bool = False
    """What is held or was set aside is passed over."""

    def waiting(self) -> Selection:
        """Return the selection for a command that tries messages: without what is held or was set aside, unless that was asked for."""
        return replace(self, only_waiting=not self.has_status)

    def select(self, spool_dir: Path, examined: Callable[[int], None] = lambda _number: None) -> Iterator[SpoolEntry]:
        """Yield the messages; `examined` is given how many were looked at for each page. OSError when the spool cannot be read."""
        from mailmoat._native import QueueStatus

        found = _pages(spool_dir, self.filter, examined)
        if self.only_waiting:
            found = (one for one in found if one["status"] in (QueueStatus.QUEUED, QueueStatus.DEFERRED))
        return islice(found, self.limit)


def selection(
    queue_ids: QueueIdsArgument = None,
    *,
    to: ToOption = "",
    sender: FromOption = "",
    next_hop: NextHopOption = "",
    older_than: OlderOption = None,
    status: StatusOption = None,
    limit: LimitOption = None,
) -> Selection:
    """Return what the arguments of a command say; a usage error when they contradict each other or are wrong."""
    from mailmoat._native import QueueFilter

    named = tuple(_queue_ids(queue_ids or ()))
    has_filter = bool(to or sender or next_hop or older_than or status)
    if named and (has_filter or limit):
        raise typer.BadParameter("queue IDs and filters exclude each other")
    try:
        wanted = QueueFilter(
            to=to or None,
            sender=sender or None,
            next_hop=next_hop or None,
            arrived_before=None if older_than is None else _before(older_than),
            statuses=[_status(one) for one in status or ()],
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return Selection(named, wanted, has_filter, limit, has_status=bool(status))


def with_selection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the arguments of `selection` beside its own; its first parameter is the selection that they make."""
    common = inspect.signature(selection, eval_str=True).parameters

    def run(**arguments: object) -> None:
        chosen = selection(**{name: arguments.pop(name) for name in common})  # type: ignore[arg-type]
        command(chosen, **arguments)

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    together = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *common.values())]
    run.__signature__ = inspect.Signature(together)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in together}
    run.__doc__ = command.__doc__
    return run


def need(selection: Selection, *, everything: bool) -> None:
    """Refuse a command line that selects nothing, or twice."""
    if sum((bool(selection.queue_ids), selection.has_filter, everything)) != 1:
        raise typer.BadParameter("name queue IDs, or give filters, or --all")


def queue_ids_of(selection: Selection, spool_dir: Path) -> list[str]:
    """Return the queue IDs of what is selected, messages of one partition together."""
    if selection.queue_ids:
        return sorted(dict.fromkeys(selection.queue_ids))
    with Progress("looked at") as progress:
        return [message["queue_id"] for message in selection.select(spool_dir, progress.advance)]


@contextmanager
def reading(spool_dir: Path) -> Iterator[None]:
    """Read the spool with the rights of its owner; end the command when that cannot be."""
    from mailmoat.queue_work.owner import as_owner

    try:
        with as_owner(spool_dir):
            yield
    except PermissionError:
        fail(f"the spool {spool_dir} cannot be read: permission denied; run this as root or as the server's account")
    except OSError as error:
        fail(f"the spool {spool_dir} cannot be read: {plain(error)}")


def span_of(written: str) -> int:
    """Return the seconds of a time such as 90m, 4h, 2d; a usage error when it is none."""
    found = _SPAN.fullmatch(written.strip().lower())
    if found is None:
        raise typer.BadParameter(f"{written}: not a time such as 90m, 4h or 2d")
    return int(found[1]) * _SECONDS[found[2]]


def _before(older_than: str) -> int:
    from mailmoat import clock

    return clock.wall_ms() - span_of(older_than) * 1000


def _status(written: str) -> QueueStatus:
    from mailmoat._native import QueueStatus

    try:
        return QueueStatus[written.upper()]
    except KeyError:
        names = ", ".join(one.name.lower() for one in QueueStatus)
        raise typer.BadParameter(f"{written}: not one of {names}") from None


def _queue_ids(written: Sequence[str]) -> Iterator[str]:
    for one in written:
        for queue_id in sys.stdin.read().split() if one == "-" else (one,):
            if not is_queue_id(queue_id):
                raise typer.BadParameter(f"{queue_id}: not a queue ID; `mailmoat queue list` shows them")
            yield queue_id


def _pages(spool_dir: Path, wanted: QueueFilter, examined: Callable[[int], None]) -> Iterator[SpoolEntry]:
    from mailmoat._native import queue_list

    after: str | None = ""
    while after is not None:
        page = queue_list(str(spool_dir), wanted, after)
        examined(page.examined)
        yield from page.entries
        after = page.after
