"""`mailmoat recipients check`: whether a recipient is accepted, and the reason. Uses the directory as the server does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, complain, print_json, settings_in_force

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.directory.directory import Directory
    from mailmoat.settings import Settings

app = typer.Typer(help="Check which recipients exist.", no_args_is_help=True)

T = TypeVar("T")
Ruling = tuple[str, str]
"""`exists`, `absent`, `unknown`, `blocked`, `elsewhere` or `malformed`; and the sentence that says why."""


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
    from mailmoat.directory.opened import open_directory
    from mailmoat.errors import ConfigError

    settings = settings_in_force(config)
    try:
        directory = open_directory(settings)
    except ConfigError as error:
        complain(error)
    answers = [(address, *_answer(address, settings, directory)) for address in addresses]
    if as_json:
        print_json([{"address": address, "answer": answer, "why": why} for address, answer, why in answers])
    else:
        for _, _, why in answers:
            typer.echo(why)
    if any(answer != "exists" for _, answer, _ in answers):
        raise typer.Exit(1)


def _answer(written: str, settings: Settings, directory: Directory | None) -> Ruling:
    import asyncio

    from mailmoat._native import Address
    from mailmoat.directory.directory import Redirection
    from mailmoat.policy.agents.recipient_filter import Recipients, Standing

    try:
        address = Address.parse(written)
        if not address.domain:
            address = Address.parse(f"{address}@{settings.relay.default_domain or ''}")
    except ValueError as error:
        return "malformed", f"{written}: malformed ({error})"
    found = Recipients(settings, directory).standing(address)
    standing = found if isinstance(found, (Standing, Redirection)) else asyncio.run(_awaited(found))
    if isinstance(standing, Redirection):
        standing = Standing.EXISTS
    ruled = {
        Standing.ELSEWHERE: ("elsewhere", f"{address.domain} is not in relay.local_domains"),
        Standing.POSTMASTER: ("exists", "postmaster is always accepted"),
        Standing.ABUSE: ("exists", f"its mail goes to recipients.abuse, {settings.recipients.abuse}"),
        Standing.BLOCKED: ("blocked", "it is in recipients.blocked, itself or without its tag"),
        Standing.UNFILTERED: ("unknown", "neither recipients.file nor directories is set: every recipient is accepted"),
        Standing.UNLISTED: (
            "absent",
            "it could lead to another server, and there is neither recipients.file nor directories to list it",
        ),
    }
    if standing in ruled or directory is None:
        answer, why = ruled[standing]
        return answer, f"{address}: {answer} ({why})"
    explained = directory.explain(address)
    return standing.name.lower(), explained if isinstance(explained, str) else asyncio.run(_awaited(explained))


async def _awaited(answer: Awaitable[T]) -> T:
    return await answer
