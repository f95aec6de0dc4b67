"""Whether a source lost so much that this may be a mistake: half a result, a filter that matches little, rights that hide an attribute.

What is gone is counted twice, as entries and as addresses: a source whose entries are all there may have lost most of their addresses. What
changes have taken away before counts as well, and less and less, until it is forgotten after a day: so a removal in many small steps is
noticed, and one of the same size that takes a day is not. Values.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mailmoat.errors import DirectoryError

FEW: Final = 10
"""Entries, or addresses, that may always be removed one by one, whatever part of a small directory they are."""
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

    def minus(self, addresses: int | None) -> Stock:
        """Return it without an entry that had so many addresses; None = without any."""
        return self if addresses is None else Stock(self.entries - 1, self.addresses - addresses)

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

    def whole(self, before: Stock, after: Stock, losses: Losses, now_ms: int) -> None:
        """Let a full read that has `after` replace what is there, `before`. ShrunkError when too much is gone."""
        had = before
        if not self._lacks(before, after):
            losses = self._now(before, losses, now_ms)
            had = _with(before, losses)
            gone = Stock(*(max(0, was - now) for was, now in zip(before, after, strict=True)))
            if not (any(losses[:2]) and self._exceeds(before, gone, losses)):
                return
        raise ShrunkError(
            f"it has {after.entries} entries with {after.addresses} addresses, and had {had.entries} with {had.addresses}"
            f"{'' if had == before else ' within a day'}: more than {self._limit} % are gone{_earlier(had, before)}"
        )

    def removal(self, before: Stock, gone: Stock, losses: Losses, now_ms: int) -> Losses:
        """Return what was lost with a change after which `gone` of `before` are gone. ShrunkError when that is too much."""
        losses = self._now(before, losses, now_ms)
        if self._exceeds(before, gone, losses):
            had, lost = _with(before, losses), _with(gone, losses)
            raise ShrunkError(
                f"{lost.entries} of {had.entries} entries and {lost.addresses} of {had.addresses} addresses are gone"
                f"{'' if had == before else ' within a day'}: more than {self._limit} %{_earlier(had, before)}"
            )
        return losses._replace(entries=losses.entries + gone.entries, addresses=losses.addresses + gone.addresses)

    def _lacks(self, before: Stock, after: Stock) -> bool:
        return any(100 * now < (100 - self._limit) * was for was, now in zip(before, after, strict=True))

    def _exceeds(self, before: Stock, gone: Stock, losses: Losses) -> bool:
        parts = zip(before, gone, losses[:2], strict=True)
        return any(lost and lost + earlier > self._most(had + earlier) for had, lost, earlier in parts)

    def _most(self, had: float) -> float:
        return max(FEW, self._limit * had / 100)

    def _now(self, before: Stock, losses: Losses, now_ms: int) -> Losses:
        """Return what still counts."""
        part = min(1.0, max(0, now_ms - losses.at_ms) / DAY_MS)
        entries, addresses = (
            max(0.0, was - part * self._most(had + was)) for had, was in zip(before, losses[:2], strict=True)
        )
        return Losses(entries, addresses, now_ms)


def _with(stock: Stock, losses: Losses) -> Stock:
    return Stock(stock.entries + round(losses.entries), stock.addresses + round(losses.addresses))


def _earlier(had: Stock, before: Stock) -> str:
    """Return what to say of those that were removed before the limit was reached: they stay removed."""
    entries, addresses = had.entries - before.entries, had.addresses - before.addresses
    return (
        f" ({entries} entries and {addresses} addresses were removed before the limit was reached)"
        if had != before
        else ""
    )
