"""The records of sources as commands show and reset them: of a running server, or of the file of one that has ended. Values that JSON can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailmoat import clock
from mailmoat.reputation.records import evidence_of

if TYPE_CHECKING:
    from mailmoat._native import Prefix, Shared


def show(shared: Shared, of: Prefix | None, most: int) -> dict[str, Any]:
    """Return the sources in a prefix and around it, or all, the worst first: at most so many, the others are counted."""
    rows, left_out = shared.reputation_list(of, int(clock.monotonic()), most)
    sources = [
        {"source": source, "level": level, "blocked": blocked, "evidence": evidence_of(counts)}
        for source, counts, blocked, level in rows
    ]
    return {"sources": sources, "sources_left_out": left_out}


def reset(shared: Shared, of: Prefix | None) -> dict[str, Any]:
    """Forget the sources in a prefix and around it, or all, and end their blocks; return their number."""
    return {"forgotten": shared.reputation_reset(of, int(clock.monotonic()))}
