"""`mailmoat check-config`: every mistake in the settings with its fix, and warnings about what is valid but unwise.

What prevents a start is a mistake as well: a broken recipient file, a key of another certificate, an account that does not exist, a
spool directory that cannot be created.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, complain, fail, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.settings import Settings

LookupOption = Annotated[
    bool, typer.Option("--lookup", help="Look up the names of all next hops as well, and look for their sockets.")
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="End with 1 for a warning as well, such as a source of recipients that is away."),
]


def check_config(
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
    lookup: LookupOption = False,
    strict: StrictOption = False,
) -> None:
    """Check the settings: exit 0 if they can be used, 1 if they have mistakes. Warnings count with --strict alone."""
    from mailmoat.delivery.route import route_table
    from mailmoat.errors import ConfigError
    from mailmoat.settings import load, warnings
    from mailmoat.supervisor import own_address, preflight

    try:
        settings = load(config)
        entries = _look(settings)
        tried, silent = _try_sources(settings)
    except ConfigError as error:
        if not as_json:
            complain(error)
        print_json({"ok": False, "mistakes": error.mistakes, "warnings": []})
        raise typer.Exit(1) from None
    found = [*warnings(settings), *preflight.warnings(settings), *entries, *silent]
    if lookup:
        found += [*own_address.without_address(settings), *_name_servers(settings)]
    refused = strict and bool(found)
    if as_json:
        print_json({"ok": not refused, "mistakes": [], "warnings": found, **({"directories": tried} if tried else {})})
        raise typer.Exit(int(refused))
    for warning in found:
        typer.echo(f"warning: {warning}")
    for one in tried:
        typer.echo(one)
    count = f"; {len(found)} warning{'s'[: len(found) > 1]}" if found else ""
    if settings.routes:
        for one in route_table(settings).described:
            typer.echo(f"route: {one}")
    typer.echo(f"The settings can be used{count}.")
    if refused:
        fail("with --strict, a warning counts as a mistake")


def _look(settings: Settings) -> list[str]:
    """Look at the machine and at all files that the settings name: return warnings, or raise ConfigError with the mistakes of all of them."""
    from mailmoat.directory.configured import examine
    from mailmoat.errors import ConfigError
    from mailmoat.lists import reading as lists
    from mailmoat.policy import sender_file
    from mailmoat.reports import languages
    from mailmoat.supervisor import preflight

    found: list[str] = []
    mistakes: list[str] = []
    with _kept_in(mistakes):
        preflight.check(settings)
    with _kept_in(mistakes):
        lists.examine(settings)
    with _kept_in(mistakes):
        found += examine(settings)
    with _kept_in(mistakes):
        found += preflight.certificates(settings)
    with _kept_in(mistakes):
        sender_file.examine(settings)
    with _kept_in(mistakes):
        languages.examine(settings)
    if mistakes:
        raise ConfigError(mistakes)
    return found


@contextmanager
def _kept_in(mistakes: list[str]) -> Iterator[None]:
    """Add the mistakes of a ConfigError to a list, so that one round shows all of them."""
    from mailmoat.errors import ConfigError

    try:
        yield
    except ConfigError as error:
        mistakes += error.mistakes


def _try_sources(settings: Settings) -> tuple[list[str], list[str]]:
    """Connect to all sources of recipients at once; return what is there, a sentence each, and warnings, in the order of the settings.

    An outage is a warning: the server starts without the source.
    """
    import asyncio

    from mailmoat.cli.progress import Progress
    from mailmoat.directory_process import trial
    from mailmoat.errors import SourceError
    from mailmoat.printable import printable
    from mailmoat.settings.sections.directories import sources

    found, silent = [], []
    rows = sources(settings.directory, settings.directories)
    with Progress("Trying the sources of recipients", len(rows)) as progress:
        results = asyncio.run(trial.probe_each(settings, rows, lambda: progress.advance(1))) if rows else []
    for row, probed in zip(rows, results, strict=True):
        if isinstance(probed, SourceError):
            silent.append(f"directories, {row.name}: {printable(str(probed))}")
            continue
        found.append(f"{row.name}: {printable(trial.described(probed))}")
        silent += [f"directories, {row.name}: {printable(remark)}" for remark in trial.remarks(settings, row, probed)]
    return found, silent


def _name_servers(settings: Settings) -> list[str]:
    """Return a sentence when the name servers do not validate DNSSEC, and are trusted to."""
    import asyncio

    from mailmoat.resolver.validation import validates

    if not settings.dns.trust_ad:
        return []
    match asyncio.run(validates(settings.dns)):
        case None:
            return ["dns.trust_ad is on, and the name servers do not answer: whether they validate DNSSEC is not known"]
        case False:
            wrong = "dns.trust_ad is on, and the name servers do not validate DNSSEC, so DANE is never used"
            return [f"{wrong}; use a resolver that validates, such as Unbound"]
    return []
