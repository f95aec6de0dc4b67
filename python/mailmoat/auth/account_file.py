"""The file of accounts, as it is in force: read when a worker starts, and again when it changes.

Promises: only a whole file without a mistake replaces what is in force; a file that may be unfinished waits (`file_changes`); a mistake
is logged once, with its line and never with what is in it. It is read beside the loop. Never raises: without a file that can be used
there are no accounts, and authentication is a temporary failure.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.auth import accounts
from mailmoat.auth.accounts import LARGEST_FILE, Accounts
from mailmoat.errors import ConfigError
from mailmoat.events import Event
from mailmoat.file_changes import NONE, QUIET_TIME, Quiet, Stamp, stamp_of

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

RETRY_TIME: Final = 60.0
"""Seconds after which a file that could not be used is tried again although it has not changed: a disk may have failed, or descriptors."""


class AccountFile:
    """The accounts of the file at `path`; those in force are `accounts`, None while there are none that can be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._quiet = Quiet()
        self._in_force = NONE
        self._tried = NONE
        self._waits_for = ""
        self._reading = False
        self._mistakes: list[str] = []
        self._again = 0.0
        self.accounts: Accounts | None = None
        self._take(stamp_of(path), self._read())

    def refresh(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the file read if it has changed; else this costs one `stat`."""
        stamp = stamp_of(self._path)
        if self._reading or (stamp == self._tried and not self._due_again()):
            return
        self._wait_for(self._quiet.reason_to_wait(stamp, self._in_force) if self.accounts else "")
        if self._waits_for:
            return
        self._reading = True
        future = loop.run_in_executor(None, self._read)
        future.add_done_callback(lambda done: self._take(stamp, done.result()))

    def _read(self) -> Accounts | ConfigError:
        try:
            return read_file(self._path)
        except ConfigError as error:
            return error

    def _due_again(self) -> bool:
        return bool(self._mistakes) and clock.monotonic() >= self._again

    def _take(self, stamp: Stamp, found: Accounts | ConfigError) -> None:
        self._reading, self._tried = False, stamp
        mistakes = found.mistakes if isinstance(found, ConfigError) else []
        for mistake in mistakes if mistakes != self._mistakes else ():
            maillog.event(Event.ACCOUNTS_REFUSED, detail=f"{self._path}: {mistake}")
        self._mistakes, self._again = mistakes, clock.monotonic() + RETRY_TIME
        if isinstance(found, ConfigError):
            return
        self.accounts, self._in_force = found, stamp
        maillog.event(Event.ACCOUNTS_READ, source=str(self._path), accounts=len(found.by_key))
        if problem := exposed(self._path):
            maillog.event(Event.ACCOUNTS_EXPOSED, source=str(self._path), detail=problem)

    def _wait_for(self, reason: str) -> None:
        if reason and reason != self._waits_for:
            maillog.event(Event.ACCOUNTS_WAIT, source=str(self._path), detail=reason, quiet=QUIET_TIME)
        self._waits_for = reason


def read_file(path: Path) -> Accounts:
    """Read a file of accounts; ConfigError with a sentence for each mistake in it."""
    try:
        with path.open("rb") as file:
            octets = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError([f"it cannot be read: {error.strerror or error}"]) from None
    return accounts.read(octets)


def exposed(path: Path) -> str:
    """Return in words who can read or change a file that should not; empty if there is nobody."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    if mode & stat.S_IWOTH:
        return "every account can change it; chmod o-w"
    if mode & stat.S_IROTH:
        return "every account can read it; chmod o-r"
    return ""
