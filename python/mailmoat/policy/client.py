"""The client of a session: its address, the listener it came to, and how far it is trusted.

Trust is computed here and nowhere else: relay control, the tarpit, the header firewall, Sender ID and reports ask it. It follows
from the address alone, by the settings in force; an address that is not known (the peer is gone already) is a stranger's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mailmoat.net.address import Networks

if TYPE_CHECKING:
    from mailmoat._native import TlsFacts
    from mailmoat.auth.authenticator import Identity
    from mailmoat.settings import Listener, Settings

KEPT: Final = 4096
"""Addresses whose trust is kept at hand, a process."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What the settings grant to an address."""

    internal: bool = False
    """In `relay.networks`: it may send to any domain, and what it sends is not judged."""
    front_server: bool = False
    """In `senderid.internal_servers`: one of our own servers in front of this one, which forwards messages of others."""
    exempt: bool = False
    """In `tarpit.exempt_networks`: its replies are never held."""

    @property
    def believed(self) -> bool:
        """Whether header fields that only servers inside may set are kept as it sends them (RFC 8601 5)."""
        return self.internal or self.front_server


STRANGER: Final = Trust()


@dataclass(frozen=True, slots=True)
class Client:
    """The host at the other end of a connection."""

    address: str
    """In text form without port and zone, IPv4 where it is IPv4-mapped; empty when the peer is gone already. With the PROXY
    protocol it is the address that the header names."""
    listener: Listener
    """The address of ours it connected to."""
    trust: Trust
    name: str = ""
    """Its name, which its address has and which has that address; empty while none is known."""
    tls: TlsFacts | None = None
    """What is known of its TLS connection; None in clear."""
    identity: Identity | None = None
    """Who it has authenticated as; None for a stranger."""


class TrustRules:
    """The trust of addresses by the settings of one process."""

    def __init__(self, settings: Settings) -> None:
        self._internal = Networks(settings.relay.networks)
        self._front_servers = Networks(settings.senderid.internal_servers)
        self._exempt = Networks(settings.tarpit.exempt_networks)
        self.of = lru_cache(KEPT)(self._look)
        self._kinds: dict[Trust, Trust] = {}

    def _look(self, address: str) -> Trust:
        """Return the trust of an address in text form without port."""
        trust = Trust(address in self._internal, address in self._front_servers, address in self._exempt)
        return self._kinds.setdefault(trust, trust)  # clients that are trusted alike share the value
