"""What the supervisor may do and gives up: descriptors, directories, root.

Called by the supervisor while it starts, before the first fork. `drop` is for ever and checked. May fail: `ConfigError` when the
settings name an account that does not exist, OSError when the system refuses.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailmoat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_PR_SET_NO_NEW_PRIVS: Final = 38
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server becomes."""

    name: str
    uid: int
    gid: int


def account(user: str | None) -> Account | None:
    """Find the account root is to be dropped for; None when nothing is to be dropped: no user named, or not root."""
    if user is None or os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError([f"user = {user!r}: there is no such account; create it or name another"]) from None
    return Account(user, entry.pw_uid, entry.pw_gid)


def drop(to: Account) -> None:
    """Become `to`, with its groups and none of root's; nothing started from here on gets privileges back."""
    os.setgroups(os.getgrouplist(to.name, to.gid))
    os.setresgid(to.gid, to.gid, to.gid)
    os.setresuid(to.uid, to.uid, to.uid)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process that Python has no name for."""
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def raise_descriptor_limit() -> int:
    """Raise the number of descriptors we may have to the hard limit; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def own_directory(path: Path, owner: Account | None) -> None:
    """Make the directory if it is missing, for nobody else's eyes, and give it to `owner`."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)
