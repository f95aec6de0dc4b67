"""The source address of a message: that of the host that sent it into our network, or why there is none to check.

Mail of clients in `relay.networks` or on the allow list, and of those that have authenticated, is not checked. For a peer in
`senderid.internal_servers`, the source is the first address in its Received fields that is none of them. A field that names no address ends the search, because unknown servers
wrote the fields below it. Loopback and link-local addresses belong to this host and its link: no record can contain
them, so a status would mean nothing (RFC 7208 5.6). Private ones are judged or not by `senderid.private_networks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from mailmoat import _native
from mailmoat.net.address import Networks

if TYPE_CHECKING:
    from mailmoat.policy.client import Client, TrustRules
    from mailmoat.settings import Settings

LOCAL: Final = Networks([ip_network(text) for text in ("127.0.0.0/8", "::1", "169.254.0.0/16", "fe80::/10")])
"""RFC 1122 3.2.1.3, RFC 4291 2.5.3, RFC 3927, RFC 4291 2.5.6."""
PRIVATE: Final = Networks(
    [ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")]
)
"""RFC 1918, RFC 6598, RFC 4193."""


class Unchecked(StrEnum):
    """Why a message has no address to be judged: the reason in the log."""

    NO_SOURCE_ADDRESS = "no-source-address"
    LOCAL_SOURCE_ADDRESS = "local-source-address"
    PRIVATE_SOURCE_ADDRESS = "private-source-address"


@dataclass(frozen=True, slots=True)
class Source:
    """An address to be judged, or none and why."""

    address: str = ""
    """Empty when nothing is to be judged."""
    reason: Unchecked | None = None
    """Why not; None for a client that is trusted: then there is nothing to be said."""


INSIDE: Final = Source()
NO_ADDRESS: Final = Source(reason=Unchecked.NO_SOURCE_ADDRESS)
LOCAL_ADDRESS: Final = Source(reason=Unchecked.LOCAL_SOURCE_ADDRESS)
PRIVATE_ADDRESS: Final = Source(reason=Unchecked.PRIVATE_SOURCE_ADDRESS)


class Sources:
    """Finds sources by the settings."""

    def __init__(self, settings: Settings, trust: TrustRules) -> None:
        self._trust = trust
        self._skips_private = settings.senderid.private_networks == "skip"

    def of_client(self, client: Client) -> Source:
        """Return the source as far as the connection shows it; behind a server of ours it is not known yet."""
        if client.trust.inside:
            return INSIDE
        return NO_ADDRESS if client.trust.front_server else self._outside(client.address)

    def of_message(self, client: Client, header: bytes) -> Source:
        """Return the source by the header section as well."""
        if client.trust.inside or not client.trust.front_server:
            return self.of_client(client)
        for address in _native.received_sources(header):
            if address is None or not self._trust.of(address).front_server:
                return self._outside(address or "")
        return NO_ADDRESS

    def _outside(self, address: str) -> Source:
        if not address:
            return NO_ADDRESS
        if self._trust.of(address).inside:
            return INSIDE
        if address in LOCAL:
            return LOCAL_ADDRESS
        if self._skips_private and address in PRIVATE:
            return PRIVATE_ADDRESS
        return Source(address)
