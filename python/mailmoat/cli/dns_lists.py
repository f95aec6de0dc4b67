"""`mailmoat dns-lists check [ADDRESS]`: test the providers of the settings as a worker does, and look an address up in them.

Status 0: all providers work; 1: one does not, or there is none; 2: the command line is wrong. Needs no running server, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, fail, print_json, settings_in_force

if TYPE_CHECKING:
    from mailmoat.dns_lists.answers import Reading
    from mailmoat.dns_lists.lookups import Listings
    from mailmoat.dns_lists.provider import Provider
    from mailmoat.settings import Settings

app = typer.Typer(help="Block and allow lists in the DNS.", no_args_is_help=True)

WORKS = "works"


@app.callback()
def _group() -> None:
    """Make `check` a command of a group, of which it is the only one so far."""


@app.command("check")
def check(
    address: Annotated[str | None, typer.Argument(metavar="ADDRESS", help="IP address to look up.")] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Test each provider, and say which of them have ADDRESS: exit 0 if all work, 1 if one does not."""
    import asyncio

    from mailmoat.net.address import canonical

    try:
        wanted = canonical(address) if address else ""
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="ADDRESS") from None
    settings = settings_in_force(config)
    if not settings.dns_lists.providers:
        fail("dns_lists.providers is empty: there is no list to check")
    providers, readings, listings = asyncio.run(_ask(settings, wanted))
    if as_json:
        print_json(_document(settings, providers, readings, wanted, listings))
    else:
        for provider, reading in zip(providers, readings, strict=True):
            typer.echo(_line(provider, reading))
        if wanted:
            typer.echo(f"{wanted}: {_verdict(settings, listings)}")
    if any(provider.problem for provider in providers):
        raise typer.Exit(1)


async def _ask(settings: Settings, address: str) -> tuple[tuple[Provider, ...], list[Reading | None], Listings]:
    import asyncio

    from mailmoat.dns_lists.lookups import UNLISTED, DnsLookups
    from mailmoat.net.address import parse
    from mailmoat.resolver import Budget
    from mailmoat.resolver.resolver import DnsResolver

    resolver = DnsResolver(settings.dns)
    lists = DnsLookups(settings.dns_lists, resolver)
    try:
        await asyncio.gather(*(test for provider in lists.providers if (test := provider.tick())))
        if not address:
            return lists.providers, [None for _ in lists.providers], UNLISTED
        budget = Budget(len(lists.providers), settings.dns_lists.time)
        asked = await asyncio.gather(*(provider.look_up(parse(address), budget) for provider in lists.providers))
        lookup = lists.look_up(address)
        return lists.providers, [reading for reading, _ in asked], await lookup if lookup else UNLISTED
    finally:
        await lists.close()
        await resolver.close()


def _line(provider: Provider, reading: Reading | None) -> str:
    state = _state(provider)
    if provider.problem:
        state += f" ({provider.detail})" if provider.detail else ""
    else:
        state += ", also for IPv6" if provider.ipv6 else ", not for IPv6"
    answer = "" if reading is None or provider.problem else f"  {_answer(reading)}"
    return f"{provider.settings.zone}  {provider.settings.kind}  {state}{answer}"


def _state(provider: Provider) -> str:
    return provider.problem or WORKS


def _answer(reading: Reading) -> str:
    return f"{reading.outcome.replace('_', ' ')}{f' ({reading.address})' if reading.address else ''}"


def _verdict(settings: Settings, listings: Listings) -> str:
    if listings.allowed:
        return "known good"
    weight, threshold = listings.weight, settings.dns_lists.threshold
    if weight < threshold:
        return f"weight {weight}, below the threshold {threshold}"
    done = "refused" if settings.dns_lists.action == "reject" else "stamped"
    return f"weight {weight}, threshold {threshold}: {done}"


def _document(
    settings: Settings,
    providers: tuple[Provider, ...],
    readings: list[Reading | None],
    address: str,
    listings: Listings,
) -> dict[str, object]:
    rows = []
    for provider, reading in zip(providers, readings, strict=True):
        row: dict[str, object] = {
            "zone": provider.settings.zone,
            "kind": provider.settings.kind,
            "state": _state(provider),
            "detail": provider.detail,
            "ipv6": provider.ipv6,
        }
        if reading is not None:
            row |= {"outcome": reading.outcome, "answer": reading.address}
        rows.append(row)
    found = {"address": address, "weight": listings.weight, "verdict": _verdict(settings, listings)} if address else {}
    return {"providers": rows, "threshold": settings.dns_lists.threshold, **found}
