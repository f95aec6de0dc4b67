"""What every test may ask for."""

from tests.needs import ipv6, peer, root

__all__ = ["ipv6", "peer", "root"]
