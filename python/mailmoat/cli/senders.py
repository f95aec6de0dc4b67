"""`mailmoat senders check`: what the sender filter and the checks of HELO would do, and by which entry. The agents of the server decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, complain, fail, print_json, settings_in_force

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.policy.client import Client
    from mailmoat.policy.objection import Objection
    from mailmoat.policy.services import Services
    from mailmoat.settings import Settings

app = typer.Typer(help="Check which senders are wanted.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Case:
    """A transaction that nobody has begun: what an agent sees of it."""

    reverse_path: Address | None
    client: Client
    helo_name: str
    session_id: str = "check"
    recipients: tuple[Address, ...] = ()
    submitter: Address | None = None
    header: bytes = b""
    received_header: bytes = b""


@app.callback()
def group() -> None:
    """Check which senders are wanted."""


@app.command("check")
def check(
    sender: Annotated[str, typer.Argument(metavar="SENDER", help="Address in MAIL FROM; <> is the null sender.")],
    authors: Annotated[
        list[str] | None, typer.Option("--from", metavar="ADDRESS", help="Address in the From field; may be repeated.")
    ] = None,
    helo: Annotated[str, typer.Option(metavar="NAME", help="Name in HELO or EHLO. Default: it is not checked.")] = "",
    client: Annotated[
        str, typer.Option(metavar="IP", help="Address of the client. Default: a stranger's, 192.0.2.1.")
    ] = "192.0.2.1",
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say what happens to mail from SENDER: exit 0 if it is accepted, perhaps stamped; 1 if it is refused, deferred or dropped."""
    import asyncio

    settings = settings_in_force(config)
    case = _case(settings, sender, helo, client)
    written = [_address(settings, author) for author in authors or ()]
    found = asyncio.run(_objections(settings, case, written)) if case.client.trust.judged else ()
    first = next((answer for each in found if (answer := _answer(each)) != "stamp"), "stamp" if found else "accept")
    if as_json:
        print_json(
            {"sender": sender, "judged": case.client.trust.judged, "answer": first, "found": [*map(_row, found)]}
        )
    else:
        typer.echo(_headline(sender, case, first))
        for each in found:
            typer.echo(f"  {_answer(each)}: {each.rule}{_told(each)}{f' ({each.detail})' if each.detail else ''}")
    if first in {"reject", "defer", "drop"}:
        raise typer.Exit(1)


def _case(settings: Settings, sender: str, helo: str, client: str) -> Case:
    from mailmoat.lists import sources
    from mailmoat.lists.lists import Lists
    from mailmoat.net import address as addresses
    from mailmoat.policy.client import Client, TrustRules

    try:
        host = addresses.canonical(client)
    except ValueError as error:
        fail(str(error))
    reverse_path = None if sender in {"", "<>"} else _address(settings, sender)
    trust = TrustRules(settings, Lists(sources.snapshot(settings))).of(host)
    return Case(reverse_path, Client(host, settings.listen[0], trust), helo)


def _address(settings: Settings, written: str) -> Address:
    from mailmoat._native import Address

    try:
        address = Address.parse(written)
        return address if address.domain else Address.parse(f"{written}@{settings.relay.default_domain or ''}")
    except ValueError as error:
        fail(f"{written}: no address ({error})")


async def _objections(settings: Settings, case: Case, authors: list[Address]) -> tuple[Objection, ...]:
    """Ask the agents that are on."""
    from mailmoat.policy.agents.helo_checks import HeloChecks
    from mailmoat.policy.agents.sender_filter import SenderFilter

    services = _services(settings)
    found: tuple[Objection, ...] = ()
    if case.helo_name and HeloChecks.is_on(settings):
        asked = HeloChecks(services).objections(case)
        found += asked if isinstance(asked, tuple) else await asked
    if SenderFilter.is_on(settings):
        senders = SenderFilter(services)
        asked = senders.objections(case)
        found += asked if isinstance(asked, tuple) else await asked
        found += tuple(each for author in authors if (each := senders.of_author(author)) is not None)
    if "resolver" in vars(services):
        await services.resolver.close()
    return found


def _services(settings: Settings) -> Services:
    """Make what agents can be given, with the file of blocked senders as it is now."""
    from mailmoat.errors import ConfigError
    from mailmoat.metrics import Metrics, share
    from mailmoat.policy import sender_file
    from mailmoat.policy.services import Services
    from mailmoat.resolver.resolver import DnsResolver

    services = Services(settings, Metrics(share(1, 1), 0), None, lambda: DnsResolver(settings.dns))
    try:
        services.sender_file = sender_file.examine(settings)
    except ConfigError as error:
        complain(error)
    return services


def _headline(sender: str, case: Case, answer: str) -> str:
    if not case.client.trust.judged:
        return f"{sender}: accept (the client {case.client.address} is trusted, so it is not judged)"
    return f"{sender}: {answer}"


def _answer(objection: Objection) -> str:
    return "defer" if objection.action == "reject" and not objection.lasts else objection.action


def _told(objection: Objection) -> str:
    """Return what the client gets of an objection."""
    return f", {objection.reply}" if objection.action == "reject" else ""


def _row(objection: Objection) -> dict[str, str]:
    reply = str(objection.reply) if objection.action == "reject" else ""
    return {"answer": _answer(objection), "reason": objection.rule, "reply": reply, "detail": objection.detail}
