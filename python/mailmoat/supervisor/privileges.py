"""The privileges of the supervisor, and how it drops them: descriptors, root.

All of it is done before the first fork. `drop` is permanent and checked. May fail: LookupError when there is
no such account, OSError when the system refuses.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from dataclasses import dataclass
from typing import Final

from mailmoat import maillog
from mailmoat.events import Event

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
    return find(user)


def find(user: str) -> Account:
    """Return the account of this name; LookupError when there is none."""
    entry = pwd.getpwnam(user)
    return Account(user, entry.pw_uid, entry.pw_gid)


def assume(to: Account | None, user: str | None) -> None:
    """Become the account `to`; without one, log that root stays root, or that only root could become `user`."""
    if to is not None:
        drop(to)
    elif os.geteuid() == 0:
        maillog.event(Event.RUNNING_AS_ROOT, detail="name an account in `user` to drop root after binding")
    elif user is not None:
        maillog.event(Event.USER_IGNORED, user=user, detail="only root can change the account")


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
