"""How the certificates in force are, in one word, and the metrics that say it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat.metrics import Family, single

if TYPE_CHECKING:
    from mailmoat.metrics import Metrics
    from mailmoat.tls.certificate_file import LoadedCertificate
    from mailmoat.tls.certificates import Certificates

EARLY: Final = 21 * 86_400
"""Seconds before the end of a certificate at which it should have been renewed."""


class CertificateState(StrEnum):
    """The worst that can be said of the certificates in force."""

    EXPIRED = "expired"
    """One is over, or not yet valid."""
    REFUSED = "refused"
    """The files have changed and cannot be used: an older certificate is in force."""
    EXPIRING = "expiring"
    """One should have been renewed by now."""
    SELF_SIGNED = "self-signed"
    """None is set: the server has made one."""
    CURRENT = "current"


CERTIFICATE_STATE: Final = Family(
    "mailmoat_tls_certificate_state",
    "1 for the state of the TLS certificates, else 0.",
    {"state": CertificateState},
    same=True,
)
CERTIFICATE_LEFT: Final = single(
    "mailmoat_tls_certificate_left_seconds", "Time until the first of the TLS certificates expires.", same=True
)


def expires_early(loaded: LoadedCertificate, now: int) -> bool:
    """Return whether less time is left than a renewal in time would leave: 21 days, or a third of the lifetime of a short one."""
    leaf = loaded.leaf
    return leaf.not_after - now < min(EARLY, (leaf.not_after - leaf.not_before) // 3)


def state_of(certificates: Certificates, now: int, *, refused: bool) -> CertificateState:
    """Return the state at `now`, seconds since the epoch."""
    if not all(loaded.is_in_time(now) for loaded in certificates.loaded):
        return CertificateState.EXPIRED
    if refused:
        return CertificateState.REFUSED
    if certificates.self_signed:
        return CertificateState.SELF_SIGNED
    early = any(expires_early(loaded, now) for loaded in certificates.loaded)
    return CertificateState.EXPIRING if early else CertificateState.CURRENT


def publish(metrics: Metrics, certificates: Certificates, now: int, *, refused: bool) -> None:
    """Set the metrics of a worker."""
    state = state_of(certificates, now, refused=refused)
    for each in CertificateState:
        metrics.set(CERTIFICATE_STATE[each], int(each is state))
    metrics.set(CERTIFICATE_LEFT, max(0, certificates.first_to_expire().leaf.not_after - now))
