"""The form of queue IDs, and the partition that one names. Pure; `rust/store/spool/tag.rs` makes them."""

from __future__ import annotations

import re
from typing import Final

_LETTER: Final = "[0-9a-hjkmnp-tv-z]"
_QUEUE_ID: Final = re.compile(rf"{_LETTER}{{15,27}}")
_SESSION_ID: Final = re.compile(rf"{_LETTER}{{14}}-{_LETTER}+")
_TAG: Final = 14


def is_queue_id(text: str) -> bool:
    """Return whether a message could have this queue ID; so it is no path, and nothing that a terminal obeys."""
    return _QUEUE_ID.fullmatch(text) is not None


def is_session_id(text: str) -> bool:
    """Return whether a session could have this ID: that of its worker's partition, and a number."""
    return _SESSION_ID.fullmatch(text) is not None


def partition_of(queue_id: str) -> str:
    """Return the tag of the partition that made this queue ID."""
    return queue_id[:_TAG]
