"""Changes as steps of bounded size, which are in force with the last one, that has the new cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.directory.source import LARGEST_PART, Current, Delta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailmoat.directory.source import Entry


def deltas(
    changed: Iterable[Entry], removed: Iterable[bytes], before: bytes | None, after: bytes | None, *, more: bool = False
) -> Iterator[Delta | Current]:
    """Yield what changed between two cookies; `Current` when nothing did. With `more`, what follows belongs to it."""
    waiting: list[Entry | bytes] = [*changed, *removed]
    for at in range(0, len(waiting), LARGEST_PART):
        part = waiting[at : at + LARGEST_PART]
        is_last = at + LARGEST_PART >= len(waiting) and not more
        yield Delta(
            tuple(item for item in part if not isinstance(item, bytes)),
            tuple(item for item in part if isinstance(item, bytes)),
            after if is_last else before,
            more=not is_last,
        )
    if not waiting and not more:
        yield Current(after)
