"""What can happen to the directory process and its disk, and what is answered meanwhile: an existing recipient is never refused.

The long form kills at more moments, and prints what was answered:

    MAILMOAT_TEST_SOAK=1 .venv/bin/python -m pytest tests/integration/test_directory_faults.py -s
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import time

import pytest
from tests.doubles.steady import Steady
from tests.integration.test_directory_process import code, pid_of, rows

MANY = 3000
"""Entries that are always there: more than one part."""
SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
MOMENTS = [number / 40 for number in range(40)] if SOAK else [0.0, 0.05, 0.15, 0.3, 0.5]
"""Seconds after a change of the source at which a process is killed."""


class Source:
    """A script that writes half of its entries, waits, and writes the rest."""

    def __init__(self, directory):
        self.entries, self.script = directory / "entries", directory / "list"
        self.script.write_text(f"#!/bin/sh\nhead -n 1500 {self.entries}\nsleep 0.1\ntail -n +1501 {self.entries}\n")
        self.script.chmod(0o755)
        self.has()

    def has(self, *others):
        beside = self.entries.with_name("beside")
        names = ["ann", *(f"u{number}" for number in range(MANY)), *others]
        beside.write_text("".join(f"{name}@example.test\n" for name in names))
        beside.rename(self.entries)

    def row(self):
        return {"name": "office", "url": f"script://{self.script}", "interval": "0.2s"}


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path)


def asking_for_both(mx):
    """Ask for two recipients that are always there, again and again."""
    names = itertools.cycle(("ann", f"u{MANY - 1}"))
    return Steady(lambda: code(mx, f"{next(names)}@example.test"), 0.005)


def kill(mx):
    """Kill the directory process, if one runs."""
    pid = pid_of(mx)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_compiler(mx):
    """Kill whatever process of the server is neither a worker nor the directory process: one that compiles."""
    named = {line["pid"] for line in mx.logged("process-started")}
    for pid in set(mx.pids()) - named:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", [kill, kill_compiler])
def test_nothing_is_lost_or_refused_whenever_a_process_is_killed(server, source, victim):
    mx = server(**rows(source.row()))
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
    mx.until(lambda: code(mx, "nobody@example.test") == 550, what="the source to be in force")
    with asking_for_both(mx) as asking:
        for number, seconds in enumerate(MOMENTS):
            source.has(f"new{number}")
            time.sleep(seconds)
            victim(mx)
            mx.until(lambda number=number: code(mx, f"new{number}@example.test") == 250, what="the change")
    assert set(asking.results) == {250}, asking.results
    print(f"{victim.__name__}: {len(MOMENTS)} times, replies {dict(asking.results)}")
    base = sqlite3.connect(mx.directory / "spool/directory/office.db")
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert base.execute("SELECT count(*) FROM entry").fetchone() == (MANY + 2,)
    base.close()


@pytest.fixture
def small_disk(tmp_path):
    """A spool directory on a disk of its own, of 32 MiB."""
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=700", "tmpfs", spool], check=False)
    if mounted.returncode != 0:
        pytest.skip("no right to mount")
    yield spool
    subprocess.run(["umount", "-l", spool], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(65536)):
            pass


@pytest.mark.skipif("MAILMOAT_TEST_SOAK" not in os.environ, reason="it mounts a disk: MAILMOAT_TEST_SOAK=1")
@pytest.mark.timeout(600)
def test_a_full_disk_changes_nothing_and_all_goes_on_when_there_is_room(server, source, small_disk):
    mx = server(**rows(source.row()))
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
    mx.until(lambda: code(mx, "nobody@example.test") == 550, what="the source to be in force")
    with asking_for_both(mx) as asking:
        fill(small_disk / "filler")
        source.has(*(f"new{number}" for number in range(200)))
        mx.until(lambda: mx.logged("directory-source-failed"), what="the full disk in the log")
        assert code(mx, "new1@example.test") in (550, 452)
        (small_disk / "filler").unlink()
        mx.until(lambda: code(mx, "new1@example.test") == 250, what="the change")
        mx.until(lambda: mx.logged("directory-source-back"), what="the end in the log")
    print(f"full disk: replies {dict(asking.results)}")
    assert set(asking.results) <= {250, 452}, asking.results


@pytest.mark.timeout(600)
def test_a_directory_that_is_taken_away_refuses_nobody(server, source):
    mx = server(**rows(source.row()))
    mx.until(lambda: code(mx, "ann@example.test") == 250, what="the first read")
    mx.until(lambda: code(mx, "nobody@example.test") == 550, what="the source to be in force")
    directory, away = mx.directory / "spool/directory", mx.directory / "spool/away"
    with asking_for_both(mx) as asking:
        directory.rename(away)
        source.has("new")
        kill(mx)
        mx.until(lambda: code(mx, "new@example.test") == 250, what="the change, in a new directory")
    print(f"directory taken away: replies {dict(asking.results)}")
    assert set(asking.results) == {250}, asking.results
