"""`mailmoat route`: where mail for an address would go, and why. Reads the settings and nothing else; no name is looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, print_json, settings_in_force

if TYPE_CHECKING:
    from mailmoat.delivery.route import Route, RouteTable
    from mailmoat.settings import Settings


def route(
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="Recipients, or domains.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say where mail for each address would go, and why: exit 0 if each has a next hop, 1 if not."""
    from mailmoat.delivery.route import route_table

    settings = settings_in_force(config)
    table = route_table(settings)
    found = [_document(address, settings, table) for address in addresses]
    if as_json:
        print_json(found)
    else:
        for one in found:
            for line in _lines(one):
                typer.echo(line)
    if any(one["next_hop"] is None for one in found):
        raise typer.Exit(1)


def _document(written: str, settings: Settings, table: RouteTable) -> dict[str, Any]:
    from mailmoat._native import normalise_address, normalise_domain

    try:
        domain = normalise_address(written).rpartition("@")[2] if "@" in written else normalise_domain(written)
    except ValueError as error:
        return {"address": written, "next_hop": None, "why": f"it is no address: {error}"}
    found = table.find(domain)
    hop = found.next_hop
    return {
        "address": written,
        "domain": domain,
        "route": found.name,
        "next_hop": None if hop is None else str(hop),
        "why": _why(found, domain, table),
        "tls": found.settings.tls if hop is not None and not hop.is_local else None,
        "account": found.settings.auth_name,
        "relayed": _relayed(settings, domain),
    }


def _why(found: Route, domain: str, table: RouteTable) -> str:
    if found is not table.default:
        return f"routes[{table.routes.index(found) + 1}] has {found.pattern_of(domain)}"
    if found.next_hop is None:
        return "no route has its domain, and delivery.next_hop is not set"
    return "no route has its domain: delivery.next_hop" if table.routes else "delivery.next_hop: there are no routes"


def _relayed(settings: Settings, domain: str) -> str:
    """Return whose mail for a domain is accepted: a route does not make it relayable."""
    for name in ("local_domains", "unfiltered_domains"):
        if domain in getattr(settings.relay, name):
            return f"from everybody: relay.{name} has {domain}"
    if settings.relay.networks or settings.auth.file or settings.auth.dovecot:
        return "from clients that may relay: those of relay.networks, and those that authenticate"
    return "from nobody: it is in neither relay.local_domains nor relay.unfiltered_domains; only reports of ours and mail of aliases go there"


def _lines(found: dict[str, Any]) -> list[str]:
    if "domain" not in found:
        return [f"{found['address']}: {found['why']}"]
    lines = [f"{found['address']} goes to {found['next_hop'] or 'no next hop: it waits until it expires'}"]
    lines.append(f"    why      {found['why']}")
    if found["tls"] is not None:
        lines.append(f"    tls      {found['tls']}")
    if found["account"] is not None:
        lines.append(f"    account  {found['account']}")
    return [*lines, f"    accepted {found['relayed']}"]
