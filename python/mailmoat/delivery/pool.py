"""The connections to one next hop: opened when there is something to send, kept a while, reused.

Promises: every submitted transaction is finished exactly once, through the loop; never more connections than the settings
allow; no connection attempt without a new transaction to send, so a next hop that is down is not hammered: a failed attempt
defers everything that waits. Transactions wait here without bound: the scheduler bounds them. Called by the scheduler.
RFC 5321 4.5.4.1, 5.1 (all addresses of a host are tried).
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from ipaddress import ip_address
from socket import SOCK_STREAM  # noqa: TID251 - a constant for getaddrinfo, no socket
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mailmoat._native import Client
from mailmoat.delivery.attempt import DEFERRED, AttemptRecord, Connection

if TYPE_CHECKING:
    from mailmoat.delivery.attempt import Timers, Transaction

Refusal: TypeAlias = tuple[int, str]
"""(state 0 deferred or 2 failed, reply) for everything that waits for a connection."""


class Hop(Protocol):
    """Where to."""

    @property
    def kind(self) -> str:
        """`smtp` or `lmtp`."""

    @property
    def host(self) -> str:
        """A name or a numeric address."""

    @property
    def port(self) -> int:
        """TCP port."""


class _Settings(Protocol):
    """What the pool needs of the settings' `delivery`; times in seconds (RFC 5321 4.5.3.2)."""

    @property
    def connections(self) -> int: ...
    @property
    def connect_time(self) -> float: ...
    @property
    def greeting_time(self) -> float: ...
    @property
    def mail_time(self) -> float: ...
    @property
    def rcpt_time(self) -> float: ...
    @property
    def data_time(self) -> float: ...
    @property
    def block_time(self) -> float: ...
    @property
    def end_of_data_time(self) -> float: ...
    @property
    def idle_time(self) -> float: ...


class Pool:
    """All connections of this worker to one next hop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        next_hop: Hop,
        settings: _Settings,
        hello_name: str,
        timers: Timers,
    ) -> None:
        self._loop = loop
        # A name that no host would take is told here, to whoever sets it.
        Client(hello_name)
        self._hop = next_hop
        self._hello_name = hello_name
        self._timers = timers
        self._limit = settings.connections
        self._connect_time = settings.connect_time
        self._limits = _limits(settings)
        self._name = f"{next_hop.kind}:{_endpoint(next_hop.host, next_hop.port)}"
        self._waiting: deque[Transaction] = deque()
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._openings: set[asyncio.Task[Connection | Refusal]] = set()
        # An attempt failed while other connections work: the next hop wants no more of them now.
        self._narrow = False
        self._closing = False

    @property
    def connections(self) -> int:
        """Connections open or being opened; 0 after `close` means all is done."""
        return len(self._connections) + len(self._openings)

    @property
    def waiting(self) -> int:
        """Transactions that no connection has taken yet."""
        return len(self._waiting)

    def submit(self, transaction: Transaction) -> None:
        """Send it when a connection has its turn; `transaction.finished` is called once, never from within this call."""
        if self._closing:
            self._defer(transaction, "421 4.3.2 Shutting down")
            return
        self._waiting.append(transaction)
        self._serve()

    def close(self) -> None:
        """Defer what waits, end idle connections; running transactions go on to their end."""
        self._closing = True
        self._defer_waiting(DEFERRED, "421 4.3.2 Shutting down")
        for opening in self._openings:
            opening.cancel()
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.quit()

    def abort(self) -> None:
        """Close, deferring running transactions too."""
        self.close()
        for connection in tuple(self._connections):
            connection.end("Shutting down")

    # --- the connections' calls ---

    def free(self, connection: Connection) -> None:
        """Give a ready connection the next transaction, or keep it."""
        while self._waiting:
            if connection.begin(self._waiting.popleft()):
                return
        self._narrow = False
        if self._closing:
            connection.quit()
        else:
            self._idle.append(connection)

    def again(self, transaction: Transaction) -> None:
        """Put a transaction back in front; it is served when the dead connection is gone."""
        if self._closing:
            self._defer(transaction, "421 4.3.2 Shutting down")
        else:
            self._waiting.appendleft(transaction)

    def lost(self, connection: Connection) -> None:
        """Forget a connection; another one takes its place if something waits."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._narrow = False
        if self._waiting:
            self._serve()

    # --- opening ---

    def _serve(self) -> None:
        """Find a connection for what waits: the idle one used last (the others grow old and are closed), else a new one."""
        while self._idle:
            connection = self._idle.pop()
            # Not when it is about to be closed.
            if connection.ready:
                self.free(connection)
                return
        if self._narrow or self.connections >= self._limit or len(self._openings) >= len(self._waiting):
            return
        opening = self._loop.create_task(self._open())
        self._openings.add(opening)
        opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Task[Connection | Refusal]) -> None:
        self._openings.discard(opening)
        if opening.cancelled():
            return
        if error := opening.exception():
            # A mistake of ours; what waits must not be lost over it.
            self._loop.call_exception_handler({"message": "opening a connection failed", "exception": error})
            self._failed(DEFERRED, "451 4.3.0 Internal error")
            return
        result = opening.result()
        if isinstance(result, tuple):
            self._failed(*result)
        elif not result.ready:
            self._failed(DEFERRED, "421 4.4.2 Connection lost after EHLO")
        else:
            self._connections.add(result)
            self.free(result)

    def _failed(self, state: int, reply: str) -> None:
        """No connection could be opened. While others work they take what waits; otherwise it all shares the fate."""
        self._narrow = self.connections > 0
        if not self._narrow:
            self._defer_waiting(state, reply)

    async def _open(self) -> Connection | Refusal:
        """Give a ready connection to the first of the next hop's addresses that serves, or what the last said."""
        # The loop's timers, not the wheel: they end what only the loop can end, once a connection.
        try:
            async with asyncio.timeout(self._connect_time):
                addresses = await self._addresses()
        except (OSError, UnicodeError) as error:
            return DEFERRED, f"421 4.4.3 No address of {self._hop.host}: {_reason(error)}"
        refusal: Refusal = DEFERRED, f"421 4.4.3 No address of {self._hop.host}"
        for address in addresses:
            connection = self._connection(_endpoint(address, self._hop.port))
            try:
                async with asyncio.timeout(self._connect_time):
                    await self._loop.create_connection(partial(_same, connection), address, self._hop.port)
            except OSError as error:
                refusal = DEFERRED, f"421 4.4.1 No connection to {connection.peer}: {_reason(error)}"
                continue
            try:
                refused = await connection.opened
            except asyncio.CancelledError:
                connection.end("Shutting down")
                raise
            if refused is None:
                return connection
            refusal = refused
        return refusal

    def _connection(self, peer: str) -> Connection:
        client = Client(self._hello_name, lmtp=self._hop.kind == "lmtp")
        return Connection(
            self._loop, self, client=client, next_hop=self._name, peer=peer, limits=self._limits, timers=self._timers
        )

    async def _addresses(self) -> list[str]:
        try:
            return [str(ip_address(self._hop.host))]
        except ValueError:
            found = await self._loop.getaddrinfo(self._hop.host, self._hop.port, type=SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    # --- settling without a connection ---

    def _defer_waiting(self, state: int, reply: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for transaction in waiting:
            self._defer(transaction, reply, state)

    def _defer(self, transaction: Transaction, reply: str, state: int = DEFERRED) -> None:
        outcomes = [(index, state, reply) for index in transaction.indexes]
        record = AttemptRecord(next_hop=self._name, peer="", reused=False, seconds=0.0)
        self._loop.call_soon(transaction.finished, outcomes, record)


def _same(connection: Connection) -> Connection:
    return connection


def _limits(settings: _Settings) -> tuple[float, ...]:
    """Give the limits in the order of `Client.timeout_kind`."""
    return (
        settings.greeting_time,
        settings.mail_time,
        settings.rcpt_time,
        settings.data_time,
        settings.block_time,
        settings.end_of_data_time,
        settings.idle_time,
    )


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    text = str(getattr(error, "strerror", None) or error)
    return text.encode("ascii", "replace").decode("ascii")
