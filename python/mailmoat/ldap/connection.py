"""A connection to an LDAP server: several operations at a time, their answers as they come. No thread, nothing that blocks.

Promises: a server that ends, that is silent or that does not speak LDAP is a ServerError for all who wait for it, with a sentence that
names it. What is kept of answers that nobody has taken yet is bounded: then nothing is read from the server until somebody does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Self, cast

from mailmoat.ldap import message
from mailmoat.ldap.ber import GarbledError
from mailmoat.ldap.framing import Framer
from mailmoat.ldap.message import NOTICE_OF_DISCONNECTION, SUCCESS, Done, Reference
from mailmoat.ldap.outcome import LdapError, ServerError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    from mailmoat.ldap.message import Answer, Control, Intermediate, Message, SearchEntry, SearchRequest
    from mailmoat.ldap.server import Server

PATIENCE: Final = 30.0
"""Seconds until the next answer, where the caller gives no other time."""
MOST_UNTAKEN: Final = 2000
"""Answers that wait to be taken, of all operations of a connection."""
_LAST_NUMBER: Final = (1 << 31) - 1
"""RFC 4511 4.1.1.1."""


class Connection(asyncio.Protocol):
    """A connection to `server`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._transport: asyncio.Transport | None = None
        self._framer = Framer()
        self._operations: dict[int, _Operation] = {}
        self._untaken = 0
        self._paused = False
        self._number = 0
        self._failure: str | None = None
        self._before_tls = False

    @property
    def usable(self) -> bool:
        """Whether it has not failed and was not closed."""
        return self._failure is None

    def search(
        self, request: SearchRequest, controls: Sequence[Control] = (), *, patience: float | None = PATIENCE
    ) -> Search:
        """Begin a search; to be used in `async with`. `patience` is the wait for each answer, in seconds; None = for ever."""
        return Search(self, self._begin(lambda number: message.search(number, request, controls)), patience)

    async def bind(self, account: str, password: bytes) -> None:
        """Authenticate by a name and a password (RFC 4513 5.1.3). ValueError for an empty password; raises ServerError."""
        await self._result(lambda number: message.simple_bind(number, account, password))

    async def bind_external(self) -> None:
        """Authenticate with the identity of the TLS certificate or the Unix socket (RFC 4513 5.2.3). Raises ServerError."""
        await self._result(message.external_bind)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Begin TLS (RFC 4511 4.14); nothing else may be on its way. Raises ServerError, and OSError for what the handshake raises."""
        self._before_tls = True
        await self._result(message.start_tls)
        if self._transport is None or self._failure is not None:
            raise self._failed()
        self._before_tls = False
        loop, below, self._transport = asyncio.get_running_loop(), self._transport, None
        try:
            self._transport = await loop.start_tls(below, self, context, server_hostname=self.server.host)
        finally:
            if self._transport is None:
                below.abort()
                self._fail("the TLS handshake failed")

    def close(self) -> None:
        """End it, and all operations with it."""
        if self._transport is not None and self._failure is None:
            self._transport.write(message.unbind(self._next_number()))
            self._transport.close()
            self._transport = None
        self._fail("the connection was closed")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            for octets in self._cut(data):
                self._deliver(message.decode(octets))
        except GarbledError as error:
            self._fail(f"what it sends is garbled: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        reason = getattr(exc, "strerror", None)
        self._fail(f"the connection was lost: {reason}" if reason else "it ended the connection")

    async def _arrived(self, operation: _Operation, seconds: float | None) -> bool:
        """Wait until there is an answer or there will be none, at most `seconds`; return whether that came."""
        if operation.answers or self._failure is not None:
            return True
        operation.waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await operation.waiter
        except TimeoutError:
            return False
        finally:
            operation.waiter = None
        return True

    async def _answered(self, operation: _Operation, patience: float | None) -> Answer:
        """Return the next answer; wait for it."""
        if not operation.answers:
            if not await self._arrived(operation, patience):
                raise ServerError(f"{self.server.text}: no answer in {patience:g} s")
            if not operation.answers:
                raise self._failed()
        self._take(1)
        return operation.answers.popleft()

    async def _result(self, encode: Callable[[int], bytes]) -> Done:
        """Return the result of an operation that has no other answers. Raises LdapError unless it succeeded."""
        operation = self._begin(encode)
        while not isinstance(answer := await self._answered(operation, PATIENCE), Done):
            pass
        if answer.code != SUCCESS:
            raise LdapError(self.server.text, answer)
        return answer

    def _begin(self, encode: Callable[[int], bytes]) -> _Operation:
        operation = _Operation(self._next_number())
        octets = encode(operation.number)
        if self._transport is not None and self._failure is None:
            self._operations[operation.number] = operation
            self._transport.write(octets)
        return operation

    def _abandon(self, operation: _Operation) -> None:
        self._take(len(operation.answers))
        if self._operations.pop(operation.number, None) and self._transport is not None and self._failure is None:
            self._transport.write(message.abandon(self._next_number(), operation.number))

    def _cut(self, chunk: bytes) -> Iterable[bytes]:
        """Return the messages that are whole now. What comes in clear behind the answer to StartTLS is not the server's (RFC 4511 4.14.1)."""
        if not self._before_tls or self._transport is None:
            return self._framer.feed(chunk)
        self._transport.pause_reading()
        found = list(self._framer.feed(chunk))
        if len(found) != 1 or not self._framer.empty:
            raise GarbledError("more than one answer before TLS")
        return found

    def _deliver(self, received: Message) -> None:
        number, answer = received
        operation = self._operations.get(number)
        if operation is None:
            if number == 0 and isinstance(answer, Done) and answer.name == NOTICE_OF_DISCONNECTION:
                self._fail(f"it ended the connection: {LdapError(self.server.text, answer).reason}")
            elif not 0 <= number <= self._number:
                raise GarbledError("an answer without a request")
            return
        if isinstance(answer, Reference):
            return
        if isinstance(answer, Done):
            del self._operations[number]
        operation.answers.append(answer)
        operation.wake()
        self._untaken += 1
        if self._untaken >= MOST_UNTAKEN and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _take(self, count: int) -> None:
        self._untaken -= count
        if self._paused and self._untaken < MOST_UNTAKEN // 2 and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _fail(self, reason: str) -> None:
        if self._failure is not None:
            return
        self._failure = reason
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        for operation in self._operations.values():
            operation.wake()
        self._operations.clear()

    def _failed(self) -> ServerError:
        return ServerError(f"{self.server.text}: {self._failure}")

    def _next_number(self) -> int:
        while True:
            self._number = self._number % _LAST_NUMBER + 1
            if self._number not in self._operations:
                return self._number


class _Operation:
    """A request that is on its way: its answers, and the task that waits for the next one."""

    __slots__ = ("answers", "number", "waiter")

    def __init__(self, number: int) -> None:
        self.number = number
        self.answers: deque[Answer] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake the task that waits."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Search:
    """The answers to a search: an asynchronous iterator that ends after its result. Leaving the block early abandons it.

    Raises ServerError; LdapError, with the result in it, for a result other than success.
    """

    def __init__(self, connection: Connection, operation: _Operation, patience: float | None) -> None:
        self._connection = connection
        self._operation = operation
        self._patience = patience
        self.done: Done | None = None
        """Its result, when it has ended."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection._abandon(self._operation)  # noqa: SLF001 - two classes, one thing

    async def arrived(self, seconds: float) -> bool:
        """Wait up to so many seconds, and say whether there is an answer to take, or why there will be none."""
        return await self._connection._arrived(self._operation, seconds)  # noqa: SLF001

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SearchEntry | Intermediate:
        if self.done is not None:
            raise StopAsyncIteration
        answer = await self._connection._answered(self._operation, self._patience)  # noqa: SLF001
        if isinstance(answer, Done):
            self.done = answer
            if answer.code != SUCCESS:
                raise LdapError(self._connection.server.text, answer)
            raise StopAsyncIteration
        return cast("SearchEntry | Intermediate", answer)
