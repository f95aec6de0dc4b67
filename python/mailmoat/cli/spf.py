"""`mailmoat spf wizard DOMAIN`: find out what sends a domain's mail and print the records to publish.

Asks for everything that no option answers; with `--no-input` or `--json` it asks nothing and uses the DNS and the existing
record. Publishes nothing. Status 0, warnings or not; 1: something could not be looked up; 2: the command line is wrong.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, print_json, settings_in_force

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.mailauth.publish.published import Published, Reach
    from mailmoat.mailauth.publish.wizard import Choices
    from mailmoat.settings.sections.dns import DnsSettings

Value = TypeVar("Value")

MAX_QUERIES: Final = 300
MAX_SECONDS: Final = 60.0

app = typer.Typer(help="SPF and Sender ID records for your own domains.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make `wizard` a command of a group, of which it is the only one so far."""


@app.command("wizard")
def wizard(  # noqa: PLR0917 - typer calls it, by name
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain in whose name mail is sent.")],
    mx: Annotated[bool | None, typer.Option("--mx/--no-mx", help="The hosts in its MX records send mail, too.")] = None,
    a: Annotated[
        bool | None, typer.Option("--a/--no-a", help="The host with the name of the domain sends mail.")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(metavar="NETWORK", help="An address or network that sends mail; may be repeated."),
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A host that sends mail; may be repeated.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN", help="A domain whose senders also send for this one; may be repeated."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(metavar="POLICY", help="For all other hosts: -all (fail), ~all (softfail) or ?all (neutral)."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not start from the existing record.")] = False,  # noqa: FBT002 - a flag
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,  # noqa: FBT002 - a flag
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> None:
    """Make the records to publish: which hosts send mail for the domain, and what receivers do with other mail.

    An option answers its question and replaces the value of the existing record. Nothing is published.
    """
    import asyncio

    from mailmoat.mailauth.publish import wizard as rules
    from mailmoat.mailauth.results import Scope

    name = _checked("DOMAIN", domain, rules.domain_name)
    given: dict[str, Any] = {
        "mx": mx,
        "a": a,
        "networks": network and _each("--network", network, rules.network),
        "hosts": host and _each("--host", host, rules.domain_name),
        "includes": include and _each("--include", include, rules.domain_name),
        "policy": policy and _checked("--policy", policy, rules.policy),
    }
    given = {key: value for key, value in given.items() if value is not None}
    dns = settings_in_force(config).dns
    found = asyncio.run(_look_up(dns, name))
    start = replace(_start(found, fresh=fresh), **given)
    if no_input or as_json:
        chosen = start
    else:
        _show_published(found)
        chosen = _ask(start, given, name)
    records = {scope: rules.compose(chosen, scope) for scope in (Scope.MFROM, Scope.PRA)}
    reaches = asyncio.run(_reach(dns, name, records))
    warnings = rules.warn(found, chosen, reaches)
    if as_json:
        print_json(_document(found, reaches, warnings))
    else:
        _show(name, reaches, warnings)
    if found.problems:  # what could not be looked up may be missing from the records
        raise typer.Exit(1)


def _start(found: Published, *, fresh: bool) -> Choices:
    """Return what the present record says; without one, that the MX hosts send if there are any, or if that is unknown."""
    from mailmoat.mailauth.publish import wizard as rules
    from mailmoat.mailauth.results import Scope

    terms = next(filter(None, (rules.current(found, scope) for scope in (Scope.MFROM, Scope.PRA))), "")
    if terms and not fresh:
        return rules.read(terms)
    return rules.Choices(mx=found.mx != (), a=found.mx == () and bool(found.addresses))


def _ask(start: Choices, given: dict[str, Any], domain: str) -> Choices:
    """Ask what is not given; the present state is the answer of an empty line."""
    from mailmoat.mailauth.publish import wizard as rules

    answers: dict[str, Any] = {}
    if "mx" not in given:
        answers["mx"] = typer.confirm(
            f"Do the hosts that receive mail for {domain} (its MX) send it, too?", default=start.mx
        )
    if "a" not in given:
        answers["a"] = typer.confirm(f"Does the host {domain} itself send mail?", default=start.a)
    lists: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        ("networks", "Which addresses and networks send?", rules.network),
        ("hosts", "Which other hosts send, by name?", rules.domain_name),
        ("includes", "Which other domains' servers send for it (your provider's, say)?", rules.domain_name),
    )
    for key, question, check in lists:
        if key not in given:
            answers[key] = _ask_list(question, getattr(start, key), check)
    if start.others and not typer.confirm(f"Keep of the present record: {' '.join(start.others)}?", default=True):
        answers["others"] = ()
    if "policy" not in given:
        for text, meaning in rules.POLICIES.items():
            typer.echo(f"  {text}  {meaning}")
        answers["policy"] = _prompt("What do receivers do with mail from all other hosts?", start.policy, rules.policy)
    return replace(start, **answers)


def _ask_list(question: str, present: tuple[str, ...], check: Callable[[str], str]) -> tuple[str, ...]:
    from mailmoat.mailauth.publish import wizard as rules

    def parse(text: str) -> tuple[str, ...]:
        return () if text.strip().lower() == "none" else tuple(dict.fromkeys(map(check, rules.items(text))))

    return _prompt(f"{question} (commas between; none)", ", ".join(present) or "none", parse)


def _prompt(question: str, default: str, parse: Callable[[str], Value]) -> Value:
    """Ask until the answer can be used."""
    while True:
        try:
            return parse(typer.prompt(question, default=default))
        except ValueError as error:
            typer.echo(f"  {error}")


def _checked(option: str, text: str, check: Callable[[str], str]) -> str:
    try:
        return check(text)
    except ValueError as error:
        typer.echo(f"mailmoat: {option}: {error}", err=True)
        raise typer.Exit(2) from None


def _each(option: str, texts: list[str], check: Callable[[str], str]) -> tuple[str, ...]:
    from mailmoat.mailauth.publish import wizard as rules

    return tuple(dict.fromkeys(_checked(option, item, check) for text in texts for item in rules.items(text)))


async def _look_up(dns: DnsSettings, domain: str) -> Published:
    from mailmoat.mailauth.publish.published import look_up
    from mailmoat.resolver import Budget
    from mailmoat.resolver.resolver import DnsResolver

    resolver = DnsResolver(dns)
    try:
        return await look_up(resolver, domain, Budget(MAX_QUERIES, MAX_SECONDS))
    finally:
        await resolver.close()


async def _reach(dns: DnsSettings, domain: str, records: dict[Any, str]) -> dict[str, Reach]:
    from mailmoat.mailauth.publish.published import reach
    from mailmoat.resolver import Budget
    from mailmoat.resolver.resolver import DnsResolver

    resolver = DnsResolver(dns)
    budget = Budget(MAX_QUERIES, MAX_SECONDS)
    try:
        return {record: await reach(resolver, domain, record, scope, budget) for scope, record in records.items()}
    finally:
        await resolver.close()


def _show_published(found: Published) -> None:
    typer.echo(f"{found.domain}: {'does not exist' if found.missing else 'present state'}")
    for label, values in (("addresses", found.addresses), ("MX", found.mx), ("records", found.records)):
        typer.echo(f"  {label}: {'unknown, the DNS did not answer' if values is None else ', '.join(values) or 'none'}")


def _show(domain: str, reaches: dict[str, Reach], warnings: list[str]) -> None:
    from mailmoat.mailauth.publish import wizard as rules

    typer.echo("\nPublish instead of the present records:\n")
    for record, reach in reaches.items():
        typer.echo(rules.zone_line(domain, record))
        typer.echo(f"  ; {record.partition(' ')[0]}, at most {reach.lookups} lookups\n")
    for warning in warnings:
        typer.echo(f"warning: {warning}")


def _document(found: Published, reaches: dict[str, Reach], warnings: list[str]) -> dict[str, object]:
    from mailmoat.mailauth.publish import wizard as rules

    return {
        "domain": found.domain,
        "exists": not found.missing,
        "addresses": found.addresses,
        "mx": found.mx,
        "present": found.records,
        "records": [
            {
                "version": record.partition(" ")[0],
                "text": record,
                "strings": rules.strings(record),
                "zone": rules.zone_line(found.domain, record),
                "lookups": reach.lookups,
            }
            for record, reach in reaches.items()
        ],
        "warnings": warnings,
    }
