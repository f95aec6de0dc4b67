"""Evidence that is noted once a session, however often it is seen there."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mailmoat.reputation.evidence import Evidence, Reputation

KEPT: Final = 4096
"""What was noted last, for each user of this; older evidence may be noted again."""


class OncePerSession:
    """Notes evidence in the reputation, where there is one."""

    def __init__(self, reputation: Reputation | None) -> None:
        self._reputation = reputation
        self._first = lru_cache(KEPT)(self._note)

    def note(self, session_id: str, address: str, evidence: Evidence, detail: str = "") -> None:
        """Record evidence for the source of an address, unless this session has had the same with the same detail."""
        if self._reputation is not None:
            self._first(session_id, address, evidence, detail)

    def _note(self, _session_id: str, address: str, evidence: Evidence, _detail: str) -> None:
        if self._reputation is not None:
            self._reputation.note(address, evidence)
