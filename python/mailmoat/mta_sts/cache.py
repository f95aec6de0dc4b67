"""Policies on disk, one file for each domain, shared by all workers (RFC 8461 3.3).

A policy is there until it expires, over restarts: that is what protects against who suppresses a record or a web server later. Reads and
writes small files; an error of the file system is an OSError of `put`, and no policy of `get`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from mailmoat import clock, files
from mailmoat.mta_sts.policy import StsPolicy  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY: Final = "mta-sts"
MOST: Final = 10_000
"""Policies kept; above that the oldest are removed."""
LOOK: Final = 100
"""Policies written by this worker between two counts of all."""
_LONGEST_FILE: Final = 256 << 10
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")


class KeptPolicy(msgspec.Struct, frozen=True):
    """A policy, and when it was fetched."""

    id: str
    """Of the TXT record."""
    fetched: int
    """Milliseconds since the epoch."""
    policy: StsPolicy

    def holds(self, now: int) -> bool:
        """Return whether it has not expired."""
        return now < self.fetched + self.policy.max_age * 1000


class PolicyCache:
    """The directory."""

    def __init__(self, spool_dir: Path) -> None:
        self._directory = spool_dir / DIRECTORY
        self._written = 0

    def get(self, domain: str) -> KeptPolicy | None:
        """Return the policy of a domain as it was last fetched by any worker, unless it has expired."""
        if not _NAME.fullmatch(domain):
            return None
        try:
            with (self._directory / domain).open("rb") as file:
                kept = msgspec.json.decode(file.read(_LONGEST_FILE), type=KeptPolicy)
        except (OSError, msgspec.DecodeError):
            return None
        return kept if kept.holds(clock.wall_ms()) else None

    def put(self, domain: str, kept: KeptPolicy) -> None:
        """Keep the policy of a domain in place of the one before. Raises OSError."""
        if not _NAME.fullmatch(domain):
            return
        files.make_directory(self._directory)
        files.replace(self._directory / domain, msgspec.json.encode(kept))
        self._written += 1
        if self._written % LOOK == 0:
            self._limit()

    def _limit(self) -> None:
        found: list[tuple[int, Path]] = []
        for entry in self._directory.iterdir():
            with suppress(FileNotFoundError):  # another worker removed or replaced it
                found.append((entry.stat().st_mtime_ns, entry))
        found.sort(reverse=True)
        for _, entry in found[MOST:]:
            entry.unlink(missing_ok=True)


class UnwrittenCache(PolicyCache):
    """The directory as a command sees it, whose account may not be the server's: nothing is written."""

    def put(self, domain: str, kept: KeptPolicy) -> None:
        """Keep nothing."""
