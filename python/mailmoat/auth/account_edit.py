"""Changing the file of accounts: one change at a time; a reader finds the old file or the new one.

Comments, order and lines of other accounts stay as they are, and so do owner and mode of the file; a new one is for its owner alone.
The file is locked while it is changed (flock(2)), so that of two changes at once none is lost. A file with a mistake is not changed.
Raises ConfigError for that, ValueError for a change that cannot be made, OSError. Blocks on the disk.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from mailmoat import files
from mailmoat.auth import accounts
from mailmoat.auth.prepare import account_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mailmoat.auth.accounts import Account

V = TypeVar("V", bound="Account | None")

NEW_MODE: Final = 0o600


def add(path: Path, account: Account) -> bool:
    """Add an account at the end; the file is made if it is not there. Return whether it was made."""

    def change(there: Account | None) -> Account:
        if there is not None:
            raise ValueError(f"{there.name} is there already; mailmoat user passwd sets another password")
        return account

    return _change(path, account.name, change, create=True)[1]


def replace(path: Path, name: str, change: Callable[[Account], Account]) -> Account:
    """Replace an account by what `change` makes of it, and return that."""

    def of_one_there(there: Account | None) -> Account:
        return change(_present(there, name))

    return _change(path, name, of_one_there)[0]


def remove(path: Path, name: str) -> None:
    """Remove an account."""

    def change(there: Account | None) -> None:
        _present(there, name)

    _change(path, name, change)


def _present(there: Account | None, name: str) -> Account:
    if there is None:
        raise ValueError(f"there is no account {name}")
    return there


def _change(path: Path, name: str, change: Callable[[Account | None], V], *, create: bool = False) -> tuple[V, bool]:
    """Put what `change` makes of the account in its place; None removes it. Return it, and whether the file is new."""
    target = path.resolve()
    with _locked(target, create=create) as (descriptor, is_new):
        octets = os.pread(descriptor, accounts.LARGEST_FILE + 1, 0)
        changed = change(accounts.read(octets).find(name))
        lines = _lines(octets)
        at = next((number for number, line in enumerate(lines) if _is_of(line, name)), len(lines))
        lines[at : at + 1] = [changed.line().encode() + b"\n"] if changed is not None else []
        content = b"".join(lines)
        accounts.read(content)
        _write(target, content, os.fstat(descriptor))
    return changed, is_new


def _lines(octets: bytes) -> list[bytes]:
    """Return the lines of a file as `accounts.read` takes them, each with its end."""
    return [line + b"\n" for line in octets.removesuffix(b"\n").split(b"\n")] if octets else []


def _is_of(line: bytes, name: str) -> bool:
    account = accounts.read_line(line.removeprefix(b"\xef\xbb\xbf"))
    return account is not None and account_key(account.name) == account_key(name)


@contextmanager
def _locked(path: Path, *, create: bool) -> Iterator[tuple[int, bool]]:
    """Hold the file that is at `path` when the lock is there: the one before it may have replaced it."""
    while True:
        is_new = create and not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), NEW_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                yield descriptor, is_new
                return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes, like: os.stat_result) -> None:
    with files.replacing(path) as file:
        file.write(content)
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(file.fileno(), like.st_uid, like.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
