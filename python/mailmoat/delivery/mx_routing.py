"""What all deliveries by MX records of one worker share: the search for servers, policies, TLS sessions, and the results of TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.delivery.mx import MxHosts, MxSearch
from mailmoat.delivery.tls_policy import mx_optional_policy, mx_policy
from mailmoat.delivery.tls_reports import TlsReports
from mailmoat.mta_sts.cache import PolicyCache
from mailmoat.mta_sts.policies import Policies
from mailmoat.mx.addresses import Addresses
from mailmoat.mx.policy_fetch import PolicyFetch

if TYPE_CHECKING:
    from mailmoat.delivery.handshake import Handshakes
    from mailmoat.delivery.tls_policy import TlsPolicy
    from mailmoat.metrics import Metrics
    from mailmoat.resolver import Resolver
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.delivery import NextHopSettings


class MxRouting:
    """Of one worker."""

    def __init__(self, settings: Settings, resolver: Resolver, metrics: Metrics) -> None:
        addresses = Addresses(settings, resolver)
        cache = PolicyCache(settings.spool_dir)
        fetch = PolicyFetch(addresses, settings.mx.tls_ca)
        self._policies = Policies(resolver, cache, fetch, metrics) if settings.mx.mta_sts else None
        self._reports = TlsReports(settings.spool_dir, metrics, kept=settings.mx.tls_report)
        self._search = MxSearch(settings, resolver, addresses=addresses, policies=self._policies, reports=self._reports)
        self.handshakes: dict[TlsPolicy, Handshakes] = {}
        """Of all domains: many have their servers at one provider, where sessions can be resumed."""

    def hosts(self, domain: str, settings: NextHopSettings, *, tls_optional: bool) -> MxHosts:
        """Return the servers of a domain, as a destination asks for them."""
        if tls_optional:
            return MxHosts(domain, self._search, mx_optional_policy(settings), optional=True)
        return MxHosts(domain, self._search, mx_policy(settings))

    def tick(self) -> None:
        """Write what is due; call it about once a second."""
        self._reports.tick()

    async def close(self) -> None:
        """End what is being fetched, and write what was counted."""
        if self._policies is not None:
            await self._policies.close()
        self._reports.write()
