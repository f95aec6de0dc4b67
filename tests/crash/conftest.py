"""The running server of the integration tests, a next hop that records, a small disk."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.crash.faults import Hop
from tests.integration.conftest import server

__all__ = ["server"]


@pytest.fixture
def hop():
    made = Hop()
    yield made
    made.close()


@pytest.fixture
def disk(tmp_path: Path):
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs root and mount for a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)
