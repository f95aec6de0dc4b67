"""SCRAM keys for names that have none: a client must not see from the challenge whether an account exists (RFC 5802 9).

A name always gets the same salt, in every worker and after a restart, as an account has: it is an HMAC of the name under a secret in
the spool directory, which is made once. The keys themselves fit no password. If the secret can be neither read nor written, one for
this process takes its place.
"""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from mailmoat.auth.verifiers import KEY_SIZE, ScramKeys

if TYPE_CHECKING:
    from mailmoat.auth.accounts import Accounts

_SECRET_SIZE: Final = 32


class Decoys:
    """The keys that names without an account get."""

    def __init__(self, secret: Path) -> None:
        self._path = secret

    @cached_property
    def _secret(self) -> bytes:
        """Read when it is needed: who only checks a password makes no file."""
        return _kept(self._path)

    def keys(self, key: str, accounts: Accounts) -> ScramKeys:
        """Return keys that look like most of these accounts'; `key` is that of the name (`account_key`)."""
        salt = hmac.digest(self._secret, key.encode(), "sha512")[: accounts.salt_size]
        return ScramKeys(accounts.scram_cost, salt, secrets.token_bytes(KEY_SIZE), secrets.token_bytes(KEY_SIZE))


def _kept(path: Path) -> bytes:
    """Return the secret, which is made if it is not there or not whole. Of several processes, the first makes it."""
    if found := _read(path):
        return found
    made = secrets.token_bytes(_SECRET_SIZE)
    with suppress(OSError), TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as scratch:
        new = Path(scratch) / path.name
        new.touch(0o600)
        new.write_bytes(made)
        if path.exists() and not _read(path):
            path.unlink()
        with suppress(FileExistsError):
            os.link(new, path)
    return _read(path) or made


def _read(path: Path) -> bytes:
    """Return the secret; empty if it is not there or not whole."""
    try:
        octets = path.read_bytes()
    except OSError:
        return b""
    return octets if len(octets) == _SECRET_SIZE else b""
