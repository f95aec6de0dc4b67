"""`mailmoat directory lookup`: what the server says of an address at RCPT, by which source, and what each source has of it.

The directory is that of a worker, over the snapshot and the live sources. Those are asked through the directory process of the server; where none
runs, directly. For what one source has of it, the same is done with that source alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, complain, fail, print_json, settings_with_sources
from mailmoat.printable import printable

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.directory.configured import WorkerDirectory
    from mailmoat.directory.directory import Presence
    from mailmoat.directory.live.wire import LiveReply
    from mailmoat.directory.source import LiveAnswer, LiveSource
    from mailmoat.directory_process.live.lookups import LiveLookups
    from mailmoat.settings import Settings

FILE = "recipients.file"


class Found(NamedTuple):
    """What was found about an address. Its fields are those of the JSON."""

    source: str
    """The `name` of the row that decides, `recipients.file`, or empty where none does."""
    answer: str
    """`exists`, `absent`, `unknown`, `blocked` or `elsewhere`."""
    entry: str
    """The entry of the source that decides: its name, or a line."""
    age: int | None
    """Seconds since the source said last that this is how it is; None of a file, and of what was asked now."""
    targets: tuple[str, ...]
    """Addresses that get its mail instead; none = it is delivered to itself."""
    why: str
    """A sentence."""


def lookup(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The address, with its domain.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say what the server answers for an address, by which source and entry, and what each source has of it: exit 1 unless it exists."""
    import asyncio

    from mailmoat.cli.ruling import recipient
    from mailmoat.errors import ConfigError

    settings = settings_with_sources(config)
    try:
        parsed = recipient(address, settings)
    except ValueError as error:
        fail(f"{address}: {error}")
    try:
        decided, each = asyncio.run(_look_up(settings, parsed))
    except ConfigError as error:
        complain(error)
    if as_json:
        sources = [found._asdict() for found in each]
        print_json({"address": str(parsed), **decided._asdict(), "sources": sources})
    else:
        typer.echo(printable(decided.why))
        for found in each:
            typer.echo(printable(f"  {found.source}: {found.why.removeprefix(f'{parsed}: ')}"))
            for sentence in _left_out(settings, found, parsed):
                typer.echo(printable(f"    left out: {sentence}"))
    if decided.answer != "exists":
        raise typer.Exit(1)


async def _look_up(settings: Settings, address: Address) -> tuple[Found, list[Found]]:
    """Return what decides about an address, and what each source has of it, in their order."""
    from mailmoat.directory.bounds import Bounds
    from mailmoat.settings.sections.directories import merged

    each = []
    if settings.recipients.file is not None:
        each.append(await _find(_alone(settings, None), address, FILE))
    for number, row in enumerate(settings.directories):
        bounds = Bounds.of(settings, merged(settings.directory, row))
        if bounds.domains and address.domain not in bounds.domains:
            why = f"{address}: elsewhere ({address.domain} is not in {bounds.place})"
            each.append(Found(row.name, "elsewhere", "", None, (), why))
        else:
            each.append(await _find(_alone(settings, number), address, row.name))
    decided = await _find(settings, address, "")
    named = next((found for found in each if found.source == decided.source), decided)
    return (decided if decided.entry else decided._replace(entry=named.entry)), each


def _left_out(settings: Settings, found: Found, address: Address) -> list[str]:
    """Return what the server noted of a source as left out, as far as it may concern an address that the source could have."""
    from mailmoat.directory.freshness import read
    from mailmoat.directory.paths import freshness_path

    known = read(freshness_path(settings.spool_dir))
    live = next((one.remarks for one in known.live if one.name == found.source), ())
    sentences = () if found.answer == "elsewhere" else (*known.of(found.source).left_out_examples, *live)
    return [one for one in sentences if f"@{address.domain}" in one]


def _alone(settings: Settings, number: int | None) -> Settings:
    """Return the settings with this row of `directories` as the only source; None = with `recipients.file`."""
    if number is None:
        return settings.model_copy(update={"directories": ()})
    recipients = settings.recipients.model_copy(update={"file": None})
    return settings.model_copy(update={"directories": (settings.directories[number],), "recipients": recipients})


async def _find(settings: Settings, address: Address, source: str) -> Found:
    """Look up an address with these settings; `source` is the only one, empty = all, and then by the filter of recipients."""
    from mailmoat.cli.ruling import Ruling, now, rule
    from mailmoat.directory.composed import ComposedDirectory
    from mailmoat.directory.configured import open_directory
    from mailmoat.directory.directory import Redirection

    directory = opened = open_directory(settings)
    live = _LiveSources(settings, served=not source)
    if isinstance(opened, ComposedDirectory) and opened.live is not None:
        directory = ComposedDirectory(settings, opened.snapshot, live)
    try:
        if source and directory is not None:
            found: Presence | Redirection = await now(directory.lookup(address))
            targets = tuple(map(str, found.targets)) if isinstance(found, Redirection) else ()
            presence = found.presence if isinstance(found, Redirection) else found
            ruling = Ruling(presence.value, await now(directory.explain(address)), targets)
        else:
            ruling = await rule(address, settings, directory)
    finally:
        await live.end()
    by, entry = _place(settings, opened, address) or live.place
    why = ruling.why
    if source and live.error:
        why = f"{address}: unknown ({live.error})"
    elif source and live.place[1]:
        why = f"{why.removesuffix(')')}; the entry is {entry})"
    return Found(source or by, ruling.answer, entry, _age(opened, source or by), ruling.targets, why)


def _place(settings: Settings, directory: WorkerDirectory | None, address: Address) -> tuple[str, str] | None:
    """Return the source and the entry in the snapshot that decide about an address; None where none does."""
    from mailmoat.directory.composed import ComposedDirectory
    from mailmoat.directory.directory import Presence
    from mailmoat.directory.paths import table_path
    from mailmoat.directory.table_reading import entry_name

    snapshot = directory.snapshot if isinstance(directory, ComposedDirectory) else directory
    if snapshot is None:
        return None
    resolved = snapshot.resolve(address)
    if not resolved.decides or resolved.found is Presence.UNKNOWN:
        return None
    if not resolved.source:
        return FILE, f"line {resolved.entry}"
    name = settings.directories[resolved.source - 1].name
    return name, entry_name(table_path(settings.spool_dir, name), resolved.entry)


def _age(directory: WorkerDirectory | None, source: str) -> int | None:
    """Return the age of what is known of a source; None where it has none."""
    from mailmoat import clock
    from mailmoat.directory.composed import ComposedDirectory

    if not isinstance(directory, ComposedDirectory):
        return None
    fresh = directory.freshness.of(source)
    return round(fresh.age(clock.wall_ms())) if fresh.synced_ms else None


class _LiveSources:
    """Asks the live sources of some settings for one command, each address once, and notes what they said. See `composed.LookupClient`."""

    def __init__(self, settings: Settings, *, served: bool) -> None:
        """Ask directly, or with `served` through the server that runs, if one does."""
        self._settings, self._served = settings, served
        self._replies: dict[Address, LiveReply] = {}
        self._entries: dict[str, str] = {}
        """By the name of the source."""
        self._own: LiveLookups | None = None
        self._opened: list[LiveSource] = []

    async def lookup(self, address: Address, client: str = "") -> LiveReply:  # noqa: ARG002 - nobody else asks
        """Return what the sources say."""
        from mailmoat.directory.configured import CommandClient
        from mailmoat.directory.live.wire import UNKNOWN
        from mailmoat.directory.paths import live_path

        if address not in self._replies:
            reply = UNKNOWN
            if self._served and live_path(self._settings.spool_dir).exists():
                reply = await CommandClient(self._settings).lookup(address)
            self._replies[address] = reply if reply.source else await self._directly(address)
        return self._replies[address]

    def close(self) -> None:
        """Do nothing: see `end`."""

    def publish(self) -> None:
        """Do nothing: a command has no gauges."""

    @property
    def place(self) -> tuple[str, str]:
        """The source that decided last, and its entry; empty where none did."""
        source = next((reply.source for reply in reversed(self._replies.values())), "")
        return source, self._entries.get(source, "")

    @property
    def error(self) -> str:
        """Why a source did not answer when it was asked directly; empty when each did."""
        return next((state.error for state in self._own.report() if state.error), "") if self._own else ""

    async def end(self) -> None:
        """Close what was opened."""
        from mailmoat.directory.source import Closing

        if self._own is not None:
            await self._own.close()
        for source in self._opened:
            if isinstance(source, Closing):
                await source.close()

    async def _directly(self, address: Address) -> LiveReply:
        from mailmoat.directory_process.live.lookups import LiveLookups
        from mailmoat.directory_process.live.opening import live_rows

        if self._own is None:
            rows = live_rows(self._settings)
            self._opened = [row.source for row in rows]
            self._own = LiveLookups([replace(row, source=_Noting(row.source, row.name, self._entries)) for row in rows])
        return await self._own.ask(address)


class _Noting:
    """A live source whose entries are noted by its name. See `LiveSource`."""

    def __init__(self, source: LiveSource, name: str, entries: dict[str, str]) -> None:
        self._source, self._name, self._entries = source, name, entries

    async def lookup(self, address: Address) -> LiveAnswer:
        """Ask the source."""
        answer = await self._source.lookup(address)
        if answer.entry:
            self._entries[self._name] = answer.entry
        return answer
