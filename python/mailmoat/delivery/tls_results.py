"""What became of TLS on a connection to a server found by MX records, in the words of TLS reports (RFC 8460 4.3). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat.delivery.tls_policy import NO_TLS, TlsLevel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailmoat._native import Client
    from mailmoat.delivery.tls_policy import TlsPolicy


LONGEST: Final = 4096
"""Characters of a policy or of TLSA records that are kept: a stranger's, and one of its length for each result."""


class PolicyKind(StrEnum):
    """Which policy applied (RFC 8460 4.4)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class TlsResult(StrEnum):
    """What a connection, or the search for a policy, ended in."""

    SUCCESS = "success"
    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    HOST_MISMATCH = "certificate-host-mismatch"
    EXPIRED = "certificate-expired"
    NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    """None of the others; the reason is beside it."""
    TLSA_INVALID = "tlsa-invalid"
    """None of the TLSA records can be used."""
    DNSSEC_INVALID = "dnssec-invalid"
    """The TLSA records, or the addresses, could not be found out."""
    STS_FETCH_ERROR = "sts-policy-fetch-error"
    STS_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


@dataclass(frozen=True, slots=True)
class Published:
    """What a domain publishes about TLS at a server, as reports have it."""

    domain: str
    kind: PolicyKind = PolicyKind.NONE
    lines: tuple[str, ...] = ()
    """The policy, or the TLSA records, as text (RFC 8460 4.5)."""
    patterns: tuple[str, ...] = ()
    """The hosts that the policy has; of MTA-STS alone."""
    flaw: TlsResult | None = None
    """What is wrong whatever the server does; None for nothing."""


def reported(lines: Iterable[str]) -> tuple[str, ...]:
    """Return as many of the lines that a domain publishes as are kept for reports: the first ones, some kilobytes of them."""
    left = LONGEST
    kept = []
    for line in lines:
        left -= len(line)
        if left < 0:
            break
        kept.append(line)
    return tuple(kept)


_VERDICTS: Final = {
    "not for this name": TlsResult.HOST_MISMATCH,
    "expired": TlsResult.EXPIRED,
    "not valid yet": TlsResult.EXPIRED,
    "unknown issuer": TlsResult.NOT_TRUSTED,
    "not for this purpose": TlsResult.NOT_TRUSTED,
    "revoked": TlsResult.NOT_TRUSTED,
    "bad signature": TlsResult.NOT_TRUSTED,
}
"""By the words of the TLS layer (`rust/machine/tls/fault.rs`)."""
_UNVERIFIED: Final = "certificate not verified: "


def result_of(published: Published, policy: TlsPolicy, client: Client) -> tuple[TlsResult, str] | None:
    """Return the result of a connection and its reason in words; None where it failed before TLS could be begun, or none was wanted."""
    fault, facts = client.tls_fault, client.tls
    if policy.level is TlsLevel.NONE:
        return None
    # A server of TLS 1.3 may refuse the handshake when the client is done with it.
    if facts is not None and (fault is None or client.offers is not None):
        if published.flaw is not None:
            return published.flaw, ""
        return _verdict(facts.verdict) if policy.recorded and not facts.verified else (TlsResult.SUCCESS, "")
    if fault is not None:
        return _verdict(fault.removeprefix(_UNVERIFIED))
    refusal = client.refusal
    if client.offers is not None or (refusal is not None and refusal[1].startswith(NO_TLS)):
        return TlsResult.STARTTLS_NOT_SUPPORTED, ""
    return None


def _verdict(words: str) -> tuple[TlsResult, str]:
    return _VERDICTS.get(words, TlsResult.VALIDATION_FAILURE), words
