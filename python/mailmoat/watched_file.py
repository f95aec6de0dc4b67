"""A file that an administrator writes and a worker keeps in memory: read at the start, when it changes, and at once where a reload asks.

Promises: only a whole file without a mistake replaces what is in force; a file that may be unfinished waits (`file_changes`), but not at
a reload; a mistake is logged once. It is read beside the loop. Never raises: `value` is None while there is none that can be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from mailmoat import clock
from mailmoat.errors import ConfigError
from mailmoat.file_changes import NONE, RETRY_TIME, Quiet, Stamp, stamp_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


class FileLog(NamedTuple):
    """What is to be logged of a file."""

    refused: Callable[[str], None]
    """A mistake, with the file."""
    waits: Callable[[str, str], None]
    """The file, and why it waits for `QUIET_TIME` without a change."""


class WatchedFile(Generic[T]):
    """The file at `path`. `read` raises ConfigError with a sentence for each mistake; `taken` gets each value that comes into force."""

    def __init__(
        self, path: Path, read: Callable[[Path], T], log: FileLog, taken: Callable[[T], None] = lambda _: None
    ) -> None:
        self._path, self._parse, self._log, self._taken = path, read, log, taken
        self._quiet = Quiet()
        self._in_force = NONE
        self._tried = NONE
        self._waits_for = ""
        self._reading = False
        self._mistakes: list[str] = []
        self._again = 0.0
        self.value: T | None = None
        self._take(stamp_of(path), self._read())

    def refresh(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the file read if it has changed; else this costs one `stat`. To be called once a second."""
        stamp = stamp_of(self._path)
        if self._reading or (stamp == self._tried and not self._due_again()):
            return
        self._wait_for(self._quiet.reason_to_wait(stamp, self._in_force) if self.value is not None else "")
        if self._waits_for:
            return
        self._reading = True
        future = loop.run_in_executor(None, self._read)
        future.add_done_callback(lambda done: self._take(stamp, done.result()))

    async def read_now(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the file as it is: whoever asks for that has finished it."""
        stamp = stamp_of(self._path)
        if stamp != self._in_force or self._mistakes:
            self._take(stamp, await loop.run_in_executor(None, self._read))

    def _read(self) -> T | ConfigError:
        try:
            return self._parse(self._path)
        except ConfigError as error:
            return error

    def _due_again(self) -> bool:
        return bool(self._mistakes) and clock.monotonic() >= self._again

    def _take(self, stamp: Stamp, found: T | ConfigError) -> None:
        self._reading, self._tried = False, stamp
        mistakes = found.mistakes if isinstance(found, ConfigError) else []
        for mistake in mistakes if mistakes != self._mistakes else ():
            self._log.refused(f"{self._path}: {mistake}")
        self._mistakes, self._again = mistakes, clock.monotonic() + RETRY_TIME
        if isinstance(found, ConfigError):
            return
        self.value, self._in_force = found, stamp
        self._taken(found)

    def _wait_for(self, reason: str) -> None:
        if reason and reason != self._waits_for:
            self._log.waits(str(self._path), reason)
        self._waits_for = reason
