"""The client of a session: its address, the listener it came to, and how far it is trusted.

Trust is computed here and nowhere else: relay control, the tarpit, the header firewall, Sender ID and reports ask it. It follows
from the address, by the settings and the allow list in force, and from the identity once the client has authenticated; an address that
is not known (the peer is gone already) is a stranger's. The header fields of an account are not believed: it is a person's, not a server's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.net.address import Networks

if TYPE_CHECKING:
    from mailmoat._native import TlsFacts
    from mailmoat.auth.authenticator import Identity
    from mailmoat.lists.lists import Lists
    from mailmoat.settings import Listener, Settings

KEPT: Final = 4096
"""Addresses whose trust is kept at hand, a process."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What the settings grant to an address, and to an account that a client there has authenticated as."""

    internal: bool = False
    """In `relay.networks`."""
    front_server: bool = False
    """In `senderid.internal_servers`: one of our own servers in front of this one, which forwards messages of others."""
    exempt: bool = False
    """In `tarpit.exempt_networks` or `allowed`: its replies are never held."""
    authenticated: bool = False
    """It has authenticated: its replies are not held, and what it sends is not judged."""
    may_relay: bool = False
    """It may send to any domain."""
    allowed: bool = False
    """On the allow list: no limit, tarpit or filter applies to it, but relay control and the recipient filter do. Never a front server,
    which would give this to all that it forwards for."""
    inside: bool = field(init=False, compare=False, repr=False)
    """What it sends is not judged by its sender."""
    judged: bool = field(init=False, compare=False, repr=False)
    """Filters judge it and limits hold for it: a server of ours hands on what others sent, and would have to return what is refused."""
    believed: bool = field(init=False, compare=False, repr=False)
    """Header fields that only servers inside may set are kept as it sends them (RFC 8601 5)."""

    _number: int = field(init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        """Return a number that is another one for each trust: asked for by each session."""
        return self._number

    def __post_init__(self) -> None:
        """Decide once what each command of a session asks for."""
        inside = self.internal or self.authenticated or self.allowed
        object.__setattr__(self, "inside", inside)
        flags = self.internal, self.front_server, self.exempt, self.authenticated, self.may_relay, self.allowed
        object.__setattr__(self, "_number", sum(flag << place for place, flag in enumerate(flags)))
        object.__setattr__(self, "judged", not (inside or self.front_server))
        object.__setattr__(self, "believed", self.internal or self.front_server)


STRANGER: Final = Trust()


class ClientKind(NamedTuple):
    """What the agents that a session asks follow from."""

    trust: Trust
    submission: bool
    """It came to a listener where clients must authenticate."""
    secured: bool
    """TLS is on."""


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
    tls_refused: bool = False
    """It is in clear because this side has refused TLS to it, for now: by 454, or by not offering it for a while."""

    @property
    def kind(self) -> ClientKind:
        """What the agents that its session asks follow from."""
        return ClientKind(self.trust, self.listener.submission, self.tls is not None)


class TrustRules:
    """The trust of addresses by the settings of one process, and by its lists; without these no address is allowed."""

    def __init__(self, settings: Settings, lists: Lists | None = None) -> None:
        self._lists = lists
        self._internal = Networks(settings.relay.networks)
        self._front_servers = Networks(settings.senderid.internal_servers)
        self._exempt = Networks(settings.tarpit.exempt_networks)
        self._accounts_relay = settings.auth.relay
        self.of = lru_cache(KEPT)(self._look)
        self._kinds: dict[Trust, Trust] = {}

    def _look(self, address: str) -> Trust:
        """Return the trust of an address in text form without port."""
        internal, front_server = address in self._internal, address in self._front_servers
        listed = self._lists.find(address) if self._lists and not front_server else None
        allowed = listed is not None and listed.allows
        exempt = allowed or address in self._exempt
        trust = Trust(internal, front_server, exempt, may_relay=internal, allowed=allowed)
        return self._kinds.setdefault(trust, trust)  # clients that are trusted alike share the value

    def forget(self) -> None:
        """Look every address up anew, the lists among it. The trust of a session that has begun stays."""
        self.of.cache_clear()

    def authenticated(self, trust: Trust, identity: Identity) -> Trust:
        """Return the trust of a client of this trust that has authenticated."""
        may_relay = trust.may_relay or (identity.may_relay and self._accounts_relay)
        known = replace(trust, authenticated=True, may_relay=may_relay)
        return self._kinds.setdefault(known, known)
