"""The transports to a next hop: SMTP and LMTP over pooled connections, a Maildir, nowhere; or there is no next hop.

A transport takes a transaction by `submit` and calls its `finished` once, through the loop. `make_transport` chooses by the
kind of the next hop. A transport that cannot reach its hop says so with an empty `peer` in the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mailmoat import clock
from mailmoat._native import Outcome, RecipientState
from mailmoat.delivery import maildir
from mailmoat.delivery.attempt import AttemptRecord
from mailmoat.delivery.pool import Pool

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from mailmoat.delivery.attempt import Transaction
    from mailmoat.delivery.offers import Offers
    from mailmoat.runtime.timers import Timers
    from mailmoat.settings import NextHop, Settings


class Transport(Protocol):
    """A way to one next hop."""

    @property
    def connections(self) -> int:
        """What must still end after `close`."""

    def submit(self, transaction: Transaction) -> None:
        """Try it; `finished` is called once, never from within this call."""

    async def probe(self) -> bool:
        """Ask the next hop what it offers, and tell whether it has said so; False, too, where nobody is to be asked."""

    def close(self) -> None:
        """Begin nothing new; what runs ends by itself."""

    def abort(self) -> None:
        """End what runs, deferring it."""


def make_transport(
    loop: asyncio.AbstractEventLoop,
    hop: NextHop | None,
    settings: Settings,
    timers: Timers,
    learned: Callable[[Offers], None],
) -> Transport:
    """The transport for this kind of next hop; `learned` is told what the next hop offers."""
    if hop is None:
        return NoTransport(loop)
    if hop.path is not None:
        return MaildirTransport(loop, hop.path, settings.hostname)
    if hop.kind == "discard":
        return DiscardTransport(loop)
    return Pool(loop, hop, settings.delivery, settings.hostname, timers, learned=learned)


class MaildirTransport:
    """Final delivery into Maildirs, in a thread: the disk is waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path, hostname: str) -> None:
        self._loop = loop
        self._path = path
        self._hostname = hostname
        self.connections = 0

    def submit(self, transaction: Transaction) -> None:
        """Write the message once for each Maildir its recipients have."""
        self.connections += 1
        started = clock.monotonic()
        written = self._loop.run_in_executor(None, self._write, transaction)

        def done(future: asyncio.Future[list[Outcome]]) -> None:
            self.connections -= 1
            error = future.exception()
            reason = f"451 4.3.0 {type(error).__name__}: {error}"
            outcomes = future.result() if error is None else _everyone(transaction, RecipientState.PENDING, reason)
            seconds = clock.monotonic() - started
            record = AttemptRecord(next_hop=f"maildir:{self._path}", peer="maildir", reused=False, seconds=seconds)
            transaction.finished(outcomes, record)

        written.add_done_callback(done)

    async def probe(self) -> bool:
        """Nobody is to be asked."""
        return False

    def close(self) -> None:
        """Writing ends by itself."""

    def abort(self) -> None:
        """Writing cannot be ended; it takes no longer than the disk does."""

    def _write(self, transaction: Transaction) -> list[Outcome]:
        """Each Maildir on its own: one that cannot be written makes no other get the message twice."""
        message = transaction.message
        recipients = message.recipients
        addresses = {recipients[index].address: index for index in transaction.indexes}
        outcomes: list[Outcome] = []
        for path, sharing in maildir.targets(self._path, addresses).items():
            try:
                written = maildir.deliver(path, message, recipients=sharing, hostname=self._hostname)
                state, reply = RecipientState.DELIVERED, f"250 2.0.0 {written}"
            except OSError as error:
                state, reply = RecipientState.PENDING, f"451 4.3.0 Maildir not writable: {error}"
            outcomes += [Outcome(addresses[address], state, reply) for address in sharing]
        return outcomes


class DiscardTransport:
    """Delivers to nobody: for measuring, and for sinks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.connections = 0

    def submit(self, transaction: Transaction) -> None:
        """Every recipient is delivered."""
        outcomes = _everyone(transaction, RecipientState.DELIVERED, "250 2.0.0 discarded")
        record = AttemptRecord(next_hop="discard:", peer="discard", reused=False, seconds=0.0)
        self._loop.call_soon(transaction.finished, outcomes, record)

    async def probe(self) -> bool:
        """Nobody is to be asked."""
        return False

    def close(self) -> None:
        """Nothing runs."""

    def abort(self) -> None:
        """Nothing runs."""


class NoTransport:
    """No next hop is configured: it cannot be reached, and messages wait, report and expire as with one that is down."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.connections = 0

    def submit(self, transaction: Transaction) -> None:
        """Every recipient is deferred."""
        outcomes = _everyone(transaction, RecipientState.PENDING, "451 4.3.5 No next hop is configured")
        record = AttemptRecord(next_hop="none", peer="", reused=False, seconds=0.0)
        self._loop.call_soon(transaction.finished, outcomes, record)

    async def probe(self) -> bool:
        """Nobody is to be asked."""
        return False

    def close(self) -> None:
        """Nothing runs."""

    def abort(self) -> None:
        """Nothing runs."""


def _everyone(transaction: Transaction, state: RecipientState, reply: str) -> list[Outcome]:
    """The same outcome for all recipients of a transaction."""
    return [Outcome(index, state, reply) for index in transaction.indexes]
