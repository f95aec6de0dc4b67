"""A certificate and its key on disk, and how both are read.

Promises: what is given was read whole, and the key belongs to the certificate. Whatever is wrong is one sentence that names the
file, what is wrong and the fix; it contains nothing of what is in the file. Writes nothing.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mailmoat._native import TlsIdentity
from mailmoat.errors import MailmoatError
from mailmoat.file_changes import stamp_of

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat._native import Certificate
    from mailmoat.file_changes import Stamp

LARGEST: Final = 1 << 20
"""Octets that are read of a file."""
DAY: Final = 86_400
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_SEQUENCE: Final = b"\x30"
"""With it everything in DER begins."""
_PKCS12: Final = b"\x02\x01\x03"
"""The version, which a PKCS #12 file (`.pfx`) has next (RFC 7292 4)."""


class CertificateError(MailmoatError):
    """A certificate cannot be used; its text is one plain sentence with the setting, the file and the fix."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a certificate and its key are: two files, or the same one twice."""

    certificate: Path
    key: Path

    @property
    def stamps(self) -> tuple[Stamp, Stamp]:
        """The states of both files as they are."""
        return stamp_of(self.certificate), stamp_of(self.key)

    def __str__(self) -> str:
        if self.key == self.certificate:
            return f"tls.certificate = {self.certificate}"
        return f"tls.certificate = {self.certificate}, tls.key = {self.key}"


@dataclass(frozen=True, slots=True)
class LoadedCertificate:
    """A certificate chain with its key, as read from its files."""

    source: Source
    stamps: tuple[Stamp, Stamp]
    """The states of the files just before they were read."""
    identity: TlsIdentity

    @property
    def leaf(self) -> Certificate:
        """The server's own certificate."""
        return self.identity.chain[0]

    def is_in_time(self, now: int) -> bool:
        """Return whether it is valid at `now`, seconds since the epoch."""
        return self.leaf.not_before <= now < self.leaf.not_after

    def days_left(self, now: int) -> int:
        """Return the whole days until it expires; below 0 when it has."""
        return (self.leaf.not_after - now) // DAY


def read(source: Source) -> LoadedCertificate:
    """Read a certificate and its key; CertificateError when they cannot be used."""
    stamps = source.stamps
    chain = read_file("tls.certificate", source.certificate)
    key = chain if source.key == source.certificate else read_file("tls.key", source.key)
    if _BEGIN not in chain:
        missing = "there is no certificate in it (a PEM block `BEGIN CERTIFICATE`)"
        raise CertificateError(f"tls.certificate = {source.certificate}: {missing}; {_fix(source.certificate, chain)}")
    try:
        return LoadedCertificate(source, stamps, TlsIdentity(chain, key))
    except ValueError as error:
        raise CertificateError(f"{source}: {error}") from None


def _fix(path: Path, octets: bytes) -> str:
    """Return what to do about a file without a certificate in PEM, by what it seems to be."""
    if b" PRIVATE KEY-----" in octets:
        return "it has a key: name it in tls.key, and here the file with the certificate"
    if octets.startswith(_SEQUENCE):
        how = "pkcs12 -nodes" if _PKCS12 in octets[:8] else "x509 -inform der"
        return f"convert it with: openssl {how} -in {path} -out NEW.pem"
    return "name a PEM file"


def read_file(setting: str, path: Path) -> bytes:
    """Return what is in a file that this setting names; CertificateError when it cannot be read."""
    try:
        # Opening a pipe that nobody writes to would wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            wrong = "" if stat.S_ISREG(os.fstat(descriptor).st_mode) else "is not a file"
            octets = b"" if wrong else file.read(LARGEST + 1)
    except PermissionError:
        raise CertificateError(f"{setting} = {path}: may not be read; let the account of the server read it") from None
    except OSError as error:
        raise CertificateError(f"{setting} = {path}: cannot be read: {error.strerror}; name another file") from None
    if wrong or len(octets) > LARGEST:
        raise CertificateError(f"{setting} = {path}: {wrong or 'is larger than 1 MiB'}; name a PEM file")
    return octets


def date(seconds: int) -> str:
    """Return the day, in UTC, of a time in seconds since the epoch."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return "a day beyond all calendars"
