"""Reputation: the formula of the manual, records and blocks in virtual time, harvests in the log, and the file they are kept in."""

import os
import re
import signal
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.policy import client, services, view

from mailmoat import clock, maillog
from mailmoat._native import Address, Shared
from mailmoat.metrics import Metrics, share
from mailmoat.policy.agents.escalating_tarpit import escalation
from mailmoat.policy.agents.reputation_filter import ReputationFilter
from mailmoat.policy.verdict import PASS, Pass, Reject
from mailmoat.reputation import harvests, saved
from mailmoat.reputation.evidence import Evidence
from mailmoat.reputation.records import NUMBERS, Records, evidence_of
from mailmoat.reputation.upkeep import Upkeep
from mailmoat.settings import load, warnings

MANUAL = Path(__file__).parents[2] / "docs" / "manual.md"
HOUR, DAY = 3600, 86_400


class Time:
    """The clocks, which stand still."""

    def __init__(self):
        self.now = 100_000.0
        self.wall = 1_800_000_000_000

    def monotonic(self):
        return self.now

    def wall_ms(self):
        return self.wall

    def go(self, seconds):
        self.now += seconds
        self.wall += round(seconds * 1000)


@pytest.fixture
def time():
    time = Time()
    with mock.patch.multiple(clock, monotonic=time.monotonic, wall_ms=time.wall_ms):
        yield time


@pytest.fixture
def log():
    lines = []
    with mock.patch.object(maillog._stream, "write", lambda name, level, fields: lines.append((name, fields))):
        yield lines


def settings(**named):
    return load(environment={f"MAILMOAT_{key.upper()}": str(value) for key, value in named.items()})


def records(judged=lambda _: True, shared=None, **named):
    return Records(settings(**named), Metrics(shared or share(1, sources=1), 0), judged)


def rows(title):
    """Of the table of the manual whose heading begins with `title`."""
    head, _, *body = re.search(rf"^\| {title} \|.*\n(?:\|.*\n)+", MANUAL.read_text(), re.MULTILINE)[0].splitlines()
    cells = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in (head, *body)]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def test_the_examples_of_the_manual(time):
    examples = rows("Source")
    assert len(examples) > 10
    for number, example in enumerate(examples):
        found = records()
        for evidence in set(Evidence) & set(example):
            if count := int(example[evidence]):
                found.note("192.0.2.1", evidence, count)
        assert str(found.level("192.0.2.1") or ("none" if found.level("192.0.2.1") is None else 0)) == example["Level"], (
            number, example["Source"],
        )  # fmt: skip


def test_the_weights_of_the_manual(time):
    """Each kind alone, and beside as much accepted mail, has the level that its weight and tenths make."""
    table = rows("Evidence")
    assert [row["Evidence"] for row in table] == [evidence.value for evidence in Evidence]
    for row in table:
        weight, tenths = int(row["Weight"]), int(row["Tenths"])
        found = records()
        found.note("192.0.2.1", Evidence.ACCEPTED_MESSAGE, 100)
        found.note("192.0.2.1", Evidence(row["Evidence"]), 100)
        assert found.level("192.0.2.1") == min(9, weight * tenths // (weight + 1)), row


def test_a_source_is_blocked_once_and_for_a_time(time, log):
    found = records(reputation__action="reject")
    for _ in range(25):
        found.note("192.0.2.1", Evidence.UNKNOWN_RECIPIENT)
    assert found.blocks("192.0.2.1")
    assert not found.blocks("192.0.2.2")
    assert log == [
        (
            "source-blocked",
            {"source": "192.0.2.1/32", "reputation": 9, "seconds": DAY, "evidence": {"unknown-recipient": 20.0}},
        )
    ]
    time.go(DAY)
    assert not found.blocks("192.0.2.1")
    found.note("192.0.2.1", Evidence.UNKNOWN_RECIPIENT, 60)
    assert found.blocks("192.0.2.1")
    assert len(log) == 2


@pytest.mark.parametrize("action", ["off", "stamp"])
def test_only_reject_blocks(time, log, action):
    found = records(reputation__action=action)
    found.note("192.0.2.1", Evidence.UNKNOWN_RECIPIENT, 100)
    assert found.level("192.0.2.1") == 9
    assert not found.blocks("192.0.2.1")
    assert log == []


def test_the_trusted_and_servers_in_front_have_no_record(time):
    found = records(
        judged=lambda address: address != "10.0.0.1",
        smtp__xclient_networks="192.0.2.0/24",
        listen_proxy_networks="198.51.100.0/24",
    )
    for address in ("10.0.0.1", "192.0.2.1", "198.51.100.1", ""):
        found.note(address, Evidence.UNKNOWN_RECIPIENT, 100)
        found.unknown(address, "a@example.test", "example.test")
        found.known(address)
        assert found.level(address) is None
    assert found._shared.reputation_list(None, 0, 9) == ([], 0)


def test_an_ipv6_source_is_its_network(time):
    found = records()
    found.note("2001:db8::1", Evidence.MALFORMED, 100)
    assert found.level("2001:db8::ffff:2") == 9
    assert found.level("2001:db8:0:1::1") is None


def test_a_good_source_with_typing_errors_is_never_bad(time, log):
    """A mailing list with 5 % dead addresses, for a month, and a harvest attack by others meanwhile."""
    found = records(reputation__action="reject")
    number = 0
    for _ in range(30 * 24):
        time.go(HOUR)
        for _ in range(5):
            number += 1
            found.unknown("192.0.2.1", f"dead{number}@example.test", "example.test")
            found.unknown("203.0.113.1", f"guess{number}@example.test", "example.test")
        found.note("192.0.2.1", Evidence.ACCEPTED_MESSAGE, 95)
        assert (found.level("192.0.2.1") or 0) == 0
    assert not found.blocks("192.0.2.1")
    assert [fields["source"] for name, fields in log if name == "source-blocked"].count("192.0.2.1/32") == 0


def test_a_source_with_more_accepted_than_unknown_recipients_takes_no_part_in_a_harvest(time):
    """So the table of the manual has no such row: its `harvest` is never above 0 where less than half is unknown."""
    found = records()
    # More than the 16 that an attack on a domain needs: different sources are counted by linear counting, which may miss some.
    for source in range(24):
        for number in range(13):
            found.unknown(f"203.0.{source}.1", f"guess{source}-{number}@example.test", "example.test")
    assert found._shared.harvests() == 1
    found.accepted("192.0.2.1", 950)
    for number in range(50):
        found.unknown("192.0.2.1", f"dead{number}@example.test", "example.test")
    counts = evidence_of(found._shared.reputation_of("192.0.2.1", int(time.now))[1])
    assert counts == {"accepted-message": 950.0, "unknown-recipient": 50.0}
    for example in rows("Source"):
        assert example["harvest"] == "0" or int(example["unknown-recipient"]) >= int(example["accepted-message"]), (
            example
        )


def test_a_sender_to_one_dead_address_is_never_bad(time):
    found = records()
    for _ in range(1000):
        time.go(60)
        found.unknown("192.0.2.1", "gone@example.test", "example.test")
    assert found.level("192.0.2.1") is None


kinds = st.sampled_from(list(Evidence))


@given(st.lists(st.tuples(kinds, st.integers(1, 50), st.integers(0, 2 * HOUR)), min_size=1, max_size=60), st.randoms())
def test_levels_are_0_to_9_and_the_order_of_events_hardly_matters(events, random):
    levels = []
    for order in (events, random.sample(events, len(events))):
        shared = Shared(1, 1)
        for evidence, count, _ in order:
            shared.reputation_note(NUMBERS[evidence], "192.0.2.1", count, 1000)
        levels.append(shared.reputation_level("192.0.2.1", 1000))
    assert levels[0] == levels[1]
    assert levels[0] is None or 0 <= levels[0] <= 9


@given(st.lists(st.tuples(kinds, st.integers(1, 50), st.integers(0, 2 * HOUR)), min_size=1, max_size=40))
def test_counts_never_grow_by_themselves(events):
    shared, now = Shared(1, 1), 1000
    for evidence, count, seconds in events:
        now += seconds
        shared.reputation_note(NUMBERS[evidence], "192.0.2.1", count, now)
    before = shared.reputation_of("192.0.2.1", now)[1]
    for later in range(now, now + 5 * DAY, HOUR):
        counts = shared.reputation_of("192.0.2.1", later)[1]
        assert all(one <= other for one, other in zip(counts, before, strict=True))
        before = counts


def test_workers_count_together_and_one_that_is_killed_loses_nothing(log):
    """Eight processes note 5,000 events each for the same sources; one of them is killed in the middle of others."""
    found = records(reputation__action="reject", reputation__harvest=0)
    readable, writable = os.pipe()
    children = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            os.close(readable)
            for number in range(5000):
                found._shared.reputation_note(NUMBERS[Evidence.MALFORMED], f"192.0.2.{number % 50}", 1, 1000)
            os._exit(0)
        children.append(pid)
    victim = os.fork()
    if victim == 0:
        os.write(writable, b"x")
        while True:
            found._shared.reputation_note(NUMBERS[Evidence.MALFORMED], "198.51.100.1", 1, 1000)
            found._shared.reputation_note(NUMBERS[Evidence.MALFORMED], f"198.18.{os.getpid() % 200}.1", 1, 1000)
    os.read(readable, 1)
    os.kill(victim, signal.SIGKILL)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    os.waitpid(victim, 0)
    for number in range(50):
        assert evidence_of(found._shared.reputation_of(f"192.0.2.{number}", 1000)[1]) == {"malformed": 800.0}
    assert found._shared.reputation_level("198.51.100.1", 1000) in (9, None)
    assert sum(found._shared.reputation_block("192.0.2.1", 1000, 60) for _ in range(3)) == 1


def test_one_harvest_is_one_event_of_all_workers(time, log):
    shared = share(2, sources=1)
    workers = [Records(settings(), Metrics(shared, slot), lambda _: True) for slot in range(2)]
    upkeep = [Upkeep(settings(), Metrics(shared, slot)) for slot in range(2)]
    for number in range(600):
        address = f"10.{number % 40}.{number % 7}.1"
        workers[number % 2].unknown(address, f"guess{number}@example.test", "example.test")
        if number % 10 == 0:
            workers[0].known(address)
    began = [fields for name, fields in log if name == "harvest-began"]
    assert [(fields["scope"], fields["domain"], fields["guesses"]) for fields in began] == [
        ("domain", "example.test", 200)
    ]
    for _ in range(1300):
        time.go(1)
        for one in upkeep:
            harvests.tick(one._metrics, 50)
    ended = [fields for name, fields in log if name == "harvest-ended"]
    assert [(fields["scope"], fields["guesses"]) for fields in ended] == [("domain", 600)]
    assert 0 < ended[0]["hit_share"] < 0.15
    assert shared.sum(harvests.HARVESTS_BEGUN[harvests.Scope.DOMAIN]) == 1
    assert shared.harvests() == 0


# --- on disk ---


def known(shared, time):
    return {
        source: (counts, blocked) for source, counts, blocked, _ in shared.reputation_list(None, int(time.now), 9)[0]
    }


def test_records_are_the_same_after_a_restart(time, tmp_path, log):
    before, after = Shared(1, 1), Shared(1, 1)
    before.reputation_note(1, "192.0.2.1", 40, int(time.now))
    before.reputation_block("192.0.2.1", int(time.now), DAY)
    before.reputation_note(0, "2001:db8::1", 9, int(time.now))
    saved.save(before, tmp_path)
    there = known(before, time)
    assert len(there) == 2
    saved.load(after, tmp_path)
    assert known(after, time) == there
    time.wall += 12 * HOUR * 1000
    later = Shared(1, 1)
    saved.load(later, tmp_path)
    assert known(later, time)["192.0.2.1/32"][1] == DAY // 2
    assert evidence_of(known(later, time)["192.0.2.1/32"][0]) == {"unknown-recipient": 20.0}
    assert log == []


def test_a_wall_clock_that_jumps_makes_no_source_worse(time, tmp_path):
    before = Shared(1, 1)
    before.reputation_note(0, "192.0.2.1", 950, int(time.now))
    before.reputation_note(1, "192.0.2.1", 50, int(time.now))
    saved.save(before, tmp_path)
    for jump in (-10 * 365 * DAY, -DAY, DAY, 3 * DAY, 10 * 365 * DAY):
        time.wall += jump * 1000
        after = Shared(1, 1)
        saved.load(after, tmp_path)
        assert after.reputation_level("192.0.2.1", int(time.now)) in (0, None)
        time.wall -= jump * 1000


@pytest.mark.parametrize(
    "damage",
    [
        lambda octets: octets[:-1],
        lambda octets: octets[:30] + bytes([octets[30] ^ 1]) + octets[31:],
        lambda octets: b"",
        lambda octets: octets.replace(b"reputation 1", b"reputation 2"),
        lambda octets: os.urandom(4096),
    ],
)
def test_a_damaged_file_is_set_aside(time, tmp_path, log, damage):
    shared = Shared(1, 1)
    shared.reputation_note(1, "192.0.2.1", 40, int(time.now))
    saved.save(shared, tmp_path)
    path = tmp_path / saved.NAME
    path.write_bytes(damage(path.read_bytes()))
    after = Shared(1, 1)
    saved.load(after, tmp_path)
    assert known(after, time) == {}
    assert [name for name, _ in log] == ["reputation-not-read"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [saved.SET_ASIDE]


def test_nothing_is_written_for_nothing_and_a_full_disk_is_a_line(time, tmp_path, log):
    saved.save(Shared(1, 1), tmp_path)
    saved.load(Shared(1, 1), tmp_path)
    assert list(tmp_path.iterdir()) == []
    shared = Shared(1, 1)
    shared.reputation_note(1, "192.0.2.1", 1, int(time.now))
    saved.save(shared, tmp_path / "missing")
    assert [name for name, _ in log] == ["reputation-not-kept"]


def test_what_an_interrupted_save_left_is_removed(time, tmp_path):
    (tmp_path / "reputation.abc123").write_bytes(b"half")
    saved.load(Shared(1, 1), tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- agents ---


def filter_of(**named):
    given = services(settings(relay__local_domains="example.test", **named))
    return ReputationFilter(given), given.records


def rcpt(address="192.0.2.1", recipient="alice@example.test", recipients=()):
    return view(peer=address, recipient=Address.parse(recipient), recipients=recipients)


def test_a_stamp_says_the_level_once(time):
    agent, found = filter_of()
    assert agent.on_rcpt(rcpt()) is PASS
    found.note("192.0.2.1", Evidence.UNKNOWN_RECIPIENT, 80)
    found.note("192.0.2.1", Evidence.ACCEPTED_MESSAGE, 20)
    assert agent.on_rcpt(rcpt()) == Pass((b"X-Mailmoat-Filter: bad-reputation; level 8\r\n",))
    assert agent.on_rcpt(rcpt(recipients=(Address.parse("bob@example.test"),))) is PASS


def test_a_blocked_source_reaches_postmaster_alone(time, log):
    agent, found = filter_of(reputation__action="reject")
    found.note("192.0.2.1", Evidence.UNKNOWN_RECIPIENT, 20)
    assert isinstance(agent.on_rcpt(rcpt()), Reject)
    assert agent.on_rcpt(rcpt(recipient="Postmaster@example.test")) is PASS
    assert isinstance(agent.on_rcpt(rcpt(recipient="postmaster@elsewhere.test")), Reject)


def test_a_client_that_is_not_judged_is_let_through(time):
    tree = settings(reputation__action="reject", relay__networks="192.0.2.0/24")
    agent = ReputationFilter(services(tree))
    inside = view(peer="192.0.2.1", settings=tree, recipient=Address.parse("a@example.test"))
    assert inside.client == client("192.0.2.1", tree)
    assert agent.on_rcpt(inside) is PASS
    assert agent.on_rcpt(rcpt(address="")) is PASS


def test_delays_double_to_the_longest():
    assert [one.tarpit for one in escalation(5, 30)] == [None, 10, 20, 30]
    assert [one.tarpit for one in escalation(2.5, 20)] == [None, 5, 10, 20]


def test_off_is_off():
    assert services(settings(reputation__action="off", reputation__harvest=0)).reputation is None
    assert not ReputationFilter.is_on(settings(reputation__action="off"))


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"tarpit__escalate": "on"}, "tarpit.escalate has no effect: tarpit.time is 0"),
        ({"tarpit__escalate": "on", "tarpit__time": "30"}, "is not above tarpit.time"),
        ({"tarpit__escalate": "on", "tarpit__time": "5", "tarpit__escalate_max": "60"}, "many clients give up"),
        ({"tarpit__escalate": "on", "tarpit__time": "5", "tarpit__max_session": "20"}, "below tarpit.escalate_max"),
    ],
)
def test_unwise_escalation_is_warned_of(named, words):
    assert any(words in warning for warning in warnings(settings(**named)))
