"""`mailmoat block` and `mailmoat allow`: the lists of clients that are refused, and that no filter judges.

Both have the same commands, for a server that runs (in force within a second) and without one. They change the list in the spool
directory, as root or as the server's account; the files of `lists.block_files` and `lists.allow_files` are shown, never changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from mailmoat.cli import list_text
from mailmoat.cli.list_export import export
from mailmoat.cli.options import ConfigOption, JsonOption, complain, fail, plain, print_json, settings_in_force
from mailmoat.lists.sources import ListName

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mailmoat._native import EntryList
    from mailmoat.lists.compiler import Report
    from mailmoat.settings import Settings

V = TypeVar("V")

Prefixes = Annotated[
    list[str], typer.Argument(metavar="PREFIX", help="Addresses or prefixes, such as 192.0.2.1, 192.0.2.0/24.")
]
Within = Annotated[str | None, typer.Argument(metavar="[PREFIX]", help="Only entries inside or around this prefix.")]
ForOption = Annotated[
    str | None, typer.Option("--for", metavar="TIME", help="How long, such as 24h or 7d. Default: for ever.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Until when, UTC: 2030-12-31 or 2030-12-31T18:00:00Z.")
]
WideOption = Annotated[bool, typer.Option("--wide", help="Allow prefixes shorter than /8 (IPv6: /16).")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; in the log of each refusal.")]


def add(
    context: typer.Context,
    prefixes: Prefixes,
    config: ConfigOption = None,
    *,
    for_: ForOption = None,
    until: UntilOption = None,
    reason: ReasonOption = "",
    wide: WideOption = False,
) -> None:
    """Add prefixes, or give them another end and reason."""
    from mailmoat import clock

    now = clock.wall_ms() // 1000
    end = list_text.end(for_, until, now)
    named = [list_text.prefix(written, wide=wide) for written in prefixes]

    def change(entries: EntryList) -> list[bool]:
        return [entries.add(prefix, now, end, reason) for prefix in named]

    new, report = _change(context, config, change)
    for prefix, is_new in zip(named, new, strict=True):
        typer.echo(f"{prefix}: {'added' if is_new else 'changed'}, {list_text.ends(end)}")
    _warn(report)


def remove(context: typer.Context, prefixes: Prefixes, config: ConfigOption = None) -> None:
    """Remove prefixes: exit 1 if one was not there."""
    named = [list_text.prefix(written, wide=True) for written in prefixes]

    def change(entries: EntryList) -> list[bool]:
        return [entries.remove(prefix) for prefix in named]

    found, report = _change(context, config, change)
    for prefix, was_there in zip(named, found, strict=True):
        typer.echo(f"{prefix}: {'removed' if was_there else 'is not on the list'}", err=not was_there)
    _warn(report)
    if not all(found):
        raise typer.Exit(1)


def list_(
    context: typer.Context,
    within: Within = None,
    config: ConfigOption = None,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Only reasons that contain this.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Print the entries in force, those of the files of the settings among them."""
    from mailmoat.lists.export import document

    settings = settings_in_force(config)
    entries = list_text.select(settings, context.obj, within)
    wanted = [entry for entry in entries if reason.lower() in entry.reason.lower()]
    if as_json:
        print_json([document(entry) for entry in wanted])
        return
    for entry in wanted:
        typer.echo(list_text.line(entry))
    if within is not None and (decides := list_text.other(settings, context.obj, within)) is not None:
        typer.echo(f"but what decides about {within} is {list_text.line(decides)}", err=True)


def import_(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="A prefix on each line; - = standard input.")] = "-",
    config: ConfigOption = None,
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Remove all entries that are not in the file.")] = False,
    for_: ForOption = None,
    until: UntilOption = None,
    wide: WideOption = False,
) -> None:
    """Add all entries of a file, or none if a line is wrong; a reason is behind # on the line of its entry."""
    from mailmoat import clock
    from mailmoat._native import EntryList, Prefix

    now = clock.wall_ms() // 1000
    given = EntryList()
    octets = list_text.read(file, given, now, list_text.end(for_, until, now))
    if replace and not octets:
        fail("nothing was imported: the input is empty, as after a failed download; a comment in it empties the list")
    if not wide:
        for prefix, *_ in given.entries():
            list_text.refuse_wide(Prefix(prefix), otherwise="; nothing was imported")

    def change(entries: EntryList) -> tuple[int, int]:
        before = len(entries)
        if replace:
            for prefix, *_ in entries.entries():
                entries.remove(prefix)
        entries.merge(given)
        return before, len(entries)

    (before, after), report = _change(context, config, change)
    typer.echo(
        f"{len(given)} {'entry' if len(given) == 1 else 'entries'} imported; the list had {before} and has {after}."
    )
    _warn(report)


GROUPS: Final = {
    ListName.BLOCK: "Refuse clients: change and print the block list.",
    ListName.ALLOW: "Trust clients, which no filter judges then: change and print the allow list.",
}


def application(name: ListName, text: str) -> typer.Typer:
    """Put the commands of one list together."""
    app = typer.Typer(help=text, no_args_is_help=True)

    @app.callback()
    def group(context: typer.Context) -> None:
        context.obj = name

    group.__doc__ = text
    for command, function in (("add", add), ("remove", remove), ("list", list_), ("import", import_)):
        app.command(command)(function)
    app.command("export")(export)
    return app


def _change(context: typer.Context, config: Path | None, change: Callable[[EntryList], V]) -> tuple[V, Report]:
    from mailmoat.errors import ConfigError
    from mailmoat.lists import sources, store

    settings: Settings = settings_in_force(config)
    try:
        return store.change(settings, context.obj, change, list_text.say_that_it_waits)
    except ConfigError as error:
        complain(error)
    except FileNotFoundError as error:
        fail(f"{error.filename}: {plain(error)}; start the server once, which makes the spool directory")
    except OSError as error:
        fail(
            f"{error.filename or sources.directory(settings)}: {plain(error)}; run this as root or as the server's account"
        )


def _warn(report: Report) -> None:
    for problem in report.problems:
        typer.echo(f"warning: {problem}", err=True)
