"""Levels of back pressure: where they begin and end, who waits, and that all workers act alike."""

from __future__ import annotations

from unittest import mock

import pytest

from mailmoat import clock, maillog
from mailmoat.limits import readings
from mailmoat.limits.pressure import PRESSURE_LEVEL, Level, Precedence, Pressure, Resource, following
from mailmoat.metrics import QUEUE_MESSAGES, Metrics, share
from mailmoat.policy.client import Client, Trust
from mailmoat.policy.known_good import KnownGood
from mailmoat.policy.precedence import Precedences
from mailmoat.settings import Listener
from mailmoat.settings.sections.pressure import PressureSettings, Thresholds, thresholds

DISK = Thresholds(96, 99, 97, 94)
ONLY_QUEUE = {"disk": "off", "memory": "off", "lag": "off", "queue": "10, 20, 15, 5"}


def test_a_level_ends_below_where_it_begins():
    level, seen = Level.NORMAL, []
    for reading in (95, 96, 98.9, 99, 98, 97, 96.9, 94, 93.9, 95, 99.5, 90):
        level = following(level, reading, DISK)
        seen.append(level.label[0])
    assert "".join(seen) == "nmmhhhmmnnhn"


@pytest.mark.parametrize("written", ["96, 99, 97", "99, 96, 97, 94", "96, 99, 99, 94", "96, 99, 93, 94", "96, 99, 97, 96", "a, 1, 1, 1", "-1, 2, 1, 0", 3])  # fmt: skip
def test_thresholds_that_make_no_sense(written):
    with pytest.raises(ValueError, match=r"number|order|list"):
        thresholds(written)


def test_thresholds_as_they_are_written():
    assert thresholds("96, 99, 97, 94") == thresholds([96, 99, 97, 94]) == DISK
    assert thresholds("9999,15000,10000,2000") == Thresholds(9999, 15000, 10000, 2000)
    assert thresholds("off") is thresholds("") is thresholds(None) is None


class World:
    """Two workers of one host, whose readings and time we set."""

    def __init__(self, tmp_path, **settings):
        self.now = [1000.0, 1000.0]
        self.log = []
        self.shared = share(2, sources=16)
        made = PressureSettings(**settings)
        self.metrics = [Metrics(self.shared, slot) for slot in (0, 1)]
        self.workers = [Pressure(made, tmp_path, metrics) for metrics in self.metrics]

    def tick(self, *lates, queue=0, seconds=1.0):
        """A second passes, for a worker that is late more; there are so many messages in the spool of the first one."""
        self.metrics[0].set(QUEUE_MESSAGES, queue)
        write = lambda name, level, fields: self.log.append((level, fields))  # noqa: E731
        with mock.patch.object(maillog._stream, "write", write):
            for slot, pressure in enumerate(self.workers):
                self.now[slot] += seconds + (lates[slot] if lates else 0)
                with mock.patch.object(clock, "monotonic", return_value=self.now[slot]):
                    pressure.tick(1.0)


def test_workers_act_alike_and_one_line_says_why(tmp_path):
    world = World(tmp_path, **ONLY_QUEUE)
    world.tick(queue=9)
    assert [one.level for one in world.workers] == [Level.NORMAL, Level.NORMAL]
    world.tick(queue=20)
    assert {(one.level, one.resource) for one in world.workers} == {(Level.HIGH, Resource.QUEUE)}
    world.tick(queue=14)
    world.tick(queue=4)
    world.tick(queue=4)  # the first has seen the second's level of a second ago
    assert {(one.level, one.resource, one.refused_below) for one in world.workers} == {(Level.NORMAL, None, 0)}
    told = [(level, line["before"], line["pressure"], line["reading"], line["threshold"]) for level, line in world.log]
    assert told == [("warning", "normal", "high", 20, 20), ("info", "high", "medium", 14, 15), ("info", "medium", "normal", 4, 5)]  # fmt: skip


def test_the_least_trusted_wait_first_and_the_trusted_never(tmp_path):
    world = World(tmp_path, **ONLY_QUEUE)
    pressure = world.workers[0]
    world.tick(queue=10)
    assert (pressure.refused_below, pressure.closed_below) == (Precedence.STRANGER, 0)
    world.tick(queue=10, seconds=30)
    assert (pressure.refused_below, pressure.closed_below) == (Precedence.KNOWN, 0)
    world.tick(queue=20)
    assert (pressure.refused_below, pressure.closed_below) == (Precedence.KNOWN, Precedence.KNOWN)
    world.tick(queue=20, seconds=3600)
    assert (pressure.refused_below, pressure.closed_below) == (Precedence.TRUSTED, Precedence.KNOWN)


def test_lateness_is_a_workers_own_and_counts_twice_in_a_row(tmp_path):
    world = World(tmp_path, disk="off", memory="off")
    world.tick()
    world.tick(6.0, 0.0)
    world.tick(0.1, 0.0)
    assert [one.level for one in world.workers] == [Level.NORMAL, Level.NORMAL]
    world.tick(6.0, 0.0)
    world.tick(3.0, 0.0)
    assert [one.level for one in world.workers] == [Level.MEDIUM, Level.NORMAL]


def test_a_dead_worker_presses_nobody(tmp_path):
    world = World(tmp_path, **ONLY_QUEUE)
    world.tick(queue=20)
    world.shared.reset_gauges(0)
    world.workers[1]._own[Resource.QUEUE] = Level.NORMAL
    world.shared.set(1, PRESSURE_LEVEL[Resource.QUEUE], 0)
    del world.workers[0], world.metrics[0]
    world.tick()
    assert world.workers[0].level is Level.NORMAL


def test_a_worker_that_drains_presses_nobody(tmp_path):
    world = World(tmp_path, **ONLY_QUEUE)
    world.tick(queue=20)
    world.tick(queue=20)
    drains, stays = world.workers
    drains.end()
    world.workers = [stays]
    world.now = world.now[1:]
    for _ in range(2):
        world.tick(queue=0)
    assert (stays.level, stays.refused_below) == (Level.NORMAL, 0)
    assert world.shared.greatest(PRESSURE_LEVEL[Resource.QUEUE]) == Level.NORMAL


def test_nothing_watched_is_no_pressure(tmp_path):
    off = dict.fromkeys(Resource, "off")
    world = World(tmp_path, **off)
    world.tick(99.0, 99.0, queue=10**9)
    assert not Pressure.is_on(PressureSettings(**off))
    assert world.workers[0].level is Level.NORMAL


def test_what_is_read_of_this_process():
    assert readings.own_memory() > 1 << 20
    assert readings.memory_limit() > readings.own_memory()


def test_memory_that_cannot_be_read(tmp_path):
    assert readings.own_memory(tmp_path / "none") is None
    assert readings.memory_limit(tmp_path, tmp_path / "none") == readings.memory_limit(tmp_path, tmp_path / "none")


def test_the_least_limit_of_the_control_groups_holds(tmp_path):
    inner = tmp_path / "system.slice" / "mailmoat.service"
    inner.mkdir(parents=True)
    membership = tmp_path / "membership"
    membership.write_text("1:name=other:/x\n0::/system.slice/mailmoat.service\n")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.high").write_text("3000000\n")
    (inner.parent / "memory.max").write_text("2000000\n")
    assert readings.memory_limit(tmp_path, membership) == 2_000_000


@pytest.mark.parametrize(
    ("trust", "expected"),
    [
        (Trust(internal=True, exempt=True), Precedence.TRUSTED),
        (Trust(exempt=True), Precedence.KNOWN),
        (Trust(allowed=True), Precedence.KNOWN),
        (Trust(internal=True), Precedence.TRUSTED),
        (Trust(authenticated=True), Precedence.TRUSTED),
        (Trust(front_server=True), Precedence.TRUSTED),
    ],
)
def test_precedence_by_trust(trust, expected):
    assert Precedences(None, Known(9), 7).of(client(trust)) is expected


def test_who_is_on_an_allow_list_in_the_dns_waits_last():
    of = Precedences(None, Known(9), 7, KnownGood({"192.0.2.1"}.__contains__)).of
    assert of(client(Trust())) is Precedence.KNOWN
    assert of(client(Trust(), address="192.0.2.2")) is Precedence.BAD


class Known:
    """A reputation of one level for all."""

    def __init__(self, level):
        self.level = lambda _address: level


@pytest.mark.parametrize(("level", "expected"), [(None, 1), (0, 2), (1, 1), (6, 1), (7, 0), (9, 0)])
def test_precedence_by_reputation(level, expected):
    assert Precedences(None, Known(level), 7).of(client(Trust())) == expected
    assert Precedences(None, None, 7).of(client(Trust())) is Precedence.STRANGER
    assert Precedences(None, Known(level), 7).of(client(Trust(), address="")) is Precedence.STRANGER


def client(trust, address="192.0.2.1"):
    return Client(address, Listener("192.0.2.25", 25), trust)
