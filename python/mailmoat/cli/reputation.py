"""`mailmoat reputation`: what is remembered of sources. Asks the server that runs on the spool directory, or reads what the last one has saved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, fail, plain, print_json, settings_in_force, span

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat._native import Shared
    from mailmoat.net.address import Network
    from mailmoat.reputation.requests import Request

app = typer.Typer(help="Show or reset the reputation of senders.", no_args_is_help=True)

CHECK_TIME_MS: Final = 50

PrefixArgument = Annotated[
    str | None, typer.Argument(metavar="[PREFIX]", help="An address or a prefix, such as 192.0.2.0/24.")
]


@dataclass(frozen=True)
class SourceRecord:
    """A source, as it is shown."""

    source: str
    level: int | None
    blocked: int
    """Seconds."""
    evidence: dict[str, float]


@app.callback()
def group() -> None:
    """Show or reset the reputation of senders."""


@app.command()
def show(prefix: PrefixArgument = None, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show the sources that are remembered, the worst first: level, how long they are blocked, and what was seen of them."""
    spool_dir, networks = settings_in_force(config).spool_dir, _networks(prefix)
    shared, now = _records(spool_dir)
    sources = [source for network in networks for source in _sources(shared, network, now)]
    sources.sort(key=lambda source: (source.blocked, -1 if source.level is None else source.level), reverse=True)
    if as_json:
        print_json([asdict(source) for source in sources])
        return
    for source in sources:
        level = "no level" if source.level is None else f"level {source.level}"
        blocked = f", blocked for {span(source.blocked * 1000)}" if source.blocked else ""
        seen = ", ".join(f"{name} {count:g}" for name, count in source.evidence.items())
        typer.echo(f"{source.source}  {level}{blocked}: {seen}")
    if not sources:
        typer.echo("Nothing is remembered.")


@app.command()
def reset(
    prefix: PrefixArgument = None,
    config: ConfigOption = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Forget all sources.")] = False,
) -> None:
    """Forget the sources in a prefix, or all, and end their blocks: exit 0 if there were any, 1 if not."""
    if everything == (prefix is not None):
        raise typer.BadParameter("name a prefix, or --all")
    spool_dir, networks = settings_in_force(config).spool_dir, _networks(prefix)
    shared, now = _records(spool_dir)
    count = sum(len(_sources(shared, network, now)) for network in networks)
    for network in networks:
        _forget(spool_dir, shared, network, now)
    if not count:
        fail("nothing is remembered of it")
    typer.echo(f"{count} {'source is' if count == 1 else 'sources are'} forgotten.")


def _networks(prefix: str | None) -> list[Network]:
    from mailmoat.reputation import requests

    try:
        return [ip_network(text, strict=False) for text in ([prefix] if prefix else requests.ALL)]
    except ValueError:
        raise typer.BadParameter(f"{prefix} is not an address or a prefix such as 192.0.2.0/24") from None


def _records(spool_dir: Path) -> tuple[Shared, int]:
    """Return what is remembered now, and the monotonic second."""
    from mailmoat import _native, clock
    from mailmoat.reputation import requests, saved

    if _runs(spool_dir):
        _ask(spool_dir, requests.Request())
    shared = _native.Shared(1, 1, sources=1)
    try:
        octets = (spool_dir / saved.NAME).read_bytes()
    except FileNotFoundError:
        octets = b""
    except OSError as error:
        fail(f"{spool_dir / saved.NAME} cannot be read: {plain(error)}")
    if octets and not saved.restore(shared, octets):
        fail(f"{spool_dir / saved.NAME} is damaged or of another version")
    return shared, int(clock.monotonic())


def _sources(shared: Shared, network: Network, now: int) -> list[SourceRecord]:
    from mailmoat.reputation import requests
    from mailmoat.reputation.records import evidence_of

    return [
        SourceRecord(source, level, blocked, evidence_of(counts))
        for source, counts, blocked, level in requests.overlapping(shared, network, now)
    ]


def _forget(spool_dir: Path, shared: Shared, network: Network, now: int) -> None:
    from mailmoat.reputation import requests, saved

    if _runs(spool_dir):
        _ask(spool_dir, requests.Request(forget=str(network)))
    elif requests.forget(shared, network, now):
        saved.save(shared, spool_dir)


def _runs(spool_dir: Path) -> bool:
    from mailmoat.cli.status import find

    return find(spool_dir) is not None


def _ask(spool_dir: Path, request: Request) -> None:
    """Make a request to the server, and wait until it has done it."""
    import select

    from mailmoat import clock
    from mailmoat.reputation import requests

    asked, until = False, clock.monotonic_ms() + requests.PATIENCE_MS
    try:
        while clock.monotonic_ms() < until:
            if asked and not requests.is_open(spool_dir):
                return
            asked = asked or requests.ask(spool_dir, request)
            select.poll().poll(CHECK_TIME_MS)
    except OSError as error:
        fail(f"the spool {spool_dir} cannot be used: {plain(error)}; run this as root or as the server's account")
    fail("the server does not answer: are reputation.action and reputation.harvest off?")
