"""The path of a next hop `maildir:`, in which marks stand for the parts of each recipient's address.

A mark that stands for nothing is a mistake: it would be a directory of that name, one for everybody.
"""

from __future__ import annotations

import re
from pathlib import Path

MARKS = ("{local}", "{domain}")
_MARK_LIKE = re.compile(r"%?\{[^{}]*\}|[{}]|%\w")


def maildir_path(written: str) -> Path:
    """The path as written; ValueError names what looks like a mark and is none."""
    for mark in _MARK_LIKE.findall(written):
        if mark not in MARKS:
            raise ValueError(f"{mark} stands for nothing in the path of a Maildir; the marks are {' and '.join(MARKS)}")
    return Path(written)
