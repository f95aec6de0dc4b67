"""A job without a queue around it: what follows when its next hop is away and a delay is to be reported."""

import pytest
from tests.doubles.spool import StoredRecipient
from tests.routes import no_routes

from mailmoat import clock, maillog
from mailmoat._native import Message, Outcome, RecipientState
from mailmoat.delivery.attempt import AttemptRecord
from mailmoat.delivery.follows import ReportFirst, RetryAt
from mailmoat.delivery.job import Job, JobContext
from mailmoat.delivery.route import default_route
from mailmoat.metrics import Metrics, share
from mailmoat.reports.governor import Suppressed
from mailmoat.reports.kind import ReportKind
from mailmoat.runtime.ages import Ages
from mailmoat.settings.sections.delivery import DeliverySettings

ARRIVAL, HOUR = 1_790_000_000_000, 3_600_000
AWAY = "421 4.4.1 No connection"


@pytest.fixture
def job(monkeypatch):
    """Makes one of a message of this age in hours; each recipient is whether a delay was reported of it before, and its NOTIFY."""
    monkeypatch.setattr(maillog._stream, "write", lambda *_: None)

    def make(age, *recipients):
        monkeypatch.setattr(clock, "wall_ms", lambda: ARRIVAL + age * HOUR)
        addresses = [f"u{at}@b.test" for at in range(len(recipients))]
        message = Message(queue_id="a", arrival=ARRIVAL, reverse_path="s@a.test", recipients=addresses, content=b"\r\n")
        stored = [
            StoredRecipient(
                address,
                RecipientState.PENDING,
                AWAY,
                due=ARRIVAL + 7,
                attempts=3,
                parameters={"NOTIFY": notify} if notify else {},
                reported=reported,
            )
            for address, (reported, notify) in zip(addresses, recipients, strict=True)
        ]
        route = default_route(DeliverySettings(delay_report=4 * 3600.0, expire=48 * 3600.0))
        context = JobContext(Metrics(share(1, sources=1), 0), Ages(), no_routes().passed_on)
        return Job(context, route, message, stored, range(len(stored)), attempts=3)

    return make


def test_a_delay_is_reported_without_an_attempt(job):
    one = job(5, (False, ""), (True, ""), (False, "FAILURE"), (False, "DELAY"))
    wanted = one.overdue()
    assert isinstance(wanted, ReportFirst)
    assert wanted.kind is ReportKind.DELAYED
    assert [recipient.address for recipient in wanted.recipients] == ["u0@b.test", "u3@b.test"]
    first = wanted.recipients[0]
    assert (first.reply, first.last_attempt_ms, first.remote_mta) == (AWAY, None, ""), "nobody was asked now"
    assert (first.will_retry_until_ms, first.expired_after_s) == (ARRIVAL + 48 * HOUR, None)
    follows = one.suppressed(wanted, Suppressed.DISABLED)
    assert isinstance(follows, RetryAt)
    assert [(outcome.index, outcome.state, outcome.reply) for outcome in follows.outcomes] == [
        (at, RecipientState.PENDING, AWAY) for at in range(4)
    ]
    assert (follows.due, follows.stranded, follows.attempt) == (ARRIVAL + 7, True, None)
    assert (follows.reported, follows.delayed, one.attempts) == ([0, 3], True, 3)


def test_before_its_time_nothing_follows_but_the_wait(job):
    follows = job(3, (False, "")).overdue()
    assert isinstance(follows, RetryAt)
    assert (follows.reported, follows.delayed) == ([], False), "it is to be looked at again"


def test_where_all_is_reported_it_need_not_be_looked_at_again(job):
    follows = job(5, (True, ""), (False, "NEVER")).overdue()
    assert isinstance(follows, RetryAt)
    assert (follows.reported, follows.delayed) == ([], True)


def test_a_report_that_cannot_be_stored_is_left_to_the_next_attempt(job):
    one = job(5, (False, ""))
    follows = one.not_reported(one.overdue(), "disk full")
    assert isinstance(follows, RetryAt)
    assert (follows.reported, follows.delayed) == ([], True), "not to be asked for at once"


@pytest.mark.parametrize(
    ("peer", "host", "name"),
    [
        ("192.0.2.1:25", "mx1.b.test", "mx1.b.test"),
        ("[2001:db8::1]:25", "", "2001:db8::1"),
        ("/run/lmtp", "", ""),
        ("", "mx1.b.test", ""),
    ],
)
def test_a_report_has_the_name_of_the_server_that_replied_else_its_address(job, peer, host, name):
    """RFC 3464 2.3.5: its name, where an MX record has it."""
    one = job(1, (False, ""))
    record = AttemptRecord(next_hop="mx", peer=peer, reused=False, seconds=0.1, host=host)
    wanted = one.attempted([Outcome(0, RecipientState.FAILED, "550 5.1.1 no")], record)
    assert wanted.recipients[0].remote_mta == name
