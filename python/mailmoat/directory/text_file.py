"""A text file as a source: one entry a line, in the notation of the recipient file. It is read again when it changed.

A file that was just written, or shrank a lot, is not read before it is quiet (`file_changes`). It is read in blocks, with the loop of
the directory process running between them. Who writes it may not be the administrator: a pipe, which would hold that loop for ever, is no file.
"""

from __future__ import annotations

import os
import stat
from itertools import chain
from typing import IO, TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.directory.lines import Lines, probe_result
from mailmoat.directory.pause import pause
from mailmoat.directory.source import Begin, Current, Whole
from mailmoat.errors import SourceError
from mailmoat.file_changes import NONE, Quiet, Stamp, stamp_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from mailmoat.directory.source import KnownIds, LeftOut, Part, ProbeResult, Step
    from mailmoat.settings.sections.directories import SourceSettings

CHECK_TIME: Final = 1.0
"""Seconds between two looks at the file."""
_BLOCK: Final = 65_536


class TextFile:
    """The file of one row."""

    def __init__(self, row: SourceSettings) -> None:
        self._path = row.url.path
        self._interval = row.interval
        self._quiet = Quiet()

    async def steps(self, cookie: bytes | None, known: KnownIds) -> AsyncIterator[Step]:  # noqa: ARG002 - it reads all
        """See `SyncSource`."""
        read, said = cookie, -self._interval
        while True:
            stamp = self._stamp()
            if _cookie(stamp) != read and not (read and self._quiet.reason_to_wait(stamp, _stamp(read))):
                yield Begin()
                for steps in self._read():
                    for step in steps:
                        yield step
                    await pause()
                read, said = _cookie(stamp), clock.monotonic()
                yield Whole(read)
            elif clock.monotonic() - said >= self._interval and _cookie(stamp) == read:
                said = clock.monotonic()
                yield Current(read)
            await pause(CHECK_TIME)

    async def probe(self) -> ProbeResult:
        """See `Probed`."""
        return probe_result(str(self._path), chain.from_iterable(self._read()))

    def _stamp(self) -> Stamp:
        stamp = stamp_of(self._path)
        if stamp == NONE:
            raise SourceError(f"{self._path} is not there, or may not be looked at")
        return stamp

    def _read(self) -> Iterator[Iterable[Part | LeftOut]]:
        """Yield the steps of each block, if it has any."""
        lines = Lines()
        try:
            with self._opened() as file:
                while octets := file.read(_BLOCK):
                    yield lines.feed(octets)
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror}") from None
        yield lines.end()

    def _opened(self) -> IO[bytes]:
        # A pipe would wait for who writes.
        file = os.fdopen(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
        raise SourceError(f"{self._path} is no file")


def _cookie(stamp: Stamp) -> bytes:
    return b" ".join(b"%d" % number for number in stamp)


def _stamp(cookie: bytes) -> Stamp:
    try:
        return Stamp(*map(int, cookie.split()))
    except (ValueError, TypeError):
        return NONE
