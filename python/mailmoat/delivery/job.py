"""One message on its way: what a transport is to carry out, and what follows from its outcome (RFC 5321 4.5.5, 6.1).

Promises: nothing leaves the spool before the outcome for every recipient is known and, where a report is owed, that is in the
spool. A crash may deliver or report twice, never not at all. What nobody tried, because the server ends, stays as it is.

Made by the scheduler for a message that it has room for; tells it when the message needs its place no longer. Never raises for
what a peer said; a report that cannot be made stays owed and is logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat._native import Outcome, RecipientState
from mailmoat.delivery import retry
from mailmoat.metrics import ATTEMPTS, REPORTS
from mailmoat.reports import governor, make
from mailmoat.reports.dsn import Failure

if TYPE_CHECKING:
    from mailmoat._native import Message, Recipient
    from mailmoat.delivery.attempt import AttemptRecord
    from mailmoat.delivery.queue import Waiting

WORDS: Final = {
    RecipientState.PENDING: "deferred",
    RecipientState.DELIVERED: "delivered",
    RecipientState.FAILED: "failed",
}
"""What the log and the metrics call the outcome of an attempt."""


class Delivery:
    """A transaction for a transport: the recipients of one message that have no outcome yet."""

    __slots__ = (
        "_due",
        "_expired",
        "_interrupted",
        "_outcomes",
        "_recipients",
        "_remote",
        "_stranded",
        "indexes",
        "message",
        "waiting",
    )

    def __init__(self, waiting: Waiting, message: Message) -> None:
        self.waiting = waiting
        self.message = message
        self._recipients: list[Recipient] = message.recipients
        everyone = list(enumerate(self._recipients))
        self.indexes = [index for index, recipient in everyone if recipient.state is RecipientState.PENDING]
        # Failed before any attempt: accepted to be reported, or the report could not be stored.
        self._outcomes = [
            Outcome(index, recipient.state, recipient.reply)
            for index, recipient in everyone
            if recipient.state is RecipientState.FAILED
        ]
        self._expired: frozenset[int] = frozenset()
        self._remote = ""
        self._due = 0
        self._stranded = False
        self._interrupted = False

    def begin(self) -> None:
        """Try the recipients that are pending, or settle at once when there are none."""
        if self.indexes:
            self.waiting.scheduler.submit(self)
        else:
            self._settle()

    def finished(self, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """The transport's word."""
        scheduler = self.waiting.scheduler
        if record.peer:
            scheduler.reached()
        elif scheduler.closing:
            # Nobody tried: not an attempt, and no reason to wait longer.
            scheduler.leave()
            return
        else:
            scheduler.unreachable()
            self._stranded = True
        self.waiting.attempts += 1
        self._remote = record.remote_mta
        deferred = [outcome for outcome in outcomes if outcome.state is RecipientState.PENDING]
        if deferred and retry.expired(self.message.arrival, clock.wall_ms(), scheduler.settings.delivery.expire):
            outcomes = self._expire(outcomes)
        elif deferred:
            self._due = self._next_due()
            # That it went away in the middle says nothing of the message either; but who knows what it cannot bear: no sooner.
            self._interrupted = all(outcome.reply.startswith("421") for outcome in deferred)
        self._outcomes += outcomes
        self._log(outcomes, record)
        self._settle()

    def reported(self, made: Message, addresses: list[str]) -> None:
        """The report is in the spool."""
        scheduler = self.waiting.scheduler
        scheduler.metrics.add(REPORTS)
        recipients = [recipient.address for recipient in made.recipients]
        maillog.report_made(queue_id=made.queue_id, about=self.message.queue_id, to=recipients, recipients=addresses)
        self._conclude(RecipientState.CLOSED)
        scheduler.accepted(made)

    def not_reported(self, error: str) -> None:
        """The report could not be stored: it stays owed and is made at the next attempt."""
        maillog.event("report-not-stored", level="error", about=self.message.queue_id, reason=error)
        self._conclude(RecipientState.FAILED)

    def _expire(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Give up what was deferred: the outcomes with that failed."""
        self._expired = frozenset(outcome.index for outcome in outcomes if outcome.state is RecipientState.PENDING)
        maillog.message_expired(
            queue_id=self.message.queue_id,
            age=(clock.wall_ms() - self.message.arrival) / 1000,
            attempts=self.waiting.attempts,
            recipients=[self._recipients[index].address for index in sorted(self._expired)],
        )
        return [
            Outcome(outcome.index, RecipientState.FAILED, outcome.reply) if outcome.index in self._expired else outcome
            for outcome in outcomes
        ]

    def _settle(self) -> None:
        """Report what failed, if that is owed, and then write down what became of each recipient."""
        failed = [outcome for outcome in self._outcomes if outcome.state is RecipientState.FAILED]
        if not failed:
            self._conclude(RecipientState.CLOSED)
            return
        scheduler, message = self.waiting.scheduler, self.message
        ndr, relay = scheduler.settings.ndr, scheduler.settings.relay
        addresses = [self._recipients[outcome.index].address for outcome in failed]
        verdict = governor.judge(
            message.reverse_path,
            enabled=ndr.enabled,
            copy_to=ndr.copy_to,
            octets=message.octets(),
            domains=relay.local_domains + relay.unfiltered_domains,
            trusted=message.client in scheduler.inside,
        )
        if isinstance(verdict, governor.Suppressed):
            maillog.report_suppressed(about=message.queue_id, reason=verdict.reason, recipients=addresses)
            self._conclude(RecipientState.CLOSED)
            return
        failures = [self._failure(outcome.index, outcome.reply) for outcome in failed]
        try:
            queue_id = scheduler.store.next_queue_id()
            made = make.make(message, failures, verdict, queue_id, scheduler.settings)
            scheduler.store.insert(_Reported(self, made, addresses), made)
        except Exception as error:  # noqa: BLE001 - the joint: a mistake of ours must not lose the message's place in the queue
            self.not_reported(maillog.describe(error))

    def _failure(self, index: int, reply: str) -> Failure:
        tried = index in self.indexes
        # What was not given up in this very attempt failed before; with a reply of class 4 it can only have expired.
        expired = index in self._expired or (not tried and reply[:1] == "4")
        return Failure(
            address=self._recipients[index].address,
            reply=reply,
            remote_mta=self._remote if tried else "",
            last_attempt_ms=clock.wall_ms() if tried else None,
            expired_after_s=self.waiting.scheduler.settings.delivery.expire if expired else None,
        )

    def _conclude(self, failed: RecipientState) -> None:
        """Remove the message when every recipient has its end, else store how far each is and wait.

        `failed` is the state that failed recipients get.
        """
        waiting, scheduler = self.waiting, self.waiting.scheduler
        outcomes = [
            Outcome(outcome.index, failed, outcome.reply) if outcome.state is RecipientState.FAILED else outcome
            for outcome in self._outcomes
        ]
        if all(outcome.state in (RecipientState.DELIVERED, RecipientState.CLOSED) for outcome in outcomes):
            waiting.partition.remove(waiting.queue_id)
        else:
            due = self._due or self._next_due()
            waiting.partition.settle(None, waiting.queue_id, outcomes, due=due, attempts=waiting.attempts)
            scheduler.later(waiting, due, stranded=self._stranded or self._interrupted)
        scheduler.leave()

    def _next_due(self) -> int:
        spread = clock.random_below(1001) / 1000
        # A report that could not be stored waits like a message that was tried, or it would be made without a pause.
        attempts = max(self.waiting.attempts, 1)
        return retry.next_due(clock.wall_ms(), attempts, self.waiting.scheduler.settings.delivery.retry, spread)

    def _log(self, outcomes: list[Outcome], record: AttemptRecord) -> None:
        for outcome in outcomes:
            self.waiting.scheduler.metrics.add(ATTEMPTS[WORDS[outcome.state]])
        maillog.delivery_attempt(
            queue_id=self.message.queue_id,
            session=self.message.session_id,
            attempt=self.waiting.attempts,
            next_hop=record.peer or record.next_hop,
            mail_from=self.message.reverse_path,
            outcomes=[
                maillog.Outcome(self._recipients[one.index].address, WORDS[one.state], one.reply)  # type: ignore[arg-type]
                for one in outcomes
            ],
            octets=self.message.size,
            duration=record.seconds,
            next_attempt_ms=self._due or None,
        )


class _Reported:
    """Waits for a report to be on disk."""

    __slots__ = ("_addresses", "_delivery", "_report")

    def __init__(self, delivery: Delivery, made: Message, addresses: list[str]) -> None:
        self._delivery = delivery
        self._report = made
        self._addresses = addresses

    def done(self, error: str | None, _message: Message | None) -> None:
        """The spool's word."""
        if error is None:
            self._delivery.reported(self._report, self._addresses)
        else:
            self._delivery.not_reported(error)
