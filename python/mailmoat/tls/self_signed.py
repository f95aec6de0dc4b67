"""The certificate of a server that was given none: signed by itself, made once below the spool directory.

Peers that do not verify can use TLS with it; the others could not use it anyway. Promises: the file is whole at any moment and readable by the
account alone; an existing one is kept while it is for this host and not nearly over. CertificateError when it cannot be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock, files, maillog
from mailmoat._native import TlsIdentity
from mailmoat.events import Event
from mailmoat.tls.certificate_file import CertificateError, LoadedCertificate, Source, read

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "self-signed.pem"
"""Certificate and key, in the spool directory."""
DAYS: Final = 3650
NEARLY_OVER: Final = 30
"""Days left at which it is made anew."""


def source_in(spool_dir: Path) -> Source:
    """Return where it is, or will be."""
    file = spool_dir / FILE_NAME
    return Source(file, file)


def existing(spool_dir: Path, hostname: str) -> LoadedCertificate | None:
    """Return the one that is there and can be used for this host; None when another must be made."""
    try:
        found = read(source_in(spool_dir))
    except CertificateError:
        return None
    now = clock.wall_ms() // 1000
    kept = found.is_in_time(now) and found.days_left(now) >= NEARLY_OVER and found.leaf.covers(_name(hostname))
    return found if kept else None


def ensure(spool_dir: Path, hostname: str) -> LoadedCertificate:
    """Return the one that is there, or make it."""
    return existing(spool_dir, hostname) or _make(spool_dir, hostname)


def _make(spool_dir: Path, hostname: str) -> LoadedCertificate:
    source = source_in(spool_dir)
    try:
        chain, key = TlsIdentity.self_signed([_name(hostname)], DAYS, clock.wall_ms() // 1000)
    except ValueError:
        reason = "cannot be in a certificate; give it another form, or name a certificate in tls.certificate"
        raise CertificateError(f"hostname = {hostname}: {reason}") from None
    try:
        with files.replacing(source.certificate) as file:
            file.write(chain + key)
    except OSError as error:
        fix = "make room there, or name a certificate in tls.certificate"
        raise CertificateError(f"{source.certificate}: cannot be written: {error.strerror}; {fix}") from None
    made = read(source)
    maillog.event(Event.CERTIFICATE_MADE, path=str(source.certificate), names=made.leaf.names, days=DAYS)
    return made


def _name(hostname: str) -> str:
    """Return the name for a certificate; `hostname` may be an address literal (RFC 5321 4.1.3)."""
    return hostname.strip("[]").removeprefix("IPv6:") if hostname.startswith("[") else hostname
