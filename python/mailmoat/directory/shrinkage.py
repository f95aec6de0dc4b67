"""Whether a source lost so much that this may be a mistake: half a result, a filter that matches little, rights that hide an attribute.

What is gone is counted twice, as entries and as addresses: a source whose entries are all there may have lost most of their addresses. What
changes and full reads have taken away before counts as well, and less and less, until it is forgotten after a day: so a removal in many small
steps is noticed, and one of the same size that takes a day is not. Values.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mailmoat.errors import DirectoryError

FEW: Final = 10
"""Entries, or addresses, that changes may always remove one by one, whatever part of a small directory they are: a change names what is gone."""
FEW_MISSING: Final = 2
"""The same for full reads, in which something is only missing: with more, half a result of a small directory would be all right."""
DAY_MS: Final = 86_400_000
"""Time after which as much may be lost again."""


class ShrunkError(DirectoryError):
    """Too much is gone."""


class Stock(NamedTuple):
    """How much there is."""

    entries: int
    addresses: int

    def plus(self, addresses: int) -> Stock:
        """Return it with one more entry, that has so many addresses."""
        return Stock(self.entries + 1, self.addresses + addresses)

    def minus(self, addresses: int) -> Stock:
        """Return it without an entry that had so many addresses."""
        return Stock(self.entries - 1, self.addresses - addresses)

    def lost(self, had: int, has: int | None) -> Stock:
        """Return it, as what is gone, with what an entry had and has no more; None = the entry is gone."""
        return Stock(self.entries + (has is None), self.addresses + max(0, had - (has or 0)))


NOTHING: Final = Stock(0, 0)


class Losses(NamedTuple):
    """What changes have taken away until a time, milliseconds since the epoch, as far as it still counts."""

    entries: float = 0.0
    addresses: float = 0.0
    at_ms: int = 0

    @property
    def written(self) -> str:
        """What `read` reads."""
        return f"{self.entries:.3f} {self.addresses:.3f} {self.at_ms}"

    @classmethod
    def read(cls, written: str) -> Losses:
        """Return what is written; none when it is nothing of the kind."""
        try:
            entries, addresses, at_ms = written.split()
            return cls(float(entries), float(addresses), int(at_ms))
        except ValueError:
            return cls()


class ShrinkGuard:
    """Judges what one source loses; `limit` is the part of 100 that it may lose."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def whole(self, before: Stock, after: Stock, losses: Losses, now_ms: int) -> Losses:
        """Return what was lost with a full read that has `after` and replaces what is there, `before`. ShrunkError when that is too much."""
        gone = Stock(*(max(0, was - now) for was, now in zip(before, after, strict=True)))
        losses = self._now(before, losses, now_ms)
        if self._exceeds(before, gone, losses, FEW_MISSING):
            had = _with(before, losses)
            raise ShrunkError(
                f"it has {after.entries} entries with {after.addresses} addresses, and had {had.entries} with {had.addresses}"
                f"{self._limited(had, before, ' are gone')}"
            )
        return _lost(losses, gone)

    def removal(self, before: Stock, gone: Stock, losses: Losses, now_ms: int) -> Losses:
        """Return what was lost with a change after which `gone` of `before` are gone. ShrunkError when that is too much."""
        losses = self._now(before, losses, now_ms)
        if self._exceeds(before, gone, losses, FEW):
            had, lost = _with(before, losses), _with(gone, losses)
            raise ShrunkError(
                f"{lost.entries} of {had.entries} entries and {lost.addresses} of {had.addresses} addresses are gone"
                f"{self._limited(had, before)}"
            )
        return _lost(losses, gone)

    def _exceeds(self, before: Stock, gone: Stock, losses: Losses, few: int) -> bool:
        parts = zip(before, gone, losses[:2], strict=True)
        return any(lost and lost + earlier > max(few, self._share(had + earlier)) for had, lost, earlier in parts)

    def _share(self, had: float) -> float:
        return self._limit * had / 100

    def _now(self, before: Stock, losses: Losses, now_ms: int) -> Losses:
        """Return what still counts: as much as may be lost at once is forgotten in a day."""
        part = min(1.0, max(0, now_ms - losses.at_ms) / DAY_MS)
        entries, addresses = (
            max(0.0, was - part * max(FEW, self._share(had + was))) for had, was in zip(before, losses[:2], strict=True)
        )
        return Losses(entries, addresses, now_ms)

    def _limited(self, had: Stock, before: Stock, gone: str = "") -> str:
        """Return what to say of the limit, and of those that were removed before it was reached: they stay removed."""
        entries, addresses = had.entries - before.entries, had.addresses - before.addresses
        if had == before:
            return f": more than {self._limit} %{gone}"
        earlier = f"({entries} entries and {addresses} addresses were removed before the limit was reached)"
        return f" within a day: more than {self._limit} %{gone} {earlier}"


def _lost(losses: Losses, gone: Stock) -> Losses:
    return losses._replace(entries=losses.entries + gone.entries, addresses=losses.addresses + gone.addresses)


def _with(stock: Stock, losses: Losses) -> Stock:
    return Stock(stock.entries + round(losses.entries), stock.addresses + round(losses.addresses))
