"""One group of a message's recipients on its way to one next hop: what follows from an attempt (RFC 5321 4.5.5, 6.1).

Promises: no recipient ends before its outcome is known and, where a report is owed, that is in the spool. A crash may deliver or
report twice, never not at all.

A job does nothing to the queue: each of its steps returns what follows (`Follows`), and the caller carries it out. It logs and
counts what happened. Never raises for what a peer said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mailmoat import clock, maillog
from mailmoat._native import AttemptRow, Outcome, RecipientState
from mailmoat.delivery import retry
from mailmoat.delivery.follows import Ended, Follows, PassedOn, ReportFirst, RetryAt
from mailmoat.delivery.outcomes import DELIVERY_ATTEMPTS, OUTCOMES, REPORT_OF, REPORTED
from mailmoat.events import Event
from mailmoat.reports.governor import BOUNCES_SUPPRESSED, Suppressed
from mailmoat.reports.kind import BOUNCES, ReportKind
from mailmoat.reports.report import ReportedRecipient
from mailmoat.reports.requests import delay_reportable, original_recipient, wants_failure

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from mailmoat._native import Message, Recipient
    from mailmoat.delivery.attempt import AttemptRecord
    from mailmoat.delivery.route import Route
    from mailmoat.metrics import Metrics
    from mailmoat.runtime.ages import Ages


# Here, since a member is slow to reach through its class.
PENDING, DELIVERED, CLOSED = RecipientState.PENDING, RecipientState.DELIVERED, RecipientState.CLOSED


class JobContext(msgspec.Struct, frozen=True):
    """What the jobs of one worker have in common."""

    metrics: Metrics
    ages: Ages
    passed_on: PassedOn


class Job:
    """The recipients of one message that go to one next hop and have not ended."""

    __slots__ = (
        "_attempt",
        "_context",
        "_due",
        "_expired",
        "_interrupted",
        "_late",
        "_outcomes",
        "_put_off",
        "_recipients",
        "_record",
        "_reportable",
        "_reported_late",
        "_route",
        "_unreached",
        "attempts",
        "indexes",
        "message",
    )

    def __init__(
        self,
        context: JobContext,
        route: Route,
        message: Message,
        recipients: Sequence[Recipient],
        group: Sequence[int],
        *,
        attempts: int,
    ) -> None:
        """Make a job; `recipients` are the message's, `group` has the indexes of the open ones that this job is for, by `route`."""
        self._context = context
        self._route = route
        self._recipients = recipients
        self.message = message
        self.attempts = attempts
        self.indexes: list[int] = []
        self._outcomes: list[Outcome] = []
        for index in group:
            recipient = recipients[index]
            if recipient.state is PENDING:
                self.indexes.append(index)
            else:
                # A report is owed from before: accepted to be reported, or the report could not be stored.
                self._outcomes.append(Outcome(index, recipient.state, recipient.reply))
        self._expired: frozenset[int] = frozenset()
        self._attempt: AttemptRow | None = None
        self._put_off: set[ReportKind] = set()
        # Of whom a delay is reported some time, of whom now, and of whom it was by this job.
        self._reportable: frozenset[int] = frozenset()
        self._late: frozenset[int] = frozenset()
        self._reported_late: list[int] = []
        self._record: AttemptRecord | None = None
        self._due = 0
        self._unreached = False
        self._interrupted = False

    def attempted(self, outcomes: list[Outcome], record: AttemptRecord) -> Follows:
        """Take what became of the pending recipients in an attempt, and return what follows."""
        self.attempts += 1
        self._record = record
        self._unreached = not record.peer
        if PENDING in (states := [outcome.state for outcome in outcomes]):
            self._attempt = AttemptRow(at=clock.wall_ms(), next_hop=record.next_hop, peer=record.peer)
            outcomes = self._defer(outcomes)
            states = [outcome.state for outcome in outcomes]
        self._log(outcomes, states, record)
        if not self._outcomes and states.count(DELIVERED) == len(states):
            return Ended(outcomes)
        self._outcomes += self._pass_on(outcomes, record) if record.peer else outcomes
        return self.settle()

    def overdue(self) -> Follows:
        """Return what follows without an attempt, because the next hop is away: a report of the delay when it is time for one."""
        self._unreached = True
        self._due = min((self._recipients[index].due for index in self.indexes), default=0)
        outcomes = [Outcome(index, PENDING, self._recipients[index].reply) for index in self.indexes]
        self._outcomes += outcomes
        self._look_for_delay(outcomes)
        return self.settle()

    def settle(self) -> Follows:
        """Return what follows from the outcomes there are: the next report that is owed, or the end."""
        wanted: dict[ReportKind, list[Outcome]] = {}
        for outcome in self._outcomes:
            kind = ReportKind.DELAYED if outcome.index in self._late else REPORT_OF.get(outcome.state)
            if kind is not None and kind not in self._put_off:
                wanted.setdefault(kind, []).append(outcome)
        failed = wanted.get(ReportKind.FAILED, [])
        unwanted = [outcome for outcome in failed if not wants_failure(self._recipients[outcome.index])]
        if unwanted:
            self._suppress([outcome.index for outcome in unwanted], Suppressed.NOT_REQUESTED)
            return self.settle()
        for kind, outcomes in wanted.items():
            return ReportFirst(kind, [self._reported(outcome) for outcome in outcomes])
        return self._conclude()

    def reported(self, made: Message, wanted: ReportFirst) -> Follows:
        """Return what follows when the report is in the spool."""
        self._context.metrics.add(BOUNCES[wanted.kind])
        maillog.bounce_made(
            queue_id=made.queue_id,
            about=self.message.queue_id,
            kind=wanted.kind,
            to=[recipient.address for recipient in made.recipients],
            recipients=[recipient.address for recipient in wanted.recipients],
        )
        self._close([recipient.index for recipient in wanted.recipients])
        return self.settle()

    def suppressed(self, wanted: ReportFirst, reason: Suppressed) -> Follows:
        """Return what follows when there is to be no report."""
        self._suppress([recipient.index for recipient in wanted.recipients], reason)
        return self.settle()

    def not_reported(self, wanted: ReportFirst, error: str) -> Follows:
        """Return what follows when the report could not be stored: it stays owed and is made at the next attempt."""
        maillog.event(Event.BOUNCE_NOT_STORED, about=self.message.queue_id, detail=error)
        self._put_off.add(wanted.kind)
        return self.settle()

    def postponed(self, wanted: ReportFirst, due: int) -> Follows:
        """Return what follows when the report is to be made later, at `due` (milliseconds since the epoch)."""
        self._put_off.add(wanted.kind)
        self._due = self._due or due
        return self.settle()

    def _pass_on(self, outcomes: list[Outcome], record: AttemptRecord) -> list[Outcome]:
        """Let failed recipients that another next hop may have be tried there at once; return the outcomes with that."""
        failed = [outcome for outcome in outcomes if outcome.state is RecipientState.FAILED]
        passed = self._context.passed_on(self._route, self.message, failed)
        if not passed:
            return outcomes
        self._due = clock.wall_ms()
        self._attempt = AttemptRow(at=self._due, next_hop=record.next_hop, peer=record.peer)
        self._reportable |= delay_reportable(self.message, self._recipients, passed)
        return [Outcome(one.index, PENDING, one.reply) if one.index in passed else one for one in outcomes]

    def _suppress(self, indexes: list[int], reason: Suppressed) -> None:
        addresses = [self._recipients[index].address for index in indexes]
        self._context.metrics.add(BOUNCES_SUPPRESSED[reason])
        maillog.bounce_suppressed(
            about=self.message.queue_id, reason=reason, mail_from=self.message.reverse_path, recipients=addresses
        )
        self._close(indexes)

    def _close(self, indexes: Container[int]) -> None:
        """End recipients for which a report was wanted; of a delay no other one is."""
        self._outcomes = [
            Outcome(outcome.index, REPORTED.get(outcome.state, outcome.state), outcome.reply)
            if outcome.index in indexes
            else outcome
            for outcome in self._outcomes
        ]
        closed = frozenset(index for index in self._late if index in indexes)
        self._reported_late += sorted(closed)
        self._reportable -= closed
        self._late -= closed

    def _defer(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Set when the deferred recipients are tried again, or give them up for age; return the outcomes with that."""
        if retry.expired(self.message.arrival, self._context.ages.now_ms(), self._route.expire):
            return self._expire(outcomes)
        self._due = self._next_due()
        self._look_for_delay(outcomes)
        # A connection lost in the middle says nothing about the message either, yet the message may be its cause: no sooner.
        self._interrupted = all(outcome.reply.startswith("421") for outcome in outcomes if outcome.state is PENDING)
        return outcomes

    def _look_for_delay(self, outcomes: list[Outcome]) -> None:
        pending = [outcome.index for outcome in outcomes if outcome.state is PENDING]
        time = self._route.delay_report
        self._reportable = delay_reportable(self.message, self._recipients, pending) if time else frozenset()
        if self._reportable and retry.expired(self.message.arrival, self._context.ages.now_ms(), time):
            self._late = self._reportable

    def _expire(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Give up what was deferred; return the outcomes with that failed."""
        self._expired = frozenset(outcome.index for outcome in outcomes if outcome.state is PENDING)
        maillog.message_expired(
            queue_id=self.message.queue_id,
            age=(self._context.ages.now_ms() - self.message.arrival) / 1000,
            attempts=self.attempts,
            recipients=[self._recipients[index].address for index in sorted(self._expired)],
        )
        return [
            Outcome(outcome.index, RecipientState.FAILED, outcome.reply) if outcome.index in self._expired else outcome
            for outcome in outcomes
        ]

    def _reported(self, outcome: Outcome) -> ReportedRecipient:
        index, reply = outcome.index, outcome.reply
        record = self._record if index in self.indexes else None
        waits = outcome.state is PENDING
        # What was not given up in this very attempt failed before; with a reply of class 4 it can only have expired.
        expired = index in self._expired or not (record or waits or reply[:1] != "4")
        return ReportedRecipient(
            index=index,
            address=self._recipients[index].address,
            original=original_recipient(self._recipients[index]),
            reply=reply,
            remote_mta=record.remote_mta if record else "",
            at_socket=record is not None and record.at_socket,
            last_attempt_ms=clock.wall_ms() if record else None,
            expired_after_s=self._route.expire if expired else None,
            will_retry_until_ms=self.message.arrival + round(self._route.expire * 1000) if waits else None,
        )

    def _conclude(self) -> Ended | RetryAt:
        """Return the end when every recipient has its end, else how far each is."""
        if all(outcome.state in (DELIVERED, CLOSED) for outcome in self._outcomes):
            return Ended(self._outcomes)
        return RetryAt(
            self._outcomes,
            due=self._due or self._next_due(),
            stranded=self._unreached or self._interrupted,
            attempt=self._attempt,
            reported=self._reported_late,
            reports_alone=all(outcome.state is not PENDING for outcome in self._outcomes),
            # One that could not be stored is left to the next attempt, or it would be asked for without a pause.
            delayed=not self._reportable or ReportKind.DELAYED in self._put_off,
        )

    def _next_due(self) -> int:
        # A report that could not be stored waits like a message that was tried, or it would be made without a pause.
        spread = clock.random_below(1001) / 1000
        return retry.next_due(clock.wall_ms(), max(self.attempts, 1), self._route.retry, spread)

    def _log(self, outcomes: list[Outcome], states: list[RecipientState], record: AttemptRecord) -> None:
        recipients, message = self._recipients, self.message
        names = [OUTCOMES[state] for state in states]
        for name in names:
            self._context.metrics.add(DELIVERY_ATTEMPTS[name])
        maillog.delivery_attempt(
            queue_id=message.queue_id,
            session=message.session_id,
            attempt=self.attempts,
            next_hop=record.peer or record.next_hop,
            host=record.host,
            tls=record.tls,
            mail_from=message.reverse_path,
            outcomes=[
                maillog.Outcome(recipients[one.index].address, name, one.reply)  # type: ignore[arg-type]
                for one, name in zip(outcomes, names, strict=True)
            ],
            octets=message.size,
            duration=record.seconds,
            next_attempt_ms=self._due or None,
        )
