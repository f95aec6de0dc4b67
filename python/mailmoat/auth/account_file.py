"""The file of accounts (`auth.file`): how it is read.

A mistake is a sentence with its line and never with what is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat import files, maillog
from mailmoat.auth import accounts
from mailmoat.auth.accounts import LARGEST_FILE, Accounts
from mailmoat.errors import ConfigError
from mailmoat.events import Event
from mailmoat.file_changes import QUIET_TIME
from mailmoat.watched_file import FileLog, WatchedFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def watch(path: Path, changed: Callable[[], None]) -> WatchedFile[Accounts]:
    """Keep the accounts of this file in memory; `changed` is called when others come into force."""

    def taken(found: Accounts) -> None:
        maillog.event(Event.ACCOUNTS_READ, source=str(path), accounts=len(found.by_key))
        if problem := files.exposed(path):
            maillog.event(Event.ACCOUNTS_EXPOSED, source=str(path), detail=problem)
        changed()

    return WatchedFile(path, read_file, FileLog(_refused, _waits), taken)


def _refused(detail: str) -> None:
    maillog.event(Event.ACCOUNTS_REFUSED, detail=detail)


def _waits(source: str, detail: str) -> None:
    maillog.event(Event.ACCOUNTS_WAIT, source=source, detail=detail, quiet=QUIET_TIME)


def read_file(path: Path) -> Accounts:
    """Read a file of accounts; ConfigError with a sentence for each mistake in it."""
    try:
        with path.open("rb") as file:
            octets = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError([f"it cannot be read: {error.strerror or error}"]) from None
    return accounts.read(octets)
