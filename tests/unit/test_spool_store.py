"""The spool on the loop: who is notified of what, and what is announced."""

import asyncio
import contextlib

import pytest

from mailmoat import maillog
from mailmoat._native import Message, Partition
from mailmoat.metrics import Metrics, share
from mailmoat.runtime import command_notes
from mailmoat.runtime.spool import SpoolStore


@pytest.fixture
def spool(tmp_path):
    loop = asyncio.new_event_loop()
    store = SpoolStore(loop, tmp_path, Metrics(share(1, sources=1), 0))
    with contextlib.closing(loop), contextlib.closing(store):
        store.loop = loop
        yield store


class Waiter:
    def __init__(self, happened, fault=None):
        self.happened, self.fault = happened, fault

    def done(self, error, message):
        self.happened.append(("done", error, message.queue_id))
        if self.fault is not None:
            raise self.fault


def message(store):
    return Message(
        queue_id=store.next_queue_id(), arrival=1, reverse_path="", recipients=["a@b.test"], content=b"x\r\n"
    )


def run(store, condition):
    """Turn the loop until it is so; the time limit of the tests bounds it."""
    while not condition():
        store.loop.run_until_complete(asyncio.sleep(0.001))


@pytest.mark.parametrize("fault", [None, RuntimeError("the waiter is broken")])
def test_what_is_stored_is_announced_after_its_waiter_was_notified_whatever_that_does(spool, monkeypatch, fault):
    happened, events = [], []
    monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: events.append(name))
    spool.on_stored = lambda stored: happened.append(("stored", stored.queue_id))
    one = message(spool)
    spool.insert(Waiter(happened, fault), one)
    run(spool, lambda: len(happened) == 2)
    assert happened == [("done", None, one.queue_id), ("stored", one.queue_id)]
    assert events == (["waiter-failed"] if fault else [])


def test_what_could_not_be_stored_is_not_announced(spool):
    happened = []
    spool.on_stored = lambda stored: happened.append(("stored", stored.queue_id))
    one, two = message(spool), message(spool)
    spool.insert(Waiter(happened), one)
    run(spool, lambda: len(happened) == 2)
    happened.clear()
    spool.insert(Waiter(happened), one)  # its queue id is spent
    spool.insert(Waiter(happened), two)
    run(spool, lambda: len(happened) == 3)
    assert [entry for entry in happened if entry[0] == "stored"] == [("stored", two.queue_id)]


def test_a_listener_that_raises_costs_the_others_nothing(spool, monkeypatch):
    happened, events = [], []
    monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: events.append((name, fields["queue_id"])))

    def broken(_):
        raise RuntimeError("broken")

    spool.on_stored = broken
    one, two = message(spool), message(spool)
    spool.insert(Waiter(happened), one)
    spool.insert(Waiter(happened), two)
    run(spool, lambda: len(events) == 2)
    assert events == [("delivery-not-begun", one.queue_id), ("delivery-not-begun", two.queue_id)]


def test_the_directories_are_those_of_what_it_owns(spool, tmp_path):
    own = spool.directories
    assert own == [tmp_path / "partitions" / spool.partition.tag]
    assert spool.directories is own, "worked out when it changes, not at each look"
    left = SpoolStore(spool.loop, tmp_path, Metrics(share(1, sources=1), 0))
    happened = []
    left.insert(Waiter(happened), message(left))
    run(spool, lambda: happened)
    left.close()
    adopted = spool.adopt()
    spool.keep(adopted)
    assert spool.directories == [*own, tmp_path / "partitions" / adopted.tag]
    adopted.remove(happened[0][2])
    run(spool, lambda: adopted.count == 0)
    spool.drop_empty()
    assert spool.directories == own


def test_something_is_to_be_adopted_while_a_partition_has_no_owner_or_a_command_has_left_a_note(spool, tmp_path):
    assert not spool.adoptable
    left = SpoolStore(spool.loop, tmp_path, Metrics(share(1, sources=1), 0))
    happened = []
    left.insert(Waiter(happened), message(left))
    run(spool, lambda: happened)
    assert not spool.adoptable, "each has its owner"
    left.close()
    assert spool.adoptable
    (tmp_path / "partitions" / left.partition.tag / "lock").unlink()
    assert spool.adoptable, "a partition that has lost its lock would never be found"
    spool.keep(spool.adopt())
    assert not spool.adoptable
    command_notes.leave(tmp_path, command_notes.CommandNote(1, "remove", "", ("1m89zsqxm00g2ky",)))
    assert spool.adoptable
    assert spool.adopt() is None
    assert not spool.adoptable


def test_a_spool_that_cannot_be_looked_at_is_told_by_adopting(tmp_path):
    assert Partition.is_adoptable(str(tmp_path / "moved away"))
    assert not Partition.is_adoptable(str(tmp_path))
