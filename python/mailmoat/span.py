"""How long something takes or is ago, as people read it in commands and sentences. Pure."""

from __future__ import annotations


def span(ms: float) -> str:
    """Return milliseconds as the two largest units: `3s`, `2h5m`."""
    seconds = int(max(ms, 0) // 1000)
    for unit, length, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= length:
            return f"{seconds // length}{unit}{seconds % length // part}{below}"
    return f"{seconds}s"
