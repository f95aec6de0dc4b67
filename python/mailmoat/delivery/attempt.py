"""The values that queue and transports exchange: what is tried at a next hop, how, and what became of each recipient.

Pure: no socket, no clock, nothing fails here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from mailmoat._native import Outcome

if TYPE_CHECKING:
    from mailmoat._native import Message, RecipientState, TlsFacts


class AttemptRecord(msgspec.Struct, frozen=True, gc=False):
    """How an attempt was made, for the log."""

    next_hop: str
    peer: str
    """`address:port` it was made to, or the path of a Unix socket; empty when none could be reached."""
    reused: bool
    """The connection had carried an attempt before."""
    seconds: float
    """From its beginning on the connection to its outcome; 0 when none could be reached."""
    tls: TlsFacts | None = None
    """What is known of TLS; None in clear."""
    host: str = ""
    """The name of the server, where an MX record of the recipients' domain has it."""

    @property
    def remote_mta(self) -> str:
        """The name of the server, else its address, for a report (RFC 3464 2.3.5); empty when none was reached, and at a Unix socket."""
        if not self.peer or self.at_socket:
            return ""
        return self.host or self.peer.rpartition(":")[0].strip("[]")

    @property
    def at_socket(self) -> bool:
        """It was made to a server at a Unix socket."""
        return self.peer.startswith("/")


class Attempt(Protocol):
    """One message that is to be sent to some of its recipients, once."""

    @property
    def message(self) -> Message:
        """The message."""

    @property
    def indexes(self) -> list[int]:
        """The recipients of this attempt, by their places in the envelope."""

    def finished(self, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """Take one outcome for each index, PENDING where it is deferred; called once, by the loop."""


class Rest:
    """The recipients of an attempt that a limit of the next hop left out (RFC 9422): they are an attempt of their own.

    What became of the others is given on with theirs, so that the attempt as a whole is finished once.
    """

    __slots__ = ("_attempt", "_outcomes", "_record", "indexes")

    def __init__(self, attempt: Attempt, outcomes: list[Outcome], record: AttemptRecord) -> None:
        tried = {outcome.index for outcome in outcomes}
        self.indexes = [index for index in attempt.indexes if index not in tried]
        self._attempt = attempt
        self._outcomes = outcomes
        self._record = record

    @property
    def message(self) -> Message:
        """The message."""
        return self._attempt.message

    def after(self, outcomes: list[Outcome], record: AttemptRecord) -> Rest:
        """Return what is left when these recipients were tried too, in place of this one: there may be one for each recipient."""
        return Rest(self._attempt, self._outcomes + outcomes, record)

    def finished(self, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """Take the outcomes of the rest; where no server was reached for it, the record is that of the others."""
        self._attempt.finished(self._outcomes + outcomes, record if record.peer else self._record)


def rest_of(attempt: Attempt, outcomes: list[Outcome], record: AttemptRecord) -> Rest:
    """Return what is left of an attempt of which these recipients were tried."""
    return attempt.after(outcomes, record) if isinstance(attempt, Rest) else Rest(attempt, outcomes, record)


def outcome_of_all(attempt: Attempt, state: RecipientState, reply: str) -> list[Outcome]:
    """Return the same outcome for all recipients of an attempt."""
    return [Outcome(index, state, reply) for index in attempt.indexes]
