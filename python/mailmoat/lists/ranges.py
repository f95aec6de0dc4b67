"""Which addresses are blocked in the end: the block list without what longer prefixes of the allow list take out, as ranges.

For a firewall, which does not look for the longest prefix. Ranges of one family do not touch each other unless they end at different
times. A range ends when the last of the blocking entries ends that cover it without an allowing one in between; an allowing entry is
taken to last for as long as the ranges are used, so they are to be made anew now and then. Pure.
"""

from __future__ import annotations

from ipaddress import ip_network, summarize_address_range
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    Piece = tuple[int, int, int]
    """First address, last address, until when."""
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from mailmoat._native import ListEntry

FOR_EVER = 0


class Range(NamedTuple):
    """Addresses from `first` to `last`, blocked until a second; 0 = for ever."""

    first: IPv4Address | IPv6Address
    last: IPv4Address | IPv6Address
    until: int

    def prefixes(self) -> Iterator[IPv4Network | IPv6Network]:
        """Return the prefixes that make up the range."""
        return summarize_address_range(self.first, self.last)


class _Part(NamedTuple):
    """A prefix with what holds in it."""

    first: int
    last: int
    blocked: bool
    until: int


def blocked_ranges(blocked: Iterable[ListEntry], allowed: Iterable[ListEntry]) -> list[Range]:
    """Return the ranges, IPv4 first, in their order."""
    entries = [(ip_network(entry.prefix), entry) for entries in (blocked, allowed) for entry in entries]
    ranges = []
    for version in (4, 6):
        of_family = [(network, entry) for network, entry in entries if network.version == version]
        # An outer prefix before those in it; of equal ones the allow list's last, so that it counts.
        of_family.sort(key=lambda one: (int(one[0][0]), one[0].prefixlen, one[1].allows))
        kind = type(of_family[0][0][0]) if of_family else None
        for first, last, until in _joined(_sweep(of_family)):
            if kind is not None:
                ranges.append(Range(kind(first), kind(last), until))
    return ranges


def _sweep(entries: Iterable[tuple[IPv4Network | IPv6Network, ListEntry]]) -> Iterator[Piece]:
    """Yield pieces (first, last, until) that are blocked, in their order."""
    around: list[_Part] = []
    at = 0
    for network, entry in entries:
        first, last = int(network[0]), int(network[-1])
        while around and around[-1].last < first:
            at = yield from _leave(around, at)
        if around and around[-1].blocked and at < first:
            yield at, first - 1, around[-1].until
        at = max(at, first)
        outer = around[-1].until if around and around[-1].blocked else None
        around.append(
            _Part(first, last, not entry.allows, entry.until if outer is None else _later(outer, entry.until))
        )
    while around:
        at = yield from _leave(around, at)


def _leave(around: list[_Part], at: int) -> Generator[Piece, None, int]:
    """End the innermost prefix; the value is where the next piece begins."""
    part = around.pop()
    if part.blocked and at <= part.last:
        yield at, part.last, part.until
    return max(at, part.last + 1)


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Join pieces that touch each other and end at the same time."""
    held: Piece | None = None
    for piece in pieces:
        if held is not None and piece[0] == held[1] + 1 and piece[2] == held[2]:
            held = (held[0], piece[1], held[2])
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def _later(one: int, other: int) -> int:
    return FOR_EVER if FOR_EVER in (one, other) else max(one, other)
