"""How far a source was read: what its cookie says. A cookie that cannot be read is none."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final, NamedTuple, Self

from mailmoat import clock
from mailmoat.directory.sql import highest
from mailmoat.directory.sql.highest import Moment, moved

_NEXT: Final = timedelta(microseconds=1)
"""What moments of a database differ by at least."""


class Position(NamedTuple):
    """Where to go on."""

    full_ms: int
    """When it was read whole, milliseconds since the epoch."""
    since: Moment | None = None
    """The highest value of `changed` so far."""
    seen_ms: int = 0
    """When it was seen first."""
    settled: bool = False
    """Everything up to it was read: a transaction that was open when it was seen has ended."""
    stamp: str = ""
    """How the file of the database was; empty where there is none."""

    @classmethod
    def of(cls, cookie: bytes | None) -> Self | None:
        """Return what a cookie says; None for one that says nothing."""
        try:
            full_ms, since, seen_ms, settled, stamp = json.loads(cookie or b"")
            return cls(int(full_ms), highest.read(since), int(seen_ms), bool(settled), str(stamp))
        except (ValueError, TypeError):
            return None

    def cookie(self) -> bytes:
        """Return it as octets."""
        return json.dumps(self._replace(since=highest.written(self.since))).encode()  # type: ignore[arg-type] # a list here

    def asked_from(self, overlap: float) -> Moment | None:
        """Return the value of `:since`: earlier by the `overlap` in seconds, as long as a transaction of then may end; after that the moment behind it.

        Many rows can have one moment, of an import or of a new column: they are not to be read each time.
        """
        if self.since is None:
            return None
        return moved(self.since, _NEXT if self.settled else timedelta(seconds=-overlap))

    def after(self, found: Moment | None, begun_ms: int, overlap: float) -> Self:
        """Return where it is after a query of changes that was begun then and found this highest value."""
        if found is not None and found != self.since:
            return self._replace(since=found, seen_ms=clock.wall_ms(), settled=False)
        return self._replace(settled=self.settled or begun_ms >= self.seen_ms + overlap * 1000)
