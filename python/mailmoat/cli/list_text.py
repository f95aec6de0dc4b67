"""What the commands of the lists read from their arguments and from files, and how they show an entry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO, Final

import typer

from mailmoat.cli.options import complain, fail, plain

if TYPE_CHECKING:
    from mailmoat._native import EntryList, ListEntry, Prefix
    from mailmoat.lists.sources import ListName
    from mailmoat.settings import Settings

PIECE: Final = 1 << 20
"""Octets of a file that are read at once."""
FORMS: Final = {"--for": "one such as 24h or 7d", "--until": "one in UTC, such as 2030-12-31 or 2030-12-31T18:00:00Z"}
"""What to write instead of a wrong end."""


def prefix(written: str, *, wide: bool) -> str:
    """Return a prefix in its one spelling, or end the command."""
    from mailmoat._native import Prefix

    try:
        found = Prefix(written)
    except ValueError as error:
        fail(f"{written}: {error}")
    if not wide:
        refuse_wide(found)
    return found.short


def refuse_wide(found: Prefix, *, otherwise: str = "") -> None:
    """End the command for a prefix that is hardly meant."""
    if (widest := found.too_wide) is not None:
        fail(f"{found.short} is wider than /{widest}; add --wide if it is meant{otherwise}")


def end(for_: str | None, until: str | None, now: int) -> int:
    """Return the second in which an entry ends, 0 = never, or end the command."""
    from mailmoat._native import list_time
    from mailmoat.settings.values import duration

    if for_ is not None and until is not None:
        raise typer.BadParameter("give one of the two", param_hint="--for, --until")
    try:
        ends = now + round(duration(for_)) if for_ is not None else list_time(until) if until is not None else 0
    except ValueError as error:
        given = ("--for", for_) if for_ is not None else ("--until", until)
        fail(f"{given[0]} {given[1]}: {error}; write {FORMS[given[0]]}")
    if ends and not now < ends < 1 << 32:
        fail(f"{'--for' if for_ is not None else '--until'}: the end is not in the future, or later than 2106")
    return ends


def ends(second: int) -> str:
    """Say when an entry ends."""
    from mailmoat._native import list_time_text

    return f"until {list_time_text(second)}" if second else "for ever"


def line(entry: ListEntry) -> str:
    """Return an entry as a line for a person: prefix, end, source, reason."""
    parts = [entry.prefix, ends(entry.until), f"in {entry.source.name}"]
    return "  ".join([*parts, f"# {entry.reason}"] if entry.reason else parts)


def select(settings: Settings, name: ListName, within: str | None) -> list[ListEntry]:
    """Return the entries of a list in force, or end the command."""
    from mailmoat import clock
    from mailmoat.errors import ConfigError
    from mailmoat.lists.reading import open_lists
    from mailmoat.lists.sources import ListName

    if within is not None:
        within = prefix(within, wide=True)
    try:
        return open_lists(settings).select(name is ListName.ALLOW, clock.wall_ms() // 1000, within)
    except ConfigError as error:
        complain(error)
    except OSError as error:
        fail(f"{error.filename}: {plain(error)}; run this as root or as the server's account")


def other(settings: Settings, name: ListName, address: str) -> ListEntry | None:
    """Return the entry of the other list that decides about an address; None where this list does, or none."""
    from mailmoat import clock
    from mailmoat.lists.reading import open_lists
    from mailmoat.lists.sources import ListName

    if "/" in address:
        return None
    entry = open_lists(settings).find(address, clock.wall_ms() // 1000)
    return entry if entry is not None and entry.allows != (name is ListName.ALLOW) else None


def read(file: str, entries: EntryList, since: int, until: int) -> int:
    """Read the entries of a file or, for `-`, of standard input; return the octets it has, or end the command."""
    name = "standard input" if file == "-" else file
    try:
        if file == "-":
            octets = _read(sys.stdin.buffer, entries, since, until)
        else:
            with open(file, "rb") as opened:  # noqa: PTH123 - a path or a pipe
                octets = _read(opened, entries, since, until)
    except OSError as error:
        fail(f"{name}: {plain(error)}")
    if problems := entries.problems:
        for problem in problems:
            typer.echo(f"mistake: {name}: {problem}", err=True)
        fail("nothing was imported")
    return octets


def say_that_it_waits() -> None:
    """Say why nothing happens for a moment."""
    typer.echo("mailmoat: another process changes the lists; waiting for it", err=True)


def _read(stream: BinaryIO, entries: EntryList, since: int, until: int) -> int:
    rest, shows, octets = b"", sys.stderr.isatty(), 0
    while piece := stream.read(PIECE):
        octets += len(piece)
        lines, newline, rest = (rest + piece).rpartition(b"\n")
        entries.read(lines + newline, since, until)
        if len(rest) > PIECE:
            fail("a line has more than 1 MiB: this is not a list")
        if shows:
            typer.echo(f"\r{len(entries):,} entries read", nl=False, err=True)
    entries.read(rest, since, until)
    if shows:
        typer.echo(f"\r{len(entries):,} entries read", err=True)
    return octets
