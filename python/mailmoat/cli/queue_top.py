"""`mailmoat queue top`: the queue by next hop, again and again until `q` or Ctrl-C; once where standard output is no terminal."""

from __future__ import annotations

import select
import sys
import termios
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, print_json, settings_in_force
from mailmoat.cli.queue_selection import reading
from mailmoat.printable import printable
from mailmoat.span import span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.table import Table

    from mailmoat.queue_work.overview import Destination, Overview

ROWS: Final = 30
SHARE: Final = 4
"""Least pause after a look at the queue, as a multiple of the time that it took."""

IntervalOption = Annotated[
    float, typer.Option("--interval", min=0.2, metavar="SECONDS", help="Time between two looks at the queue.")
]
OnceOption = Annotated[bool, typer.Option("--once", help="Look once and end.")]


def top(
    config: ConfigOption = None,
    *,
    interval: IntervalOption = 2.0,
    once: OnceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the queue by next hop: what waits, what is being delivered, which of them are down. Ends with q."""
    spool_dir = settings_in_force(config).spool_dir
    if as_json:
        print_json(_document(_look(spool_dir)))
    elif once or not sys.stdout.isatty():
        now = _look(spool_dir)
        for line in _summary(now, None):
            typer.echo(line)
        for row in _rows(now):
            typer.echo(f"{row[0]:>10}  {row[1]:>10}  {row[2]:>7}  {row[3]:>7}  {row[4]:>11}  {row[5]:11}  {row[6]}")
    else:
        _live(spool_dir, interval)


def _live(spool_dir: Path, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live

    from mailmoat import clock

    before: Overview | None = None
    with _keys(), Live(auto_refresh=False, screen=True) as screen:
        while True:
            begun = clock.monotonic()
            now = _look(spool_dir)
            screen.update(Group(*_summary(now, before), "", _table(now)), refresh=True)
            before = now
            if _quits(max(interval, SHARE * (clock.monotonic() - begun))):
                return


def _look(spool_dir: Path) -> Overview:
    from mailmoat.queue_work.overview import overview

    with reading(spool_dir):
        return overview(spool_dir)


def _summary(now: Overview, before: Overview | None) -> list[str]:
    from mailmoat.cli.queue_text import status_counts

    stats = now.stats
    statuses = ", ".join(f"{number:,} {status}" for number, status in status_counts(stats) if number)
    change = ""
    if before is not None and now.at > before.at:
        change = f", {(stats.messages - before.stats.messages) / (now.at - before.at):+,.1f} a second"
    server = f"{now.workers} workers answer" if now.workers else "no worker answers"
    return [f"{stats.messages:,} messages{change}{f': {statuses}' if statuses else ''}; {server}"]


def _rows(now: Overview) -> list[tuple[str, ...]]:
    from mailmoat import clock

    wall = clock.wall_ms()
    rows: list[tuple[str, ...]] = [("RECIPIENTS", "DEFERRED", "OLDEST", "ACTIVE", "CONNECTIONS", "STATE", "NEXT HOP")]
    for name, one in _by_size(now)[:ROWS]:
        oldest = "" if one.oldest is None else span(wall - one.oldest)
        shown = printable(name) or "not tried yet"
        counts = (f"{one.recipients:,}", f"{one.deferred:,}", oldest, f"{one.active:,}", f"{one.connections:,}")
        rows.append((*counts, one.state, shown))
    return rows


def _table(now: Overview) -> Table:
    from rich.table import Table
    from rich.text import Text

    heads, *rows = _rows(now)
    table = Table(box=None)
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number < len(heads) - 2 else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row), style="red" if row[-2] == "down" else "")
    return table


def _by_size(now: Overview) -> list[tuple[str, Destination]]:
    return sorted(now.destinations.items(), key=lambda entry: (-entry[1].recipients, -entry[1].active, entry[0]))


def _document(now: Overview) -> dict[str, Any]:
    from mailmoat.cli.queue_text import stats_document

    return {
        **stats_document(now.stats),
        "workers": now.workers,
        "destinations": [
            {
                "name": name,
                "recipients": one.recipients,
                "deferred": one.deferred,
                "oldest": one.oldest,
                "active": one.active,
                "connections": one.connections,
                "state": one.state,
            }
            for name, one in _by_size(now)
        ],
    }


@contextmanager
def _keys() -> Iterator[None]:
    """Get single keys from the terminal, without their echo."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quits(seconds: float) -> bool:
    """Wait for so long; return whether `q` was pressed."""
    if not sys.stdin.isatty():
        select.select([], [], [], seconds)
        return False
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and sys.stdin.read(1) in {"q", "Q", ""}
