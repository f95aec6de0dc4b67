"""Domains that are in no public DNS by standard: RFC 2606 2 and 3, RFC 6761 6. Pure."""

from __future__ import annotations

from typing import Final

TOP: Final = frozenset({"test", "example", "invalid", "localhost"})
SECOND: Final = frozenset({"example.com", "example.net", "example.org"})


def is_reserved(domain: str) -> bool:
    """Return whether a normalised domain is reserved, or below one that is."""
    labels = domain.split(".")
    return labels[-1] in TOP or ".".join(labels[-2:]) in SECOND
