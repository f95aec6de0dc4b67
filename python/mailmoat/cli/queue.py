"""`mailmoat queue list`: what waits in the spool. Reads the partitions beside the server that owns them and changes nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, fail, print_json, settings_in_force

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from mailmoat._native import SpoolEntry

app = typer.Typer(help="Look at the messages in the spool.", no_args_is_help=True)

STATES = ("pending", "delivered", "failed", "failed and reported")
PLAIN_WIDTH = 200
"""Columns where there is no terminal to ask: nothing is cut that a script looks for."""


@app.callback()
def group() -> None:
    """Look at the messages in the spool."""


@app.command("list")
def list_messages(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the messages in the spool, also while the server runs."""
    from mailmoat import _native, clock

    spool_dir = settings_in_force(config).spool_dir
    try:
        messages: Sequence[SpoolEntry] = sorted(
            _native.list_spool(str(spool_dir)), key=lambda message: message["arrival"]
        )
    except OSError as error:
        fail(f"the spool {spool_dir} cannot be read: {error}")
    if as_json:
        print_json([_document(message) for message in messages])
    elif messages:
        _print(_table(messages, clock.wall_ms()))
    else:
        typer.echo("The spool is empty.")


def _document(message: SpoolEntry) -> dict[str, object]:
    recipients = [
        {"address": address, "state": STATES[state], "reply": reply} for address, state, reply in message["recipients"]
    ]
    return {**message, "recipients": recipients}


def _table(messages: Sequence[SpoolEntry], now: int) -> Table:
    from rich import box
    from rich.table import Table

    many = f"{len(messages)} {'message' if len(messages) == 1 else 'messages'}"
    table = Table(box=box.SIMPLE, caption=many, caption_justify="left")
    for column in ("queue id", "age", "size", "attempts", "next", "sender", "recipients, last reply"):
        table.add_column(column, justify="right" if column in {"age", "size", "attempts"} else "left", overflow="fold")
    for message in messages:
        table.add_row(
            message["queue_id"],
            _span(now - message["arrival"]),
            str(message["size"]),
            str(message["attempts"]),
            _next(message, now),
            _printable(f"<{message['reverse_path']}>"),
            "\n".join(_recipient(*recipient) for recipient in message["recipients"]),
        )
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    Console(markup=False, highlight=False, emoji=False, width=width).print(table)


def _recipient(address: str, state: int, reply: str) -> str:
    what = f"{STATES[state]}: {reply}" if reply else STATES[state]
    return _printable(f"{address} ({what})")


def _printable(text: str) -> str:
    """What a peer wrote, without what would steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _next(message: SpoolEntry, now: int) -> str:
    if not message["owned"]:
        return "when a worker takes it"
    return "now" if message["due"] <= now else f"in {_span(message['due'] - now)}"


def _span(ms: int) -> str:
    """Milliseconds as the two largest units."""
    seconds = max(ms, 0) // 1000
    for unit, length, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= length:
            return f"{seconds // length}{unit}{seconds % length // part}{below}"
    return f"{seconds}s"
