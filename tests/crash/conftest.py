"""The real server, as in the integration tests."""

from tests.integration.conftest import server

__all__ = ["server"]
