"""`mailmoat limits`: what sources have spent of their rates, their connections, and how to forget it. Asks the running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mailmoat.cli.control import AllOption, PrefixArgument, ask, prefix_of, prefix_to_reset
from mailmoat.cli.options import ConfigOption, JsonOption, print_json, settings_in_force
from mailmoat.span import span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

app = typer.Typer(help="Show and reset what clients have spent of their limits.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Show and reset what clients have spent of their limits."""


@app.command("show")
def show(prefix: PrefixArgument = None, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show what counts against the rates, and the open connections: all, or in PREFIX and in the networks around it.

    Who waits longest comes first. What has been free again is not shown.
    """
    found = ask(settings_in_force(config).spool_dir, "limits.show", prefix_of(prefix))
    if as_json:
        print_json(found)
        return
    for line in _lines(found):
        typer.echo(line)


@app.command("reset")
def reset(prefix: PrefixArgument = None, config: ConfigOption = None, *, everything: AllOption = False) -> None:
    """Forget what was spent of the rates in PREFIX and in the networks around it. Connections stay open and count.

    The networks around it are reset as well, because they can refuse an address that has spent little itself.
    """
    of = prefix_to_reset(prefix, everything=everything)
    cleared = ask(settings_in_force(config).spool_dir, "limits.reset", of)["cleared"]
    typer.echo(f"{cleared} {'entry' if cleared == 1 else 'entries'} reset.")


def _lines(found: dict[str, Any]) -> Iterator[str]:
    limits, connections = found["limits"], found["connections"]
    if limits:
        rows = [("CLASS", "PREFIX", "USED", "NEXT IN", "FREE IN", "SINCE REST")]
        rows += [
            (
                one["class"],
                one["prefix"],
                f"{one['used']} of {one['burst']}",
                _time(one["wait"]),
                _time(one["rest"]),
                str(one["spent"]),
            )
            for one in limits
        ]
        yield from _table(rows, found["limits_left_out"])
    else:
        yield "Nothing counts against a rate."
    yield ""
    if connections:
        rows2 = [("PREFIX", "CONNECTIONS"), *((one["prefix"], str(one["connections"])) for one in connections)]
        yield from _table(rows2, found["connections_left_out"])
    else:
        yield "No connection is counted."


def _time(seconds: float) -> str:
    return "now" if seconds == 0 else span(round(seconds * 1000) + 999)


def _table(rows: Sequence[tuple[str, ...]], left_out: int) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if left_out:
        yield f"and {left_out} more"
