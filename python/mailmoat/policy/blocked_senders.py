"""The senders of `sender_filter.blocked` and `sender_filter.blocked_file`: whether an address is one, and by which entry.

The nearest entry decides: the address, the address that it is a subaddress of, its domain, then each domain above. At the same distance
the settings come before the file. Addresses are normalised already, entries go through the same normaliser, so no spelling avoids one. The
file is compiled by the supervisor (`directory.snapshot`) and mapped here; without a good one nobody is blocked by it. Never waits, never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat._native import Address
    from mailmoat.policy.sender_file import SenderFile
    from mailmoat.settings.sections.sender_filter import SenderFilterSettings

LISTED: Final = (1, 2)
"""The answers of a `SenderTable` that block."""
EXCLUDED: Final = 3


class BlockedSenders:
    """All blocked senders; `file` is None when none is set."""

    def __init__(self, settings: SenderFilterSettings, delimiter: str, file: SenderFile | None) -> None:
        self._entries = frozenset(settings.blocked)
        self._delimiter = delimiter
        self._file = file

    def __bool__(self) -> bool:
        return bool(self._entries) or self._file is not None

    def entry(self, address: Address) -> str:
        """Return the entry that blocks an address and where it is, in words for a log; empty when none does."""
        key, domain = address.key, address.domain
        user = address.without_detail(self._delimiter)
        keys = (key,) if user is None else (key, user.key)
        for each in keys:
            if (decided := self._by_address(each)) is not None:
                return decided
        if self._entries and (name := next(filter(self._entries.__contains__, _names(domain)), "")):
            return f"{name} in sender_filter.blocked"
        if self._file is not None:
            found, line = self._file.lookup("", domain)
            if found in LISTED:
                return f"line {line} of {self._file.source.name}"
        return ""

    def _by_address(self, key: str) -> str | None:
        """Return what the entry of an address says; None without one."""
        if key in self._entries:
            return f"{key} in sender_filter.blocked"
        if f"!{key}" in self._entries:
            return ""
        if self._file is not None:
            found, line = self._file.lookup(key, "")
            if found in LISTED:
                return f"line {line} of {self._file.source.name}"
            if found == EXCLUDED:
                return ""
        return None


def _names(domain: str) -> Iterator[str]:
    """Yield the entries that a domain can be blocked by, the nearest first."""
    yield domain
    if domain.startswith("["):
        return
    while domain:
        yield f".{domain}"
        domain = domain.partition(".")[2]
