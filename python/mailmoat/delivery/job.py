"""One group of a message's recipients on its way to one next hop: what follows from an attempt (RFC 5321 4.5.5, 6.1).

Promises: no recipient ends before its outcome is known and, where a report is owed, that is in the spool. A crash may deliver or
report twice, never not at all.

A job does nothing to the queue: each of its steps returns what follows (`Follows`), and the caller carries it out. It logs and
counts what happened. Never raises for what a peer said.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from mailmoat import clock, maillog
from mailmoat._native import Outcome, RecipientState
from mailmoat.delivery import retry
from mailmoat.events import Event
from mailmoat.mailauth.stored_results import decode
from mailmoat.metrics import BOUNCES, Family, Metrics
from mailmoat.reports import governor
from mailmoat.reports.dsn import Failure
from mailmoat.reports.requests import original_recipient, wants_failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Message, Recipient
    from mailmoat.delivery.attempt import AttemptRecord
    from mailmoat.policy.client import TrustRules
    from mailmoat.settings import Settings


class AttemptOutcome(StrEnum):
    """What the log and the metrics call the outcome of an attempt for a recipient."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"


OUTCOMES: Final = {
    RecipientState.PENDING: AttemptOutcome.DEFERRED,
    RecipientState.DELIVERED: AttemptOutcome.DELIVERED,
    RecipientState.FAILED: AttemptOutcome.FAILED,
}
DELIVERY_ATTEMPTS: Final = Family(
    "mailmoat_delivery_attempts_total", "Attempts to deliver to a recipient, by outcome.", {"outcome": AttemptOutcome}
)


class Ended(msgspec.Struct, frozen=True):
    """Every recipient of the group is delivered or closed."""

    outcomes: list[Outcome]
    """For the spool."""


class RetryAt(msgspec.Struct, frozen=True):
    """Some recipients are tried or reported again."""

    outcomes: list[Outcome]
    """For the spool."""
    due: int
    """Milliseconds since the epoch."""
    stranded: bool
    """The next hop was away or went away: due earlier if that answers earlier."""


class ReportFirst(msgspec.Struct, frozen=True):
    """A report has to be in the spool before anything else; then `reported` or `not_reported` returns what follows."""

    failures: list[Failure]
    allowed: governor.Allowed


Follows: TypeAlias = Ended | RetryAt | ReportFirst


class JobContext(msgspec.Struct, frozen=True):
    """What the jobs of one worker have in common."""

    settings: Settings
    metrics: Metrics
    trust: TrustRules
    """An internal client's messages go back to it whole."""


class Job:
    """The recipients of one message that go to one next hop and have not ended."""

    __slots__ = (
        "_context",
        "_due",
        "_expired",
        "_interrupted",
        "_outcomes",
        "_recipients",
        "_remote",
        "_unreached",
        "attempts",
        "indexes",
        "message",
    )

    def __init__(
        self,
        context: JobContext,
        message: Message,
        recipients: Sequence[Recipient],
        group: Sequence[int],
        attempts: int,
    ) -> None:
        """Make a job; `recipients` are the message's, `group` has the indexes of the open ones that this job is for."""
        self._context = context
        self._recipients = recipients
        self.message = message
        self.attempts = attempts
        self.indexes: list[int] = []
        self._outcomes: list[Outcome] = []
        for index in group:
            recipient = recipients[index]
            if recipient.state is RecipientState.PENDING:
                self.indexes.append(index)
            else:
                # Failed before any attempt: accepted to be reported, or the report could not be stored.
                self._outcomes.append(Outcome(index, recipient.state, recipient.reply))
        self._expired: frozenset[int] = frozenset()
        self._remote = ""
        self._due = 0
        self._unreached = False
        self._interrupted = False

    def attempted(self, outcomes: list[Outcome], record: AttemptRecord) -> Follows:
        """Take what became of the pending recipients in an attempt, and return what follows."""
        self.attempts += 1
        self._remote = record.remote_mta
        self._unreached = not record.peer
        deferred = [outcome for outcome in outcomes if outcome.state is RecipientState.PENDING]
        if deferred and retry.expired(self.message.arrival, clock.wall_ms(), self._context.settings.delivery.expire):
            outcomes = self._expire(outcomes)
        elif deferred:
            self._due = self._next_due()
            # A connection lost in the middle says nothing about the message either, yet the message may be its cause: no sooner.
            self._interrupted = all(outcome.reply.startswith("421") for outcome in deferred)
        self._outcomes += outcomes
        self._log(outcomes, record)
        return self.settle()

    def settle(self) -> Follows:
        """Return what follows from the outcomes there are: a report of what failed, where one is allowed, or the end."""
        failed = [outcome for outcome in self._outcomes if outcome.state is RecipientState.FAILED]
        unwanted = [outcome for outcome in failed if not wants_failure(self._recipients[outcome.index])]
        if unwanted:
            self._suppress(unwanted, governor.Suppressed.NOT_REQUESTED)
            failed = [outcome for outcome in failed if outcome not in unwanted]
        if not failed:
            return self._conclude(RecipientState.CLOSED)
        message, settings = self.message, self._context.settings
        verdict = governor.judge(
            message.reverse_path,
            enabled=settings.ndr.enabled,
            copy_to=settings.ndr.copy_to,
            results=decode(message.results),
            domains=settings.relay.local_domains + settings.relay.unfiltered_domains,
            trusted=self._context.trust.of(message.client).internal,
        )
        if isinstance(verdict, governor.Suppressed):
            self._suppress(failed, verdict)
            return self._conclude(RecipientState.CLOSED)
        return ReportFirst([self._failure(outcome.index, outcome.reply) for outcome in failed], verdict)

    def _suppress(self, failed: list[Outcome], reason: governor.Suppressed) -> None:
        addresses = [self._recipients[outcome.index].address for outcome in failed]
        maillog.bounce_suppressed(about=self.message.queue_id, reason=reason, recipients=addresses)

    def reported(self, made: Message, failures: list[Failure]) -> Follows:
        """Return what follows when the report is in the spool."""
        self._context.metrics.add(BOUNCES)
        maillog.bounce_made(
            queue_id=made.queue_id,
            about=self.message.queue_id,
            to=[recipient.address for recipient in made.recipients],
            recipients=[failure.address for failure in failures],
        )
        return self._conclude(RecipientState.CLOSED)

    def not_reported(self, error: str) -> Follows:
        """Return what follows when the report could not be stored: it stays owed and is made at the next attempt."""
        maillog.event(Event.BOUNCE_NOT_STORED, about=self.message.queue_id, detail=error)
        return self._conclude(RecipientState.FAILED)

    def _expire(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Give up what was deferred; return the outcomes with that failed."""
        self._expired = frozenset(outcome.index for outcome in outcomes if outcome.state is RecipientState.PENDING)
        maillog.message_expired(
            queue_id=self.message.queue_id,
            age=(clock.wall_ms() - self.message.arrival) / 1000,
            attempts=self.attempts,
            recipients=[self._recipients[index].address for index in sorted(self._expired)],
        )
        return [
            Outcome(outcome.index, RecipientState.FAILED, outcome.reply) if outcome.index in self._expired else outcome
            for outcome in outcomes
        ]

    def _failure(self, index: int, reply: str) -> Failure:
        tried = index in self.indexes
        # What was not given up in this very attempt failed before; with a reply of class 4 it can only have expired.
        expired = index in self._expired or (not tried and reply[:1] == "4")
        return Failure(
            address=self._recipients[index].address,
            original=original_recipient(self._recipients[index]),
            reply=reply,
            remote_mta=self._remote if tried else "",
            last_attempt_ms=clock.wall_ms() if tried else None,
            expired_after_s=self._context.settings.delivery.expire if expired else None,
        )

    def _conclude(self, failed: RecipientState) -> Ended | RetryAt:
        """Return the end when every recipient has its end, else how far each is; `failed` becomes the state of failed ones."""
        outcomes = [
            Outcome(outcome.index, failed, outcome.reply) if outcome.state is RecipientState.FAILED else outcome
            for outcome in self._outcomes
        ]
        if all(outcome.state in (RecipientState.DELIVERED, RecipientState.CLOSED) for outcome in outcomes):
            return Ended(outcomes)
        return RetryAt(outcomes, self._due or self._next_due(), self._unreached or self._interrupted)

    def _next_due(self) -> int:
        spread = clock.random_below(1001) / 1000
        # A report that could not be stored waits like a message that was tried, or it would be made without a pause.
        return retry.next_due(clock.wall_ms(), max(self.attempts, 1), self._context.settings.delivery.retry, spread)

    def _log(self, outcomes: list[Outcome], record: AttemptRecord) -> None:
        recipients, message = self._recipients, self.message
        for outcome in outcomes:
            self._context.metrics.add(DELIVERY_ATTEMPTS[OUTCOMES[outcome.state]])
        maillog.delivery_attempt(
            queue_id=message.queue_id,
            session=message.session_id,
            attempt=self.attempts,
            next_hop=record.peer or record.next_hop,
            tls=record.tls,
            mail_from=message.reverse_path,
            outcomes=[
                maillog.Outcome(recipients[one.index].address, OUTCOMES[one.state], one.reply)  # type: ignore[arg-type]
                for one in outcomes
            ],
            octets=message.size,
            duration=record.seconds,
            next_attempt_ms=self._due or None,
        )
