"""Changes as steps of bounded size, of which only the last has the new cookie: wherever it ends, nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.source import LARGEST_PART, Current, Delta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailmoat.directory.source import Entry


def deltas(
    changed: Iterable[Entry], removed: Iterable[bytes], before: bytes | None, after: bytes | None
) -> Iterator[Delta | Current]:
    """Yield what changed between two cookies; `Current` when nothing did."""
    waiting: list[Entry | bytes] = [*changed, *removed]
    for at in range(0, len(waiting), LARGEST_PART):
        part = waiting[at : at + LARGEST_PART]
        yield Delta(
            tuple(item for item in part if not isinstance(item, bytes)),
            tuple(item for item in part if isinstance(item, bytes)),
            after if at + LARGEST_PART >= len(waiting) else before,
        )
    if not waiting:
        yield Current(after)
