"""A directory without a file, held to the same kit as the real one (tests/conformance/test_directory_kit.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from mailmoat._native import Address
from mailmoat.directory.directory import Found, Presence, Redirection


class FakeDirectory:
    """Addresses that are listed, domains of which every address exists, addresses that are excluded, addresses of which it knows
    nothing now; `down` knows nothing of any.
    """

    def __init__(
        self,
        listed: Iterable[str] = (),
        whole: Iterable[str] = (),
        excluded: Iterable[str] = (),
        *,
        unknown: Iterable[str] = (),
        aliases: Mapping[str, Sequence[str]] = MappingProxyType({}),
        down: bool = False,
    ) -> None:
        self.down = down
        self.asked: list[str] = []
        self._addresses: dict[str, Found] = {Address.parse(address).key: Presence.EXISTS for address in listed}
        self._addresses |= {Address.parse(address).key: Presence.ABSENT for address in excluded}
        self._addresses |= {Address.parse(address).key: Presence.UNKNOWN for address in unknown}
        self._domains = dict.fromkeys(whole, Presence.EXISTS)
        self._addresses |= {
            Address.parse(alias).key: Redirection(tuple(map(Address.parse, targets)))
            for alias, targets in aliases.items()
        }

    def lookup(self, address: Address, client: str = "") -> Found:
        self.asked.append(str(address))
        if self.down:
            return Presence.UNKNOWN
        by_domain = Presence.ABSENT if address.may_route else self._domains.get(address.domain, Presence.ABSENT)
        user = address.without_detail("+") or address
        return self._addresses.get(address.key) or self._addresses.get(user.key) or by_domain

    def explain(self, address: Address) -> str:
        return f"{address}: {found.presence.value if isinstance(found := self.lookup(address), Redirection) else found.value} (fake)"
