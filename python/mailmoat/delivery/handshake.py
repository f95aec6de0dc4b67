"""TLS handshakes as a client, by the policy of one destination.

The files of the policy are read when a connection needs them and have changed since. A changed file that cannot be used is as if it had not
changed: what was read before stays in force. A message of `CertificateError` names the setting, the file, what is wrong, and the fix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat import clock
from mailmoat._native import TlsClient, TlsClock, TlsIdentity
from mailmoat.delivery.tls_policy import TlsLevel
from mailmoat.file_changes import NONE, stamp_of
from mailmoat.tls.authorities import system_file
from mailmoat.tls.certificate_file import CertificateError, read_file

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat._native import Client
    from mailmoat.delivery.tls_policy import TlsPolicy
    from mailmoat.file_changes import Stamp

MINIMUM: Final = "1.2"


class Handshakes:
    """What all handshakes under one policy share: CAs, our certificate, and the sessions that can be resumed."""

    def __init__(self, policy: TlsPolicy) -> None:
        self._policy = policy
        self._clock = TlsClock(clock.wall_ms() // 1000)
        self._stamps: tuple[Stamp, ...] = ()
        self._client: TlsClient | None = None
        self._refused = ""

    @property
    def refused(self) -> str:
        """Why the files as they are now are not in force; empty when they are."""
        return self._refused

    def prepare(self) -> None:
        """Read what has changed. CertificateError when it cannot be used and nothing was read before."""
        files = (self._policy.certificate, self._policy.key, self._ca())
        stamps = tuple(stamp_of(file) if file is not None else NONE for file in files)
        if self._client is not None and stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._client = self._read()
            self._refused = ""
        except CertificateError as error:
            self._refused = str(error)
            if self._client is None:
                raise

    def begin(self, client: Client, host: str = "") -> None:
        """Begin the handshake of a connection; `host` is asked for where the policy has no names. RuntimeError when nothing was prepared."""
        if self._client is None:
            raise RuntimeError("no policy was read")
        self._clock.set(clock.wall_ms() // 1000)
        client.start_tls(self._client, self._policy.names[0] if self._policy.names else host)

    def _read(self) -> TlsClient:
        policy, identity, ca = self._policy, None, b""
        if policy.certificate is not None:
            chain = read_file("delivery.tls_certificate", policy.certificate)
            key = read_file("delivery.tls_key", policy.key) if policy.key is not None else chain
            try:
                identity = TlsIdentity(chain, key)
            except ValueError as error:
                raise CertificateError(f"delivery.tls_certificate = {policy.certificate}: {error}") from None
        file = self._ca()
        if file is not None:
            ca = read_file("delivery.tls_ca", file)
        elif policy.level is TlsLevel.VERIFY and not policy.tlsa:
            raise CertificateError("delivery.tls_ca is not set, and this system has no file of CAs; name one")
        verify = policy.level is TlsLevel.VERIFY
        try:
            return TlsClient(
                clock=self._clock,
                verify=verify,
                ca=ca,
                identity=identity,
                minimum=MINIMUM,
                names=list(policy.names),
                tlsa=list(policy.tlsa),
                authentic=policy.authentic,
            )
        except ValueError as error:
            raise CertificateError(f"delivery.tls_ca = {file}: {error}; name a PEM file of CAs") from None

    def _ca(self) -> Path | None:
        """Return the file of the CAs; None where no certificate is judged by them."""
        policy = self._policy
        by_ca = policy.recorded or (policy.level is TlsLevel.VERIFY and not policy.tlsa)
        return policy.ca or system_file() if by_ca else None


class Secured(NamedTuple):
    """What a connection is made with."""

    client: Client
    handshakes: Handshakes | None
    """None where there is no TLS."""
    implicit: bool
    """The handshake comes first."""
