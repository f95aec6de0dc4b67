"""Takes back what is in force of a source into its table, where that was lost or damaged and is begun anew.

Its recipients stay known until the source says otherwise.

Promises: what the bounds of the row do not permit is not taken, so tighter ones count at once. The table is read by no settings: who is not in it is
unknown, never absent, and the source is read whole, with what was in force as the measure of the shrink guard. All of it is in force together.
"""

from __future__ import annotations

from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from mailmoat._native import kept_table
from mailmoat.directory.pause import pause
from mailmoat.directory.source import LARGEST_PART, Entry, Listed
from mailmoat.directory.table_reading import listed
from mailmoat.directory_process.table import MADE_UP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mailmoat._native import KeptTable
    from mailmoat.directory.snapshot import Input
    from mailmoat.directory_process.table import Table


async def restore(table: Table, snapshot: Path, source: Input) -> bool:
    """Take what the snapshot has of a source into its table, if nothing is in that; return whether there was something. DirectoryError when the disk does not take it."""
    if table.generation:
        return False
    kept = kept_table(str(snapshot), source)
    if kept is None:
        return False
    entries = _entries(kept)
    while part := tuple(islice(entries, LARGEST_PART)):
        table.apply([table.identity.bounds.entry(entry)[0] for entry in part], ())
        await pause()
    table.settle_kept()
    return True


def _entries(kept: KeptTable) -> Iterator[Entry]:
    """Yield what a snapshot has, by its entries."""
    for number, rows in groupby(_rows(kept), itemgetter(0)):
        entry_id, addresses = MADE_UP + b"%d" % number, _united([listed(text, targets) for _, text, targets in rows])
        yield Entry(entry_id, f"entry {number} of the snapshot", addresses)


def _rows(kept: KeptTable) -> Iterator[tuple[int, str, str]]:
    for first in range(0, len(kept), LARGEST_PART):
        yield from kept.rows(first, LARGEST_PART)


def _united(addresses: list[Listed]) -> tuple[Listed, ...]:
    """Return each address once, with the targets of all its spellings; one that was delivered to itself, too, is so still."""
    texts: dict[str, dict[str, None]] = {}
    for text, targets in addresses:
        texts.setdefault(text, {}).update(dict.fromkeys(targets or (text,)))
    return tuple(Listed(text, () if tuple(targets) == (text,) else tuple(targets)) for text, targets in texts.items())
