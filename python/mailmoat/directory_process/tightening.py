"""Puts the bounds of a row in force in its table, where they are others than those it was read within, before the source is asked.

Promises: what the bounds do not permit counts no more, however much that is, and whether the source can be read or not: who tightens them because
of an abuse sees it at once. All of it is in force together. Where tighter bounds are all that is new, the table is then what a full read would
find, and the source goes on from its cookie. Else it is read whole: it may have more than the table.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from mailmoat.directory.pause import pause
from mailmoat.directory.source import LARGEST_PART
from mailmoat.directory_process.bounded import Refusals

if TYPE_CHECKING:
    from mailmoat.directory.source import LeftOut
    from mailmoat.directory_process.table import Table


class Tightened(NamedTuple):
    """What the bounds took away: entries of which something is left, and those that are gone."""

    changed: int
    removed: int
    left_out: tuple[LeftOut, ...]


async def tighten(table: Table) -> Tightened | None:
    """Keep a table to the bounds of its identity; None where it has been within them. DirectoryError when the disk does not do it."""
    bounds = table.identity.bounds
    if table.bounds is not None and table.bounds.text == bounds.text:
        return None
    refused = Refusals()
    changed = removed = 0
    entries = table.all()
    while part := tuple(islice(entries, LARGEST_PART)):
        others = []
        for entry in part:
            kept, refusals = bounds.entry(entry)
            for refusal in refusals:
                refused.add(refusal)
            if kept != entry:
                others.append(kept)
                removed += not kept.addresses
        changed += len(others)
        table.apply(others, ())
        await pause()
    table.settle_bounds()
    return Tightened(changed - removed, removed, tuple(refused.take()))
