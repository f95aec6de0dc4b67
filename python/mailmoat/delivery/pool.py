"""The connections to one next hop: opened when there is something to send, kept a while, reused.

Promises: every submitted transaction is finished exactly once, through the loop; never more connections than the settings
allow; a connection is opened for a transaction that waits, or to ask what the next hop offers, and an attempt that fails while no
other connection is there defers everything that waits, so a next hop that is down is not hammered. A connection that is long in
opening, or one refused while others work, holds up nothing: another is tried a little later. Transactions wait here without bound: the
scheduler bounds them.
RFC 5321 4.5.4.1, 5.1 (all addresses of a host are tried).
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from socket import SOCK_STREAM  # noqa: TID251 - a constant for getaddrinfo, no socket
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from mailmoat import clock
from mailmoat._native import Client, Outcome, RecipientState
from mailmoat.delivery.attempt import AttemptRecord, Connection
from mailmoat.delivery.time_limits import time_limits
from mailmoat.net.address import canonical
from mailmoat.net.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.delivery.attempt import Transaction
    from mailmoat.delivery.offers import Offers
    from mailmoat.delivery.time_limits import PoolSettings
    from mailmoat.runtime.timers import Timers

Refusal: TypeAlias = tuple[RecipientState, str]
"""(state 0 deferred or 2 failed, reply) for everything that waits for a connection."""

PATIENCE: Final = 5.0
"""Seconds that what waits leaves to a connection being opened before another is tried beside it; the next are left more."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds without a new attempt after one that was refused while other connections work."""


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


class Pool:
    """All connections of this worker to one next hop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        next_hop: Hop,
        settings: PoolSettings,
        hello_name: str,
        timers: Timers,
        *,
        learned: Callable[[Offers], None] = lambda _: None,
    ) -> None:
        """`learned` is told what each new connection offers."""
        self._loop = loop
        Client(hello_name)  # raises ValueError for a name that no host would take: at start, not with the first message
        self._hop = next_hop
        self._hello_name = hello_name
        self._timers = timers
        self._learned = learned
        self._limit = settings.connections
        self._connect_time = settings.connect_time
        self._limits = time_limits(settings)
        self._name = f"{next_hop.kind}://{Endpoint(next_hop.host, next_hop.port)}"
        self._waiting: deque[Transaction] = deque()
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        # Each with the time from which on it holds up nothing any more.
        self._openings: dict[asyncio.Task[Connection | Refusal], float] = {}
        # After an attempt that failed while other connections work: the next hop wants no more of them now.
        self._pause = 0.0
        self._not_before = 0.0
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

    async def probe(self) -> bool:
        """Ask the next hop what it offers, and tell whether it has said so. The connection is kept for a while."""
        if self._closing or self.connections >= self._limit:
            return False
        opening = self._begin_opening()
        await asyncio.wait([opening])
        return not opening.cancelled() and opening.exception() is None and opening.result() in self._connections

    def due(self) -> None:
        """Look again whether what waits needs another connection."""
        if self._waiting:
            self._serve()

    def close(self) -> None:
        """Defer what waits, end idle connections; running transactions go on to their end."""
        self._closing = True
        self._defer_waiting(RecipientState.PENDING, "421 4.3.2 Shutting down")
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
        self._not_before = 0.0
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
        self._not_before = 0.0
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
        now = clock.monotonic()
        hopeful = sum(now < late for late in self._openings.values())
        if now >= self._not_before and self.connections < self._limit and hopeful < len(self._waiting):
            self._begin_opening()

    def _begin_opening(self) -> asyncio.Task[Connection | Refusal]:
        patience = PATIENCE * (1 + len(self._openings))
        opening = self._loop.create_task(self._open())
        self._openings[opening] = clock.monotonic() + patience
        opening.add_done_callback(self._opened)
        self._timers.after(patience, self)
        return opening

    def _opened(self, opening: asyncio.Task[Connection | Refusal]) -> None:
        del self._openings[opening]
        if opening.cancelled():
            return
        if error := opening.exception():
            # A mistake of ours; what waits must not be lost over it.
            self._loop.call_exception_handler({"message": "opening a connection failed", "exception": error})
            self._failed(RecipientState.PENDING, "451 4.3.0 Internal error")
            return
        result = opening.result()
        if isinstance(result, tuple):
            self._failed(*result)
        elif not result.ready:
            self._failed(RecipientState.PENDING, "421 4.4.2 Connection lost after EHLO")
        else:
            self._connections.add(result)
            self._pause = 0.0
            if result.offers is not None:
                self._learned(result.offers)
            self.free(result)

    def _failed(self, state: RecipientState, reply: str) -> None:
        """No connection could be opened. While others work they take what waits; otherwise it all shares the fate."""
        if self.connections == 0:
            self._pause = 0.0
            self._defer_waiting(state, reply)
            return
        self._pause = min(self._pause * 2, LONGEST_PAUSE) if self._pause else FIRST_PAUSE
        self._not_before = clock.monotonic() + self._pause
        self._timers.after(self._pause, self)

    async def _open(self) -> Connection | Refusal:
        """Give a ready connection to the first of the next hop's addresses that serves, or what the last said."""
        # The loop's timers, not the wheel: they end what only the loop can end, once a connection.
        try:
            async with asyncio.timeout(self._connect_time):
                addresses = await self._addresses()
        except (OSError, UnicodeError) as error:
            return RecipientState.PENDING, f"421 4.4.3 No address of {self._hop.host}: {_reason(error)}"
        refusal: Refusal = RecipientState.PENDING, f"421 4.4.3 No address of {self._hop.host}"
        for address in addresses:
            connection = self._connection(str(Endpoint(address, self._hop.port)))
            try:
                async with asyncio.timeout(self._connect_time):
                    await self._loop.create_connection(partial(_same, connection), address, self._hop.port)
            except OSError as error:
                refusal = RecipientState.PENDING, f"421 4.4.1 No connection to {connection.peer}: {_reason(error)}"
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
            return [canonical(self._hop.host)]
        except ValueError:
            found = await self._loop.getaddrinfo(self._hop.host, self._hop.port, type=SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    # --- settling without a connection ---

    def _defer_waiting(self, state: RecipientState, reply: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for transaction in waiting:
            self._defer(transaction, reply, state)

    def _defer(self, transaction: Transaction, reply: str, state: RecipientState = RecipientState.PENDING) -> None:
        outcomes = [Outcome(index, state, reply) for index in transaction.indexes]
        record = AttemptRecord(next_hop=self._name, peer="", reused=False, seconds=0.0)
        self._loop.call_soon(transaction.finished, outcomes, record)


def _same(connection: Connection) -> Connection:
    return connection


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    text = str(getattr(error, "strerror", None) or error)
    return text.encode("ascii", "replace").decode("ascii")
