"""mailmoat: an edge mail transport."""

__version__ = "0.1.0"
"""As in pyproject.toml, which a test holds it to: reading the package's metadata costs every process a few MB of memory."""
