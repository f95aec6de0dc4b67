"""`mailmoat mx`: which servers take mail for a domain, as a delivery would find them now, and what is asked of TLS there.

Asks the name servers of the settings, and the web server of an MTA-STS policy that is new; connects to no mail server and writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailmoat.cli.options import ConfigOption, JsonOption, fail, print_json, settings_in_force

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat.delivery.hosts import Host
    from mailmoat.mta_sts.policies import Applied
    from mailmoat.mx.refusal import Refusal
    from mailmoat.settings import Settings

_NO_ANSWER: Final = "451 4.4.3 "
_IGNORED: Final = "550 5.4.4 "


def mx(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Such as example.com, or [192.0.2.1].")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the servers of a domain by its MX records: 0 when there are some, 1 when mail for it would wait or be returned."""
    import asyncio

    from mailmoat._native import normalise_domain

    try:
        name = domain if domain.startswith("[") else normalise_domain(domain)
    except ValueError:
        fail(f"{domain} is no domain")
    settings = settings_in_force(config)
    found, applied = asyncio.run(_find(settings, name))
    document = _document(name, settings, found, applied)
    if as_json:
        print_json(document)
    else:
        _print(document)
    if isinstance(found, tuple):
        raise typer.Exit(1)


async def _find(settings: Settings, domain: str) -> tuple[Sequence[Host] | Refusal, Applied]:
    from mailmoat.delivery.mx import MxSearch
    from mailmoat.delivery.tls_policy import mx_policy
    from mailmoat.delivery.tls_reports import TlsReports
    from mailmoat.mta_sts.cache import UnwrittenCache
    from mailmoat.mta_sts.policies import Applied, Policies
    from mailmoat.mx.addresses import Addresses
    from mailmoat.mx.policy_fetch import PolicyFetch
    from mailmoat.resolver import Budget
    from mailmoat.resolver.resolver import DnsResolver

    resolver = DnsResolver(settings.dns)
    addresses = Addresses(settings, resolver)
    policies = Policies(resolver, UnwrittenCache(settings.spool_dir), PolicyFetch(addresses, settings.mx.tls_ca))
    reports = TlsReports(settings.spool_dir, None, kept=False)
    asks = settings.mx.mta_sts and not domain.startswith("[")
    try:
        applied = await policies.find(domain, Budget(2, settings.dns.budget_time)) if asks else Applied()
        search = MxSearch(settings, resolver, addresses=addresses, policies=policies if asks else None, reports=reports)
        return await search.find(domain, mx_policy(settings.delivery)), applied
    finally:
        await policies.close()
        await resolver.close()


def _document(domain: str, settings: Settings, found: Sequence[Host] | Refusal, applied: Applied) -> dict[str, object]:
    from mailmoat.delivery.mx import MxHost

    policy = applied.policy
    refusal, hosts = (found[1], []) if isinstance(found, tuple) else (None, list(found))
    return {
        "domain": domain,
        "refusal": refusal,
        "hosts": [_host(host) for host in hosts],
        "dane": _dane(settings),
        "mta_sts": None if policy is None else list(policy.lines()),
        "mta_sts_failure": None if applied.failure is None else applied.failure.value,
        "reports_to": next((list(host.reports_to) for host in hosts if isinstance(host, MxHost)), []),
    }


def _dane(settings: Settings) -> str:
    if not settings.mx.dane:
        return "off: mx.dane is off"
    if not settings.dns.trust_ad:
        return "off: dns.trust_ad is off, so no answer is known to be authentic"
    return "on"


def _host(host: Host) -> dict[str, object]:
    from mailmoat.delivery.mx import NOTHING_PUBLISHED, MxHost
    from mailmoat.delivery.tls_results import PolicyKind

    published = host.published if isinstance(host, MxHost) else NOTHING_PUBLISHED
    return {
        "name": host.name,
        "port": host.port,
        "addresses": list(host.addresses),
        "tls": host.tls.level.value,
        "policy": published.kind.value,
        "tlsa": list(published.lines) if published.kind is PolicyKind.TLSA else [],
        "certificate_names": list(host.tls.names or (host.name,)) if host.tls.required else [],
    }


def _print(document: dict[str, object]) -> None:
    hosts = document["hosts"]
    if document["refusal"]:
        typer.echo(f"{document['domain']}: {document['refusal']}")
    if str(document["refusal"]).startswith(_IGNORED):
        typer.echo(
            "  all of them are in mx.ignored_networks: a server of your own is reached by a route with a smtp:// next hop"
        )
    for host in hosts if isinstance(hosts, list) else []:
        typer.echo(f"{host['name']} port {host['port']}: {', '.join(host['addresses'])}")
        typer.echo(f"  TLS: {host['tls']} ({host['policy']})")
        for record in host["tlsa"]:
            typer.echo(f"  TLSA: {record}")
    typer.echo(f"DANE: {document['dane']}")
    policy = document["mta_sts"]
    unknown = str(document["refusal"]).startswith(_NO_ANSWER)
    written = "; ".join(policy) if isinstance(policy, list) else "not known" if unknown else "no policy"
    failure = f" ({document['mta_sts_failure']})" if document["mta_sts_failure"] else ""
    typer.echo(f"MTA-STS: {written}{failure}")
    reports = document["reports_to"]
    none = "not known" if unknown else "not asked for"
    typer.echo(f"TLS reports: {', '.join(reports) if isinstance(reports, list) and reports else none}")
