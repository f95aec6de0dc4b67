"""Which server runs on a spool directory (at most one), and its state.

The supervisor holds a lock (fcntl(2), `F_SETLK`) on `<spool_dir>/lock` for as long as it lives. The kernel ends the lock with
the process, no child inherits it, and the kernel names the pid of the owner: there is no file that could be wrong. So a new
server can start at once beside workers that still drain for a supervisor that was killed; their partitions have locks of their own.
What the kernel does not have (version, settings in force, how the last reload ended) is in `<spool_dir>/server.json`, which the
next owner of the lock removes first: while the lock is held it is the owner's.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING, Final

import msgspec

from mailmoat import files
from mailmoat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME: Final = "lock"
STATE_NAME: Final = "server.json"

_FLOCK: Final = struct.Struct("hhqqi4x")
"""`struct flock`: type, whence, start, length, pid."""


class ReloadResult(msgspec.Struct, frozen=True):
    """How the last reload ended."""

    begun: int
    """Milliseconds of the monotonic clock, which all processes of a machine share."""
    ended: int
    """Milliseconds since the epoch."""
    refused: tuple[str, ...] = ()
    """Why it changed nothing; empty when it was taken."""
    kept: tuple[str, ...] = ()
    """Settings that have changed and need a restart, where it was taken."""


class State(msgspec.Struct, frozen=True):
    """What a supervisor says of itself."""

    version: str
    started: int
    """Milliseconds since the epoch."""
    generation: int
    """Of the settings in force: 0 at start."""
    listen: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    """Each as `domains: next hop`, that of all other domains last."""
    admin: str = ""
    """The address of /healthz, as `host:port`; empty if there is none."""
    reload: ReloadResult | None = None


def lock(spool_dir: Path, owner: int | None) -> int:
    """Become the server of this spool directory; `owner` is the uid of the lock's file (None: ours).

    The descriptor given must stay open: the lock is the process's, and closing any descriptor of the file would end it. ConfigError
    when another server has it.
    """
    descriptor = os.open(spool_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        pid = _holder(descriptor)
        os.close(descriptor)
        who = f"pid {pid}" if pid else "in another container, or ended just now"
        raise ConfigError(
            [f"spool_dir = {spool_dir}: another mailmoat ({who}) runs on it; stop that one, or name another directory"]
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise ConfigError([f"spool_dir = {spool_dir}: cannot be locked: {error.strerror}; use a local disk"]) from None
    if owner is not None:
        os.fchown(descriptor, owner, -1)
    (spool_dir / STATE_NAME).unlink(missing_ok=True)
    return descriptor


def find_server(spool_dir: Path) -> int | None:
    """Return the pid of the server that runs on this spool; 0 if it is in another container; None when there is none.

    OSError when the spool may not be looked into.
    """
    try:
        descriptor = os.open(spool_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _holder(descriptor)
    finally:
        os.close(descriptor)


def write_state(spool_dir: Path, state: State) -> None:
    """Say what is so, whole or not at all. OSError when the disk does not take it."""
    files.replace(spool_dir / STATE_NAME, msgspec.json.encode(state))


def state_of(spool_dir: Path) -> State | None:
    """Return the state that the owner of the lock has written; None if it has written none yet."""
    try:
        return msgspec.json.decode((spool_dir / STATE_NAME).read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None


def _holder(descriptor: int) -> int | None:
    """Return the pid of the owner of the lock; 0 if it is in another pid namespace."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else max(pid, 0)
