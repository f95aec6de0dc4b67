"""What is asked of TLS at one destination, as a value: each destination has its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.resolver.answer import Association
    from mailmoat.settings.next_hop import Server
    from mailmoat.settings.sections.delivery import NextHopSettings

NO_TLS: Final = ("451 4.7.0", "451 4.7.5")
"""How the client machine refuses a server for want of TLS: the beginning of the reply."""


class TlsLevel(StrEnum):
    """How much of it."""

    NONE = "none"
    """No TLS."""
    MAY = "may"
    """Where it is offered and works; else in clear (RFC 7435)."""
    ENCRYPT = "encrypt"
    """Nothing without it; any certificate will do."""
    VERIFY = "verify"
    """Nothing without it and a certificate of a known CA for one of the names."""
    DANE = "dane"
    """Nothing but to servers authenticated by TLSA records (RFC 7672); these become VERIFY, and no other server is tried."""

    @property
    def required(self) -> bool:
        """Nothing is sent without TLS."""
        return self not in {TlsLevel.NONE, TlsLevel.MAY}


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """The policy of one destination."""

    level: TlsLevel = TlsLevel.NONE
    implicit: bool = False
    """TLS begins with the first octet (RFC 8314 3)."""
    names: tuple[str, ...] = ()
    """Names of which the certificate has to have one; the first is the one that is asked for (SNI). Empty: the name of the host."""
    tlsa: tuple[Association, ...] = ()
    """TLSA records by which the server is authenticated instead of by a CA (RFC 7672 3); `level` is VERIFY then."""
    authentic: bool = True
    """The names are known to be those of who gets the messages; else a verified server does not count as verified (RFC 7672 2.2.1)."""
    recorded: bool = False
    """The certificate is judged though nothing depends on it, for the log and for reports (RFC 8461 5)."""
    ca: Path | None = None
    """File of the CAs; None for those of the system."""
    certificate: Path | None = None
    """File of the certificate that is shown to a server that asks for one."""
    key: Path | None = None
    """File of its key; None where it is in the same file."""

    @property
    def required(self) -> bool:
        """Nothing is sent without TLS."""
        return self.level.required


def tls_policy(server: Server, settings: NextHopSettings) -> TlsPolicy:
    """Return what the settings ask for at a server for messages that say nothing of TLS; nothing at a Unix socket."""
    if server.socket is not None:
        return TlsPolicy()
    return TlsPolicy(
        level=TlsLevel(settings.tls),
        implicit=server.scheme == "smtps",
        names=settings.tls_names or (server.host.partition("%")[0],),  # without its zone, if it is an address
        ca=settings.tls_ca,
        certificate=settings.tls_certificate,
        key=settings.tls_key,
    )


def tls_optional_policy(server: Server, settings: NextHopSettings) -> TlsPolicy:
    """Return what holds for messages with `TLS-Required: No`: TLS where it works (RFC 8689 4.2.2).

    It is the usual policy where that asks for no more, where the settings say so, and where there is an account: its password is for a
    verified server.
    """
    usual = tls_policy(server, settings)
    if not usual.required or not settings.tls_optional or settings.auth_name is not None:
        return usual
    return replace(usual, level=TlsLevel.ENCRYPT if usual.implicit else TlsLevel.MAY)


def mx_policy(settings: NextHopSettings) -> TlsPolicy:
    """Return what the settings ask for at the servers that MX records name, beside what these publish."""
    return TlsPolicy(
        level=TlsLevel(settings.tls),
        names=settings.tls_names,
        ca=settings.tls_ca,
        certificate=settings.tls_certificate,
        key=settings.tls_key,
    )


def mx_optional_policy(settings: NextHopSettings) -> TlsPolicy:
    """Return what holds there for messages with `TLS-Required: No` (RFC 8689 4.2.2)."""
    usual = mx_policy(settings)
    return replace(usual, level=TlsLevel.MAY) if usual.required and settings.tls_optional else usual
