"""`mailmoat reputation`: what is remembered of sources. Asks the server that runs on the spool directory; without one, works on what is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mailmoat.cli.control import AllOption, PrefixArgument, ask, prefix_of, prefix_to_reset
from mailmoat.cli.options import ConfigOption, JsonOption, fail, plain, print_json, settings_in_force
from mailmoat.span import span

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat._native import Prefix, Shared

app = typer.Typer(help="Show or reset the reputation of senders.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Show or reset the reputation of senders."""


@app.command()
def show(prefix: PrefixArgument = None, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show the sources that are remembered, the worst first: level, how long they are blocked, and what was seen of them."""
    found = _run(config, "reputation.show", prefix_of(prefix))
    if as_json:
        print_json(found)
        return
    for source in found["sources"]:
        level = "no level" if source["level"] is None else f"level {source['level']}"
        blocked = f", blocked for {span(source['blocked'] * 1000)}" if source["blocked"] else ""
        seen = ", ".join(f"{name} {count:g}" for name, count in source["evidence"].items())
        typer.echo(f"{source['source']}  {level}{blocked}: {seen}")
    if found["sources_left_out"]:
        typer.echo(f"and {found['sources_left_out']} more")
    if not found["sources"]:
        typer.echo("Nothing is remembered.")


@app.command()
def reset(prefix: PrefixArgument = None, config: ConfigOption = None, *, everything: AllOption = False) -> None:
    """Forget the sources in a prefix, or all, and end their blocks: exit 0 if there were any, 1 if not."""
    count = _run(config, "reputation.reset", prefix_to_reset(prefix, everything=everything))["forgotten"]
    if not count:
        fail("nothing is remembered of it")
    typer.echo(f"{count} {'source is' if count == 1 else 'sources are'} forgotten.")


def _run(config: Path | None, command: str, prefix: Prefix | None) -> dict[str, Any]:
    """Return the result of a command, of the server or of the records that the last one has saved."""
    from mailmoat.cli.status import find
    from mailmoat.control.commands import MOST_SHOWN
    from mailmoat.reputation import saved, shown

    spool_dir = settings_in_force(config).spool_dir
    if find(spool_dir) is not None:
        return ask(spool_dir, command, prefix)
    shared = _saved(spool_dir)
    if command == "reputation.show":
        return shown.show(shared, prefix, MOST_SHOWN)
    result = shown.reset(shared, prefix)
    if result["forgotten"]:
        saved.save(shared, spool_dir)
    return result


def _saved(spool_dir: Path) -> Shared:
    """Return the records on disk."""
    from mailmoat._native import Shared
    from mailmoat.reputation import saved

    shared = Shared(1, 1, sources=1)
    try:
        octets = (spool_dir / saved.NAME).read_bytes()
    except FileNotFoundError:
        return shared
    except OSError as error:
        fail(f"{spool_dir / saved.NAME} cannot be read: {plain(error)}")
    if not saved.restore(shared, octets):
        fail(f"{spool_dir / saved.NAME} is damaged or of another version")
    return shared
