"""A server that gives no notice of changes, read by the time of modification: what changed since, and all of it once a day.

An entry that no longer matches the filter, such as a disabled account, is missed at once; one that was removed with the next full read. The
time is that of the server, as its entries have it; an overlap covers servers whose clocks differ. A server that shows no such time is read
whole each time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat import clock
from mailmoat.directory.ldap.deltas import deltas
from mailmoat.directory.ldap.objects import ENTRY_UUID, id_of
from mailmoat.directory.source import LARGEST_PART, Begin, Part, Whole
from mailmoat.ldap import ber, filters
from mailmoat.ldap.paging import PAGE_SIZE, paged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mailmoat.directory.ldap.objects import EntryReader
    from mailmoat.directory.source import Entry, KnownIds, Step
    from mailmoat.ldap.connection import Connection
    from mailmoat.ldap.message import SearchEntry, SearchRequest

FULL_INTERVAL_MS: Final = 24 * 3600 * 1000
OVERLAP: Final = timedelta(minutes=10)
_MODIFIED: Final = "modifyTimestamp"
_AND: Final = 0xA0
_FORMAT: Final = "%Y%m%d%H%M%S"
_DIGITS: Final = 14
_TIME: Final = re.compile(rb"\d{14}")
_COOKIE: Final = re.compile(rb"P(\d{14}) (\d{1,18})")


class _Since(NamedTuple):
    """What a cookie says."""

    newest: str
    """Time of the last modification seen, `YYYYMMDDhhmmss` (RFC 4517 3.3.13)."""
    full_ms: int
    """When all of it was read."""

    @property
    def cookie(self) -> bytes | None:
        return f"P{self.newest} {self.full_ms}".encode() if self.newest else None

    @property
    def start(self) -> str:
        """From when on entries are asked for."""
        seen = datetime.strptime(self.newest, _FORMAT).replace(tzinfo=UTC)
        return f"{(seen - OVERLAP).strftime(_FORMAT)}Z"


def whole_is_due(cookie: bytes | None) -> bool:
    """Say whether all is to be read: there is no cookie of this kind, or its time is over."""
    since = _since(cookie)
    return since is None or not 0 <= clock.wall_ms() - since.full_ms < FULL_INTERVAL_MS


async def poll(
    connection: Connection, request: SearchRequest, reader: EntryReader, cookie: bytes | None, known: KnownIds
) -> AsyncGenerator[Step, None]:
    """Yield what changed since the cookie; or the whole, when there is none or its time has come. Raises ServerError."""
    since, now = _since(cookie), clock.wall_ms()
    since = since and since._replace(newest=_past(since.newest, now))
    request = request._replace(attributes=(*request.attributes, _MODIFIED))
    if since is None or whole_is_due(cookie):
        newest = ""
        yield Begin()
        async for page in paged(connection, request, size=PAGE_SIZE):
            newest = max([newest, *map(_modified, page)])
            entries = [reader.entry(found, id_of(found)) for found in page]
            for at in range(0, len(entries), LARGEST_PART):
                yield Part(tuple(entries[at : at + LARGEST_PART]))
        yield Whole(_Since(_past(newest, now), now).cookie)
        return
    newest = since.newest
    modified = filters.parse(f"({_MODIFIED}>={since.start})")
    # First all that changed, then those of them that count: what is modified between the two searches is among the second alone, and is not removed.
    touched: list[bytes] = []
    async for page in paged(connection, request._replace(filter=modified, attributes=(ENTRY_UUID,)), size=PAGE_SIZE):
        touched += filter(known.__contains__, map(id_of, page))
    changed: dict[bytes, Entry] = {}
    async for page in paged(
        connection, request._replace(filter=ber.element(_AND, modified, request.filter)), size=PAGE_SIZE
    ):
        newest = max([newest, *map(_modified, page)])
        changed.update({id_of(found): reader.entry(found, id_of(found)) for found in page})
    removed = [entry_id for entry_id in touched if entry_id not in changed]
    for step in deltas(changed.values(), removed, since.cookie, _Since(_past(newest, now), since.full_ms).cookie):
        yield step


def _since(cookie: bytes | None) -> _Since | None:
    """Return what a cookie says; None for one of another kind."""
    found = _COOKIE.fullmatch(cookie or b"")
    since = _Since(found[1].decode(), int(found[2])) if found else None
    try:
        return since if since and since.start else None
    except ValueError:
        return None


def _past(time: str, now_ms: int) -> str:
    """Return a time, or now if it is later: one entry that a wrong clock dated ahead must not hide what is modified until then."""
    return min(time, datetime.fromtimestamp(now_ms / 1000, UTC).strftime(_FORMAT))


def _modified(found: SearchEntry) -> str:
    """Return when an entry was modified, without zone and fractions; empty when it does not say."""
    written = found.attributes.get(_MODIFIED.lower(), [b""])[0]
    return written[:_DIGITS].decode() if _TIME.match(written) else ""
