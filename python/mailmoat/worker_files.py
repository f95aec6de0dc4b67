"""What a worker keeps in memory of the files that the settings name: certificates, accounts, lists of agents.

Each file is looked at in its own rhythm; `reread` reads all of them at once, counts that, and waits for the last. What cannot be used
changes nothing: see `TlsMaterial`, `WatchedFile`. The files of the next hop are read by its connections. Never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.metrics import FILES_REREAD

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from typing import Any

    from mailmoat.auth.authenticator import Backend
    from mailmoat.metrics import Metrics
    from mailmoat.tls.material import TlsMaterial
    from mailmoat.watched_file import WatchedFile


class WorkerFiles:
    """The files of one worker; None where there are no certificates or accounts."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        metrics: Metrics,
        tls: TlsMaterial | None,
        backend: Backend | None,
        watched: Sequence[WatchedFile[Any]],
    ) -> None:
        self._loop, self._metrics = loop, metrics
        self._tls, self._backend, self._watched = tls, backend, watched

    def tick(self) -> None:
        """Work once a second."""
        if self._tls is not None:
            self._tls.tick()
        if self._backend is not None:
            self._backend.tick(self._loop)
        for file in self._watched:
            file.refresh(self._loop)

    async def reread(self) -> None:
        """Read what has changed, and count it when all is done."""
        if self._tls is not None:
            self._tls.look()
        if self._backend is not None:
            await self._backend.reread(self._loop)
        for file in self._watched:
            await file.read_now(self._loop)
        self._metrics.add(FILES_REREAD)
