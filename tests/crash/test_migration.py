"""The migration of a partition killed before each of its writes: the schema is the old or the new one, and whole."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.golden.spools import SCHEMA_1, SCHEMA_2, Golden
from tests.needs import find_peer

from mailmoat._native import Partition

ADOPT = "import sys; from mailmoat._native import Partition; Partition.adopt(sys.argv[1]).close()"
STEPS = ["pwrite64", "fdatasync", "ftruncate", "unlink", "unlinkat", "mkdir"]
"""System calls that change what is on disk."""
MOST = 100


@pytest.mark.parametrize("golden", [SCHEMA_1, SCHEMA_2], ids=["1", "2"])
@pytest.mark.parametrize("step", STEPS)
def test_a_migration_killed_before_any_write_leaves_a_whole_schema(tmp_path: Path, step: str, golden: Golden) -> None:
    strace = find_peer("strace")
    versions = set()
    for number in range(1, MOST):
        spool = tmp_path / str(number)
        database = golden.copy(spool)
        (database.parent / "loose").mkdir()
        inject = ["-e", f"trace={step}", "-e", f"inject={step}:signal=KILL:when={number}"]
        command = [strace, "-f", "-qq", "-o", "/dev/null", *inject, sys.executable, "-c", ADOPT, str(spool)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert golden.listed(spool) == golden.queued, (step, number)
        with closing(sqlite3.connect(database)) as queue:
            versions |= set(queue.execute("PRAGMA user_version").fetchone())
        adopted = Partition.adopt(str(spool))
        assert isinstance(adopted, Partition)
        assert adopted.count == len(golden.queued), (step, number)
        assert {group.queue_id for group in adopted.schedule()} == {f"{golden.tag}{one}" for one in golden.queued}
        if done.returncode == 0:
            break
    assert number < MOST - 1, "it never ended"
    before = int(golden.name[-1])
    assert versions <= {before, 3}
    if step == "pwrite64":
        assert versions == {before, 3}, "killed before and after the commit"
