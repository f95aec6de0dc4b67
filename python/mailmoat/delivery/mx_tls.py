"""What is asked of TLS at a server found by MX records: by the settings, the TLSA records of the host, and the policy of the domain. Pure.

The settings hold in any case, and what is published securely is never gone below. DANE comes before MTA-STS: a policy never overrides TLSA
records (RFC 8461 2).
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from mailmoat.delivery.tls_policy import TlsLevel
from mailmoat.delivery.tls_results import PolicyKind, Published, TlsResult, reported
from mailmoat.mta_sts.policy import Mode
from mailmoat.mx.tlsa import Tlsa, written

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.delivery.tls_policy import TlsPolicy
    from mailmoat.mta_sts.policy import StsPolicy
    from mailmoat.mx.exchangers import Exchangers


class Forbidden(Enum):
    """Why a host is not tried that could be reached."""

    POLICY = "the MTA-STS policy of the domain does not have it"
    DANE = "the settings ask for DANE, and it has no usable TLSA records, or was not found securely"


class DomainTls:
    """For the hosts of one domain."""

    def __init__(
        self, domain: str, tls: TlsPolicy, found: Exchangers, policy: StsPolicy | None, *, ca: Path | None
    ) -> None:
        """Take what the settings ask for, how the hosts were found, the MTA-STS policy, None where there is none, and the CAs for that."""
        self._ca = ca
        self._domain = domain
        self._tls = tls
        self._found = found
        self._authentic = found.implicit or found.authentic
        self._policy = policy if policy is not None and policy.mode is not Mode.NONE else None

    def at(self, name: str, records: Tlsa | None) -> tuple[TlsPolicy, Published] | Forbidden:
        """Return what is asked of a host, and by what."""
        if self._tls.level is TlsLevel.DANE and not (records and records.usable and self._authentic):
            return Forbidden.DANE
        if records is not None:
            return self._by_dane(records)
        if self._policy is not None:
            return self._by_policy(name, self._policy)
        return self._by_settings(is_name_known=self._authentic), Published(self._domain)

    def _by_settings(self, *, is_name_known: bool) -> TlsPolicy:
        """Return what the settings ask for, of a host whose name is known to be one of the domain, or not."""
        # Names of the settings are the administrator's word.
        authentic = is_name_known or bool(self._tls.names) or self._tls.level is not TlsLevel.VERIFY
        return replace(self._tls, authentic=authentic)

    def _by_dane(self, records: Tlsa) -> tuple[TlsPolicy, Published]:
        """Return what TLSA records ask for (RFC 7672 2.2, 3.2.2)."""
        usable, lines = records.usable, reported(map(written, records.records))
        if not usable:
            usual = self._by_settings(is_name_known=self._authentic)
            tls = usual if usual.required else replace(usual, level=TlsLevel.ENCRYPT)
            return tls, Published(self._domain, PolicyKind.TLSA, lines, flaw=TlsResult.TLSA_INVALID)
        names = {records.base: None}
        if self._authentic:
            names |= {self._domain: None} | ({self._found.alias: None} if self._found.alias else {})
        tls = replace(self._tls, level=TlsLevel.VERIFY, names=tuple(names), tlsa=usable, authentic=self._authentic)
        return tls, Published(self._domain, PolicyKind.TLSA, lines)

    def _by_policy(self, name: str, policy: StsPolicy) -> tuple[TlsPolicy, Published] | Forbidden:
        """Return what a policy asks for (RFC 8461 4, 5)."""
        flaw = None if policy.permits(name) else TlsResult.VALIDATION_FAILURE
        published = Published(self._domain, PolicyKind.STS, reported(policy.lines()), reported(policy.patterns), flaw)
        if policy.mode is Mode.TESTING:
            # The policy has the name, whatever its mode (RFC 8689 4.2.1).
            usual = self._by_settings(is_name_known=self._authentic or flaw is None)
            ca = usual.ca if usual.level is TlsLevel.VERIFY else self._ca
            return replace(usual, recorded=True, ca=ca), published
        if flaw is not None:
            return Forbidden.POLICY
        # Its own name, and a CA that the world trusts (RFC 8461 4.2).
        return replace(self._tls, level=TlsLevel.VERIFY, names=(), ca=self._ca), published
