"""`mailmoat recipients check`: whether a recipient is accepted, and the reason. Uses the directory as the server does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, complain, print_json, settings_with_sources

if TYPE_CHECKING:
    from mailmoat.directory.directory import Directory
    from mailmoat.settings import Settings

app = typer.Typer(help="Check which recipients exist.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Check which recipients exist."""


@app.command("check")
def check(
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="Recipients to check.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say whether each address exists: exit 0 if all do, 1 if one does not or if it is unknown."""
    import asyncio

    from mailmoat.directory.configured import open_directory
    from mailmoat.errors import ConfigError

    settings = settings_with_sources(config)
    try:
        directory = open_directory(settings)
    except ConfigError as error:
        complain(error)
    answers = asyncio.run(_answers(addresses, settings, directory))
    if as_json:
        print_json([{"address": address, "answer": answer, "why": why} for address, answer, why in answers])
    else:
        for _, _, why in answers:
            typer.echo(why)
    if any(answer != "exists" for _, answer, _ in answers):
        raise typer.Exit(1)


async def _answers(addresses: list[str], settings: Settings, directory: Directory | None) -> list[tuple[str, str, str]]:
    """Return each address as it is written; `exists`, `absent`, `unknown`, `blocked`, `elsewhere` or `malformed`; and a sentence that says why."""
    return [(written, *await _answer(written, settings, directory)) for written in addresses]


async def _answer(written: str, settings: Settings, directory: Directory | None) -> tuple[str, str]:
    from mailmoat.cli.ruling import recipient, rule

    try:
        address = recipient(written, settings)
    except ValueError as error:
        return "malformed", f"{written}: malformed ({error})"
    ruling = await rule(address, settings, directory)
    return ruling.answer, ruling.why
