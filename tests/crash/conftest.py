"""The running server of the integration tests, a next hop that records, a small disk."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import server
from tests.needs import missing

__all__ = ["server"]


@pytest.fixture
def hop():
    """One without pipelining, whose transactions have more places to be interrupted at."""
    with NextHop(EHLO="250-hop.test\n250 8BITMIME") as made:
        yield made


@pytest.fixture
def disk(tmp_path: Path):
    with _mounted(tmp_path / "disk", "4m") as path:
        yield path


@pytest.fixture
def small_disk(tmp_path: Path):
    with _mounted(tmp_path / "disk", "2m") as path:
        yield path


@contextlib.contextmanager
def _mounted(path: Path, size: str):
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        missing(f"run as root, who may mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)
