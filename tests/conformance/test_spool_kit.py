"""What receiving and delivery ask of a spool, held against the real one on disk and the fake one of the transcripts."""

from __future__ import annotations

import asyncio
import shutil

import pytest
import uvloop
from tests.doubles.spool import FakeSpool

from mailmoat._native import Held, Message, Outcome, RecipientState
from mailmoat.metrics import Metrics, share
from mailmoat.runtime.spool import SpoolStore

DELIVERED, PENDING = RecipientState.DELIVERED, RecipientState.PENDING


class Waiter:
    """Waits for one completion."""

    def __init__(self) -> None:
        self.answer = asyncio.get_running_loop().create_future()

    def done(self, error, message) -> None:
        self.answer.set_result((error, message))


@pytest.fixture(params=["real", "fake"])
def run(request, tmp_path):
    """Runs `case(spool, break_)`: the second makes the disk fail."""

    def on_disk(case):
        async def main():
            spool = SpoolStore(asyncio.get_running_loop(), tmp_path, Metrics(share(1, sources=1), 0))
            try:
                return await case(spool, lambda: shutil.rmtree(tmp_path))
            finally:
                spool.close()

        return uvloop.run(main())

    def in_memory(case):
        async def main():
            spool = FakeSpool(asyncio.get_running_loop(), tmp_path)
            return await case(spool, lambda: setattr(spool, "trouble", "No space left on device"))

        return uvloop.run(main())

    return on_disk if request.param == "real" else in_memory


def message(spool, arrival: int = 7) -> Message:
    return Message(
        queue_id=spool.next_queue_id(),
        arrival=arrival,
        reverse_path="s@a.test",
        recipients=["x@b.test", "y@b.test"],
        content=b"Subject: x\r\n\r\nbody\r\n",
    )


async def stored(spool, arrival: int = 7) -> Message:
    waiter, sent = Waiter(), message(spool, arrival)
    spool.insert(waiter, sent)
    assert not waiter.answer.done(), "told within the call"
    error, same = await waiter.answer
    assert (error, same) == (None, sent)
    return sent


def groups(spool) -> list[tuple[str, int, int, int, str]]:
    found = spool.partition.schedule()
    return [(group.queue_id, group.arrival, group.due, group.attempts, group.next_hop) for group in found]


def fates(message) -> list[tuple[object, ...]]:
    return [
        (one.address, one.state, one.reply, one.due, one.attempts, one.next_hop, one.is_open)
        for one in message.recipients
    ]


async def read(spool, queue_id: str):
    waiter = Waiter()
    spool.partition.load(waiter, queue_id)
    return await waiter.answer


def test_what_was_stored_is_counted_scheduled_and_read_as_it_was(run):
    async def case(spool, _):
        first, second = await stored(spool, 7), await stored(spool, 8)
        assert first.queue_id != second.queue_id
        assert (spool.count, spool.partition.count) == (2, 2)
        assert groups(spool) == [(first.queue_id, 7, 7, 0, ""), (second.queue_id, 8, 8, 0, "")]
        error, found = await read(spool, first.queue_id)
        assert error is None
        assert (found.queue_id, found.arrival, found.reverse_path) == (first.queue_id, 7, "s@a.test")
        assert found.octets() == first.octets()
        assert fates(found) == [(f"{name}@b.test", PENDING, "", 7, 0, "", True) for name in "xy"]

    run(case)


def test_a_message_goes_with_the_last_of_its_recipients(run):
    async def case(spool, _):
        sent = await stored(spool)
        end = spool.partition.end
        end(sent.queue_id, [Outcome(0, DELIVERED, "250 ok")], due=9, attempts=1, next_hop="hop")
        _, found = await read(spool, sent.queue_id)
        assert fates(found) == [
            ("x@b.test", DELIVERED, "250 ok", 9, 1, "hop", False),
            ("y@b.test", PENDING, "", 7, 0, "", True),
        ]
        end(sent.queue_id, [Outcome(1, DELIVERED, "250 ok")], due=9, attempts=1)
        error, _ = await read(spool, sent.queue_id)
        assert error.startswith("no such message")
        assert spool.count == 0

    run(case)


def test_a_held_message_is_not_given_to_be_delivered(run):
    async def case(spool, _):
        sent, waiter = await stored(spool), Waiter()
        spool.partition.hold(waiter, sent.queue_id, Held.OPERATOR)
        assert await waiter.answer == (None, None)
        error, found = await read(spool, sent.queue_id)
        assert error.startswith("no such message")
        assert found is None

    run(case)


def test_outcomes_and_the_next_attempt_are_kept(run):
    async def case(spool, _):
        sent, waiter = await stored(spool), Waiter()
        spool.partition.settle(waiter, sent.queue_id, [Outcome(0, DELIVERED, "250 ok")], due=99, attempts=1)
        assert await waiter.answer == (None, None)
        assert groups(spool) == [(sent.queue_id, 7, 7, 0, "")], "the other one is due as before"
        later = [Outcome(1, PENDING, "450 4.2.1 busy")]
        spool.partition.settle(None, sent.queue_id, later, due=100, attempts=2, next_hop="smtp://hop:25")
        _, found = await read(spool, sent.queue_id)
        assert groups(spool) == [(sent.queue_id, 7, 100, 2, "smtp://hop:25")]
        assert fates(found) == [
            ("x@b.test", DELIVERED, "250 ok", 99, 1, "", False),
            ("y@b.test", PENDING, "450 4.2.1 busy", 100, 2, "smtp://hop:25", True),
        ]

    run(case)


def test_what_was_removed_is_gone(run):
    async def case(spool, _):
        sent, other = await stored(spool), await stored(spool)
        spool.partition.remove(sent.queue_id)
        error, found = await read(spool, sent.queue_id)
        assert error
        assert found is None
        assert spool.count == 1
        assert [group.queue_id for group in spool.partition.schedule()] == [other.queue_id]

    run(case)


def test_trouble_is_told_and_nothing_is_kept(run):
    async def case(spool, break_):
        break_()
        waiter, sent = Waiter(), message(spool)
        spool.insert(waiter, sent)
        error, _ = await waiter.answer
        assert error
        assert spool.count == 0

    run(case)


def test_what_is_stored_is_announced_once_after_its_waiter(run):
    async def case(spool, break_):
        seen, over = [], asyncio.get_running_loop().create_future()

        class First:
            def done(self, error, message) -> None:
                seen.append((error, message))

        def announced(message) -> None:
            seen.append(message)
            over.set_result(None)

        spool.on_stored = announced
        sent = message(spool)
        spool.insert(First(), sent)
        await over
        assert seen == [(None, sent), sent]
        break_()
        waiter = Waiter()
        spool.insert(waiter, message(spool))
        await waiter.answer
        await asyncio.sleep(0)
        assert len(seen) == 2

    run(case)


def test_completions_come_in_the_order_they_were_asked_for(run):
    async def case(spool, _):
        waiters = [Waiter() for _ in range(20)]
        order = []
        for number, waiter in enumerate(waiters):
            waiter.answer.add_done_callback(lambda _, number=number: order.append(number))
            spool.insert(waiter, message(spool))
        await asyncio.gather(*(waiter.answer for waiter in waiters))
        await asyncio.sleep(0)
        assert order == list(range(20))

    run(case)
