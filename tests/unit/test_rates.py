"""The rates of sources, over processes, prefixes and time; and the connections of a source, of its network, and of what is left."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat import clock
from mailmoat._native import Prefix
from mailmoat.limits.limiter import CONNECTIONS_REFUSED, LIMITED, Direction, Limit, LimitClass, words
from mailmoat.limits.local import LocalLimiter
from mailmoat.limits.rates import LocalRates
from mailmoat.metrics import CONNECTIONS, Metrics, share
from mailmoat.settings import rate
from mailmoat.settings.sections.limits import LimitsSettings

MESSAGES = LimitClass.MESSAGES
UNKNOWN = LimitClass.UNKNOWN_RECIPIENTS
WORKERS = 4
EVENTS = 100_000


@pytest.fixture
def now(monkeypatch):
    at = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(clock, "monotonic", lambda: at.seconds)
    return at


def rates(shared=None, **settings):
    return LocalRates(LimitsSettings(**settings), Metrics(shared or share(1), 0))


def spent(counted, address, times, kind=MESSAGES):
    return sum(counted.spend(kind, address) == 0 for _ in range(times))


def test_a_source_has_its_burst_and_then_its_rate(now):
    counted = rates(message_rate="6/min burst 3")
    assert spent(counted, "192.0.2.1", 5) == 3
    assert counted.spend(MESSAGES, "192.0.2.1") == pytest.approx(10)
    now.seconds += 10
    assert spent(counted, "192.0.2.1", 5) == 1
    now.seconds += 3600
    assert spent(counted, "192.0.2.1", 5) == 3


def test_nobody_waits_at_a_rate_that_was_corrected(now):
    shared = share(1)
    wrong = rates(shared, message_rate="60/hour")
    assert spent(wrong, "192.0.2.1", 100) == 60
    corrected = rates(shared, message_rate="600/min")
    assert corrected.wait(MESSAGES, "192.0.2.1") == pytest.approx(0.1)
    now.seconds += 30
    assert spent(corrected, "192.0.2.1", 1000) == 300


def test_networks_have_three_and_nine_times_as_much(now):
    counted = rates(message_rate="2/min")
    assert sum(spent(counted, f"192.0.2.{last}", 3) for last in range(20)) == 6
    assert spent(counted, "192.0.3.1", 3) == 2
    assert sum(spent(counted, f"2001:db8:0:{last:x}::1", 3) for last in range(20)) == 6
    assert sum(spent(counted, f"2001:db8:0:{last:x}::1", 3) for last in range(0, 65536, 256)) == 12
    assert spent(counted, "2001:db8:1::1", 3) == 2


def test_one_source_of_ipv6_is_a_64(now):
    counted = rates(message_rate="2/min")
    assert [counted.spend(MESSAGES, f"2001:db8::{last}") > 0 for last in range(3)] == [False, False, True]


def test_what_is_off_or_has_no_address_is_never_limited(now):
    counted = rates(message_rate="off", recipient_rate="1/min")
    assert not counted.limits(MESSAGES)
    assert spent(counted, "192.0.2.1", 10) == 10
    assert spent(counted, "", 10, LimitClass.RECIPIENTS) == 10


def test_what_has_happened_is_spent_whatever_is_left(now):
    counted = rates(byte_rate="1MiB/min")
    assert counted.wait(LimitClass.BYTES, "192.0.2.1") == 0
    counted.charge(LimitClass.BYTES, "192.0.2.1", 3 << 20)
    assert counted.wait(LimitClass.BYTES, "192.0.2.1") == pytest.approx(120, abs=0.001)
    now.seconds += 121
    assert counted.wait(LimitClass.BYTES, "192.0.2.1") == 0


def test_the_default_of_failed_authentications_is_thirty_in_ten_minutes(now):
    counted = rates()
    for _ in range(30):
        assert counted.wait(LimitClass.AUTH_FAILURES, "192.0.2.1") == 0
        counted.charge(LimitClass.AUTH_FAILURES, "192.0.2.1")
    assert counted.wait(LimitClass.AUTH_FAILURES, "192.0.2.1") == pytest.approx(20)
    assert counted.wait(LimitClass.AUTH_FAILURES, "192.0.2.2") == 0


def test_several_classes_are_decided_at_once_in_their_order(now):
    counted = rates(recipient_rate="3/min", null_sender_rate="2/min", unknown_recipient_rate="2/min", message_rate=None)
    unknown, both = counted.classes(UNKNOWN), counted.classes(MESSAGES, LimitClass.RECIPIENTS, LimitClass.NULL_SENDERS)
    assert counted.classes(MESSAGES) == 0
    assert [counted.take(unknown, both, "192.0.2.1") for _ in range(2)] == [None, None]
    assert counted.take(unknown, both, "192.0.2.1") == (LimitClass.NULL_SENDERS, pytest.approx(30))
    assert counted.spend(LimitClass.RECIPIENTS, "192.0.2.1") > 0, "what comes before the one that refuses is spent"
    counted.charge(UNKNOWN, "192.0.2.2", 2)
    assert counted.take(unknown, both, "192.0.2.2") == (UNKNOWN, pytest.approx(30))
    assert counted.spend(LimitClass.RECIPIENTS, "192.0.2.2") == 0, "what comes after it is not"
    assert counted.take(unknown, both, "") is None
    assert counted._metrics.shared.sum(LIMITED[UNKNOWN, Direction.IN]) == 1


def test_refusals_are_counted_by_class_and_direction(now):
    counted = rates(shared := share(1), message_rate="1/min")
    spent(counted, "192.0.2.1", 5)
    assert shared.sum(LIMITED[MESSAGES, Direction.IN]) == 4


def test_what_is_spent_is_shown_and_reset(now):
    counted = rates(message_rate="6/min burst 2", recipient_rate="60/min")
    spent(counted, "192.0.2.1", 4)
    counted.spend(LimitClass.RECIPIENTS, "198.51.100.7")
    (first, second), _ = counted.show(Prefix("192.0.2.0/24"), 10)
    assert first == (MESSAGES, "192.0.2.1/32", 2, 2, pytest.approx(10), pytest.approx(20), 2)
    assert second == (MESSAGES, "192.0.2.0/24", 2, 6, 0, pytest.approx(6.666668), 2)
    assert [len(counted.show(None, most)[0]) for most in (10, 3)] == [4, 3]
    assert counted.show(None, 3)[1] == 1
    assert counted.reset(Prefix("192.0.2.1")) == 2
    assert spent(counted, "192.0.2.1", 4) == 2
    now.seconds += 60
    assert counted.show(None, 10) == ([], 0)
    assert counted.reset(None) == 0


def in_workers(work):
    """Run it in four processes at once; their results, None for one that was killed."""
    pipes, children = [], []
    go = os.pipe()
    for number in range(WORKERS):
        pipe = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(go[1])
                os.read(go[0], 1)  # ends when all are there
                os.write(pipe[1], str(work(number)).encode())
            finally:
                os._exit(0)
        os.close(pipe[1])
        pipes.append(pipe[0])
        children.append(child)
    os.close(go[1])
    said = []
    for child, pipe in zip(children, pipes, strict=True):
        said.append(os.read(pipe, 100).decode())
        os.waitpid(child, 0)
        os.close(pipe)
    os.close(go[0])
    return [int(text) if text else None for text in said]


def test_four_workers_together_admit_exactly_the_burst(now):
    """A burst of 100,000 events of one source, of a network, and of many: no more and no less is let through."""
    shared = share(WORKERS)
    counted = rates(shared, message_rate="1000/hour burst 5000")
    one = in_workers(lambda _: spent(counted, "192.0.2.1", EVENTS // WORKERS))
    assert sum(one) == 5000
    network = in_workers(
        lambda number: sum(spent(counted, f"198.51.100.{last % 250}", 100) for last in range(number, 1000, WORKERS))
    )
    assert sum(network) == 15000
    many = in_workers(lambda _: sum(spent(counted, f"10.0.{last}.1", 100) for last in range(250)))
    assert sum(many) == EVENTS
    assert sum(in_workers(lambda _: spent(counted, "10.0.7.1", 5000))) == 5000 - 400


def test_a_worker_that_is_killed_neither_blocks_nor_leaks(now):
    """Killed at any instruction, again and again: the others get what is left, to the last one."""
    for round_ in range(20):
        counted = rates(share(WORKERS), message_rate="1000/hour burst 20000")

        def work(number, counted=counted, after=0.001 + round_ / 4000):
            if number == 0:
                signal.setitimer(signal.ITIMER_REAL, after)  # nothing catches SIGALRM: it ends the process like SIGKILL
            return spent(counted, "192.0.2.1", EVENTS // WORKERS)

        before_me = signal.signal(signal.SIGALRM, signal.SIG_DFL)
        killed, *alive = in_workers(work)
        signal.signal(signal.SIGALRM, before_me)
        source, network = sorted(counted.show(None, 10)[0], key=lambda one: one.burst)
        # What the dead one spent is what is not theirs: nothing was given twice, nothing but its last one lost.
        assert source.used == 20000
        assert 19_999 <= network.used <= 20_001
        assert 19_999 <= source.spent <= 20_001
        assert killed is None or killed + sum(alive) == 20000
        assert 0 < sum(alive) <= 20000
        assert counted.spend(MESSAGES, "192.0.2.1") > 0
        assert counted.reset(None) == 2
        assert spent(counted, "192.0.2.1", 1) == 1


@pytest.fixture
def limiter():
    """A limiter with these settings, its shared memory, and what it says of addresses."""

    def make(**settings):
        shared = share(2)
        metrics = Metrics(shared, 0)
        limits = LimitsSettings(**settings)
        limiter = LocalLimiter(limits, metrics, LocalRates(limits, metrics), lambda: False)

        def admit(address, *, limited=True):
            metrics.add(CONNECTIONS)
            return limiter.admit(address, limited=limited)

        return SimpleNamespace(admit=admit, give_back=limiter.give_back, shared=shared)

    return make


def test_connections_of_a_source_and_of_its_network(limiter):
    one = limiter(connections_per_source="2")
    assert [one.admit("192.0.2.1").refused for _ in range(3)] == [None, None, Limit.SOURCE]
    assert [one.admit("192.0.2.2").refused for _ in range(2)] == [None, None]
    # Six in all are the network's; the third of the first address counts until it is given back.
    assert [one.admit("192.0.2.3").refused for _ in range(2)] == [None, Limit.NETWORK]
    assert one.admit("192.0.3.3").refused is None
    for _ in range(2):
        one.give_back(one.admit("192.0.2.9").source)
    six = [one.admit(f"2001:db8:0:{number:x}::1").refused for number in range(8)]
    assert six == [None] * 6 + [Limit.NETWORK] * 2
    assert one.shared.sum(CONNECTIONS_REFUSED[Limit.NETWORK]) == 5


def test_a_source_has_a_part_of_the_connections_that_are_left(limiter):
    one = limiter(connections="2000", connections_per_source="0", connections_per_source_percent="2")
    admitted = [one.admit("192.0.2.1").refused for _ in range(50)]
    assert admitted == [None] * 40 + [Limit.SHARE] * 10
    for number in range(1000):
        one.admit(f"10.{number // 250}.{number % 250}.1")
    assert [one.admit("192.0.2.99").refused for _ in range(30)].count(None) == 19
    # Few are left, and ten are everybody's.
    small = limiter(connections="100", connections_per_source="0", connections_per_source_percent="2")
    assert [small.admit("192.0.2.1").refused for _ in range(12)].count(None) == 10


def test_the_rate_of_new_connections_says_how_long_it_takes(limiter, now):
    one = limiter(connection_rate="6/min burst 1")
    assert one.admit("192.0.2.1").refused is None
    refused = one.admit("192.0.2.1")
    assert (refused.refused, refused.source) == (Limit.RATE, b"")
    assert refused.text == "Too many new connections from your address; try again in 10 s"
    assert one.admit("192.0.2.1", limited=False).refused is None


def test_who_is_trusted_counts_for_the_server_alone(limiter):
    one = limiter(connections="3", connections_per_source="1", connection_rate="1/hour")
    assert [one.admit("192.0.2.1", limited=False).refused for _ in range(4)] == [None, None, None, Limit.SERVER]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "1 s"), (1, "1 s"), (119.5, "120 s"), (121, "3 min"), (7200, "120 min"), (7201, "3 h")]
)
def test_a_wait_in_words(seconds, text):
    assert words(seconds) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("600/min", rate.Rate(600, 60, 600)),
        ("600/min burst 100", rate.Rate(600, 60, 100)),
        ("30/10min", rate.Rate(30, 600, 30)),
        (" 5 / 2 hours  burst 3 ", rate.Rate(5, 7200, 3)),
        ("1/s", rate.Rate(1, 1, 1)),
        ("off", None),
        ("", None),
        ("0", None),
        (0, None),
        (False, None),
    ],
)
def test_a_rate_in_words(text, value):
    assert rate.rate(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (600, "in which time"),
        ("600", "not a rate"),
        ("600/fortnight", "not a rate"),
        ("x/min", "what comes before / is not a whole number"),
        ("5/min burst x", "the burst is not a whole number"),
        ("0/min", "not above 0"),
        ("5/min burst 0", "not above 0"),
        ("5/0min", "between a second and a day"),
        ("5/2day", "between a second and a day"),
        ("1/min burst 2000", "longer than a day"),
        (["5/min"], "not a rate"),
    ],
)
def test_what_is_no_rate(text, why):
    with pytest.raises(ValueError, match=why):
        rate.rate(text)


@given(st.builds(rate.Rate, st.integers(1, 10**6), st.integers(1, 86400), st.integers(1, 10**6)))
def test_a_rate_is_read_as_it_is_shown(one):
    if one.burst * one.seconds <= rate.LONGEST * one.count and one.seconds <= 99999:
        assert rate.rate(rate.show(one)) == one
        assert rate.byte_rate(rate.show_bytes(one)) == one
