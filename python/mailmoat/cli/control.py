"""What the commands have in common that a running server carries out: their arguments, and how the server is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailmoat.cli.options import fail

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat._native import Prefix

PrefixArgument = Annotated[
    str | None,
    typer.Argument(metavar="[PREFIX]", help="An address, or a network such as 192.0.2.0/24."),
]
AllOption = Annotated[bool, typer.Option("--all", help="Forget it for everybody.")]


def prefix_of(written: str | None) -> Prefix | None:
    """Return the prefix that is named; a usage error when it is none."""
    from mailmoat._native import Prefix

    try:
        return None if written is None else Prefix(written)
    except ValueError as error:
        raise typer.BadParameter(f"{written}: {error}") from None


def prefix_to_reset(written: str | None, *, everything: bool) -> Prefix | None:
    """Return the prefix that is named, None for all; a usage error unless it is one of both."""
    if everything == (written is not None):
        raise typer.BadParameter("name a prefix, or --all")
    return prefix_of(written)


def ask(spool_dir: Path, command: str, prefix: Prefix | None) -> dict[str, Any]:
    """Return what the server on this spool directory answers; end the command when it refuses, or when none runs there."""
    from mailmoat.control import client
    from mailmoat.control.channel import ControlError

    try:
        return client.ask(spool_dir, command, prefix=None if prefix is None else str(prefix))
    except ControlError as error:
        fail(str(error))
