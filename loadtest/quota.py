"""Gives each worker of a server a part of a core, so that the client on the same machine is not the limit of both.

By the kernel's control groups (their cpu controller, version 1 or 2), which needs root: a group below the controller's own for
each worker, removed afterwards. Nothing else on the machine is limited.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.processes import Trouble, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.processes import Tree

FIRST = Path("/sys/fs/cgroup/cpu")
SECOND = Path("/sys/fs/cgroup")
SHARE = 0.3
"""Of a core, for each worker."""
PERIOD_US = 10_000
"""Short, so that a worker is never stopped for long."""


def missing() -> str:
    """Return why workers cannot be limited here; empty when they can."""
    return "" if _controller() else "no cpu control group may be made here: needs root and the cpu controller"


@contextmanager
def limited(tree: Tree) -> Iterator[None]:
    """Limit each mailmoat worker in `tree` to `SHARE` of a core while the block runs.

    Raises:
        Trouble: there is no worker, or groups cannot be made.

    """
    root, workers = _controller(), [pid for pid in tree.pids() if _is_worker(pid)]
    if root is None or not workers:
        raise Trouble(missing() or "no worker was found to be limited")
    groups: list[Path] = []
    try:
        for pid in workers:
            group = root / f"mailmoat-{os.getpid()}-{pid}"
            group.mkdir()
            groups.append(group)
            quota = str(round(PERIOD_US * SHARE))
            if root == FIRST:
                (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (group / "cpu.cfs_quota_us").write_text(quota)
            else:
                (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for group in groups:
            members = group / "cgroup.procs"
            for member in members.read_text().split():
                (root / "cgroup.procs").write_text(member)
            wait_for(partial(_is_empty, members), "an empty control group")
            group.rmdir()


def _is_empty(members: Path) -> bool:
    return not members.read_text()


def _controller() -> Path | None:
    if os.geteuid() != 0:
        return None
    if (FIRST / "cpu.cfs_quota_us").exists():
        return FIRST
    control = SECOND / "cgroup.subtree_control"
    return SECOND if control.exists() and "cpu" in control.read_text().split() else None


def _is_worker(pid: int) -> bool:
    """Start a process with a thread that writes a spool partition."""
    try:
        return any((thread / "comm").read_text().startswith("spool-") for thread in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return False
