"""The queue with everything around it faked: what is tried when and where, what is stored in which order, what an outage costs."""

from __future__ import annotations

import email
from dataclasses import replace
from email.utils import parsedate_to_datetime

import pytest
from tests.doubles.loop import START_MS, VirtualLoop
from tests.doubles.spool import FakeSpool, Group, Stored, StoredRecipient

from mailmoat import clock, maillog
from mailmoat._native import Held, Message, Outcome, RecipientState, Suspicion
from mailmoat.delivery import schedule
from mailmoat.delivery.attempt import AttemptRecord
from mailmoat.delivery.destination import (
    ACTIVE_PER_CONNECTION,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    OLD_SHARE,
    Destination,
)
from mailmoat.delivery.queue import UNREADABLE_PAUSE, Queue
from mailmoat.delivery.reporting import Reporter
from mailmoat.delivery.room import BIG, FULL_DESTINATIONS
from mailmoat.delivery.route import default_route
from mailmoat.delivery.suspects import BREAK, LOOK, PATIENCE, TRIAL_TIME
from mailmoat.metrics import FAMILIES, Metrics, share
from mailmoat.runtime.timers import Timers
from mailmoat.settings import Settings
from mailmoat.settings.sections.delivery import DeliverySettings
from mailmoat.settings.sections.ndr import NdrSettings

PENDING, DELIVERED, FAILED, CLOSED, RELAYED, PLACED, EXPANDED = RecipientState
DEFERRED = PENDING
HOUR = 3600.0
OK, LATER, NEVER = "250 2.0.0 ok", "451 4.3.0 later", "550 5.1.1 no such user"


LETTERS = frozenset("0123456789abcdefghjkmnpqrstvwxyz")
"""Of queue ids."""
NAMES = {}
"""What the tests call messages whose name is no queue id, by queue id."""


def queue_id_of(name):
    """The queue id of a message that the tests call so."""
    if set(name) <= LETTERS and len(name) <= 12 and name[0] != "0":
        return name
    known = next((queue_id for queue_id, known in NAMES.items() if known == name), None)
    queue_id = known or f"z{len(NAMES) + 100:x}"
    NAMES[queue_id] = name
    return queue_id


def named(queue_id):
    return NAMES.get(queue_id, queue_id)


def stored(name, arrival, recipients, reverse_path="sender@remote.test", octets=0):
    """A message as the spool gives it; `recipients` are addresses, states and replies."""
    queue_id, addresses = queue_id_of(name), [address for address, _, _ in recipients]
    content = b"Subject: a\r\n\r\nbody\r\n\r\n" + b"x" * octets
    message = Message(
        queue_id=queue_id, arrival=arrival, reverse_path=reverse_path, recipients=addresses, content=content
    )
    return Stored(message, [StoredRecipient(*one, due=arrival) for one in recipients])


def scheduled(name, arrival, due, attempts=3, next_hop=""):
    return Group(queue_id_of(name), arrival, due, attempts, next_hop)


class Transport:
    """Keeps what it was given until the test says what became of it."""

    def __init__(self):
        self.connections, self.given, self.closed = 0, [], False

    def submit(self, attempt):
        self.given.append(attempt)

    def close(self):
        self.closed = True

    abort = close


class Router:
    """A destination for each domain that has a route, else the default."""

    def __init__(self, default, routes):
        self.default, self.routes, self.dropped = default, routes, []
        self.destinations = (*routes.values(), *(() if default is None else (default,)))

    def __call__(self, recipient, _message):
        return self.routes.get(recipient.address.rpartition("@")[2], self.default)

    def passed_on(self, _route, _message, _failed):
        return frozenset()

    def destination(self, name):
        return next((one for one in self.destinations if one.name == name), None)

    def drop(self, destination):
        self.dropped.append(destination.name)


class World:
    """One queue, its time and its surroundings; `routes` are the domains that have a destination of their own."""

    def __init__(self, settings, routes=(), default=True):
        self.loop = loop = VirtualLoop()
        self.jumped_ms = 0
        self.spool = FakeSpool(loop, "")
        self.partition = self.spool.partition
        self.destination = self.open("default", settings) if default else None
        self.transport = self.destination and self.destination.transport
        self.routes = {domain: self.open(domain, settings) for domain in routes}
        self.router = Router(self.destination, self.routes)
        self.shared = share(1, sources=1)
        self.timers = Timers(loop, lambda error: pytest.fail(repr(error)))
        metrics = Metrics(self.shared, 0)
        self.queue = Queue(
            loop,
            settings,
            spool=self.spool,
            timers=self.timers,
            metrics=metrics,
            router=self.router,
            reporter=Reporter(loop, self.spool, settings, metrics),
        )
        self.spool.on_stored = self.queue.stored

    def open(self, name, settings):
        """A destination that has answered before."""
        destination = Destination(name, Transport(), default_route(settings.delivery))
        destination.proven = True
        return destination

    @property
    def now(self):
        return self.loop.time()

    @property
    def diary(self):
        return [(kind, named(queue_id), *rest) for kind, queue_id, *rest in self.spool.calls]

    def advance(self, seconds):
        self.loop.advance(self.loop.now_ms + round(seconds * 1000))

    def turn(self):
        self.loop.settle()
        assert self.loop.faults == []

    # the test's side

    def accept(self, *queue_ids, recipients=1, age=0.0, states=None, **more):
        for queue_id in queue_ids:
            states_ = states or [(f"u{n}@b.test", PENDING, "") for n in range(recipients)]
            message = stored(queue_id, int((self.now - age) * 1000), list(states_), **more)
            self.partition.put(message)
            self.queue.stored(message)
        self.turn()

    def adopt(self, schedule, *, at_once=False):
        """What is in the partition, by what its spool says of it."""
        self.partition.groups = schedule
        self.loop.create_task(self.queue.adopt(self.partition, at_once=at_once))
        self.turn()

    def finish(self, *outcomes, peer="192.0.2.1:25", at=0, of=""):
        """What became of one of those that are tried, at the default destination or at that of a domain."""
        attempt = self.given(of).pop(at)
        found = [Outcome(index, *outcome) for index, outcome in zip(attempt.indexes, outcomes, strict=True)]
        queue_id = named(attempt.message.queue_id)
        attempt.finished(found, AttemptRecord(next_hop="smtp:h:25", peer=peer, reused=False, seconds=0.1))
        self.turn()
        return queue_id

    def unreachable(self, at=0, of=""):
        attempt = self.given(of)[at]
        return self.finish(*[(DEFERRED, "421 4.4.1 No connection")] * len(attempt.indexes), peer="", at=at, of=of)

    def given(self, of=""):
        return (self.routes[of].transport if of else self.transport).given

    def tried_at(self, of):
        return [named(attempt.message.queue_id) for attempt in self.given(of)]

    @property
    def tried(self):
        return [named(attempt.message.queue_id) for attempt in self.given()]

    @property
    def active(self):
        return sum(destination.active for destination in self.queue.destinations)

    @property
    def waiting(self):
        return self.queue.waiting

    @property
    def untouched(self):
        """Messages that were never tried."""
        return sum(message.recipients[0].attempts == 0 for message in self.partition.messages.values())

    def steps(self, *kinds):
        return [entry for entry in self.diary if entry[0] in kinds]

    def metric(self, name, value=""):
        return self.shared.sum(FAMILIES[name][value or ()])


@pytest.fixture
def lines(monkeypatch):
    """What was logged."""
    written = []
    monkeypatch.setattr(
        maillog._stream, "write", lambda name, level, fields: written.append({"event": name, "level": level} | fields)
    )
    return written


@pytest.fixture
def world(monkeypatch, lines):
    made = None

    def now_ms():
        return made.loop.now_ms if made else START_MS

    def make(
        *, connections=2, retry=(60.0,), expire=5 * 24 * HOUR, delay_report=4 * HOUR, routes=(), default=True, **ndr
    ):
        nonlocal made

        def wall_ms():
            return now_ms() + (made.jumped_ms if made else 0)

        for name, time in (("wall_ms", wall_ms), ("monotonic_ms", now_ms), ("monotonic", lambda: now_ms() / 1000)):
            monkeypatch.setattr(clock, name, time)
        delivery = DeliverySettings(connections=connections, retry=retry, expire=expire, delay_report=delay_report)
        made = World(Settings(hostname="mx.example.test", delivery=delivery, ndr=NdrSettings(**ndr)), routes, default)
        monkeypatch.setattr(clock, "random_below", lambda _: 0)
        return made

    return make


def events(lines, name):
    return [line for line in lines if line["event"] == name]


# --- room ---


def test_what_was_accepted_is_tried_from_memory_and_removed(world):
    w = world()
    w.accept("a")
    assert w.tried == ["a"]
    w.finish((DELIVERED, OK))
    assert w.diary == [("remove", "a")]
    assert (w.active, w.waiting, len(w.timers)) == (0, 0, 0)
    assert w.metric("mailmoat_delivery_attempts_total", "delivered") == 1


def test_no_more_are_in_memory_than_there_is_room_and_the_rest_follow_in_order(world):
    w = world(connections=2)
    room = 2 * ACTIVE_PER_CONNECTION
    names = [f"m{number:03}" for number in range(room + 10)]
    w.accept(*names)
    assert (w.tried, w.active, w.waiting) == (names[:room], room, 10)
    for number in range(10):
        w.finish((DELIVERED, OK))
        assert w.active == room
        assert w.tried[-1] == names[room + number]
    for _ in range(room):
        w.finish((DELIVERED, OK))
    assert w.partition.messages == {}
    assert [entry[1] for entry in w.steps("load")] == names[room:]


def test_one_that_comes_does_not_overtake_those_that_wait(world):
    w = world(connections=1)
    w.accept(*"abcdefgh", "j", "k")
    w.finish((DELIVERED, OK))
    w.accept("m")
    assert w.tried[-1] == "j"
    w.finish((DELIVERED, OK))
    w.finish((DELIVERED, OK))
    assert w.tried[-2:] == ["k", "m"]


# --- retry ---


def test_a_deferred_message_comes_back_on_the_schedule(world, lines):
    w = world(retry=(60.0, 600.0))
    w.accept("a", recipients=2)
    w.finish((DELIVERED, OK), (DEFERRED, LATER))
    due = int((w.now + 60) * 1000)
    assert w.diary == [("settle", "a", [(0, DELIVERED, OK), (1, PENDING, LATER)], due, 1, "default")]
    assert events(lines, "delivery-attempt")[0]["next_attempt"] == maillog.timestamp(due), "the log says another time"
    w.advance(59.9)
    assert w.tried == []
    w.advance(0.2)
    assert w.tried == ["a"]
    assert w.transport.given[0].indexes == [1], "the delivered one is not tried again"
    w.finish((DEFERRED, LATER))
    assert w.diary[-1] == ("settle", "a", [(1, PENDING, LATER)], int((w.now + 600) * 1000), 2, "default")
    w.advance(601)
    w.finish((DELIVERED, OK))
    assert w.partition.messages == {}


def test_a_message_that_cannot_be_loaded_stays_and_is_tried_again(world, lines):
    w = world(retry=(60.0,))
    w.accept("a")
    w.finish((DEFERRED, LATER))
    w.spool.load_trouble = "disk I/O error"
    w.advance(60)
    assert w.tried == []
    assert w.active == 0, "it keeps a place it does not use"
    assert events(lines, "message-not-loaded")[0]["queue_id"] == "a"
    w.spool.load_trouble = None
    w.advance(UNREADABLE_PAUSE)
    assert w.tried == ["a"]


def test_an_adopted_partition_is_taken_over_by_time(world):
    w = world(connections=1)
    now = int(w.now * 1000)
    schedule = []
    for number in range(5000):
        due = now - 1 if number % 2 else now + 90_000
        w.partition.put(stored(f"m{number}", now - 1, [("u@b.test", PENDING, "")]))
        schedule.append(scheduled(f"m{number}", now - 1, due))
    w.adopt(schedule)
    assert w.active + w.waiting == 5000
    for _ in range(2500):
        w.finish((DELIVERED, OK))
    assert w.tried == []
    w.advance(91)
    for _ in range(2500):
        w.finish((DELIVERED, OK))
    assert w.partition.messages == {}


# --- outage ---


def test_a_hop_that_is_down_is_asked_by_one_message_at_a_time_with_growing_pauses(world):
    w = world(retry=(30 * 24 * HOUR,), expire=60 * 24 * HOUR)
    w.accept(*[f"m{number}" for number in range(30)])
    for _ in range(16):
        w.unreachable()
    assert w.tried == []
    pauses, started = [], w.now
    while len(pauses) < 8:
        w.advance(0.1)
        assert len(w.tried) <= 1
        if w.tried:
            pauses.append(round(w.now - started))
            started = w.now
            w.unreachable()
    assert pauses == [FIRST_PAUSE, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert w.untouched == 30 - 16 - 8, "those behind are untouched"


def test_when_the_hop_answers_all_come_back_at_once(world):
    w = world(connections=2, retry=(10 * HOUR,))
    names = [f"m{number:02}" for number in range(20)]
    w.accept(*names)
    for _ in range(16):
        w.unreachable()
    w.advance(FIRST_PAUSE)
    assert w.tried == ["m16"]
    w.finish((DELIVERED, OK))
    old = 2 * ACTIVE_PER_CONNECTION // OLD_SHARE
    assert set(w.tried) == {*names[:old], *names[17:]}, (
        "those that the outage deferred do not wait ten hours, nor take all room"
    )
    for _ in range(19):
        w.finish((DELIVERED, OK))
    assert w.partition.messages == {}
    assert len(w.timers) == 0
    assert (w.active, w.waiting) == (0, 0)


def test_one_that_was_refused_for_now_is_not_hurried_by_the_end_of_an_outage(world):
    w = world(retry=(HOUR,))
    w.accept("refused", "stranded")
    w.finish((DEFERRED, LATER))
    w.unreachable()
    w.accept("new")
    w.advance(FIRST_PAUSE)
    assert w.tried == ["new"]
    w.finish((DEFERRED, LATER))  # the hop answers, if only to say no
    assert w.tried == ["stranded"]


def test_a_stranded_message_whose_time_comes_first_is_the_next_to_ask(world):
    w = world(retry=(60.0,))
    w.accept("a", "b")
    w.unreachable()
    w.unreachable()
    w.advance(61)
    assert w.tried == ["a"]
    w.unreachable()
    w.advance(10)
    assert w.tried == ["b"]
    w.finish((DELIVERED, OK))
    assert w.tried == ["a"]
    w.finish((DELIVERED, OK))
    assert (w.partition.messages, len(w.timers)) == ({}, 0)


def test_when_nothing_is_due_in_an_outage_the_next_hop_is_to_be_asked_with_growing_pauses(world):
    w = world(retry=(10 * HOUR,))
    assert not w.queue.outages.unasked(w.destination)
    names = [f"m{number}" for number in range(5)]
    w.accept(*names)
    for _ in names:
        w.unreachable()
    pauses, asked = [], w.now
    while len(pauses) < 7:
        assert w.tried == []
        w.advance(0.1)
        if w.queue.outages.unasked(w.destination):
            pauses.append(round(w.now - asked))
            asked = w.now
            w.queue.outages.unreachable(w.destination)
    assert pauses == [FIRST_PAUSE, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]
    w.advance(LONGEST_PAUSE)
    assert w.queue.outages.unasked(w.destination)
    w.queue.outages.reached(w.destination)
    w.turn()
    assert len(w.tried) == w.destination.most_old, "the next hop is back, and they wait for ten hours"
    for _ in names:
        w.finish((DELIVERED, OK))
    assert w.partition.messages == {}
    assert not w.queue.outages.unasked(w.destination)


def test_a_next_hop_that_answers_during_a_pause_is_used_at_once(world):
    w = world(connections=2, retry=(10 * HOUR,))
    w.accept("a", "b", "c")
    for _ in range(3):
        w.unreachable()
    w.advance(FIRST_PAUSE)
    for _ in range(4):
        w.queue.outages.unreachable(w.destination)
        w.advance(LONGEST_PAUSE)
    w.queue.outages.unreachable(w.destination)
    w.queue.outages.reached(w.destination)
    w.turn()
    assert set(w.tried) == {"a", "b", "c"}, "they wait for the end of the pause"
    w.unreachable()
    w.advance(FIRST_PAUSE / 2)
    assert w.destination.rest, "the pause that was cut short ends no other"


def test_one_that_was_interrupted_comes_back_with_the_next_hop(world):
    w = world(retry=(10 * HOUR,))
    w.accept("interrupted", "refused")
    w.finish((DEFERRED, "421 4.4.2 Connection lost waiting for the reply to MAIL"))
    w.finish((DEFERRED, LATER))
    assert w.tried == [], "it may be what the next hop broke over"
    w.advance(HOUR)
    w.accept("new")
    w.unreachable()
    w.advance(FIRST_PAUSE)
    w.queue.outages.reached(w.destination)
    w.turn()
    assert set(w.tried) == {"new", "interrupted"}


@pytest.mark.parametrize("jump_hours", [0, 23, -24])
def test_a_long_outage_costs_a_few_attempts_and_ends_at_once(world, lines, jump_hours):
    """Three hours with a thousand messages, in which the calendar is wrong for an hour."""
    w = world(retry=(60.0, 600.0), expire=48 * HOUR)
    w.accept(*(f"m{number}" for number in range(1000)))
    attempts = 0
    for minute in range(180):
        if minute in {30, 90}:
            w.jumped_ms = round(jump_hours * HOUR * 1000) if minute == 30 else 0
        for _ in range(12):
            w.advance(5)
            w.queue.tick()
            while w.tried:
                w.unreachable()
                attempts += 1
        assert w.active <= w.destination.most
    assert attempts <= 3 * HOUR / LONGEST_PAUSE + 100, "one for each pause, whatever waits"
    assert [events(lines, name) for name in ("message-expired", "bounce-made")] == [[], []]
    w.advance(LONGEST_PAUSE)
    ended = 0
    while w.tried:
        w.finish((DELIVERED, OK))
        ended += 1
    assert (ended, w.partition.messages, w.waiting) == (1000, {}, 0), "without a wait"


def test_what_is_adopted_in_an_outage_comes_back_at_its_end(world):
    w = world(connections=1)
    now = int(w.now * 1000)
    names = ("a", "b", "c")
    for name in names:
        w.partition.put(stored(name, now, [("u@b.test", PENDING, "")]))
    w.adopt([scheduled(name, now, now + 60_000) for name in names])
    w.accept("new")
    w.unreachable()
    w.advance(FIRST_PAUSE)
    w.queue.outages.reached(w.destination)
    w.turn()
    for _ in range(4):
        w.finish((DELIVERED, OK))
    assert w.partition.messages == {}, "they wait for their own time"


def test_what_another_next_hop_deferred_is_tried_at_once(world):
    w = world(connections=1)
    now = int(w.now * 1000)
    for name in ("a", "b"):
        w.partition.put(stored(name, now, [("u@b.test", PENDING, "")]))
    w.adopt([scheduled("a", now, now + 90_000)])
    w.adopt([scheduled("b", now, now + 90_000)], at_once=True)
    w.turn()
    assert w.tried == ["b"]


def test_while_the_hop_is_down_the_head_of_the_queue_expires(world, lines):
    w = world(connections=1, retry=(10.0,), expire=100.0, enabled=False)
    w.accept(*"abcdefgh", *"jkmn")
    for _ in range(8):
        w.unreachable()
    while w.partition.messages and w.now < START_MS / 1000 + 300:
        w.advance(1)
        while w.tried:
            w.unreachable()
    assert w.partition.messages == {}, "a hop that is down keeps the expired"
    expired = events(lines, "message-expired")
    assert sorted(line["queue_id"] for line in expired) == list("abcdefghjkmn")
    assert all(line["age"] >= 100 for line in expired)


def loads_during_an_outage(w, seconds):
    """How often a message is loaded while its next hop rests and it is too old, in so many seconds."""
    w.accept("a", age=100)
    w.unreachable()
    w.spool.calls.clear()
    for _ in range(seconds * 10):
        w.advance(0.1)
        while w.tried:
            w.unreachable()
    return len(w.steps("load"))


def test_on_a_full_disk_no_expired_message_is_loaded_over_and_over_in_an_outage(world):
    w = world(retry=(60.0,), expire=50.0)
    w.spool.trouble, w.spool.seconds = "disk full", 0.01
    assert loads_during_an_outage(w, 59) == 0
    w.advance(2)
    assert len(w.steps("load")) == 1, "its report is owed"


def test_a_message_whose_bounce_is_held_back_is_not_loaded_over_and_over_in_an_outage(world):
    w = world(retry=(60.0,), expire=50.0, fold_time=60.0)
    w.spool.seconds = 0.01
    w.accept("b")
    w.finish((FAILED, NEVER))
    w.advance(1)
    w.finish((DELIVERED, OK))  # its report, after which the next ones to the same sender wait
    assert loads_during_an_outage(w, 50) == 0


def test_a_message_that_cannot_be_loaded_is_not_loaded_over_and_over_in_an_outage(world):
    w = world(retry=(10.0,), expire=50.0)
    w.accept("a")
    w.unreachable()
    w.spool.load_trouble, w.spool.seconds = "no disk", 0.01
    w.advance(45)
    w.spool.calls.clear()
    w.advance(UNREADABLE_PAUSE)
    assert 0 < len(w.steps("load")) < 10


# --- several destinations ---

AWAY, HERE = "away.test", "here.test"


def several(*recipients):
    return [(recipient, PENDING, "") for recipient in recipients]


def test_a_next_hop_that_is_down_delays_no_recipient_of_another(world, lines):
    w = world(routes=(AWAY, HERE), retry=(60.0,))
    w.accept("a", states=several(f"x@{AWAY}", f"y@{HERE}", f"z@{AWAY}"))
    assert [attempt.indexes for attempt in (*w.given(AWAY), *w.given(HERE))] == [[0, 2], [1]]
    w.unreachable(of=AWAY)
    w.finish((DELIVERED, OK), of=HERE)
    assert w.diary[-1][:3] == ("settle", "a", [(1, DELIVERED, OK)])
    w.accept("b", states=several(f"x@{AWAY}", f"y@{HERE}"))
    assert (w.tried_at(AWAY), w.tried_at(HERE)) == ([], ["b"]), "the one rests, the other is tried at once"
    w.finish((DELIVERED, OK), of=HERE)
    w.advance(FIRST_PAUSE)
    assert (w.tried_at(AWAY), w.tried_at(HERE)) == (["b"], []), "delivered once"
    w.finish((DELIVERED, OK), of=AWAY)
    assert w.tried_at(AWAY) == ["a"], "the outage is over"
    assert w.given(AWAY)[0].indexes == [0, 2]
    w.finish((DELIVERED, OK), (DELIVERED, OK), of=AWAY)
    assert [entry[1] for entry in w.steps("remove")] == ["b", "a"]
    assert (w.active, w.waiting, len(w.timers)) == (0, 0, 0)
    attempts = [line["outcomes"] for line in events(lines, "delivery-attempt")]
    delivered = [one.recipient for outcomes in attempts for one in outcomes if one.outcome == "delivered"]
    assert sorted(delivered) == sorted([f"x@{AWAY}", f"y@{HERE}"] * 2 + [f"z@{AWAY}"])


def test_each_group_has_its_own_due_time_and_attempts(world, lines):
    w = world(routes=(AWAY, HERE), retry=(60.0, 600.0))
    w.accept("a", states=several(f"x@{AWAY}", f"y@{HERE}"))
    w.finish((DEFERRED, LATER), of=AWAY)
    w.advance(30)
    w.finish((DEFERRED, LATER), of=HERE)
    w.advance(30)
    assert (w.tried_at(AWAY), w.tried_at(HERE)) == (["a"], [])
    w.finish((DEFERRED, LATER), of=AWAY)
    due = int((w.now + 600) * 1000)
    assert w.diary[-1] == ("settle", "a", [(0, PENDING, LATER)], due, 2, AWAY)
    w.advance(30)
    assert (w.tried_at(AWAY), w.tried_at(HERE)) == ([], ["a"])
    w.finish((DELIVERED, OK), of=HERE)
    w.advance(600)
    assert w.tried_at(AWAY) == ["a"]
    w.finish((DELIVERED, OK), of=AWAY)
    assert w.partition.messages == {}
    assert [line["attempt"] for line in events(lines, "delivery-attempt")] == [1, 1, 2, 2, 3]


def test_slow_destinations_leave_room_to_the_others(world):
    slow = tuple(f"slow{number}.test" for number in range(FULL_DESTINATIONS + 2))
    w = world(connections=1, routes=(*slow, HERE, AWAY))
    room = ACTIVE_PER_CONNECTION
    for domain in slow:
        w.accept(*[f"{domain}-{number}" for number in range(2 * room)], states=several(f"x@{domain}"))
    held = [len(w.given(domain)) for domain in slow]
    assert held == [room, room, room, room // 2, room // 4, 1], "none has more than it leaves free, none is without"
    names = [f"m{number}" for number in range(5)]
    w.accept(*names, states=several(f"x@{HERE}"))
    for name in names:
        assert w.tried_at(HERE) == [name]
        w.finish((DELIVERED, OK), of=HERE)


def test_a_destination_finds_several_places_beside_those_that_are_slow(world):
    slow = tuple(f"slow{number}.test" for number in range(FULL_DESTINATIONS))
    w = world(connections=4, routes=(*slow, HERE, AWAY))
    for domain in slow:
        w.accept(*[f"{domain}-{number}" for number in range(200)], states=several(f"x@{domain}"))
    bound = FULL_DESTINATIONS * 4 * ACTIVE_PER_CONNECTION
    for _ in range(200):  # what was taken before the others came is given back, however slowly
        w.finish((DELIVERED, OK), of=max(slow, key=lambda domain: len(w.given(domain))))
    free = bound - sum(len(w.given(domain)) for domain in slow)
    assert free >= bound // 8
    for domain in (HERE, AWAY):
        w.accept(*[f"{domain}-{number}" for number in range(200)], states=several(f"x@{domain}"))
    assert len(w.given(HERE)) >= free // 2
    assert len(w.given(AWAY)) >= free // 4


def test_room_that_was_freed_is_given_by_turns(world):
    slow = tuple(f"slow{number}.test" for number in range(FULL_DESTINATIONS))
    w = world(connections=1, routes=(*slow, HERE, AWAY))
    for domain in slow:
        w.accept(*[f"{domain}-{number}" for number in range(ACTIVE_PER_CONNECTION)], states=several(f"x@{domain}"))
    for domain in (HERE, AWAY):
        w.accept(*[f"{domain}-{number}" for number in range(20)], states=several(f"x@{domain}"))
    found = []
    for _ in range(6):
        w.finish((DELIVERED, OK), of=slow[0])
        found.append((len(w.given(HERE)), len(w.given(AWAY))))
    assert min(found[-1]) >= 3, "more than the one that each may have beyond the bound"
    assert all(abs(here - away) <= 1 for here, away in found)


def test_a_destination_that_ends_a_message_lets_those_that_wait_go_first(world):
    slow = tuple(f"slow{number}.test" for number in range(FULL_DESTINATIONS))
    w = world(connections=1, routes=(*slow, HERE))
    for domain in slow:
        w.accept(*[f"{domain}-{number}" for number in range(5 * ACTIVE_PER_CONNECTION)], states=several(f"x@{domain}"))
    w.accept(*[f"{HERE}-{number}" for number in range(20)], states=several(f"x@{HERE}"))
    for domain in slow:
        for _ in range(2):
            w.finish((DELIVERED, OK), of=domain)
    assert len(w.given(HERE)) > 1, "it waits for a turn while the others take again what they free"


def test_adopted_messages_find_their_destinations(world):
    w = world(routes=(AWAY, HERE))
    now = int(w.now * 1000)
    w.partition.put(stored("a", now, several("x@b.test", f"y@{HERE}", f"z@{AWAY}")))
    w.partition.put(stored("b", now, several(f"y@{HERE}")))
    w.partition.put(stored("c", now, [("x@b.test", DELIVERED, OK), (f"y@{HERE}", CLOSED, NEVER)]))
    w.adopt([scheduled("a", now, now), scheduled("b", now, now), scheduled("c", now, now)])
    w.turn()
    assert (w.tried, w.tried_at(AWAY), w.tried_at(HERE)) == (["a"], ["a"], ["a", "b"])
    for of in ("", HERE, HERE, AWAY):
        w.finish((DELIVERED, OK), of=of)
    assert (w.partition.messages, w.active, len(w.timers)) == ({}, 0, 0)
    assert sorted(entry[1] for entry in w.steps("remove")) == ["a", "b", "c"]


def test_adopted_groups_keep_their_destination_due_time_and_attempts(world, lines):
    w = world(routes=(AWAY, HERE), retry=(60.0, 600.0))
    now = int(w.now * 1000)
    message = stored("a", now, several(f"x@{AWAY}", f"y@{HERE}", f"z@{HERE}"))
    message.recipients = [replace(one, attempts=made) for one, made in zip(message.recipients, (4, 1, 2), strict=True)]
    w.partition.put(message)
    groups = [
        scheduled("a", now, now + 50_000, attempts=4, next_hop=AWAY),
        scheduled("a", now, now + 30_000, attempts=1, next_hop=HERE),
        scheduled("a", now, now + 40_000, attempts=2, next_hop=HERE),
    ]
    w.adopt(groups)
    w.turn()
    w.advance(30)
    assert (w.tried_at(AWAY), w.tried_at(HERE)) == ([], ["a"])
    assert w.given(HERE)[0].indexes == [1, 2], "tried together, when the first is due"
    w.finish((DELIVERED, OK), (DEFERRED, LATER), of=HERE)
    w.advance(20)
    assert w.tried_at(AWAY) == ["a"]
    w.finish((DEFERRED, LATER), of=AWAY)
    assert [entry[2:] for entry in w.steps("settle")] == [
        ([(1, DELIVERED, OK), (2, PENDING, LATER)], now + 630_000, 2, HERE),
        ([(0, PENDING, LATER)], now + 650_000, 5, AWAY),
    ]


def test_recipients_whose_route_has_changed_go_to_the_new_destination(world):
    w = world(routes=(HERE,), retry=(60.0,))
    now = int(w.now * 1000)
    w.partition.put(stored("a", now, several(f"x@{HERE}", f"y@{HERE}")))
    w.adopt([scheduled("a", now, now, next_hop=name) for name in ("default", "gone")])
    w.turn()
    assert (w.tried, w.tried_at(HERE)) == ([], ["a"])
    assert w.given(HERE)[0].indexes == [0, 1]
    w.finish((DELIVERED, OK), (DELIVERED, OK), of=HERE)
    assert (w.partition.messages, w.active, len(w.timers)) == ({}, 0, 0)
    assert len(w.steps("remove")) == 1


def test_one_destination_fails_and_is_reported_while_another_is_tried_again(world, lines):
    w = world(routes=(AWAY, HERE), retry=(60.0,))
    w.accept("a", states=several(f"x@{AWAY}", f"y@{HERE}"))
    w.finish((FAILED, NEVER), of=HERE)
    assert [entry[0] for entry in w.diary] == ["insert", "settle"]
    assert w.diary[1][2] == [(1, CLOSED, NEVER)]
    w.finish((DEFERRED, LATER), of=AWAY)
    w.advance(60)
    w.finish((FAILED, NEVER), of=AWAY)
    assert [line["recipients"] for line in events(lines, "bounce-made")] == [[f"y@{HERE}"], [f"x@{AWAY}"]]
    assert "a" not in w.partition.messages
    assert w.tried == ["q1", "q2"], "reports take their own route"


def test_what_has_no_route_waits_as_with_a_next_hop_that_is_down(world, lines):
    w = world(routes=(HERE,), default=False, retry=(60.0,), expire=100.0, enabled=False)
    w.accept("a", "b", states=several("x@nowhere.test", f"y@{HERE}"))
    assert w.tried_at(HERE) == ["a", "b"]
    for _ in "ab":
        w.finish((DELIVERED, OK), of=HERE)
    attempts = [line["outcomes"][0] for line in events(lines, "delivery-attempt")]
    assert {(one.outcome, one.reply) for one in attempts if one.recipient == "x@nowhere.test"} == {
        ("deferred", "451 4.3.5 No next hop is configured")
    }
    w.advance(50)
    assert set(w.partition.messages) == {"a", "b"}
    w.advance(200)
    assert w.partition.messages == {}
    assert [line["queue_id"] for line in events(lines, "message-expired")] == ["a", "b"]


# --- reports ---


def test_a_report_is_stored_before_its_message_is_removed(world, lines):
    w = world()
    w.accept("a", recipients=3)
    w.finish((DELIVERED, OK), (FAILED, NEVER), (DEFERRED, LATER))
    assert [entry[0] for entry in w.diary] == ["insert", "settle"]
    assert w.diary[1][2] == [(0, DELIVERED, OK), (1, CLOSED, NEVER), (2, PENDING, LATER)]
    assert w.tried == ["q1"], "the report is tried as any message"
    report = w.transport.given[0].message
    (addressee,) = report.recipients
    assert (report.reverse_path, addressee.address, addressee.state) == ("", "sender@remote.test", PENDING)
    fields = email.message_from_bytes(report.octets()).get_payload()[1].get_payload()
    assert [part["Final-Recipient"] for part in fields[1:]] == ["rfc822; u1@b.test"]
    assert fields[1]["Remote-MTA"] == "dns; [192.0.2.1]"
    w.finish((DELIVERED, OK))
    w.advance(60)
    w.finish((FAILED, NEVER))
    assert [entry[0] for entry in w.diary] == ["insert", "settle", "remove", "load", "insert", "remove"]
    assert w.metric("mailmoat_bounces_total", "failed") == 2
    assert [line["recipients"] for line in events(lines, "bounce-made")] == [["u1@b.test"], ["u2@b.test"]]


def test_before_the_report_is_on_disk_nothing_is_removed(world):
    w = world()
    w.accept("a")
    transaction = w.transport.given.pop()
    record = AttemptRecord(next_hop="h", peer="192.0.2.1:25", reused=False, seconds=0.0)
    transaction.finished([Outcome(0, FAILED, NEVER)], record)
    assert w.diary == [("insert", "q1")]
    assert not w.queue.at_rest
    w.turn()
    assert w.diary == [("insert", "q1"), ("remove", "a")]


def test_a_report_that_cannot_be_stored_stays_owed(world, lines):
    w = world(retry=(60.0,))
    w.accept("a", recipients=2)
    w.spool.trouble = "disk full"
    w.finish((DELIVERED, OK), (FAILED, NEVER))
    assert w.diary[-1][2] == [(0, DELIVERED, OK), (1, FAILED, NEVER)]
    assert events(lines, "bounce-not-stored")[0]["about"] == "a"
    w.advance(60)
    assert w.tried == [], "nobody is left to try"
    w.spool.trouble = None
    w.advance(61)
    assert w.diary[-1] == ("remove", "a")
    (report,) = w.tried
    assert report.startswith("q")


def test_a_report_that_cannot_be_stored_is_not_made_over_and_over(world):
    w = world(retry=(60.0,))
    w.spool.trouble = "disk full"
    w.accept("a", states=[("u@b.test", FAILED, NEVER)])  # accepted to be reported
    w.advance(59)
    assert len(w.steps("insert")) == 1
    w.advance(2)
    assert len(w.steps("insert")) == 2


def test_a_mistake_of_ours_in_a_report_costs_no_place_in_the_queue(world, lines, monkeypatch):
    w = world(retry=(60.0,))

    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("mailmoat.reports.make.ReportMaker.make", broken)
    w.accept("a")
    w.finish((FAILED, NEVER))
    assert w.active == 0
    assert w.diary[-1][2] == [(0, FAILED, NEVER)]
    assert "broken" in events(lines, "bounce-not-stored")[0]["detail"]


def test_recipients_accepted_to_be_reported_were_refused_by_us_not_by_the_next_hop(world):
    w = world()
    w.accept("a", states=[("good@b.test", PENDING, ""), ("bad@b.test", FAILED, NEVER)])
    assert w.transport.given[0].indexes == [0]
    w.finish((DELIVERED, OK))
    assert [entry[0] for entry in w.diary] == ["insert", "remove"]
    fields = email.message_from_bytes(w.transport.given[0].message.octets()).get_payload()[1].get_payload()
    assert [part["Final-Recipient"] for part in fields[1:]] == ["rfc822; bad@b.test"]
    assert fields[1]["Remote-MTA"] is None
    assert fields[1]["Status"] == "5.1.1"
    assert w.metric("mailmoat_delivery_attempts_total", "failed") == 0, "nobody attempted it"


def actions(w):
    """Of the reports that are at the next hop now: the kind, and whom each is about."""
    found = []
    for attempt in w.transport.given:
        _, *recipients = email.message_from_bytes(attempt.message.octets()).get_payload()[1].get_payload()
        found.append((recipients[0]["Action"], [one["Final-Recipient"].removeprefix("rfc822; ") for one in recipients]))
    return found


@pytest.mark.parametrize(("state", "action"), [(RELAYED, "relayed"), (PLACED, "delivered")])
def test_success_is_reported_before_the_message_is_removed(world, state, action):
    w = world()
    w.accept("a", recipients=2)
    w.finish((DELIVERED, OK), (state, OK))
    assert [entry[0] for entry in w.diary] == ["insert", "remove"]
    assert actions(w) == [(action, ["u1@b.test"])]
    assert w.metric("mailmoat_delivery_attempts_total", "delivered") == 2


def test_each_kind_of_outcome_has_a_report_of_its_own(world):
    w = world()
    w.accept("a", recipients=4)
    w.finish((RELAYED, OK), (FAILED, NEVER), (PLACED, OK), (RELAYED, OK))
    assert [entry[0] for entry in w.diary] == ["insert", "insert", "insert", "remove"]
    assert actions(w) == [
        ("relayed", ["u0@b.test", "u3@b.test"]),
        ("failed", ["u1@b.test"]),
        ("delivered", ["u2@b.test"]),
    ]


def test_a_redirected_recipient_is_reported_and_closed(world):
    w = world()
    w.accept("a", states=[("old@b.test", EXPANDED, "250 2.0.0 Redirected"), ("new@b.test", PENDING, "")])
    w.finish((DELIVERED, OK))
    assert [entry[0] for entry in w.diary] == ["insert", "remove"]
    assert actions(w) == [("expanded", ["old@b.test"])]


def test_a_report_of_success_that_cannot_be_stored_is_made_later_and_nothing_is_sent_again(world):
    w = world(retry=(60.0,))
    w.accept("a")
    w.spool.trouble = "disk full"
    w.finish((RELAYED, OK))
    assert w.diary[-1][2] == [(0, RELAYED, OK)]
    w.spool.trouble = None
    w.advance(60)
    assert actions(w) == [("relayed", ["u0@b.test"])]
    assert w.diary[-1] == ("remove", "a")


def test_success_and_deferral_of_one_message_go_their_own_ways(world):
    w = world(retry=(60.0,))
    w.accept("a", recipients=2)
    w.finish((RELAYED, OK), (DEFERRED, LATER))
    assert [entry[0] for entry in w.diary] == ["insert", "settle"]
    assert w.diary[-1][2] == [(0, DELIVERED, OK), (1, DEFERRED, LATER)]


def test_a_delay_is_reported_once_after_its_time_and_names_who_waits(world):
    w = world(retry=(60.0,), delay_report=150.0, expire=3600.0)
    w.accept("a", recipients=2)
    w.finish((DEFERRED, LATER), (DELIVERED, OK))
    for _ in range(2):
        w.advance(60)
        w.finish((DEFERRED, LATER))
    assert w.steps("insert") == []
    w.advance(60)
    w.finish((DEFERRED, LATER))
    assert [entry[0] for entry in w.diary[-2:]] == ["insert", "settle"], "the report is on disk first"
    assert actions(w) == [("delayed", ["u0@b.test"])]
    report = w.transport.given[0].message.octets()
    [fields] = email.message_from_bytes(report).get_payload()[1].get_payload()[1:]
    assert (fields["Status"], fields["Diagnostic-Code"]) == ("4.3.0", "smtp; 451 4.3.0 later")
    assert parsedate_to_datetime(fields["Will-Retry-Until"]).timestamp() == START_MS // 1000 + 3600
    w.finish((DELIVERED, OK))
    for _ in range(5):
        w.advance(60)
        w.finish((DEFERRED, LATER))
    assert len(w.steps("insert")) == 1


def test_delays_are_reported_while_a_next_hop_is_away_without_an_attempt_for_each_message(world):
    w = world(connections=1, retry=(36_000.0,), delay_report=3_000.0)
    names = [f"m{number}" for number in range(30)]
    for name in names:
        w.accept(name, reverse_path=f"sender@{name}.test")
    while w.given():
        w.unreachable()
    assert w.steps("insert") == []
    for _ in range(120):
        w.advance(30)
        if w.given():
            w.unreachable()
        elif w.queue.outages.unasked(w.destination):
            w.queue.outages.unreachable(w.destination)  # as the prober does
            w.turn()
    recipients = [w.partition.messages[name].recipients[0] for name in names]
    assert all(recipient.reported and recipient.state is PENDING for recipient in recipients)
    assert {recipient.attempts for recipient in recipients} <= {0, 1, 2}
    assert len(w.steps("insert")) == 30, "one for each, and none about a report"


def test_no_delay_is_reported_to_nobody_or_where_it_is_switched_off(world):
    for settings, more in (({"delay_report": 0.0}, {}), ({"delay_report": 10.0}, {"reverse_path": ""})):
        w = world(retry=(60.0,), **settings)
        w.accept("a", **more)
        for _ in range(3):
            w.finish((DEFERRED, LATER))
            w.advance(60)
        assert w.steps("insert") == []


def test_a_delay_is_not_reported_where_notify_does_not_ask_for_it(world):
    w = world(retry=(60.0,), delay_report=10.0)
    w.accept("a", recipients=4)
    asked = [None, "DELAY", "FAILURE", "NEVER"]
    w.finish(*[(DEFERRED, LATER)] * 4)
    recipients = w.partition.messages["a"].recipients
    for at, notify in enumerate(asked):
        recipients[at] = replace(recipients[at], parameters={"NOTIFY": notify} if notify else {})
    w.advance(60)
    w.finish(*[(DEFERRED, LATER)] * 4)
    assert actions(w) == [("delayed", ["u0@b.test", "u1@b.test"])]


def test_a_report_of_delay_that_cannot_be_stored_is_made_at_the_next_attempt(world):
    w = world(retry=(60.0,), delay_report=10.0)
    w.accept("a")
    w.finish((DEFERRED, LATER))
    w.advance(60)
    w.spool.trouble = "disk full"
    w.finish((DEFERRED, LATER))
    assert not w.partition.messages["a"].recipients[0].reported
    w.spool.trouble = None
    w.advance(60)
    w.finish((DEFERRED, LATER))
    assert actions(w) == [("delayed", ["u0@b.test"])]
    assert w.partition.messages["a"].recipients[0].reported


def test_what_waits_and_what_failed_have_reports_of_their_own(world):
    w = world(retry=(60.0,), delay_report=10.0)
    w.accept("a", recipients=2)
    w.finish((DEFERRED, LATER), (DEFERRED, LATER))
    w.advance(60)
    w.finish((DEFERRED, LATER), (FAILED, NEVER))
    assert actions(w) == [("delayed", ["u0@b.test"]), ("failed", ["u1@b.test"])]
    assert w.diary[-1][2] == [(0, DEFERRED, LATER), (1, CLOSED, NEVER)]


def test_attempts_that_deferred_somebody_are_kept(world):
    w = world(retry=(60.0,))
    w.accept("a")
    w.finish((DEFERRED, LATER))
    w.advance(60)
    w.unreachable()
    assert [(row.next_hop, row.peer) for row in w.partition.attempts["a"]] == [
        ("smtp:h:25", "192.0.2.1:25"),
        ("smtp:h:25", ""),
    ]


def test_success_without_a_sender_to_report_to_ends_at_once(world):
    w = world()
    w.accept("a", reverse_path="")
    w.finish((PLACED, OK))
    assert w.diary == [("remove", "a")]


def test_expiry_is_reported_as_such_whatever_the_last_reply_was(world):
    w = world(retry=(60.0,), expire=100.0)
    w.accept("a")
    w.finish((DEFERRED, LATER))
    w.advance(60)
    w.finish((DEFERRED, "550 not now"))  # a next hop that refuses the session defers with its own words
    w.advance(60)
    w.finish((DEFERRED, "550 not now"))
    fields = email.message_from_bytes(w.transport.given[0].message.octets()).get_payload()[1].get_payload()
    assert fields[1]["Status"] == "4.4.7"
    assert fields[1]["Action"] == "failed"
    assert "a" not in w.partition.messages


@pytest.mark.parametrize(("reverse_path", "enabled", "reason"), [
    ("", True, "null-reverse-path"),
    ("s@r.test", False, "ndr-disabled"),
])  # fmt: skip
def test_where_no_report_is_owed_the_message_goes_and_the_log_says_why(world, lines, reverse_path, enabled, reason):
    w = world(enabled=enabled)
    w.accept("a", reverse_path=reverse_path)
    w.finish((FAILED, NEVER))
    assert w.diary == [("remove", "a")]
    suppressed = events(lines, "bounce-suppressed")
    assert [(line["about"], line["reason"], line["recipients"]) for line in suppressed] == [
        ("a", reason, ["u0@b.test"])
    ]


# --- fairness ---


def adopted(w, number, prefix="d", domain="b.test", next_hop="default"):
    """Messages that were tried before and are due."""
    now = int(w.now * 1000)
    names = [f"{prefix}{count:03}" for count in range(number)]
    for name in names:
        w.partition.put(stored(name, now - 1, several(f"x@{domain}")))
    w.adopt([scheduled(name, now - 1, now - 1, next_hop=next_hop) for name in names])
    return names


def test_a_fresh_message_does_not_wait_behind_a_backlog(world):
    w = world(connections=1)
    adopted(w, 100)
    assert len(w.tried) == w.destination.most_old == ACTIVE_PER_CONNECTION // OLD_SHARE
    for number in range(ACTIVE_PER_CONNECTION - w.destination.most_old):
        w.accept(f"f{number}")
        assert w.tried[-1] == f"f{number}"
    assert w.steps("load") == w.steps("load")[: w.destination.most_old], "what is accepted is tried from memory"


def test_fresh_messages_and_those_tried_before_take_turns_for_room(world):
    w = world(connections=1)
    w.accept(*[f"f{number:02}" for number in range(40)])
    adopted(w, 40)
    order = []
    for _ in range(40):
        w.finish((DELIVERED, OK))
        order.append(w.tried[-1][0])
    assert order.count("d") >= 8, "a backlog goes on in a flood"
    assert order.count("f") >= 20
    assert "fff" + "f" * 8 not in "".join(order)


def test_big_messages_leave_connections_to_small_ones(world):
    w = world(connections=8)
    few = w.destination.most_big
    assert few == 2
    w.accept(*[f"b{number:02}" for number in range(20)], octets=BIG)
    assert len(w.tried) <= 2 * few
    w.accept("small")
    assert w.tried[-1] == "small"
    for _ in range(21):
        w.finish((DELIVERED, OK))
        assert w.destination.big <= few
    assert w.partition.messages == {}
    assert (w.destination.big, w.destination.old, w.destination.fresh) == (0, 0, 0)


def test_a_next_hop_that_has_not_answered_yet_gets_few(world):
    w = world(connections=8)
    w.destination.proven = False
    w.accept(*[f"m{number:03}" for number in range(100)])
    assert len(w.tried) == 8, "if it is down, the others have kept their room"
    w.finish((DELIVERED, OK))
    assert len(w.tried) == 8 * ACTIVE_PER_CONNECTION


# --- clocks ---


@pytest.mark.parametrize("day", [-86_400_000, 86_400_000])
def test_a_clock_that_is_a_day_off_delays_nothing(world, day):
    w = world(retry=(60.0, 600.0))
    w.accept("a", "b")
    w.finish((DEFERRED, LATER))
    w.jumped_ms = day
    w.finish((DEFERRED, LATER))
    w.advance(61)
    assert w.tried == ["a", "b"]


def test_what_was_deferred_by_a_wrong_clock_waits_no_longer_than_the_schedule(world):
    w = world(retry=(60.0, 600.0))
    now = int(w.now * 1000)
    w.partition.put(stored("a", now, several("x@b.test")))
    w.adopt([scheduled("a", now, now + 86_400_000)])
    w.advance(10 * 66)
    assert w.tried == ["a"]


def test_a_clock_set_forward_for_less_than_a_day_expires_nothing(world, lines):
    w = world(retry=(60.0,), expire=HOUR, enabled=False)
    w.accept("a")
    w.jumped_ms = 86_400_000
    for _ in range(3):
        w.finish((DEFERRED, LATER))
        w.advance(61)
    w.unreachable()
    assert events(lines, "message-expired") == []
    w.jumped_ms = 0
    w.queue.tick()
    w.advance(HOUR)
    while w.tried:
        w.unreachable()
        w.advance(60)
    (line,) = events(lines, "message-expired")
    assert HOUR <= line["age"] < 2 * HOUR


# --- what an operator does ---


def test_messages_are_retried_at_once_also_where_the_next_hop_rests(world):
    w = world(retry=(HOUR,))
    w.accept("a", "b", "c")
    w.finish((DEFERRED, LATER))
    w.unreachable()
    w.unreachable()
    assert w.destination.rest
    assert w.queue.retry(["c", "a", "x"]) == 2
    w.turn()
    assert len(w.tried) == 1, "one asks whether it is back"
    w.finish((DELIVERED, OK))
    w.turn()
    assert len(w.tried) == 2


def test_a_message_that_is_held_is_in_no_schedule_until_it_is_released(world):
    w = world(retry=(60.0,))
    w.accept("a", "b")
    w.finish((DEFERRED, LATER))
    assert w.queue.forget("a")
    assert w.queue.forget("a")
    w.advance(61)
    assert w.tried == ["b"]
    assert not w.queue.forget("b"), "its attempt comes to its end first"
    w.finish((DEFERRED, LATER))
    w.advance(61)
    assert w.tried == []
    assert w.queue.waiting == 0
    assert w.queue.add("a")
    assert w.queue.add("a")
    w.turn()
    assert w.tried == ["a"]
    assert w.transport.given[0].message.recipients[0].attempts == 1
    w.finish((DELIVERED, OK))
    assert sorted(w.partition.messages) == ["b"]


def test_one_that_is_held_and_released_during_its_attempt_goes_on(world):
    w = world(retry=(60.0,))
    w.accept("a")
    w.queue.forget("a")
    w.queue.add("a")
    w.finish((DEFERRED, LATER))
    w.advance(61)
    assert w.tried == ["a"]


def of_two_destinations(w, name="a"):
    w.accept(name, states=several(f"x@{AWAY}", f"y@{HERE}"))


def open_recipients(w, name="a"):
    return [one.address for one in w.partition.messages[name].recipients if one.is_open]


def test_a_group_that_ends_while_its_message_is_to_be_held_does_not_end_the_others(world):
    w = world(routes=(AWAY, HERE), retry=(60.0,))
    of_two_destinations(w)
    w.finish((DEFERRED, LATER), of=AWAY)
    assert not w.queue.forget("a"), "the other group is in an attempt"
    w.finish((DELIVERED, OK), of=HERE)
    assert open_recipients(w) == [f"x@{AWAY}"]
    assert w.queue.forget("a")


def test_groups_that_are_deferred_while_their_message_is_to_be_held_wait_for_nothing(world):
    w = world(routes=(AWAY, HERE), retry=(60.0,))
    of_two_destinations(w)
    assert not w.queue.forget("a")
    w.finish((DEFERRED, LATER), of=AWAY)
    w.finish((DEFERRED, LATER), of=HERE)
    assert w.waiting == 0
    w.queue.add("a")
    w.turn()
    assert (w.tried_at(AWAY), w.tried_at(HERE)) == (["a"], ["a"])


def test_a_group_that_ends_while_its_message_is_found_damaged_does_not_end_the_others(world):
    w = world(routes=(AWAY, HERE), retry=(60.0,))
    of_two_destinations(w)
    w.finish((DEFERRED, LATER), of=AWAY)
    w.partition.damaged.add("a")
    w.advance(61)
    w.finish((DELIVERED, OK), of=HERE)
    assert open_recipients(w) == [f"x@{AWAY}"]


def test_a_message_that_was_held_while_its_partition_was_read_is_not_tried(world):
    w = world()
    w.partition.put(stored("a", int(w.now * 1000), several("x@b.test")))
    groups = w.partition.schedule()
    w.partition.hold(None, "a", Held.OPERATOR)
    w.adopt(groups)
    assert w.tried == []
    assert (w.waiting, w.active) == (0, 0)


def test_a_message_that_was_released_while_its_partition_was_read_is_tried_once(world):
    w = world()
    w.adopt([])
    w.partition.put(stored("a", int(w.now * 1000), several("x@b.test")))
    groups = w.partition.schedule()
    w.queue.add("a")
    w.turn()
    w.adopt(groups)
    assert w.tried == ["a"]
    w.finish((DELIVERED, OK))
    assert (w.tried, w.waiting, w.active) == ([], 0, 0)


def test_a_released_message_of_several_destinations_goes_to_each_once(world):
    w = world(routes=(AWAY, HERE), retry=(60.0,))
    w.partition.put(stored("a", int(w.now * 1000), several(f"x@{AWAY}", f"y@{HERE}")))
    w.queue.add("a")
    w.turn()
    assert (w.tried, w.tried_at(AWAY), w.tried_at(HERE)) == ([], ["a"], ["a"])
    w.finish((DELIVERED, OK), of=HERE)
    w.finish((DELIVERED, OK), of=AWAY)
    assert w.partition.messages == {}
    assert len(w.steps("remove")) == 1


def test_a_released_message_for_another_destination_does_not_wait_for_the_one_that_is_away(world):
    w = world(routes=(HERE,), retry=(60.0,))
    w.accept("a")
    w.unreachable()
    assert w.tried == [], "the next hop of all other mail rests"
    w.partition.put(stored("b", int(w.now * 1000), several(f"y@{HERE}")))
    w.queue.add("b")
    w.turn()
    assert w.tried_at(HERE) == ["b"]


def test_a_destination_is_dropped_when_nothing_of_it_is_in_memory(world):
    w = world(routes=(AWAY,), retry=(60.0,))
    w.accept("a", states=several(f"x@{AWAY}"))
    w.queue.tick()
    assert w.router.dropped == []
    w.finish((DEFERRED, LATER), of=AWAY)
    w.routes[AWAY].transport.connections = 1
    w.queue.tick()
    assert w.router.dropped == []
    w.routes[AWAY].transport.connections = 0
    w.queue.tick()
    assert w.router.dropped == [AWAY]
    w.advance(61)
    assert w.tried_at(AWAY) == ["a"], "what waits finds it again"


def test_a_destination_that_is_away_is_dropped_after_its_pause_when_nothing_waits_for_it(world):
    w = world(routes=(AWAY,), retry=(60.0,), expire=90.0)
    w.accept("a", states=several(f"x@{AWAY}"), reverse_path="")
    w.unreachable(of=AWAY)
    w.advance(5)
    w.queue.tick()
    assert w.router.dropped == [], "something waits for it"
    w.advance(90)
    w.unreachable(of=AWAY)
    assert w.partition.messages == {}
    w.queue.tick()
    assert w.router.dropped == [], "it pauses: a message that comes now does not cause a query"
    w.advance(LONGEST_PAUSE)
    w.queue.tick()
    assert w.router.dropped == [AWAY]


def test_of_very_many_destinations_that_are_away_a_bounded_number_is_kept(world, monkeypatch):
    monkeypatch.setattr(schedule, "MOST_AWAY", 2)
    domains = [f"d{number}.test" for number in range(5)]
    w = world(routes=domains, retry=(60.0,))
    for domain in domains:
        w.accept(f"to-{domain}", states=several(f"x@{domain}"))
        w.unreachable(of=domain)
    w.queue.tick()
    assert w.router.dropped == [], "they rest"
    w.advance(FIRST_PAUSE)
    w.queue.tick()
    assert len(w.router.dropped) == 3
    w.advance(60)
    assert [w.tried_at(domain) for domain in domains] == [[f"to-{domain}"] for domain in domains]


def test_what_waits_for_a_destination_that_is_found_no_more_goes_with_the_default_one(world):
    """So it is with a next hop that an administrator named: nothing opens it again by its name."""
    w = world(routes=(AWAY,), retry=(60.0, 90.0))
    w.accept("a", "b", "c")
    for _ in range(3):
        w.finish((DEFERRED, LATER))
    w.advance(30)
    w.accept("d", states=several(f"x@{AWAY}"))
    w.finish((DEFERRED, LATER), of=AWAY)
    w.advance(28)
    w.accept("e")
    w.finish((DEFERRED, LATER))
    w.queue.tick()
    assert AWAY in w.router.dropped
    w.router.routes, w.router.destinations = {}, (w.destination,)
    w.advance(3)
    assert w.tried == ["a", "b", "c"]
    for _ in range(3):
        w.finish((DEFERRED, LATER))
    w.advance(58)
    assert sorted(w.tried) == ["d", "e"]
    for _ in range(2):
        w.finish((DELIVERED, OK))
    w.advance(60)
    assert sorted(w.tried) == ["a", "b", "c"]


# --- messages that may have killed a worker ---


def suspects(w, *names):
    now = int(w.now * 1000)
    for name in names:
        w.partition.put(stored(name, now, several("x@b.test")))
        w.partition.crashes[name] = 1
    w.adopt([scheduled(name, now, now) for name in names])


def test_a_suspect_is_tried_with_nothing_else_in_memory(world, lines):
    w = world(retry=(60.0,))
    w.accept("a")
    suspects(w, "b", "c")
    assert [line["queue_id"] for line in events(lines, "message-suspected")] == ["b", "c"]
    w.accept("d")
    assert w.tried == ["a"], "a trial waits until what is in memory has ended, and nothing else begins"
    w.finish((DELIVERED, OK))
    w.advance(LOOK * 2)
    assert w.tried == ["b"]
    assert w.partition.noted["b"] == Suspicion.ALONE
    w.finish((DEFERRED, LATER))
    w.advance(LOOK * 2)
    assert w.diary[-2:] == [("release", "b"), ("load", "d")], "it is no suspect any more"
    w.finish((DELIVERED, OK))
    w.accept("e")
    assert w.tried == ["e"], "the others have their time"
    w.finish((DELIVERED, OK))
    w.advance(2 * BREAK)
    assert w.tried == ["c"]
    w.finish((DELIVERED, OK))
    w.advance(70)
    assert w.tried == ["b"]


def test_a_trial_keeps_the_others_for_a_bounded_time_only(world):
    w = world()
    w.accept("a")
    suspects(w, "b")
    w.accept("c")
    w.advance(PATIENCE + LOOK)
    assert w.tried == ["a", "b"], "what does not end waits for its next hop and does nothing"
    w.advance(TRIAL_TIME + LOOK)
    assert w.tried == ["a", "b", "c"]
    assert w.partition.noted["b"] == Suspicion.IN_COMPANY
    assert ("release", "b") not in w.diary


def test_a_suspect_that_is_held_or_gone_is_not_tried(world):
    w = world()
    suspects(w, "b", "c", "d")
    w.turn()
    w.queue.forget("c")
    w.partition.messages.pop("d")
    w.advance(10)
    assert w.tried == ["b"]
    w.queue.forget("b")
    w.finish((DEFERRED, LATER))
    w.advance(100)
    assert w.tried == []
    assert w.steps("release") == [], "whoever held it decides"


def test_a_suspect_of_several_destinations_is_tried_at_all_of_them(world):
    w = world(routes=(AWAY, HERE))
    w.partition.put(stored("a", int(w.now * 1000), several(f"x@{AWAY}", f"y@{HERE}")))
    w.partition.crashes["a"] = 1
    w.adopt([scheduled("a", 1, 1)])
    w.advance(1)
    assert (w.tried_at(AWAY), w.tried_at(HERE)) == (["a"], ["a"])
    w.finish((DELIVERED, OK), of=HERE)
    w.finish((DELIVERED, OK), of=AWAY)
    assert w.partition.messages == {}


# --- the end ---


def test_after_close_nothing_begins_and_what_nobody_tried_is_left_as_it_is(world):
    w = world(connections=1, expire=10.0)
    w.accept(*"abcdefghij", age=20)
    w.finish((DEFERRED, LATER))  # expired: a report, and the next is loaded
    diary = list(w.diary)
    w.queue.close()
    assert w.transport.closed
    while w.tried:
        w.unreachable()  # as the pool defers what waits for a connection when it is closed
    assert w.diary == diary, "shutting down is no attempt: it neither counts nor expires anything"
    assert w.queue.at_rest


def test_a_group_that_nobody_tried_after_close_does_not_go_with_another(world):
    w = world(routes=(AWAY, HERE))
    of_two_destinations(w)
    w.queue.close()
    w.unreachable(of=AWAY)  # it waited for a connection
    w.finish((DELIVERED, OK), of=HERE)
    assert open_recipients(w) == [f"x@{AWAY}"]
    assert w.queue.at_rest


def test_after_close_what_was_loaded_meanwhile_is_not_tried(world):
    w = world()
    w.accept("a")
    w.finish((DEFERRED, LATER))
    w.spool.seconds = 1.0
    w.advance(60)
    assert not w.queue.at_rest, "it is being loaded"
    w.queue.close()
    w.advance(2)
    assert w.tried == []
    assert w.queue.at_rest


def test_what_runs_at_close_is_settled_and_its_report_stored(world):
    w = world()
    w.accept("a", "b", "c")
    w.queue.close()
    assert not w.queue.at_rest
    w.finish((DELIVERED, OK))
    w.finish((FAILED, NEVER))
    w.finish((DEFERRED, LATER))
    assert w.queue.at_rest
    assert [entry[:2] for entry in w.diary] == [("remove", "a"), ("insert", "q1"), ("remove", "b"), ("settle", "c")]
    assert w.tried == [], "the report is left to whoever adopts the partition"
    assert sorted(w.partition.messages) == ["c", "q1"]
