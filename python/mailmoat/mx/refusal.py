"""Why no server takes a message."""

from __future__ import annotations

from typing import TypeAlias

from mailmoat._native import RecipientState

Refusal: TypeAlias = tuple[RecipientState, str]
"""(PENDING or FAILED, reply) for everything that waits for a connection."""
