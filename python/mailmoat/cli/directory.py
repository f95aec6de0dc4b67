"""`mailmoat directory`: the sources of recipients, what is known of each, and reading one now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailmoat.cli.directory_lookup import lookup
from mailmoat.cli.options import (
    ConfigOption,
    JsonOption,
    fail,
    print_json,
    settings_in_force,
    settings_with_sources,
)
from mailmoat.printable import printable
from mailmoat.span import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.directory.freshness import LiveState, SourceFreshness
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

app = typer.Typer(help="Show, read and compare the sources of recipients.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the source.")]
OptionalName = Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the source; without one, all.")]


@app.callback()
def group() -> None:
    """Show, read and compare the sources of recipients."""


@app.command("status")
def status(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show each source, how its last read ended, its age and its entries: exit 1 if one of them is not in force."""
    from mailmoat.directory.configured import served_directory
    from mailmoat.settings.sections.directories import sources
    from mailmoat.supervisor.instance import find_server

    settings = settings_with_sources(config)
    if not settings.directories:
        fail("directories is not set: there is no source beside recipients.file")
    directory = served_directory(settings)
    known = [_described(row, fresh, doubt) for row, fresh, doubt in directory.doubts]
    states = {state.name: state for state in directory.freshness.live}
    rows = sources(settings.directory, settings.directories)
    live = [_live(row, states.get(row.name)) for row in rows if row.mode == "live"]
    if as_json:
        print_json(known + live)
    else:
        for line in _lines(known, live):
            typer.echo(line)
        if find_server(settings.spool_dir) is None:
            typer.echo("No server runs: this is what the last one knew.")
    if any(one["doubt"] for one in known) or any(one["error"] for one in live):
        raise typer.Exit(1)


@app.command("sync")
def sync(
    name: OptionalName = None,
    config: ConfigOption = None,
    *,
    accept_shrink: Annotated[
        bool,
        typer.Option(
            "--accept-shrink", help="Use the result even if more entries are gone than `shrink_limit` permits."
        ),
    ] = False,
) -> None:
    """Read a source, or each, whole now. The running server does it; `mailmoat directory status` shows how it ended."""
    from mailmoat.control.channel import ControlError
    from mailmoat.control.client import ask_directory

    if accept_shrink and name is None:
        fail("--accept-shrink needs the name of one source")
    arguments: dict[str, Any] = {"name": name} if name else {}
    try:
        asked = ask_directory(
            settings_in_force(config).spool_dir, "directory.sync", accept_shrink=accept_shrink, **arguments
        )
    except ControlError as error:
        fail(str(error))
    typer.echo(f"Reading {', '.join(asked['asked'])}.")


def _described(row: SourceSettings, fresh: SourceFreshness, doubt: str) -> dict[str, Any]:
    from mailmoat import clock

    age = fresh.age(clock.wall_ms()) if fresh.synced_ms else None
    return {
        "name": row.name,
        "url": str(row.url),
        "mode": "sync",
        "state": fresh.state.value,
        "age": None if age is None else round(age),
        "max_age": row.max_age,
        "entries": fresh.entries,
        "server": fresh.server,
        "passed_over": list(fresh.passed_over),
        "left_out": fresh.left_out,
        "left_out_examples": list(fresh.left_out_examples),
        "kept": fresh.kept,
        "kept_why": fresh.kept_why,
        "reason": fresh.reason,
        "doubt": doubt,
    }


def _live(row: SourceSettings, state: LiveState | None) -> dict[str, Any]:
    from mailmoat import clock

    answered = state.answered_ms if state is not None else 0
    return {
        "name": row.name,
        "url": str(row.url),
        "mode": "live",
        "answered": round((clock.wall_ms() - answered) / 1000) if answered else None,
        "error": state.error if state is not None else "",
        "counts": state.counts if state is not None else {},
        "remarks": list(state.remarks) if state is not None else [],
    }


def _lines(known: list[dict[str, Any]], live: list[dict[str, Any]]) -> Iterator[str]:
    from mailmoat.directory.preference import PASSED_OVER

    for one in known:
        age = "never read whole" if one["age"] is None else f"read {span(1000 * one['age'])} ago"
        left_out = f", {one['left_out']} left out" if one["left_out"] else ""
        server = f" from {one['server']}" if one["server"] else ""
        yield f"{one['name']}: {one['state']}, {one['entries']} entries{left_out}, {age}{server}"
        yield from (f"  {PASSED_OVER.format(reason)}" for reason in one["passed_over"] if not one["reason"])
        yield from (f"  left out: {example}" for example in one["left_out_examples"])
        if one["kept_why"]:
            yield f"  {one['kept_why']}"
        if one["reason"]:
            yield f"  {one['reason']}"
        if one["reason"] and not one["doubt"]:
            left = span(round(1000 * (one["max_age"] - one["age"])))
            yield f"  what was read is in force; in {left} (max_age) what is not found becomes unknown or accepted"
        if one["doubt"]:
            yield f"  not in force, because {one['doubt']}: what is not found is unknown or accepted"
    for one in live:
        answered = "not asked yet" if one["answered"] is None else f"answered {span(1000 * one['answered'])} ago"
        counts = "".join(f", {count} {name}" for name, count in sorted(one["counts"].items()))
        yield f"{one['name']}: live, {one['url']}, {answered}{counts}"
        yield from (f"  {sentence}" for sentence in (one["error"], *one["remarks"]) if sentence)


app.command("lookup")(lookup)


@app.command("diff")
def diff(name: NameArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Read a source whole, here, and show what differs from what the server knows of it; nothing is changed. Exit 1 if something does."""
    import asyncio

    from mailmoat.directory.paths import table_path
    from mailmoat.directory_process import trial
    from mailmoat.errors import DirectoryError

    settings = settings_with_sources(config)
    row = _synchronised(settings, name)
    try:
        found, left_out = asyncio.run(trial.read_whole(settings, row))
        differences = list(trial.differences(found, table_path(settings.spool_dir, name)))
    except DirectoryError as error:
        fail(f"{name}: {error}")
    if as_json:
        print_json([one._asdict() for one in differences])
    else:
        for each in left_out:
            typer.echo(f"{each.entries} left out, such as: {printable(each.example)}")
        for one in differences:
            if one.before:
                typer.echo(f"- {printable(one.name)}: {printable('; '.join(one.before))}")
            if one.after:
                typer.echo(f"+ {printable(one.name)}: {printable('; '.join(one.after))}")
        typer.echo(
            f"{len(found)} entries, {sum(each.entries for each in left_out)} left out, {len(differences)} differences."
        )
    if differences:
        raise typer.Exit(1)


@app.command("export")
def export(name: NameArgument, config: ConfigOption = None) -> None:
    """Write what is known of a source, in the notation of the recipient file."""
    from mailmoat.directory.paths import table_path
    from mailmoat.directory.table_reading import entries_of
    from mailmoat.directory_process import trial
    from mailmoat.errors import DirectoryError

    settings = settings_with_sources(config)
    path = table_path(settings.spool_dir, _synchronised(settings, name).name)
    if not path.exists():
        fail(f"{name}: it was not read yet")
    try:
        for line in trial.exported(entries_of(path)):
            typer.echo(printable(line))
    except DirectoryError as error:
        fail(f"{name}: {error}")


def _synchronised(settings: Settings, name: str) -> SourceSettings:
    """Return the row of this name."""
    from mailmoat.settings.sections.directories import sources, why_not_synchronised

    rows = sources(settings.directory, settings.directories)
    found = next((row for row in rows if row.name == name and row.mode == "sync"), None)
    return found or fail(why_not_synchronised(name, rows))
