"""The addresses of the hosts that MX records name: both families, in a sensible order, and none that is not to be tried.

What a stranger's DNS says is not believed where it leads back to this server, or into networks that no mail server of a stranger is in
(`mx.ignored_networks`).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from enum import Enum
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.net import address
from mailmoat.net.own import is_own
from mailmoat.resolver import Failed, Found

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailmoat.net.address import Address
    from mailmoat.resolver import Answer, Budget, Resolver
    from mailmoat.settings import Settings

_HOST_NAME: Final = re.compile(
    r"(?!.*\.\d+$)(?!\d+$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*"
)
"""What can be looked up and asked for in TLS; the last part of a name is no number (RFC 1123 2.1)."""


class Unusable(Enum):
    """Why a host has no address that is tried."""

    OWN = "it is this server"
    IGNORED = "all its addresses are in mx.ignored_networks"
    ABSENT = "it has no address, or its name is none"
    UNKNOWN = "the DNS gives no answer"


@dataclass(frozen=True, slots=True)
class Located:
    """A host that can be tried."""

    addresses: tuple[str, ...]
    alias: str = ""
    """The name at the end of its CNAMEs; empty where it has none. RFC 5321 5.1 forbids them; the world has them."""
    authentic: bool = False
    """The addresses are known to be the host's own, those of an alias with all CNAMEs (RFC 7672 2.2.2)."""


class Addresses:
    """Finds addresses, by the settings."""

    def __init__(self, settings: Settings, resolver: Resolver) -> None:
        self._resolver = resolver
        self._ignored = address.Networks(settings.mx.ignored_networks)
        self._prefer = settings.mx.prefer
        self._own_names = {settings.hostname, *settings.mx.own_hosts}
        self._listening = {listener.host for listener in settings.listen}

    def is_own_name(self, name: str) -> bool:
        """Return whether this server is known by a name."""
        return name in self._own_names

    def usable(self, found: Iterable[str]) -> tuple[str, ...] | Unusable:
        """Return those addresses that are tried, in order; OWN if any of them is this server's."""
        kept: dict[int, list[str]] = {4: [], 6: []}
        for text in found:
            parsed = address.parse(text)
            if str(parsed) in self._own_names or (not parsed.is_loopback and is_own(parsed)):
                return Unusable.OWN
            if any(str(each) in self._ignored for each in (parsed, address.translated(parsed)) if each is not None):
                continue
            if parsed.is_loopback and self._listens_at(parsed):
                return Unusable.OWN
            kept[parsed.version].append(str(parsed))
        return self._ordered(kept[4], kept[6]) or Unusable.IGNORED

    async def locate(self, name: str, budget: Budget) -> Located | Unusable:
        """Return the addresses of a host, or why it is not tried."""
        if not _HOST_NAME.fullmatch(name):
            return Unusable.ABSENT
        if name == "localhost" or name.endswith(".localhost"):
            return Unusable.IGNORED  # whatever the DNS says of it, it is this machine (RFC 6761 6.3)
        four, six = await asyncio.gather(
            self._resolver.query(name, "A", budget), self._resolver.query(name, "AAAA", budget)
        )
        found = [answer for answer in (four, six) if isinstance(answer, Found)]
        if not found:
            return Unusable.UNKNOWN if _is_unknown(four) or _is_unknown(six) else Unusable.ABSENT
        if any(self.is_own_name(answer.alias) for answer in found):
            return Unusable.OWN
        usable = self.usable(str(record) for answer in found for record in answer.records)
        if isinstance(usable, Unusable):
            return usable
        return Located(usable, found[0].alias, authentic=all(answer.authentic for answer in found))

    def _listens_at(self, own: Address) -> bool:
        return bool({str(own), "0.0.0.0", "::"} & self._listening)

    def _ordered(self, four: list[str], six: list[str]) -> tuple[str, ...]:
        """Return both families in turn, so that a limit on their number leaves some of each; each in the order of the DNS."""
        first_six = self._prefer == "ipv6" or (self._prefer == "any" and clock.random_below(2) == 1)
        pairs = zip_longest(six, four) if first_six else zip_longest(four, six)
        return tuple(each for each in chain.from_iterable(pairs) if each is not None)


def _is_unknown(answer: Answer) -> bool:
    return isinstance(answer, Failed)
