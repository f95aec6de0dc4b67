"""One run of a program of the administrator: its output in blocks, its exit status, and its end with its whole process group.

Promises: it ends by itself or is killed, at its deadline, or when the block is left; what it started in its process group is killed with it.
It gets no input, and of the environment only a search path. Raises SourceError with a sentence.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from mailmoat.errors import LookupFailedError, SourceError
from mailmoat.printable import printable

if TYPE_CHECKING:
    from asyncio import StreamReader
    from asyncio.subprocess import Process
    from pathlib import Path

_BLOCK: Final = 65_536
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHOWN: Final = 200


class RunningScript:
    """The program at `path` with these arguments, which has `seconds` to end."""

    def __init__(self, path: Path, *arguments: str, seconds: float) -> None:
        self._path, self._arguments, self._seconds = path, arguments, seconds
        self._errors = b""

    async def __aenter__(self) -> Self:
        self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            self._process: Process = await asyncio.create_subprocess_exec(
                self._path,
                *self._arguments,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                env={"PATH": _PATH},
                start_new_session=True,
            )
        except OSError as error:
            raise SourceError(f"{self._path} cannot be run: {error.strerror}") from None
        self._output: StreamReader = self._process.stdout  # type: ignore[assignment] # they are pipes
        self._listener = asyncio.create_task(self._listen(self._process.stderr))  # type: ignore[arg-type]
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._listener.cancel()
        await self._process.wait()

    async def read(self) -> bytes:
        """Return some of its output; empty at its end."""
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._output.read(_BLOCK)
        except TimeoutError:
            raise self._late() from None

    async def status(self) -> int:
        """Return its exit status, below 0 when a signal ended it."""
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._process.wait()
        except TimeoutError:
            raise self._late() from None

    async def succeeded(self) -> None:
        """Raise SourceError unless it ended with 0: a LookupFailedError, as it ran."""
        status = await self.status()
        if status == 0:
            return
        await self.complained()
        lines = self._errors.decode(errors="replace").split("\n")
        said = next((printable(line.strip())[:_SHOWN] for line in reversed(lines) if line.strip()), "")
        how = f"ended with exit status {status}" if status > 0 else f"was killed by {signal.Signals(-status).name}"
        raise LookupFailedError(f"{self._path} {how}{': ' if said else ''}{said}")

    async def complained(self) -> bool:
        """Return whether it wrote to its standard error. It has ended; what it started may still write, until the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._deadline):
                await asyncio.wait((self._listener,))
        return bool(self._errors.strip())

    def _late(self) -> SourceError:
        return SourceError(f"{self._path} took longer than {self._seconds:g} s")

    async def _listen(self, errors: StreamReader) -> None:
        """Keep the end of what it writes to its standard error."""
        while octets := await errors.read(_BLOCK):
            self._errors = (self._errors + octets)[-4 * _SHOWN :]
