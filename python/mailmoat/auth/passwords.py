"""Checking a name and a password, for PLAIN and LOGIN: what a source of accounts has to answer, and what follows from it.

A source implements `Passwords`: the file of accounts does, a directory that binds can. One answer and one time for an unknown name, a
wrong password and a disabled account are its promise. A name or password that cannot be prepared is never put to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from mailmoat.auth.authenticator import Cause, Failure, Identity, Success
from mailmoat.auth.prepare import account_key, prepare

if TYPE_CHECKING:
    from mailmoat.auth.authenticator import Answer

LONGEST_PASSWORD: Final = 1024
"""Octets. RFC 4616 2 asks for 255."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The password is that of this account."""

    name: str
    """As the source writes it."""
    may_relay: bool


class Passwords(Protocol):
    """A source of accounts that checks passwords."""

    async def check(self, name: str, password: str) -> Verified | Cause:
        """Return whose password this is, or why it is nobody's. Neither is empty; the password is prepared."""


async def authenticate(passwords: Passwords, mechanism: str, credentials: tuple[str, str, str]) -> Answer:
    """Return what follows from an authorization identity (may be empty), a name and a password (RFC 4616 2)."""
    acts_as, name, password = credentials
    try:
        account_key(name)
        prepared = prepare(password)
    except ValueError:
        return Failure(Cause.MALFORMED, name)
    if len(prepared.encode()) > LONGEST_PASSWORD:
        return Failure(Cause.MALFORMED, name)
    found = await passwords.check(name, prepared)
    if isinstance(found, Cause):
        return Failure(found, name)
    if acts_as and not same_account(acts_as, found.name):
        return Failure(Cause.REFUSED, name)
    return Success(Identity(found.name, mechanism, found.may_relay))


def same_account(one: str, other: str) -> bool:
    """Return whether two names are spellings of one."""
    try:
        return account_key(one) == account_key(other)
    except ValueError:
        return False
