"""What an administrator should know about the certificates of the settings, before clients find out. Reads files, changes nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from mailmoat import clock, files
from mailmoat.tls import self_signed
from mailmoat.tls.certificate_file import date
from mailmoat.tls.certificates import given_by, used_by
from mailmoat.tls.state import expires_early

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.settings import Settings
    from mailmoat.tls.certificate_file import LoadedCertificate

LONGEST_RSA: Final = 3072
"""Bits of an RSA key above which a signature holds up a worker for milliseconds."""


def examine(settings: Settings) -> list[str]:
    """Return one sentence for each thing that is valid but unwise. ConfigError with one for each certificate that cannot be used."""
    if not used_by(settings):
        return []
    loaded = given_by(settings).loaded
    if not loaded:
        file = self_signed.source_in(settings.spool_dir).certificate
        return [
            f"tls.certificate is not set: a self-signed certificate is used ({file}), which peers that verify do not accept"
        ]
    now = clock.wall_ms() // 1000
    found = [sentence for one in loaded for sentence in _about(one, now)]
    if not any(one.leaf.covers(settings.hostname) for one in loaded):
        names = ", ".join(name for one in loaded for name in one.leaf.names) or "no host"
        found.append(
            f"tls.certificate: no certificate is for {settings.hostname}, the hostname (they are for {names}): peers that verify do not accept it"
        )
    return found


def _about(one: LoadedCertificate, now: int) -> Iterator[str]:
    where, leaf = f"tls.certificate = {one.source.certificate}", one.leaf
    if leaf.not_before > now:
        yield f"{where}: the certificate is not valid before {date(leaf.not_before)}; check the clock of this machine"
    elif leaf.not_after <= now:
        yield f"{where}: the certificate has expired on {date(leaf.not_after)}; renew it"
    elif expires_early(one, now):
        days = one.days_left(now)
        yield f"{where}: the certificate expires in {days} day{'s' * (days != 1)}, on {date(leaf.not_after)}; renew it"
    kind, _, bits = leaf.key_kind.partition(" ")
    if kind == "RSA" and int(bits) > LONGEST_RSA:
        yield f"{where}: the key is RSA of {bits} bits: each handshake keeps a worker busy for milliseconds; use ECDSA P-256, or RSA 2048 to {LONGEST_RSA}"
    if kind == "Ed25519":
        yield f"{where}: the key is Ed25519, which many mail servers cannot verify; use ECDSA P-256 or RSA 2048"
    yield from _about_chain(one, where)
    if problem := files.exposed(one.source.key):
        yield f"{one.source.key}, a private key: {problem}"


def _about_chain(one: LoadedCertificate, where: str) -> Iterator[str]:
    chain = one.identity.chain
    if len(chain) == 1 and not chain[0].self_signed:
        yield (
            f"{where}: it contains no certificate of a CA: unless {chain[0].issuer} is a root, peers cannot verify it; "
            "name the file with the full chain"
        )
    for number, (signed, signer) in enumerate(pairwise(chain), start=1):
        if signed.issuer != signer.subject:
            yield (
                f"{where}: certificate {number} is not signed by certificate {number + 1}, and some peers need that order; "
                "put each behind the one it has signed"
            )
            return
