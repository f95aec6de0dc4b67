"""Shared memory across fork, and what the binding refuses."""

import ipaddress
import os

import pytest

from mailmoat._native import Message, Outcome, Partition, Prefix, RecipientState, Shared, Suspicion


def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def packed(text):
    return ipaddress.ip_address(text).packed


def test_what_a_child_counts_the_parent_sees():
    shared = Shared(2, 3, gauges=[2])
    assert shared.slots == 3

    def work():
        shared.add(0, 1)
        shared.add(0, 1, 4)
        shared.set(1, 2, 7)
        shared.add(1, 2, -2)
        shared.set_oldest_held(1, 1234)
        shared.request_eviction(0)
        assert shared.source_enter(0, packed("192.0.2.1")) == [1, 1, 0]

    in_child(work)
    assert shared.row(0) == [0, 5, 0]
    assert (shared.sum(1), shared.sum(2)) == (5, 5)
    assert shared.oldest_held() == 1
    assert (shared.take_eviction_requests(0), shared.take_eviction_requests(0)) == (1, 0)
    assert shared.source_enter(1, packed("::ffff:192.0.2.1")) == [2, 2, 0]
    # The child is dead: its share is given back, its counters stay.
    shared.reset_gauges(1)
    shared.source_clear(0)
    assert shared.oldest_held() is None
    assert (shared.sum(1), shared.sum(2)) == (5, 0)
    assert shared.source_enter(1, packed("192.0.2.1")) == [2, 2, 0]


def test_concurrent_additions_are_all_counted():
    shared = Shared(1, 1)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            for _ in range(50_000):
                shared.add(0, 0)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert shared.sum(0) == 200_000


def test_readers_beside_a_writer_never_see_a_steady_source_vanish():
    shared = Shared(2, 0, sources=64)
    steady = packed("2001:db8::1")
    assert shared.source_enter(0, steady) == [1, 1, 1]
    child = os.fork()
    if child == 0:
        for number in range(100_000):
            other = packed(f"192.0.2.{number % 48}")
            (shared.source_leave if number // 48 % 2 else shared.source_enter)(0, other)
        os._exit(0)
    seen = set()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        seen.add(tuple(shared.source_enter(1, steady)))
        shared.source_leave(1, steady)
    assert seen == {(2, 2, 2)}


def test_a_prefix_of_ipv6_is_one_source():
    shared = Shared(1, 0)
    assert shared.source_enter(0, packed("2001:db8::1")) == [1, 1, 1]
    assert shared.source_enter(0, packed("2001:db8::2")) == [2, 2, 2]
    assert shared.source_enter(0, packed("2001:db8:0:1::1")) == [1, 3, 3]
    assert shared.source_enter(0, packed("2001:db8:0:100::1")) == [1, 1, 4]
    shared.source_leave(0, packed("2001:db8::3"))
    shared.source_leave(0, packed("::1"))
    assert shared.source_enter(0, packed("2001:db8::1")) == [2, 3, 4]
    assert shared.source_counts(Prefix("2001:db8::/64"), 100)[0] == [
        ("2001:db8::/48", 4),
        ("2001:db8::/56", 3),
        ("2001:db8::/64", 2),
    ]


def test_a_full_table_counts_nobody():
    shared = Shared(1, 0, sources=4)
    places = [shared.source_enter(0, packed(f"192.0.2.{n}")) for n in range(4)]
    assert places == [[1, 1, 0], [1, 2, 0], [1, 3, 0], None]
    assert shared.source_enter(0, packed("192.0.2.1")) == [2, 4, 0]
    assert shared.source_enter(0, packed("192.0.2.9")) is None
    assert dict(shared.source_counts(None, 100)[0])["192.0.2.0/24"] == 4
    assert shared.source_counts(None, 2) == ([("192.0.2.0/24", 4), ("192.0.2.1/32", 2)], 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda shared: shared.add(-1, 0),
        lambda shared: shared.add(0, 1),
        lambda shared: shared.set(0, 1 << 80, 1),
        lambda shared: shared.sum(1),
        lambda shared: shared.row(2),
        lambda shared: shared.reset_gauges(2),
        lambda shared: shared.request_eviction(2),
        lambda shared: shared.take_eviction_requests(2),
        lambda shared: shared.set_oldest_held(2, 1),
        lambda shared: shared.source_enter(2, bytes(4)),
        lambda shared: shared.source_clear(2),
    ],
)
def test_a_bad_index_is_an_index_error(call):
    with pytest.raises(IndexError):
        call(Shared(1, 1))


def test_a_bad_source_is_a_value_error():
    with pytest.raises(ValueError, match="4 or 16"):
        Shared(1, 0).source_enter(0, b"123")


def test_memory_is_what_was_said():
    assert Shared(2, 40).size <= 3 * ((1 << 20) + 1024) + (128 << 10) + (12 << 20) + (1 << 19)
    with pytest.raises(OSError, match="shared memory"):
        Shared(1 << 30, 1, sources=1 << 40)


def test_what_is_in_memory_of_a_partition_is_noted_until_it_is_settled_or_removed(tmp_path):
    shared = Shared(1, 1)
    partition = Partition.create(str(tmp_path))
    partition.note_in(shared, 0)
    ids = [partition.next_queue_id() for _ in range(4)]
    for queue_id in ids:
        partition.insert(
            object(), Message(queue_id=queue_id, arrival=1, reverse_path="", recipients=["a"], content=b"")
        )
    partition.settle(None, ids[0], [Outcome(0, RecipientState.PENDING, "451")], due=1, attempts=1)
    partition.remove(ids[1])
    partition.unnote(ids[2])
    partition.load(object(), ids[0])
    partition.note(ids[0], Suspicion.ALONE)
    assert shared.crashed_with(partition.tag) is None, "its owner's death was not seen"
    shared.notes_settle(0, crashed=True)
    found = shared.crashed_with(partition.tag)
    assert sorted(found) == [(ids[0], Suspicion.ALONE), (ids[3], Suspicion.UNSUSPECTED)]
    assert shared.crashed_with(partition.tag) == []
    with pytest.raises(ValueError, match="no such suspicion"):
        partition.note(ids[0], 9)
    partition.close()
