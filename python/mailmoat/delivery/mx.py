"""The servers of a recipient's domain, by its MX records, each with what is asked of TLS there (RFC 5321 5.1, RFC 7672, RFC 8461).

Promises: what a domain publishes securely is never gone below: neither clear text nor another server is used in place of one that cannot
be authenticated, or whose records cannot be found out. Nothing is kept here: the resolver and the policies have their caches.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import RecipientState
from mailmoat.delivery.hosts import Host, Hosts
from mailmoat.delivery.mx_tls import DomainTls, Forbidden
from mailmoat.delivery.tls_policy import TlsLevel
from mailmoat.delivery.tls_reports import reports_to
from mailmoat.delivery.tls_results import PolicyKind, Published, TlsResult, reported, result_of
from mailmoat.mta_sts.policies import Applied
from mailmoat.mx.addresses import Addresses, Unusable
from mailmoat.mx.exchangers import Exchangers, before, exchangers, looping, no_domain
from mailmoat.mx.tlsa import NoTlsa, Tlsa, tlsa
from mailmoat.resolver import Budget

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mailmoat._native import Client
    from mailmoat.delivery.tls_policy import TlsPolicy
    from mailmoat.delivery.tls_reports import TlsReports
    from mailmoat.mta_sts.policies import Policies
    from mailmoat.mx.exchangers import Exchanger
    from mailmoat.mx.refusal import Refusal
    from mailmoat.resolver import Resolver
    from mailmoat.settings import Settings

QUERIES: Final = 200
"""Queries to the DNS for one search: five for each of the hosts that can be in an answer are more than are tried."""

ABSENCE: Final = 60.0
"""Seconds for which a host that could not be reached is tried after the others of its domain."""
NOTHING_PUBLISHED: Final = Published("")


@dataclass(frozen=True, slots=True)
class MxHost(Host):
    """A server, with what its domain publishes."""

    published: Published = NOTHING_PUBLISHED
    reports_to: tuple[str, ...] = ()
    """Where the domain wants reports about TLS; empty for none."""

    @property
    def found_as(self) -> str:
        """Its name in the MX record, not that of an alias (RFC 7672 2.2.1)."""
        return self.name


class MxSearch:
    """Finds the servers of domains; one for each worker."""

    def __init__(
        self,
        settings: Settings,
        resolver: Resolver,
        *,
        addresses: Addresses | None = None,
        policies: Policies | None = None,
        reports: TlsReports | None = None,
    ) -> None:
        """Take where to ask; without `policies` MTA-STS is not looked for, without `reports` nothing is counted."""
        self.resolver = resolver
        self.addresses = addresses or Addresses(settings, resolver)
        self.reports = reports
        self.settings = settings.mx
        self._policies = policies
        self._seconds = settings.dns.budget_time
        self._asks_tlsa = settings.mx.dane and settings.dns.trust_ad

    async def find(self, domain: str, tls: TlsPolicy, *, optional: bool = False) -> Sequence[Host] | Refusal:
        """Return the servers of a domain, the preferred one first, or why there is none.

        `tls` is what holds in any case; `optional`: what the domain publishes about TLS does not count (RFC 8689 4.2.2).
        """
        if domain.startswith("["):
            return self._literal(domain, tls)
        budget = Budget(QUERIES, self._seconds)
        is_open = optional or tls.level is TlsLevel.NONE
        found, applied, report = await asyncio.gather(
            exchangers(domain, self.resolver, budget),
            _nothing_applied() if is_open or self._policies is None else self._policies.find(domain, budget),
            self._reports_to(domain, budget),
        )
        if not isinstance(found, Exchangers):
            return found
        self._note(domain, applied, report)
        order = before(found.order, self.addresses.is_own_name)
        if not order:
            return looping(domain)
        asked = DomainTls(domain, tls, found, applied.policy, ca=self.settings.tls_ca)
        search = _DomainSearch(self, domain, asked, budget=budget, report=report, is_implicit=found.implicit)
        return await search.hosts(order, asks_tlsa=self._asks_tlsa and not is_open)

    def _literal(self, domain: str, tls: TlsPolicy) -> Sequence[Host] | Refusal:
        """Return the server at the address that stands in place of a domain (RFC 5321 4.1.3)."""
        address = domain[1:-1]
        if address[:5].lower() == "ipv6:":
            address = address[5:]
        try:
            usable = self.addresses.usable([address])
        except ValueError:
            return no_domain(domain)
        if isinstance(usable, Unusable):
            return looping(domain) if usable is Unusable.OWN else unusable(domain, {usable})
        if tls.level is TlsLevel.DANE:
            return unusable(domain, {Forbidden.DANE})
        return [Host(usable[0], self.settings.port_number, usable, tls)]

    async def _reports_to(self, domain: str, budget: Budget) -> tuple[str, ...]:
        if self.reports is None or not self.settings.tls_report:
            return ()
        return reports_to(await self.resolver.query(f"_smtp._tls.{domain}", "TXT", budget))

    def _note(self, domain: str, applied: Applied, report: tuple[str, ...]) -> None:
        """Count that a policy could not be fetched."""
        if self.reports is not None and applied.failure is not None:
            policy = applied.policy
            lines, patterns = (reported(policy.lines()), reported(policy.patterns)) if policy is not None else ((), ())
            published = Published(domain, PolicyKind.STS, lines, patterns)
            self.reports.count(published, TlsResult(applied.failure.value), report)


class _DomainSearch:
    """One search."""

    def __init__(
        self,
        search: MxSearch,
        domain: str,
        tls: DomainTls,
        *,
        budget: Budget,
        report: tuple[str, ...],
        is_implicit: bool,
    ) -> None:
        self._search = search
        self._domain = domain
        self._is_implicit = is_implicit
        self._tls = tls
        self._budget = budget
        self._report = report

    async def hosts(self, order: tuple[Exchanger, ...], *, asks_tlsa: bool) -> Sequence[Host] | Refusal:
        """Return the servers of these that can be tried, as many as may be; the next ones only when none of the first can."""
        most = self._search.settings.max_hosts
        why: set[Unusable | Forbidden] = set()
        while order and Unusable.OWN not in why:
            tried, order = order[:most], order[most:]
            found = await asyncio.gather(*(self._host(each.name, asks_tlsa=asks_tlsa) for each in tried))
            pairs = list(zip(tried, found, strict=True))
            limit = min((each.preference for each, host in pairs if host is Unusable.OWN), default=None)
            why.update(host for host in found if not isinstance(host, Host))
            hosts = [
                host for each, host in pairs if isinstance(host, Host) and (limit is None or each.preference < limit)
            ]
            if hosts:
                return _limited(hosts, self._search.settings.max_addresses)
        if why <= {Unusable.OWN}:
            return looping(self._domain)
        if self._is_implicit and why == {Unusable.ABSENT}:
            return no_domain(self._domain)
        return unusable(self._domain, why)

    async def _host(self, name: str, *, asks_tlsa: bool) -> MxHost | Unusable | Forbidden:
        located = await self._search.addresses.locate(name, self._budget)
        if isinstance(located, Unusable):
            return located
        port, records = self._search.settings.port_number, None
        if asks_tlsa:
            answer = await tlsa(name, port, located, self._search.resolver, self._budget)
            if answer is NoTlsa.UNKNOWN:
                self._note_unknown(name)
                return Unusable.UNKNOWN
            records = answer if isinstance(answer, Tlsa) else None
        asked = self._tls.at(name, records)
        if isinstance(asked, Forbidden):
            return asked
        tls, published = asked
        return MxHost(name, port, located.addresses, tls, published=published, reports_to=self._report)

    def _note_unknown(self, name: str) -> None:
        if self._search.reports is not None:
            published = Published(self._domain, PolicyKind.TLSA)
            self._search.reports.count(published, TlsResult.DNSSEC_INVALID, self._report, host=name)


class MxHosts(Hosts):
    """The servers of one domain, as a destination asks for them; one that could not be reached is tried after the others for a while."""

    __slots__ = ("_absences", "_domain", "_optional", "_search", "_tls")

    def __init__(self, domain: str, search: MxSearch, tls: TlsPolicy, *, optional: bool = False) -> None:
        self._domain = domain
        self._search = search
        self._tls = tls
        self._optional = optional
        self._absences: dict[str, float] = {}

    async def find(self) -> Sequence[Host] | Refusal:
        """Return the servers, as `MxSearch.find`."""
        found = await self._search.find(self._domain, self._tls, optional=self._optional)
        if not self._absences or isinstance(found, tuple):
            return found
        now = clock.monotonic()
        self._absences = {name: until for name, until in self._absences.items() if until > now}
        return sorted(found, key=lambda host: host.name in self._absences)

    def tried(self, host: Host, address: str, client: Client) -> None:
        """Count what became of TLS on a connection to an address of a host."""
        reports = self._search.reports
        if reports is None or not isinstance(host, MxHost) or self._optional:
            return
        found = result_of(host.published, host.tls, client)
        if found is not None:
            result, reason = found
            reports.count(host.published, result, host.reports_to, host=host.name, address=address, reason=reason)

    def reached(self, host: Host) -> None:
        """Note a connection that is ready."""
        self._absences.pop(host.name, None)

    def away(self, host: Host) -> None:
        """Note that no connection came about at any address of a host."""
        self._absences[host.name] = clock.monotonic() + ABSENCE


def unusable(domain: str, why: Collection[Unusable | Forbidden]) -> Refusal:
    """Return the refusal for a domain of which no host can be tried; what may pass counts more than what may not."""
    if Unusable.UNKNOWN in why:
        return RecipientState.PENDING, f"451 4.4.3 The DNS gives no answer for the mail servers of {domain}"
    if Forbidden.POLICY in why:
        return RecipientState.PENDING, f"451 4.7.5 No mail server of {domain} is in its MTA-STS policy"
    if Forbidden.DANE in why:
        return RecipientState.PENDING, f"451 4.7.5 No mail server of {domain} can be authenticated by DANE"
    if Unusable.ABSENT in why:
        return RecipientState.PENDING, f"451 4.4.4 The mail servers of {domain} have no address"
    return RecipientState.FAILED, f"550 5.4.4 The mail servers of {domain} have no public address"


async def _nothing_applied() -> Applied:
    return Applied()


def _limited(hosts: list[MxHost], most: int) -> list[MxHost]:
    """Return the hosts with as many addresses in all, those of the first hosts first, but one of each as long as there is room."""
    limited: list[MxHost] = []
    for number, host in enumerate(hosts, 1):
        room = max(most - (len(hosts) - number), 1)
        addresses = host.addresses[:room]
        most -= len(addresses)
        limited.append(replace(host, addresses=addresses))
        if most <= 0:
            break
    return limited
