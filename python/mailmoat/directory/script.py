"""A program as a source: it writes one entry a line to its standard output, in the notation of the recipient file.

Synchronised, it is run without arguments. An exit status that is not 0, or no entry, is an outage: what it wrote counts only when it ended well.
As a live source it gets the address as its only argument. Exit status 0 = the address exists, and each line it writes is an address that gets
its mail instead; 1 = it does not exist; anything else is an outage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.directory.directory import Presence
from mailmoat.directory.lines import Lines, probe_result
from mailmoat.directory.running_script import RunningScript
from mailmoat.directory.source import MOST_TARGETS, Begin, LiveAnswer, ProbeResult, Whole
from mailmoat.errors import LookupFailedError, SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mailmoat._native import Address
    from mailmoat.directory.source import KnownIds, LeftOut, Part, Step
    from mailmoat.settings.sections.directories import SourceSettings

LARGEST_ANSWER: Final = 330 * MOST_TARGETS
"""Octets of an answer about one address."""
_ABSENT: Final = 1
"""When it wrote nothing: a program that fails has this status, too, in most languages, and says why."""


class Script:
    """The program of one row."""

    def __init__(self, row: SourceSettings) -> None:
        self._path = row.url.path
        self._time, self._size = row.script_time, row.script_size
        self._answer_time = row.timeout

    async def steps(self, cookie: bytes | None, known: KnownIds) -> AsyncIterator[Step]:  # noqa: ARG002 - it reads all
        """See `SyncSource`."""
        yield Begin()
        async for step in self._read():
            yield step
        yield Whole()

    async def lookup(self, address: Address) -> LiveAnswer:
        """See `LiveSource`."""
        written = b""
        async with RunningScript(self._path, _argument(address), seconds=self._answer_time) as running:
            while octets := await running.read():
                written += octets
                if len(written) > LARGEST_ANSWER:
                    raise LookupFailedError(f"{self._path} wrote more than {LARGEST_ANSWER} octets about one address")
            if await running.status() == _ABSENT and not (written or await running.complained()):
                return LiveAnswer(Presence.ABSENT)
            await running.succeeded()
        targets = tuple(filter(None, map(str.strip, written.decode(errors="replace").splitlines())))
        if len(targets) > MOST_TARGETS:
            raise LookupFailedError(f"{self._path} wrote more than {MOST_TARGETS} addresses for one")
        return LiveAnswer(Presence.EXISTS, targets, str(address))

    async def probe(self) -> ProbeResult:
        """See `Probed`."""
        return probe_result(str(self._path), [step async for step in self._read()])

    async def _read(self) -> AsyncIterator[Part | LeftOut]:
        lines = Lines()
        async with RunningScript(self._path, seconds=self._time) as running:
            while octets := await running.read():
                for part in lines.feed(octets):
                    yield part
                if lines.octets > self._size:
                    raise SourceError(f"{self._path} wrote more than {self._size} octets, which is script_size")
            await running.succeeded()
        for step in lines.end():
            yield step
        if not lines.entries:
            raise SourceError(f"{self._path} wrote no entry")


def _argument(address: Address) -> str:
    """Return an address as an argument: never one that a program takes for an option, as strangers write it."""
    return f'"{address.local}"@{address.domain}' if address.local.startswith("-") else str(address)
