"""What all databases have in common: a connection that reads, and what its failures are called.

A connection only reads: its transactions are read-only, and so is the session as far as the database has that. It has one user at a time. Whatever a
driver raises, because the server is gone, says no, or answers nonsense, becomes a SourceError with a sentence of ours: no value of a query, no
password and no text of a row is in it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from mailmoat.errors import LookupFailedError, SourceError
from mailmoat.net.certificate_refusal import refusal
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence

    from mailmoat.directory.sql.placeholders import Query, Syntax
    from mailmoat.settings.source_url import SourceServer

PART: Final = 1000
"""Rows that are read at a time."""
GOODBYE_TIME: Final = 2.0
"""Seconds for closing a connection."""
NO_TLS: Final = 'it offers no TLS; write tls = "none" if the network to it is trusted'
_LONGEST_REASON: Final = 200


class Rows(NamedTuple):
    """Some rows of a result."""

    names: tuple[str, ...]
    """Of the columns."""
    rows: Sequence[Sequence[object]]


class Connection(Protocol):
    """A connection to one server, ready to read."""

    version: str
    """Of the server, as it is shown to the administrator."""

    def read(self, query: Query, values: Mapping[str, object]) -> AsyncGenerator[Rows, None]:
        """Yield the rows in parts of at most `PART`, and at least one part; SourceError when they cannot be had."""

    async def ask(self, query: Query, values: Mapping[str, object]) -> Rows:
        """Return at most `PART` rows of a short answer; SourceError."""

    async def close(self) -> None:
        """Say goodbye and close it; never raises."""

    def abort(self) -> None:
        """Close it at once, whatever it does; never raises."""


AnyConnection = TypeVar("AnyConnection", bound=Connection)


async def prepared(connection: AnyConnection, preparing: Awaitable[None]) -> AnyConnection:
    """Return a connection when it is ready to read; it is closed when that fails."""
    try:
        await preparing
    except BaseException:
        connection.abort()
        raise
    return connection


class Notified(Protocol):
    """A connection that hears of changes."""

    async def notified(self, seconds: float) -> None:
        """Return when the channel has a notification, or after so many seconds; SourceError when the connection is lost."""


class Database(Protocol):
    """One kind of database, with the settings of a row."""

    syntax: Syntax

    async def open(self, server: SourceServer, patience: float) -> Connection:
        """Return a connection whose queries give their next rows within `patience` seconds; SourceError."""

    def file(self, server: SourceServer) -> str:
        """Return which file has the name of the database now; empty for a server."""

    def stamp(self, server: SourceServer) -> str:
        """Return another text whenever the database may have changed; empty where that is not to be seen from outside."""


@contextmanager
def outages(
    where: str,
    said: Callable[[BaseException], str | None],
    is_answer: Callable[[BaseException], bool] = lambda _: False,
) -> Iterator[None]:
    """Turn whatever a driver raises into a SourceError about `where`, a LookupFailedError where it is the database's answer to a query.

    `said` gives what the database said of its own errors, if it may be shown.
    """
    try:
        yield
    except SourceError:
        raise
    except TimeoutError:
        raise SourceError(f"{where}: no answer in time") from None
    except Exception as error:  # noqa: BLE001 - a driver raises anything when a server answers nonsense
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        kind = LookupFailedError if is_answer(error) else SourceError
        raise kind(f"{where}: {_sentence(cause, said)}") from None


def _sentence(error: BaseException, said: Callable[[BaseException], str | None]) -> str:
    reason = said(error)
    if reason is not None:
        return printable(" ".join(reason.split()))[:_LONGEST_REASON]
    if isinstance(error, ssl.SSLCertVerificationError):
        return refusal(error)
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or 'the handshake failed'}"
    lost = isinstance(error, asyncio.IncompleteReadError | ConnectionError | EOFError)
    if lost and not isinstance(error, ConnectionRefusedError):
        return "the connection was lost"
    if isinstance(error, OSError):
        # The loops say the same in words of their own; below 0 are the numbers of names.
        known = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        return f"no connection: {known or type(error).__name__}"
    return f"an answer that is not valid ({type(error).__name__})"
