"""The senders of `sender_filter.blocked` and `sender_filter.blocked_file`: whether an address is one, and by which entry.

The nearest entry decides: the address, the address that it is a subaddress of, its domain, then each domain above. Of an
address the settings come before the file; of domains both block, and the settings are named first. Addresses are normalised already, entries go through the same normaliser, so no spelling avoids one. The
file is compiled by the supervisor (`directory.snapshot`) and mapped here; without a good one nobody is blocked by it. Never waits, never raises.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat._native import Address
    from mailmoat.policy.sender_file import SenderFile
    from mailmoat.settings.sections.sender_filter import SenderFilterSettings

LISTED: Final = 1
DOMAIN: Final = 2
EXCLUDED: Final = 3
"""Answers of a `SenderTable`."""
OF_ADDRESS: Final = (LISTED, EXCLUDED)
NOTHING: Final = (0, 0)
KEPT: Final = 1024
"""Addresses whose entry is kept at hand, a process: a message has the same one in its envelope and its From, and is asked about several times."""


class BlockedSenders:
    """All blocked senders; `file` is None when none is set."""

    def __init__(self, settings: SenderFilterSettings, delimiter: str, file: SenderFile | None) -> None:
        self._entries = frozenset(settings.blocked)
        self._tops = frozenset(entry.rpartition(".")[2] for entry in settings.blocked if entry.startswith("."))
        self._delimiter = delimiter
        self._file = file
        self._in_force = file.stamp if file is not None else None
        self._known = lru_cache(KEPT)(self._look)

    def __bool__(self) -> bool:
        return bool(self._entries) or self._file is not None

    def entry(self, address: Address) -> str:
        """Return the entry that blocks an address and where it is, in words for a log; empty when none does."""
        if self._file is not None and self._in_force is not self._file.stamp:
            self._known.cache_clear()
            self._in_force = self._file.stamp
        return self._known(address)

    def _look(self, address: Address) -> str:
        key, domain = address.key, address.domain
        for each in (key, *self._user(address)):
            if each in self._entries:
                return f"{each} in sender_filter.blocked"
            if f"!{each}" in self._entries:
                return ""
            found, line = self._file.lookup(each, domain) if self._file is not None else NOTHING
            if found in OF_ADDRESS:
                return self._line(line) if found == LISTED else ""
        if self._entries and (name := self._domain_entry(domain)):
            return f"{name} in sender_filter.blocked"
        return self._line(line) if found == DOMAIN else ""  # the file says the same of all addresses at the domain

    def _user(self, address: Address) -> tuple[str, ...]:
        """Return the key of the address that this one is a subaddress of."""
        local = address.local
        for character in self._delimiter:  # most addresses have none, and asking costs an object
            if character in local:
                user = address.without_detail(self._delimiter)
                return () if user is None else (user.key,)
        return ()

    def _domain_entry(self, domain: str) -> str:
        if domain in self._entries:
            return domain
        if domain.rpartition(".")[2] not in self._tops or domain.startswith("["):  # most are below no entry
            return ""
        return next(filter(self._entries.__contains__, _below(domain)), "")

    def _line(self, number: int) -> str:
        return f"line {number} of {self._file.source.name}" if self._file is not None else ""


def _below(domain: str) -> Iterator[str]:
    """Yield the entries for all below a domain that this one is in, the nearest first."""
    while domain:
        yield f".{domain}"
        domain = domain.partition(".")[2]
