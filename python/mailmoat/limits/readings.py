"""How much this process has of what is scarce: its memory, and the memory there is for it.

Reads a few lines of `/proc` and of the control group; what cannot be read limits nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

STATM: Final = Path("/proc/self/statm")
LINE: Final = 256
"""Octets of `statm` at most: seven numbers."""
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
CGROUPS: Final = Path("/sys/fs/cgroup")


def own_memory(statm: Path = STATM) -> int | None:
    """Return the octets this process has for itself: what it shares with others, such as code and metrics, is left out."""
    try:
        # Once a second: three system calls, where a file object takes nine.
        file = os.open(statm, os.O_RDONLY | os.O_CLOEXEC)
        try:
            line = os.read(file, LINE)
        finally:
            os.close(file)
        _size, resident, shared, *_ = map(int, line.split())
    except (OSError, ValueError):
        return None
    return max(resident - shared, 0) * PAGE


def memory_limit(groups: Path = CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return the octets there are for this process: the least limit of its control groups (version 2), else all of the machine."""
    limits = [PAGE * os.sysconf("SC_PHYS_PAGES")]
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, _, path = line.partition("::")
        if number == "0":
            group = groups / path.lstrip("/")
            limits += _limits_of(group, groups)
    return min(limits)


def _limits_of(group: Path, top: Path) -> list[int]:
    """Return the limits of a group and of those it is in."""
    found: list[int] = []
    for level in (group, *group.parents):
        for name in ("memory.max", "memory.high"):
            try:
                found.append(int((level / name).read_text()))
            except (OSError, ValueError):  # `max`: there is none
                continue
        if level == top:
            break
    return found
