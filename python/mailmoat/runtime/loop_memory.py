"""Memory that uvloop keeps for later use: handles that have run, and the room of transports that have left.

Both are in the heap of the C library, which gives memory back by the page. Handles made during a flood would hold a page each, so as many as are
kept are made at once, at the start. The dictionary of transports keeps the room of the most that there were.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    import asyncio
    from collections import UserDict

HANDLES: Final = 250
"""Handles that have run and uvloop keeps."""


def make_handles(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop make as many handles as it keeps, next to each other; they run in its first turn."""
    for _ in range(HANDLES):
        loop.call_soon(_nothing)


def fit(loop: asyncio.AbstractEventLoop) -> None:
    """Give back the room of transports that have left; those that are there stay."""
    for table in gc.get_referents(loop):
        if isinstance(table, WeakValueDictionary):
            data = cast(
                "UserDict[object, object]", table
            ).data  # the table itself: taking its entries out one by one would keep the room
            kept = dict(data)
            data.clear()
            data.update(kept)


def _nothing() -> None:
    """Do nothing."""
