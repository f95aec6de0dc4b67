"""What every test may ask for."""

import gc
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.needs import ipv6, peer, root

__all__ = ["ipv6", "peer", "root"]

# What an example takes of a busy machine says nothing of the example.
settings.register_profile("no bound on time", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no bound on time")


WAITING = {"bench", "crash", "integration"}
"""Directories of tests that wait for real programs most of their time."""


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect tests without looking for garbage: all of it stays to the end, so looking through it is half the time, here and later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items):
    """Begin with what waits: of several processes none is left alone with it at the end."""
    items.sort(key=lambda item: WAITING.isdisjoint(item.path.parts))


@pytest.fixture
def public():
    """A directory that every account can pass."""
    made = Path(tempfile.mkdtemp(prefix="mailmoat-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
