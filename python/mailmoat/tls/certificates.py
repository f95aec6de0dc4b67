"""The certificates of one server, as one value: all those of the settings, or the self-signed one.

`load` reads them all or fails; `look` replaces one by one what has changed on disk, and keeps the old one wherever the new one is
not sound: half a renewal, a certificate of another host, one that is over. Raises ConfigError and CertificateError as said there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mailmoat import clock
from mailmoat._native import TlsClient, TlsClock
from mailmoat.errors import ConfigError
from mailmoat.file_changes import NONE, stamp_of
from mailmoat.tls import self_signed
from mailmoat.tls.certificate_file import CertificateError, Source, date, read, read_file

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.file_changes import Stamp
    from mailmoat.settings import Settings
    from mailmoat.tls.certificate_file import LoadedCertificate


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CA certificates by which those of clients are verified."""

    path: Path
    stamp: Stamp
    pem: bytes


@dataclass(frozen=True, slots=True)
class Certificates:
    """What a server has."""

    loaded: tuple[LoadedCertificate, ...]
    """The first is the default."""
    self_signed: bool = False
    """It is the one that was made because none is set."""
    authorities: Authorities | None = None

    def first_to_expire(self) -> LoadedCertificate:
        """Return the one with the least time left."""
        return min(self.loaded, key=lambda loaded: loaded.leaf.not_after)


def used_by(settings: Settings) -> bool:
    """Return whether any client can speak TLS with this server."""
    return settings.tls.offer or any(each.implicit_tls or each.submission for each in settings.listen)


def load(settings: Settings) -> Certificates | None:
    """Read all certificates, or make the self-signed one; None when TLS is not used. ConfigError with a sentence for each mistake."""
    if not used_by(settings):
        return None
    given = given_by(settings)
    if given.loaded:
        return given
    try:
        return replace(given, loaded=(self_signed.ensure(settings.spool_dir, settings.hostname),), self_signed=True)
    except CertificateError as error:
        raise ConfigError([str(error)]) from None


def given_by(settings: Settings) -> Certificates:
    """Read what the settings name, which may be no certificate at all. ConfigError with a sentence for each mistake."""
    tls = settings.tls
    mistakes: list[str] = []
    loaded: list[LoadedCertificate] = []
    for source in map(Source, tls.certificate, tls.key or tls.certificate):
        try:
            loaded.append(read(source))
        except CertificateError as error:
            mistakes.append(str(error))
    authorities = None
    try:
        authorities = _authorities(tls.client_ca) if tls.client_ca else None
    except CertificateError as error:
        mistakes.append(str(error))
    if mistakes:
        raise ConfigError(mistakes)
    return Certificates(tuple(loaded), authorities=authorities)


def look(
    certificates: Certificates, hostname: str
) -> tuple[Certificates, list[LoadedCertificate], list[CertificateError]]:
    """Look at the files: the certificates from now on, those that are new, and why others were not replaced."""
    replaced: list[LoadedCertificate] = []
    problems: list[CertificateError] = []
    loaded: list[LoadedCertificate] = []
    for old in certificates.loaded:
        kept = old
        try:
            kept = _renewed(old, hostname, made=certificates.self_signed)
        except CertificateError as error:
            problems.append(error)
        if kept is not old:
            replaced.append(kept)
        loaded.append(kept)
    authorities = certificates.authorities
    if authorities is not None and stamp_of(authorities.path) != authorities.stamp:
        try:
            authorities = _authorities(authorities.path)
        except CertificateError as error:
            problems.append(error)
    return replace(certificates, loaded=tuple(loaded), authorities=authorities), replaced, problems


def _renewed(old: LoadedCertificate, hostname: str, *, made: bool) -> LoadedCertificate:
    """Return what is on disk now, the same object when it has not changed. CertificateError when it must not replace the old one."""
    now, stamps = clock.wall_ms() // 1000, old.source.stamps
    if made and (stamps != old.stamps or old.days_left(now) < self_signed.NEARLY_OVER):
        return self_signed.ensure(old.source.certificate.parent, hostname)
    if stamps == old.stamps:
        return old
    if NONE in stamps:
        missing = old.source.certificate if stamps[0] == NONE else old.source.key
        raise CertificateError(f"{old.source}: {missing} is not there, or may not be seen; put it back")
    new = read(old.source)
    if not new.is_in_time(now) and old.is_in_time(now):
        span = f"{date(new.leaf.not_before)} to {date(new.leaf.not_after)}"
        raise CertificateError(
            f"{old.source}: the new certificate is valid from {span} only; replace it by one that is valid now"
        )
    if old.leaf.covers(hostname) and not new.leaf.covers(hostname):
        names = ", ".join(new.leaf.names) or "no host"
        raise CertificateError(
            f"{old.source}: the new certificate is for {names}, not for {hostname} as the old one; put the right one there"
        )
    return new


def _authorities(path: Path) -> Authorities:
    stamp = stamp_of(path)
    pem = read_file("tls.client_ca", path)
    try:
        TlsClient(clock=TlsClock(0), verify=True, ca=pem, identity=None, minimum="1.2")  # reads them
    except ValueError as error:
        raise CertificateError(f"tls.client_ca = {path}: {error}") from None
    return Authorities(path, stamp, pem)
