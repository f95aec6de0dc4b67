"""Finds the server that runs on a spool, without a file that could lie about it: its workers hold the locks of their partitions.

Called by the command line, which tells the server to read its settings again. The kernel names the owner of each lock in
/proc/locks (proc(5)), and a worker's parent is the supervisor. Never raises for a server that is not there, that ends meanwhile,
or for a system without /proc: then there is none to be found.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_OWNER = re.compile(r"^\d+: FLOCK .* (\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) \d+ (?:\d+|EOF)$", re.MULTILINE)


def supervisor_of(spool_dir: Path) -> int | None:
    """The pid of the supervisor whose workers own the partitions of this spool."""
    try:
        owners = _OWNER.findall(Path("/proc/locks").read_text())
        locks = {_place(lock.stat()) for lock in (spool_dir / "partitions").glob("*/lock")}
    except OSError:
        return None
    pids = [int(pid) for pid, major, minor, inode in owners if (int(major, 16), int(minor, 16), int(inode)) in locks]
    parents = {parent for pid in pids if (parent := _parent(pid)) and parent > 1}
    return parents.pop() if len(parents) == 1 else None


def _place(status: os.stat_result) -> tuple[int, int, int]:
    return os.major(status.st_dev), os.minor(status.st_dev), status.st_ino


def _parent(pid: int) -> int | None:
    """Of a living process. The name in the second field may hold anything, so the fields are counted from its end."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None
