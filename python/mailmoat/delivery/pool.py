"""The connections to one next hop: opened when there is something to send, kept a while, reused.

Promises: every submitted attempt is finished exactly once, through the loop, unless it is withdrawn; never more connections than the settings allow, of all workers
together. A connection is opened for an attempt that waits, or to ask what the next hop offers. When opening fails and no other connection
is there, everything that waits is deferred, so a next hop that is down gets few attempts. A connection that takes long to open, or one that
is refused while others work, delays nothing: another is tried a little later. The queue bounds the attempts that wait. RFC 5321 4.5.4.1.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import RecipientState
from mailmoat.delivery.allowance import TURN_PAUSE, Unlimited
from mailmoat.delivery.attempt import AttemptRecord, outcome_of_all
from mailmoat.delivery.dialler import Dialler
from mailmoat.delivery.opening_pause import OpeningPause
from mailmoat.delivery.security import Security

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.delivery.attempt import Attempt
    from mailmoat.delivery.connection import OutboundConnection
    from mailmoat.delivery.hosts import Host, Hosts
    from mailmoat.delivery.offers import Offers
    from mailmoat.delivery.time_limits import PoolSettings
    from mailmoat.mx.refusal import Refusal
    from mailmoat.runtime.timers import Timers

PATIENCE: Final = 5.0
"""Seconds that what waits leaves to a connection being opened before another is tried beside it; the next are left more."""
NEVER: Final = float("inf")


class Pool:
    """All connections of this worker for one destination."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        hosts: Hosts,
        settings: PoolSettings,
        *,
        helo_name: str,
        timers: Timers,
        learned: Callable[[Offers, Host], None] = lambda *_: None,
        security: Security | None = None,
        allowance: Unlimited | None = None,
        mark: Callable[[Attempt], str] | None = None,
    ) -> None:
        """Create the pool. ValueError if `helo_name` is not valid.

        `name` is the next hop in its written form, for log and records. `learned` gets the offers of each new connection, and the server.
        `allowance` limits the pool beside the settings. `mark` gives what is put before the reverse-path of an attempt.
        """
        self._loop = loop
        self._timers = timers
        self._learned = learned
        self._mark = mark
        self._limit = settings.connections
        self._hosts = hosts
        self._allowance = allowance or Unlimited()
        security = security or Security(name)
        self._dialler = Dialler(loop, name, hosts, settings, helo_name, timers=timers, security=security)
        self._waiting: deque[Attempt] = deque()
        self._idle: list[OutboundConnection] = []
        # Each with the time at which it was opened.
        self._connections: dict[OutboundConnection, float] = {}
        # Each with the time from which on it holds up nothing any more.
        self._openings: dict[asyncio.Task[OutboundConnection | Refusal], float] = {}
        self._pause = OpeningPause()
        # A connection may have to be given up; one has to, for another that tries whether a better server is back.
        self._gives_up = self._makes_room = self._closing = False
        # When it is looked whether a better server is back, whether connections are to be given up, and whether one may be opened.
        self._return_at = self._look_at = self._ask_at = NEVER

    @property
    def connections(self) -> int:
        """Connections open or being opened; 0 after `close` means all is done."""
        return len(self._connections) + len(self._openings)

    @property
    def waiting(self) -> int:
        """Attempts that no connection has taken yet."""
        return len(self._waiting)

    def submit(self, attempt: Attempt) -> None:
        """Send it when a connection has its turn; `attempt.finished` is called once, never from within this call."""
        if self._closing:
            self._defer(attempt, "421 4.3.2 Shutting down")
            return
        self._waiting.append(attempt)
        self._serve()

    def withdraw(self, attempt: Attempt) -> None:
        """Forget an attempt that waits, without an outcome; one that a connection has taken goes on."""
        if attempt in self._waiting:
            self._waiting.remove(attempt)

    async def probe(self) -> bool | None:
        """Ask the next hop what it offers; return whether it answered, None where there may be no more connections."""
        if self._closing or not self._may_open():
            self._timers.after(0.0, self)  # `due` notes that nothing waits for one
            return None
        opening = self._begin_opening()
        await asyncio.wait([opening])
        return not opening.cancelled() and opening.exception() is None and opening.result() in self._connections

    def due(self) -> None:
        """Look again whether what waits needs another connection, and whether a better server is back."""
        now = clock.monotonic()
        if now >= self._ask_at:
            self._ask_at = NEVER
        if self._waiting:
            self._serve()
        else:
            self._allowance.rest()
        if now >= self._look_at:
            self._look()
        if now >= self._return_at:
            self._return_at = NEVER
            if self._hosts.returns_in() is not None and not self._closing:
                if self._may_open():
                    self._begin_opening()
                else:
                    self._gives_up = self._makes_room = True

    def close(self) -> None:
        """Defer what waits, end idle connections; running attempts go on to their end."""
        self._closing = True
        self._defer_waiting(RecipientState.PENDING, "421 4.3.2 Shutting down")
        for opening in self._openings:
            opening.cancel()
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.quit()

    def abort(self) -> None:
        """Close, deferring running attempts too."""
        self.close()
        for connection in tuple(self._connections):
            connection.end("Shutting down")

    # --- calls of the connections ---

    def free(self, connection: OutboundConnection) -> None:
        """Give a ready connection the next attempt, or keep it."""
        if not self._use(connection) and self._waiting:
            self._serve()

    def again(self, attempt: Attempt) -> None:
        """Put an attempt back in front; it is served when its connection is free again or gone."""
        if self._closing:
            self._defer(attempt, "421 4.3.2 Shutting down")
        else:
            self._waiting.appendleft(attempt)

    def lost(self, connection: OutboundConnection) -> None:
        """Forget a connection; another one takes its place if something waits."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        self._hosts.left(connection.host)
        self._allowance.leave()
        self._idle = [each for each in self._idle if each is not connection]
        self._pause.end()
        if self._waiting:
            self._serve()

    # --- using ---

    def _use(self, connection: OutboundConnection) -> bool:
        """Give a ready connection the next attempt, or keep it; False when it is given up: for a better server, or another worker."""
        while self._waiting:
            if self._gives_up and self._gives_way(connection):
                connection.quit()
                return False
            if self._allowance.is_rated and (wait := self._allowance.spend()):
                self._timers.after(wait, self)
                break
            attempt = self._waiting.popleft()
            if self._mark is not None:
                connection.mark(self._mark(attempt))
            if connection.begin(attempt):
                if self._allowance.is_rated and self._waiting:
                    self._timers.after(0.0, self)
                return True
        self._pause.end()
        if self._closing:
            connection.quit()
        else:
            self._idle.append(connection)
        return True

    def _gives_way(self, connection: OutboundConnection) -> bool:
        if self._makes_room:
            self._makes_room = False  # by this one
            return True
        return self._hosts.is_outranked(connection.host) or self._allowance.yields(self._connections[connection])

    def _look(self) -> None:
        """See now and then whether connections are to be given up, half of the idle ones at once, and when a better server may be back."""
        self._look_at = self._later(TURN_PAUSE) if self._connections else NEVER
        is_wanted = self._allowance.is_wanted()
        self._gives_up = (
            is_wanted or self._makes_room or any(self._hosts.is_outranked(each.host) for each in self._connections)
        )
        seconds = self._hosts.returns_in()
        if seconds is not None and self._return_at is NEVER:
            self._return_at = self._later(seconds)
        if is_wanted:
            count = (len(self._idle) + 1) // 2
            oldest, self._idle = self._idle[:count], self._idle[count:]
            for connection in oldest:
                connection.quit()

    def _later(self, seconds: float) -> float:
        """Be called again after so many seconds; return when that is."""
        self._timers.after(seconds, self)
        return clock.monotonic() + seconds

    # --- opening ---

    def _serve(self) -> None:
        """Find a connection for what waits: the idle one used last (the others grow old and are closed), else a new one."""
        now = clock.monotonic()
        if now < self._allowance.held_until:
            return
        while self._idle and self._waiting:
            connection = self._idle.pop()
            # Not when it is about to be closed.
            if connection.ready and self._use(connection):
                return
        hopeful = sum(now < late for late in self._openings.values())
        if self._pause.is_over(now) and self.connections < self._limit and hopeful < len(self._waiting):
            if now >= self._allowance.waits_until and self._allowance.enter():
                self._begin_opening()
            elif self._ask_at is NEVER:
                self._ask_at = self._later(self._allowance.waits_until - now)

    def _may_open(self) -> bool:
        """Return whether there may be one more connection, of this worker and of all together; it is counted then."""
        return self.connections < self._limit and self._allowance.enter()

    def _begin_opening(self) -> asyncio.Task[OutboundConnection | Refusal]:
        patience = PATIENCE * (1 + len(self._openings))
        opening = self._loop.create_task(self._dialler.dial(self))
        self._openings[opening] = self._later(patience)
        opening.add_done_callback(self._opened)
        return opening

    def _opened(self, opening: asyncio.Task[OutboundConnection | Refusal]) -> None:
        del self._openings[opening]
        if opening.cancelled():
            self._allowance.leave()
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
            self._hosts.left(result.host)
            self._failed(RecipientState.PENDING, "421 4.4.2 Connection lost after EHLO")
        else:
            self._connections[result] = clock.monotonic()
            self._pause.forget()
            if result.offers is not None:
                self._learned(result.offers, result.host)
            if len(self._connections) > 1 or self._look_at is NEVER:
                self._look()
            self.free(result)

    def _failed(self, state: RecipientState, reply: str) -> None:
        """Handle a connection that could not be opened. While others work, they take the waiting messages; otherwise all of them are deferred."""
        self._allowance.leave()
        if self.connections == 0:
            self._pause.forget()
            self._defer_waiting(state, reply)
            return
        self._later(self._pause.begin())

    # --- settling without a connection ---

    def _defer_waiting(self, state: RecipientState, reply: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for attempt in waiting:
            self._defer(attempt, reply, state)

    def _defer(self, attempt: Attempt, reply: str, state: RecipientState = RecipientState.PENDING) -> None:
        record = AttemptRecord(next_hop=self._dialler.name, peer="", reused=False, seconds=0.0)
        self._loop.call_soon(attempt.finished, outcome_of_all(attempt, state, reply), record)
