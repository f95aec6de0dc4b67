"""Passwords that were right a short while ago: who authenticates for each message is not checked by a slow hash each time.

Only a right password is remembered, so that a wrong one costs the same as ever and shows nothing. What is kept is an HMAC under a key
that this process alone has and that no disk sees; it contains the verifier, so that another password or another account of the same
name in the file ends it. There is one for each account at most.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Final

from mailmoat import clock

if TYPE_CHECKING:
    from mailmoat.auth.accounts import Account

_NOBODY: Final = "-" * 200
"""As long as the line of an account."""


class PasswordCache:
    """Right passwords, for `seconds` after each was checked; 0 = none."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._key = secrets.token_bytes(32)
        self._kept: dict[str, tuple[bytes, float]] = {}

    def holds(self, account: Account | None, password: bytes) -> bool:
        """Return whether this was the password of this account; for None after the same work."""
        digest, until = self._kept.get(account.name if account else "", (b"", 0.0))
        return hmac.compare_digest(digest, self._digest(account, password)) and clock.monotonic() < until

    def add(self, account: Account, password: bytes) -> None:
        """Remember that this is the password of this account."""
        if self._seconds:
            self._kept[account.name] = self._digest(account, password), clock.monotonic() + self._seconds

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def _digest(self, account: Account | None, password: bytes) -> bytes:
        line = account.line() if account else _NOBODY
        return hmac.digest(self._key, line.encode() + b"\0" + password, "sha256")
