"""What every test may ask for."""

import shutil
import tempfile
from pathlib import Path

import pytest
from tests.needs import ipv6, peer, root

__all__ = ["ipv6", "peer", "root"]


@pytest.fixture
def public():
    """A directory that every account can pass."""
    made = Path(tempfile.mkdtemp(prefix="mailmoat-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
