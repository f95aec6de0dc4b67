"""What a worker keeps in memory of the files that the settings name: certificates, accounts, lists of agents, blocked senders, texts of reports.

Each file is looked at in its own rhythm; `reread` reads all of them at once, counts that, and waits for the last. What cannot be used
changes nothing: see `TlsMaterial`, `WatchedFile`. The files of the next hop are read by its connections. Never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.metrics import FILES_REREAD

if TYPE_CHECKING:
    import asyncio

    from mailmoat.auth.authenticator import Backend
    from mailmoat.delivery.reporting import Reporter
    from mailmoat.policy.services import Services
    from mailmoat.tls.material import TlsMaterial


class WorkerFiles:
    """The files of one worker; None where there are no certificates or accounts."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tls: TlsMaterial | None,
        backend: Backend | None,
        services: Services,
        reporter: Reporter,
    ) -> None:
        self._loop, self._metrics = loop, services.metrics
        self._tls, self._backend = tls, backend
        self._watched, self._senders = services.watched, services.sender_file
        self._reporter = reporter

    def tick(self) -> None:
        """Work once a second."""
        if self._tls is not None:
            self._tls.tick()
        if self._backend is not None:
            self._backend.tick(self._loop)
        for file in self._watched:
            file.refresh(self._loop)
        if self._senders is not None:
            self._senders.refresh()
            self._senders.publish(self._metrics)

    async def reread(self) -> None:
        """Read what has changed, and count it when all is done."""
        if self._tls is not None:
            self._tls.look()
        if self._backend is not None:
            await self._backend.reread(self._loop)
        for file in self._watched:
            await file.read_now(self._loop)
        self._reporter.read_texts()
        self._metrics.add(FILES_REREAD)
