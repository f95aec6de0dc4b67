"""The mechanisms that show the password: PLAIN (RFC 4616) and LOGIN, which Exchange and old clients use (no standard has it).

An exchange never raises for what a client sends, and keeps no password after its check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.auth.authenticator import Cause, Challenge, Failure
from mailmoat.auth.mechanism import Mechanism
from mailmoat.auth.passwords import authenticate

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mailmoat.auth.authenticator import Answer
    from mailmoat.auth.passwords import Passwords

_PARTS: Final = 3
"""Of the message of PLAIN: authorization identity, name, password, with a NUL between."""


class PlainExchange:
    """One message, now or after an empty challenge."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    def respond(self, response: bytes | None) -> Answer | Awaitable[Answer]:
        """Take what the client said; None at the beginning when it said nothing yet."""
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        texts = _texts(*parts)
        if len(parts) != _PARTS or texts is None:
            return Failure(Cause.MALFORMED)
        acts_as, name, password = texts
        return authenticate(self._passwords, Mechanism.PLAIN, (acts_as, name, password))


class LoginExchange:
    """Two prompts; some clients send the name at once."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords
        self._name: bytes | None = None

    def respond(self, response: bytes | None) -> Answer | Awaitable[Answer]:
        """Take what the client said; None at the beginning when it said nothing yet."""
        if response is None:
            return Challenge(b"Username:")
        if self._name is None:
            self._name = response
            return Challenge(b"Password:")
        texts = _texts(self._name, response)
        if texts is None:
            return Failure(Cause.MALFORMED)
        name, password = texts
        return authenticate(self._passwords, Mechanism.LOGIN, ("", name, password))


def _texts(*parts: bytes) -> list[str] | None:
    try:
        return [part.decode() for part in parts]
    except UnicodeDecodeError:
        return None
