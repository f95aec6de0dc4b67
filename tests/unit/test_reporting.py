"""Which reports are made, suppressed, held and folded: the real reporter, jobs and budgets in virtual time, with a spool in memory."""

from __future__ import annotations

import email
import tracemalloc
from collections import Counter, defaultdict

import pytest
from tests.doubles.loop import VirtualLoop
from tests.doubles.spool import FakeSpool, Stored, StoredRecipient
from tests.routes import no_routes

from mailmoat import clock, maillog
from mailmoat._native import Message, RecipientState
from mailmoat.admin import health
from mailmoat.delivery.follows import Ended, ReportFirst, RetryAt
from mailmoat.delivery.job import Job, JobContext
from mailmoat.delivery.reporting import Reporter
from mailmoat.delivery.route import default_route
from mailmoat.events import Event
from mailmoat.lists.lists import WORKERS_LISTS_OK
from mailmoat.mailauth.results import AuthResult, Method, Status
from mailmoat.mailauth.stored_results import encode
from mailmoat.metrics import (
    FAMILIES,
    WORKERS_ACCOUNTS_OK,
    WORKERS_DIRECTORY_OK,
    WORKERS_READY,
    WORKERS_SPOOL_HEALTHY,
    Metrics,
    share,
)
from mailmoat.policy.domain_lookups import Standing
from mailmoat.runtime.ages import Ages
from mailmoat.settings import Settings
from mailmoat.settings.sections.ndr import NdrSettings
from mailmoat.settings.sections.relay import RelaySettings

PENDING, FAILED, CLOSED = RecipientState.PENDING, RecipientState.FAILED, RecipientState.CLOSED
HOUR = 3600.0
UNKNOWN = "550 5.1.1 User unknown"
SPF_PASS = (AuthResult(Method.SPF, Status.PASS, "smtp.mailfrom", "remote.test"),)
SPF_FAIL = (AuthResult(Method.SPF, Status.FAIL, "smtp.mailfrom", "remote.test"),)
AUTHENTICATED = (AuthResult(Method.AUTH, Status.PASS, "smtp.auth", ""),)


class Lookups:
    """What the DNS says of domains; a domain in `slow` is answered when the test says so."""

    def __init__(self, loop):
        self.loop, self.asked, self.slow = loop, [], {}
        self.standings = defaultdict(lambda: Standing.EXISTS)

    def standing(self, domain, _client):
        self.asked.append(domain)
        if domain in self.slow:
            future = self.loop.create_future()
            self.slow[domain].append(future)
            return future
        return self.standings[domain]

    def answer(self, domain, standing):
        for future in self.slow.pop(domain):
            future.set_result(standing)


class World:
    """One reporter and what is around it. `reports` are those in the spool."""

    def __init__(self, monkeypatch, shared=None, number=1, **ndr):
        self.loop = loop = VirtualLoop()
        self.events = []
        monkeypatch.setattr(clock, "wall_ms", lambda: 1_800_000_000_000 + loop.now_ms)
        monkeypatch.setattr(clock, "monotonic", lambda: loop.now_ms / 1000)
        monkeypatch.setattr(clock, "monotonic_ms", lambda: loop.now_ms)
        monkeypatch.setattr(maillog, "event", lambda name, **fields: self.events.append((name, fields)))
        relay = RelaySettings(local_domains="ours.test", networks="10.0.0.0/8")
        self.settings = Settings(hostname="mx.ours.test", relay=relay, ndr=NdrSettings(**ndr))
        self.shared = shared or share(1, sources=1)
        self.metrics = Metrics(self.shared, 0)
        self.spool = FakeSpool(loop, "", lambda made: self.reports.append((made, loop.now_ms)))
        self.lookups = Lookups(loop)
        self.reporter = Reporter(loop, self.spool, self.settings, self.metrics, self.lookups)
        self.route = default_route(self.settings.delivery)
        self.context = JobContext(self.metrics, Ages(), no_routes().passed_on)
        self.metrics.set(WORKERS_READY, 1)
        self.metrics.set(WORKERS_SPOOL_HEALTHY, 1)
        self.metrics.set(WORKERS_DIRECTORY_OK, 1)
        self.metrics.set(WORKERS_ACCOUNTS_OK, 1)
        self.metrics.set(WORKERS_LISTS_OK, 1)
        self.reports, self.ended, self.held, self.number = [], [], [], number

    def fail(
        self,
        sender,
        *,
        results=(),
        client="192.0.2.1",
        reply=UNKNOWN,
        parameters=None,
        recipients=("nobody@ours.test",),
    ):
        """A message whose recipients failed before any attempt."""
        queue_id, self.number = f"m{self.number}", self.number + 1
        content = b"Subject: a\r\n\r\nb\r\n"
        message = Message(
            queue_id=queue_id,
            arrival=clock.wall_ms(),
            reverse_path=sender,
            recipients=list(recipients),
            content=content,
        )
        given = parameters or {}
        rows = [StoredRecipient(address, FAILED, reply, message.arrival, parameters=given) for address in recipients]
        self.settle(self.stored(message, rows, client, encode(results)))
        return queue_id

    def stored(self, message, rows, client, results):
        made = Stored(message, rows)
        made.client, made.results = client, results
        return made

    def settle(self, stored):
        job = Job(self.context, self.route, stored, stored.recipients, range(len(stored.recipients)), attempts=0)
        self.follow(stored, job, job.settle())
        self.loop.settle()
        assert self.loop.faults == []

    def follow(self, stored, job, follows):
        match follows:
            case ReportFirst():
                self.reporter.report(job, follows, lambda next_: self.follow(stored, job, next_))
            case Ended():
                self.ended.append(stored.queue_id)
            case RetryAt():
                self.held.append(stored.queue_id)
                rows = [StoredRecipient(row.address, one.state, one.reply, follows.due, parameters=row.parameters)
                        for row, one in zip(stored.recipients, follows.outcomes, strict=True)]  # fmt: skip
                again = self.stored(stored._message, rows, stored.client, stored.results)
                self.loop.call_later((follows.due - clock.wall_ms()) / 1000, self.settle, again)

    def advance(self, seconds):
        self.loop.advance(self.loop.now_ms + round(seconds * 1000))
        self.reporter.tick()

    def logged(self, name):
        return [fields for event, fields in self.events if event is name]

    def reasons(self):
        return Counter(fields["reason"] for fields in self.logged(Event.BOUNCE_SUPPRESSED))

    def sent_to(self):
        return Counter(made.recipients[0].address for made, _ in self.reports)

    def metric(self, name, label=()):
        return self.shared.sum(FAMILIES[name][label])


@pytest.fixture
def world(monkeypatch):
    return lambda **ndr: World(monkeypatch, **ndr)


def test_a_single_failure_is_reported_at_once(world):
    here = world()
    queue_id = here.fail("a@remote.test")
    assert (here.ended, here.held, here.sent_to()) == ([queue_id], [], {"a@remote.test": 1})
    assert here.lookups.asked == ["remote.test"]


def test_a_mistake_of_ours_in_a_lookup_leaves_the_report_owed(world):
    here = world()
    here.lookups.slow["remote.test"] = []
    queue_id = here.fail("a@remote.test")
    for future in here.lookups.slow.pop("remote.test"):
        future.set_exception(RuntimeError("a mistake"))
    here.loop.settle()
    assert (here.ended, here.held, here.loop.faults) == ([], [queue_id], [])
    assert "a mistake" in here.logged(Event.BOUNCE_NOT_STORED)[0]["detail"]


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (Standing.ABSENT, "sender-domain-absent"),
        (Standing.NO_RECORDS, "sender-domain-absent"),
        (Standing.NO_MAIL, "sender-domain-null-mx"),
        (Standing.UNKNOWN, None),
        (Standing.EXISTS, None),
    ],
)
@pytest.mark.parametrize("slow", [False, True])
def test_no_report_goes_to_a_domain_that_takes_none(world, standing, reason, slow):
    """A DNS that does not answer refuses nothing."""
    here = world()
    here.lookups.standings["remote.test"] = standing
    if slow:
        here.lookups.slow["remote.test"] = []
    here.fail("a@remote.test")
    if slow:
        assert (here.ended, here.reports) == ([], [])
        here.lookups.answer("remote.test", standing)
        here.loop.settle()
    assert here.ended == ["m1"]
    assert len(here.reports) == (reason is None)
    assert here.reasons() == ({} if reason is None else {reason: 1})
    if reason:
        assert here.metric("mailmoat_bounces_suppressed_total", reason) == 1


def test_nothing_is_asked_about_domains_of_ours_and_senders_inside(world):
    here = world()
    here.fail("a@ours.test")
    here.fail("a@private.test", client="10.1.2.3")
    here.fail("b@private.test", results=AUTHENTICATED)
    here.fail("a@[192.0.2.9]")
    assert here.lookups.asked == []
    assert len(here.reports) == 4


def test_a_forged_sender_costs_no_question(world):
    here = world()
    here.fail("a@remote.test", results=SPF_FAIL)
    assert (here.lookups.asked, here.reports, here.reasons()) == ([], [], {"forged-sender": 1})


def test_repeats_to_one_address_become_one_report(world):
    here = world(fold_time="60")
    here.fail("a@remote.test")
    for number in range(5):
        here.advance(1)
        here.fail("A@remote.test", recipients=[f"nobody{number}@ours.test"])
    assert len(here.reports) == 1
    assert [line["about"] for line in here.logged(Event.BOUNCE_HELD)] == [f"m{number}" for number in range(2, 7)]
    here.advance(61)
    assert len(here.reports) == 2
    assert sorted(here.ended) == [f"m{number}" for number in range(1, 7)]
    assert here.reasons() == {"folded": 4}
    text = email.message_from_bytes(here.reports[1][0].octets()).get_payload(0).get_payload()
    assert all(f"nobody{number}@ours.test" in text for number in range(5))


def test_one_that_waits_alone_is_reported_as_any_other(world):
    here = world()
    here.fail("a@remote.test")
    here.fail("a@remote.test")
    here.advance(61)
    assert (len(here.reports), here.reasons(), here.ended) == (2, {}, ["m1", "m2"])


@pytest.mark.parametrize(
    "more", [{"parameters": {"NOTIFY": "FAILURE"}}, {"client": "10.1.2.3"}, {"results": AUTHENTICATED}]
)
def test_who_asked_for_a_report_and_who_is_inside_gets_each(world, more):
    here = world()
    for _ in range(5):
        here.fail("a@remote.test", **more)
    assert (len(here.reports), here.held) == (5, [])


def test_folding_can_be_off(world):
    here = world(fold_time="0")
    for _ in range(5):
        here.fail("a@remote.test")
    assert (len(here.reports), here.held) == (5, [])


def test_a_report_that_cannot_be_stored_leaves_all_that_it_names_owed(world):
    here = world()
    here.fail("a@remote.test")
    for _ in range(3):
        here.fail("a@remote.test")
    here.spool.trouble = "disk full"
    here.advance(61)
    assert (len(here.reports), here.ended) == (1, ["m1"])
    assert here.logged(Event.BOUNCE_NOT_STORED)
    here.spool.trouble = None
    here.advance(HOUR)
    assert sorted(here.ended) == ["m1", "m2", "m3", "m4"]


def test_after_a_crash_what_waited_is_reported(world, monkeypatch):
    """Only the spool is left: each is due as if it was the first."""
    here = world()
    for _ in range(4):
        here.fail("a@remote.test")
    left = World(monkeypatch, shared=here.shared)
    left.loop.now_ms = here.loop.now_ms + 61_000
    for queue_id in here.held:
        left.number = int(queue_id[1:])
        left.fail("a@remote.test")
    left.advance(200)
    assert sorted(left.ended) == sorted(here.held)
    assert len(left.reports) == 2, "one at once, one that names the others"


def test_what_is_over_budget_is_suppressed_and_not_delayed(world):
    here = world(per_address="3/h", fold_time="0")
    for _ in range(10):
        here.fail("a@remote.test")
    here.fail("b@remote.test")
    assert (here.sent_to(), here.held) == ({"a@remote.test": 3, "b@remote.test": 1}, [])
    assert here.reasons() == {"address-budget": 7}
    assert len(here.ended) == 11
    here.advance(HOUR / 3)
    here.fail("a@remote.test")
    assert here.sent_to()["a@remote.test"] == 4


def test_what_would_wait_in_vain_is_suppressed_at_once(world):
    here = world(per_address="1/h", fold_time="60")
    here.fail("a@remote.test")
    here.fail("a@remote.test")
    assert (here.held, here.reasons()) == ([], {"address-budget": 1})


def test_a_flood_from_outside_and_one_from_inside_do_not_touch_each_other(world):
    here = world(total="50/h", per_domain="50/h", inside_total="20/h", fold_time="0")
    for number in range(200):
        here.fail(f"u{number}@d{number % 40}.test")
    assert sum(here.sent_to().values()) <= 50
    before = len(here.reports)
    for number in range(30):
        here.fail(f"u{number}@ours.test", client="10.1.2.3")
    assert len(here.reports) - before == 20
    before = len(here.reports)
    here.fail("known@sender.test", results=SPF_PASS)
    assert len(here.reports) - before == 1


def test_copies_go_to_whom_the_status_says(world):
    here = world(copy_to={"5.1": "directory@ours.test", "*": "post@ours.test"})
    here.fail("a@remote.test")
    here.fail("b@remote.test", reply="552 5.2.2 full")
    here.fail("c@remote.test", reply="452 4.2.2 full")
    copies = [[one.address for one in made.recipients[1:]] for made, _ in here.reports]
    assert copies == [["directory@ours.test"], ["post@ours.test"], ["post@ours.test"]]


@pytest.mark.timeout(600)
def test_a_flood_in_the_names_of_fifty_domains(world):
    """100,000 forged messages in an hour: the budgets hold, good senders get their bounces, the alarm is raised once, nothing grows."""
    here = world()
    good, sizes = 0, []
    for number in range(100_000):
        if number == 70_000:
            tracemalloc.start()  # what it costs is not worth paying for all of them
        here.loop.now_ms += 36
        here.fail(f"u{number % 2000}@victim{number % 50}.example")
        if number % 1000 == 999:
            here.fail(f"ann@good{number}.test")
            here.fail(f"bob@verified{number}.test", results=SPF_PASS)
            here.fail(f"carol{number}@ours.test", client="10.1.2.3")
            good += 3
        here.advance(0)
        if number % 10_000 == 9_999:
            here.events.clear()
            here.ended.clear()
            here.held.clear()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    here.advance(120)
    sent = here.sent_to()
    forged = {address: count for address, count in sent.items() if "victim" in address}
    domains = Counter()
    for address, count in forged.items():
        domains[address.rpartition("@")[2]] += count
    assert max(forged.values()) <= 20, "the burst, and an hour"
    assert max(domains.values()) <= 200
    assert sum(forged.values()) <= 2000
    assert sum(sent.values()) - sum(forged.values()) == good, "every good sender has its own"
    assert len(here.reporter._folds) == 0
    assert sizes[-1] - sizes[-2] < 1_000_000
    assert here.metric("mailmoat_bounce_flood", "outside") == 1
    assert here.metric("mailmoat_bounce_flood", "inside") == 0


def test_the_alarm_begins_and_ends_once(world):
    here = world(per_domain="5/h", fold_time="0", flood_alarm="50")
    for number in range(1000):
        here.loop.now_ms += 100
        here.fail(f"u{number}@victim.example")
        here.advance(0)
    (began,) = here.logged(Event.BOUNCE_FLOOD_BEGAN)
    assert (began["side"], began["withheld"], began["domains"]) == ("outside", 50, 1)
    assert here.metric("mailmoat_bounce_flood", "outside") == 1
    for _ in range(30):
        here.advance(60)
    (ended,) = here.logged(Event.BOUNCE_FLOOD_ENDED)
    assert (ended["side"], ended["withheld"]) == ("outside", 995)
    assert here.metric("mailmoat_bounce_flood", "outside") == 0


def test_bounces_that_are_off_are_said_and_a_flood_is_a_reason(world):
    assert health.judge(world(enabled="false").shared)[:2] == ("ok", [])
    assert health.judge(world(enabled="false").shared).bounces == "off"
    here = world(per_domain="5/h", fold_time="0")
    assert health.judge(here.shared).bounces == "on"
    for number in range(60):
        here.fail(f"u{number}@victim.example")
    here.advance(1)
    said = health.judge(here.shared)
    assert (said.status, said.bounces) == ("degraded", "flood")
    assert "flood of bounces because of mail from outside" in said.reasons[0]
