"""How one connection waits for its server: for each answer within a time, with its failures as SourceErrors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mailmoat.directory.sql.connection import outages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from mailmoat.directory.sql.placeholders import Query

T = TypeVar("T")


class Patience(NamedTuple):
    """What the connection's driver raises is told apart by `said` and `is_answer`; see `outages`."""

    where: str
    """The server, as it is named to the administrator."""
    seconds: float
    said: Callable[[BaseException], str | None]
    is_answer: Callable[[BaseException], bool]
    """Whether the server serves, and the query alone has failed."""

    async def wait(self, awaitable: Awaitable[T], query: Query | None = None) -> T:
        """Return what is awaited for a query, or for the connection itself. Raises SourceError, LookupFailedError."""
        with self.outages(query):
            async with asyncio.timeout(self.seconds):
                return await awaitable
        raise AssertionError  # outages never swallows

    def outages(self, query: Query | None) -> AbstractContextManager[None]:
        """Turn whatever the driver raises meanwhile into one of those."""
        where = f"{self.where}: {query.setting}" if query else self.where
        return outages(where, self.said, lambda error: query is not None and self.is_answer(error))
