"""The messages in a spool, of all pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat._native import QueueFilter, queue_list

if TYPE_CHECKING:
    from mailmoat._native import SpoolEntry


def listed(spool: str) -> list[SpoolEntry]:
    """Return every message, by partition and order of coming."""
    found: list[SpoolEntry] = []
    after: str | None = ""
    while after is not None:
        page = queue_list(spool, QueueFilter(), after)
        found += page.entries
        after = page.after
    return found
