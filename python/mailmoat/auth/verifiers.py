"""What is kept of a password instead of itself: an Argon2id hash, and the keys by which SCRAM checks it.

A verifier says whether a password is the one it was made of, and what that check costs. Making and checking take tens of
milliseconds each and block: on the loop of a worker they belong into the hashing thread. A text that is no verifier, or one whose
check would cost more than a server can bear, is a ValueError that contains no part of the text. A check that cannot be made (no
memory) is a MemoryError. Passwords are prepared (`prepare`) before they come here.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import pbkdf2_hmac, sha256
from typing import Final, Protocol

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

SALT_SIZE: Final = 16
"""Octets."""
KEY_SIZE: Final = 32
"""Octets: of SHA-256, and of an Argon2id hash that is made here."""
ITERATIONS: Final = 65_536
"""Of PBKDF2 for SCRAM: the most that Cyrus SASL computes (the clients of Postfix and Sendmail); RFC 7677 4 has 4,096 as the least."""

_ARGON2: Final = re.compile(
    r"(?:\{ARGON2ID\})?\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})",
    re.ASCII,
)
_BASE64: Final = r"([A-Za-z0-9+/]{1,128}={0,2})"
_SCRAM: Final = re.compile(rf"SCRAM-SHA-256\$([1-9]\d{{0,7}}):{_BASE64}\${_BASE64}:{_BASE64}", re.ASCII)
"""RFC 5803 1."""
_SCRAM_OF_DOVECOT: Final = re.compile(rf"\{{SCRAM-SHA-256\}}([1-9]\d{{0,7}}),{_BASE64},{_BASE64},{_BASE64}", re.ASCII)
_KINDS: Final = ("$argon2", "{ARGON2", "SCRAM-SHA-256$", "{SCRAM-SHA-256}")
_MOST_MEMORY: Final = 1 << 18
"""KiB."""
_MOST_PASSES: Final = 16
_MOST_LANES: Final = 4
_LEAST_ITERATIONS: Final = 4096
_MOST_ITERATIONS: Final = 1_000_000
_SALT_SIZES: Final = range(8, 65)


class Cost(Protocol):
    """What a check costs: equal costs take the same time."""

    def spend(self, password: bytes) -> None:
        """Take as long as a check."""


class Verifier(Protocol):
    """What is kept of a password."""

    @property
    def cost(self) -> Cost:
        """What a check costs."""

    def matches(self, password: bytes) -> bool:
        """Say whether this is the password; MemoryError when it cannot be said now."""


@dataclass(frozen=True, slots=True)
class Argon2Cost:
    """The parameters of RFC 9106 3.1. The default is one of those that OWASP recommends: 19 ms, where those of the library take 182 ms."""

    memory: int = 19_456
    """KiB."""
    passes: int = 2
    lanes: int = 1

    def spend(self, password: bytes) -> None:
        """Take as long as a check."""
        self.hash(password, bytes(SALT_SIZE))

    def hash(self, password: bytes, salt: bytes, size: int = KEY_SIZE) -> bytes:
        """Return the hash."""
        try:
            return hash_secret_raw(password, salt, self.passes, self.memory, self.lanes, size, Type.ID)
        except HashingError:
            raise MemoryError from None


@dataclass(frozen=True, slots=True)
class ScramCost:
    """The iterations of PBKDF2."""

    iterations: int = ITERATIONS

    def spend(self, password: bytes) -> None:
        """Take as long as a check."""
        self.salted(password, bytes(SALT_SIZE))

    def salted(self, password: bytes, salt: bytes) -> bytes:
        """Return the SaltedPassword of RFC 5802 3."""
        return pbkdf2_hmac("sha256", password, salt, self.iterations)


@dataclass(frozen=True, slots=True)
class Argon2Hash:
    """An Argon2id hash (RFC 9106)."""

    cost: Argon2Cost
    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)

    @classmethod
    def make(cls, password: bytes) -> Argon2Hash:
        """Make one of a password."""
        cost, salt = Argon2Cost(), secrets.token_bytes(SALT_SIZE)
        return cls(cost, salt, cost.hash(password, salt))

    def matches(self, password: bytes) -> bool:
        """Say whether this is the password; MemoryError when it cannot be said now."""
        return hmac.compare_digest(self.cost.hash(password, self.salt, len(self.hash)), self.hash)

    def written(self) -> str:
        """Return it as it is in a file, in the PHC string format."""
        cost = f"m={self.cost.memory},t={self.cost.passes},p={self.cost.lanes}"
        return f"$argon2id$v=19${cost}${_unpadded(self.salt)}${_unpadded(self.hash)}"


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What SCRAM-SHA-256 keeps (RFC 5802 5): enough to check a proof, and not to make one."""

    cost: ScramCost
    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def make(cls, password: bytes, salt: bytes | None = None, cost: ScramCost | None = None) -> ScramKeys:
        """Make those of a password, with a random salt unless one is given."""
        cost, salt = cost or ScramCost(), salt or secrets.token_bytes(SALT_SIZE)
        salted = cost.salted(password, salt)
        return cls(cost, salt, stored_key(salted), hmac.digest(salted, b"Server Key", "sha256"))

    def matches(self, password: bytes) -> bool:
        """Say whether this is the password."""
        return hmac.compare_digest(stored_key(self.cost.salted(password, self.salt)), self.stored_key)

    def written(self) -> str:
        """Return it as it is in a file: the form of RFC 5803 1."""
        salt, stored, server = (b64encode(each).decode() for each in (self.salt, self.stored_key, self.server_key))
        return f"SCRAM-SHA-256${self.cost.iterations}:{salt}${stored}:{server}"


def stored_key(salted: bytes) -> bytes:
    """Return the StoredKey of a SaltedPassword (RFC 5802 3)."""
    return sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()


def is_verifier(word: str) -> bool:
    """Return whether a word of a file is meant as a verifier, whole or not."""
    return word.startswith(_KINDS)


def parse(word: str) -> Argon2Hash | ScramKeys:
    """Read a verifier as `written` gives it, or as Dovecot's `doveadm pw` prints it."""
    if match := _ARGON2.fullmatch(word):
        memory, passes, lanes = (int(match[number]) for number in (1, 2, 3))
        if not (8 * lanes <= memory <= _MOST_MEMORY and 1 <= passes <= _MOST_PASSES and 1 <= lanes <= _MOST_LANES):
            raise ValueError(
                f"this Argon2id hash costs too much (m up to {_MOST_MEMORY}, t up to {_MOST_PASSES}, p up to {_MOST_LANES})"
            )
        return Argon2Hash(Argon2Cost(memory, passes, lanes), _octets(match[4]), _octets(match[5]))
    if match := _SCRAM.fullmatch(word) or _SCRAM_OF_DOVECOT.fullmatch(word):
        salt, stored, server = (_octets(match[number]) for number in (2, 3, 4))
        if not _LEAST_ITERATIONS <= int(match[1]) <= _MOST_ITERATIONS:
            raise ValueError(f"the iterations of SCRAM are not between {_LEAST_ITERATIONS} and {_MOST_ITERATIONS}")
        if len(salt) not in _SALT_SIZES or {len(stored), len(server)} != {KEY_SIZE}:
            raise ValueError("the salt or a key of SCRAM-SHA-256 has a wrong length")
        return ScramKeys(ScramCost(int(match[1])), salt, stored, server)
    raise ValueError("this is not a whole Argon2id hash or SCRAM-SHA-256 verifier")


def _unpadded(octets: bytes) -> str:
    return b64encode(octets).decode().rstrip("=")


def _octets(written: str) -> bytes:
    """Read base64, with or without its padding."""
    bare = written.rstrip("=")
    try:
        return b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        raise ValueError("the base64 in this verifier is damaged") from None
