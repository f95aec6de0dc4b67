"""What a report says of another message that failed for the same sender: for people alone, since a DSN is about one message (RFC 3464 2).

Pure. Bounded: of many recipients and of long replies a part is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_RECIPIENTS: Final = 5
MOST_REPLY: Final = 200
"""Characters of a reply that are kept."""


class Folded(NamedTuple):
    """Another message."""

    queue_id: str
    arrival_ms: int
    failures: tuple[tuple[str, str], ...]
    """Addresses and replies of the first recipients that failed."""
    left_out: int = 0
    """Recipients beyond those."""


def fold(queue_id: str, arrival_ms: int, failed: Sequence[tuple[str, str]]) -> Folded:
    """Return what a report says of a message; `failed` are the addresses of its recipients, and the replies."""
    failures = tuple((address, reply[:MOST_REPLY]) for address, reply in failed[:MOST_RECIPIENTS])
    return Folded(queue_id, arrival_ms, failures, max(0, len(failed) - MOST_RECIPIENTS))
