"""Notices of a domain controller that objects changed: what ends a wait early. Which objects is asked for otherwise.

A controller that gives none is no error: then a wait lasts as long as it may.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from mailmoat.directory.ad.controls import NOTIFICATION, SHOW_DELETED
from mailmoat.ldap import filters
from mailmoat.ldap.message import SearchRequest
from mailmoat.ldap.outcome import LdapError, ServerError

if TYPE_CHECKING:
    from mailmoat.ldap.connection import Connection
    from mailmoat.ldap.message import Control

GATHERING_TIME: Final = 0.2
"""Seconds from a notice to the end of the wait: one change makes several notices."""
SPACING: Final = 1.0
"""Seconds between two ends of waits by a notice, however many come."""
_ANY: Final = filters.parse("(objectClass=*)")


class Notices:
    """Notices about the naming context `context`, between `async with`."""

    def __init__(self, connection: Connection, context: str) -> None:
        self._connection = connection
        self._request = SearchRequest(context, _ANY, ("objectGUID",))
        self._come = asyncio.Event()
        self._due: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._task: asyncio.Task[None] | None = None
        self.failure: ServerError | None = None
        self.given = True
        """Whether the controller gives notices, as far as is known."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._due is not None:
            self._due.cancel()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def wait(self, seconds: float) -> bool:
        """Wait for a notice and return whether one came within this time. Raises ServerError when the connection is lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._come.wait()
        if self.failure is not None:
            raise self.failure
        come = self._come.is_set()
        self._come.clear()
        self._not_before = asyncio.get_running_loop().time() + SPACING
        return come

    async def _listen(self) -> None:
        try:
            # Without notices of deletions rather than without any.
            if not await self._search(NOTIFICATION, SHOW_DELETED):
                await self._search(NOTIFICATION)
            self.given = False
        except ServerError as error:
            self.failure = error
            self._come.set()

    async def _search(self, *controls: Control) -> bool:
        """Receive notices and return whether there were any before the controller ended it. Raises ServerError when the connection is lost."""
        any_notice = False
        try:
            async with self._connection.search(self._request, controls, patience=None) as answers:
                async for _ in answers:
                    any_notice = True
                    self._notice()
        except LdapError:
            return any_notice
        return any_notice

    def _notice(self) -> None:
        if self._due is None and not self._come.is_set():
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(max(loop.time() + GATHERING_TIME, self._not_before), self._end)

    def _end(self) -> None:
        self._due = None
        self._come.set()
