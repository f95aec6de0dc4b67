"""What commands do with messages: actions as values, in a worker, and what a worker's answer says of each message."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace

import msgspec
import pytest

from mailmoat._native import NO_MESSAGE, Held
from mailmoat.control import queue
from mailmoat.control.channel import MOST_REQUEST, ControlError, encode
from mailmoat.control.queue import QueueControl, act
from mailmoat.queue_work import overview
from mailmoat.queue_work.written import bounce_of, examine, redirect_of
from mailmoat.runtime.actions import MOST_IDS, Bounce, Hold, Redirect, Release, Remove, Retry, parse, waits_after
from mailmoat.runtime.queue_id import is_queue_id, is_session_id, partition_of
from mailmoat.runtime.timers import Timers
from mailmoat.settings import Settings

TAG = "1m89zsqxm00g2k"
ONE, TWO, THREE = f"{TAG}1", f"{TAG}2", f"{TAG}3"


# --- values ---


@pytest.mark.parametrize(
    "action",
    [
        Retry(),
        Hold(),
        Release(),
        Remove(),
        Bounce("554 5.0.0 no"),
        Redirect(("a@b.test",)),
        Redirect((), "smtp://h:25"),
        Redirect(),
    ],
)
def test_an_action_is_read_as_it_was_written(action):
    assert parse(msgspec.json.decode(msgspec.json.encode(action))) == action


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, {"type": "explode"}, {"type": "bounce"}, {"type": "bounce", "reply": "450 4.0.0 later"},
        {"type": "bounce", "reply": "554 5.0.0 two\r\nlines"}, {"type": "bounce", "reply": "554 5.0.0 " + "x" * 400},
        {"type": "redirect", "to": ["no address"]}, {"type": "redirect", "to": ["a@B.test"]},
        {"type": "redirect", "to": ["a@b.test"], "next_hop": "smtp://h:25"},
    ],
)  # fmt: skip
def test_what_is_no_action_is_refused(document):
    with pytest.raises(ValueError):
        parse(document)


def test_a_reason_gets_a_code_unless_it_has_one():
    assert bounce_of("No more").reply == "554 5.0.0 No more"
    assert bounce_of("550 5.7.1 Not wanted").reply == "550 5.7.1 Not wanted"
    assert bounce_of("550 of them").reply == "554 5.0.0 550 of them"
    for wrong in ("", "  ", "caf\u00e9", "a\nb", "x" * 400):
        with pytest.raises(ValueError):
            bounce_of(wrong)


def test_a_target_is_an_address_a_next_hop_or_the_routes():
    assert redirect_of("A@B.test, <c@d.test>") == Redirect(("A@b.test", "c@d.test"))
    assert redirect_of("smtp://mx.example.com") == Redirect((), "smtp://mx.example.com:25")
    assert redirect_of("maildir:/a@b") == Redirect((), "maildir:/a@b")
    assert redirect_of("routes") == Redirect()
    for wrong in ("", "a@b,", "mx.example.com", "smtp://", "gopher://a@b"):
        with pytest.raises(ValueError):
            redirect_of(wrong)


def test_the_longest_request_fits():
    queue_ids = ["1" * 27] * MOST_IDS
    assert (
        len(encode({"command": "queue.act", "action": Bounce("554 5.0.0 " + "x" * 390), "queue_ids": queue_ids}))
        < MOST_REQUEST
    )


def test_a_queue_id_is_no_path():
    assert is_queue_id(ONE)
    assert partition_of(ONE) == TAG
    assert is_session_id(f"{TAG}-2b")
    for wrong in ("", TAG, f"{TAG}/1", f"../{ONE}", ONE.upper(), f"{ONE}\n", "1" * 28):
        assert not is_queue_id(wrong)


def test_what_is_held_comes_back_only_when_it_is_released():
    after = {type(one): waits_after(one, before=False) for one in (Hold(), Remove(), Retry(), Redirect(), Release())}
    assert after == {Hold: False, Remove: False, Retry: False, Redirect: False, Release: True}


# --- in a worker ---


def test_a_worker_says_what_it_has_open_at_each_destination():
    transport = SimpleNamespace(connections=3)
    hop = SimpleNamespace(name="smtp://h.test:25", active=2, transport=transport, away=False)
    said = QueueControl(None, SimpleNamespace(destinations=[hop]), None, None).destinations()
    assert said["destinations"] == [{"name": "smtp://h.test:25", "active": 2, "connections": 3, "away": False}]


@dataclass
class Queue:
    """Of a worker: what it has in memory for an attempt, and what is in its schedule."""

    waiting: set[str]
    active: set[str] = field(default_factory=set)
    destinations: tuple[()] = ()

    def forget(self, queue_id):
        self.waiting.discard(queue_id)
        return queue_id not in self.active

    def add(self, queue_id):
        self.waiting.add(queue_id)

    def waits(self, queue_id):
        return queue_id in self.waiting | self.active

    def retry(self, queue_ids):
        return sum(queue_id in self.waiting for queue_id in queue_ids)


class Partition:
    """Has messages; an operation ends in the next turn of the loop, with an error where one is set."""

    def __init__(self, messages):
        self.messages = set(messages)
        self.calls = []
        self.error = None

    def _do(self, waiter, queue_id, *what):
        self.calls.append((*what, queue_id))
        error = self.error or (None if queue_id in self.messages else NO_MESSAGE)
        if waiter is not None:
            asyncio.get_running_loop().call_soon(waiter.done, error, None)

    def hold(self, waiter, queue_id, kind):
        self._do(waiter, queue_id, "hold", kind)

    def release(self, waiter, queue_id):
        self._do(waiter, queue_id, "release")

    def fail(self, waiter, queue_id, reply, *, due):
        self._do(waiter, queue_id, "fail", reply)

    def redirect(self, waiter, queue_id, *, due, recipients, next_hop):
        self._do(waiter, queue_id, "redirect", *recipients, next_hop)

    def remove(self, queue_id, waiter=None):
        self._do(waiter, queue_id, "remove")


class Spool:
    def __init__(self, partition):
        self.partition = partition

    def owner_of(self, queue_id):
        return self.partition if queue_id.startswith(TAG) else None


def carried_out(steps, waiting, active=(), held=()):
    """Run `steps(control, queue, partition)` on a loop; what it returns."""

    async def run():
        loop = asyncio.get_running_loop()
        timers = Timers(loop, lambda error: None)
        partition = Partition({*waiting, *active, *held})
        found = Queue(set(waiting), set(active))
        try:
            return await steps(QueueControl(loop, found, Spool(partition), timers), found, partition)
        finally:
            timers.close()

    return asyncio.run(run())


def request(action, *queue_ids):
    return {"action": msgspec.to_builtins(action), "queue_ids": list(queue_ids)}


@pytest.mark.parametrize(
    ("action", "calls"),
    [
        (Hold(), [("hold", Held.OPERATOR, ONE)]),
        (Release(), [("release", ONE)]),
        (Remove(), [("remove", ONE)]),
        (Bounce("554 5.0.0 no"), [("fail", "554 5.0.0 no", ONE)]),
        (Redirect(("a@b.test",)), [("redirect", "a@b.test", "", ONE)]),
        (Redirect((), "smtp://h:25"), [("redirect", "smtp://h:25", ONE)]),
    ],
)
def test_an_action_is_done_out_of_the_schedule_and_what_goes_on_comes_back(action, calls):
    async def steps(control, found, partition):
        answer = await act(control, request(action, ONE, "otherpartition01"))
        assert answer == {"done": 1, "gone": ["otherpartition01"], "waiting": [], "failed": [], "errors": {}}
        assert partition.calls == calls
        return found.waiting

    for waiting in ({ONE, TWO}, {TWO}):
        back = {ONE} if waits_after(action, before=ONE in waiting) else set()
        assert carried_out(steps, waiting, held={ONE}) == {TWO} | back


def test_what_has_left_the_spool_is_gone_and_what_fails_stays_in_the_schedule():
    async def steps(control, found, partition):
        assert (await act(control, request(Hold(), THREE)))["gone"] == [THREE]
        partition.error = "the disk is full"
        answer = await act(control, request(Hold(), ONE, TWO))
        assert (answer["failed"], answer["errors"]) == ([ONE, TWO], {"the disk is full": 2})
        return found.waiting

    assert carried_out(steps, {ONE, TWO}) == {ONE, TWO}


def test_an_attempt_ends_first(monkeypatch):
    monkeypatch.setattr(queue, "PATIENCE", 0.15)
    monkeypatch.setattr(queue, "LOOK", 0.01)

    async def steps(control, found, partition):
        answer = await act(control, request(Remove(), ONE, TWO))
        assert (answer["done"], answer["waiting"]) == (1, [ONE])
        again = await act(control, request(Hold(), ONE))
        assert (again["failed"], again["errors"]) == ([ONE], {"another command waits for the end of its attempt": 1})
        assert partition.calls == [("remove", TWO)]
        found.active.clear()
        while len(partition.calls) < 2:  # noqa: ASYNC110 - the command was answered before
            await asyncio.sleep(0.01)
        assert partition.calls[1] == ("remove", ONE)

    carried_out(steps, {TWO}, {ONE})


def test_an_attempt_that_ends_soon_is_waited_for(monkeypatch):
    monkeypatch.setattr(queue, "LOOK", 0.01)

    async def steps(control, found, _partition):
        asyncio.get_running_loop().call_later(0.05, found.active.clear)
        assert (await act(control, request(Hold(), ONE)))["done"] == 1

    carried_out(steps, (), {ONE})


def test_a_retry_is_done_in_memory():
    async def steps(control, _found, partition):
        answer = await act(control, request(Retry(), ONE, TWO, THREE))
        assert (answer["done"], answer["gone"], partition.calls) == (2, [THREE], [])

    carried_out(steps, {ONE}, {TWO})


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "queue_ids: not a list"),
        ({"queue_ids": "x", "action": {"type": "hold"}}, "queue_ids: not a list"),
        ({"queue_ids": [1], "action": {"type": "hold"}}, "queue_ids: not a list"),
        ({"queue_ids": ["x"] * (MOST_IDS + 1), "action": {"type": "hold"}}, "queue_ids: more than"),
        ({"queue_ids": [], "action": {"type": "x"}}, "action: "),
    ],
)
def test_a_wrong_request_is_an_error(arguments, error):
    async def steps(control, _found, _partition):
        with pytest.raises(ControlError, match=error):
            await act(control, arguments)

    carried_out(steps, ())


def test_a_request_for_nothing_is_answered_at_once(monkeypatch):
    monkeypatch.setattr(queue, "PATIENCE", 1e6)  # it would not end if it waited

    async def steps(control, _found, _partition):
        assert (await act(control, request(Hold())))["done"] == 0

    carried_out(steps, ())


@pytest.mark.parametrize(
    ("target", "delivery", "wrong"),
    [
        ("smtp://127.0.0.1:2525", {}, "smtp://127.0.0.1:2525 is this server itself, which listens on 127.0.0.1:2525"),
        (
            "smtp://192.0.2.25",
            {"tls": "verify", "next_hop": "smtp://a.test"},
            "the next hop has no name, only an address",
        ),
    ],
)
def test_a_next_hop_at_which_messages_would_wait_for_ever_is_refused(target, delivery, wrong):
    settings = Settings(hostname="mx.example.test", listen="127.0.0.1:2525", delivery=delivery)
    with pytest.raises(ValueError, match=wrong):
        examine(redirect_of(target), settings)


def test_a_server_from_before_an_upgrade_is_shown_with_what_it_says(tmp_path, monkeypatch):
    (tmp_path / "partitions" / TAG).mkdir(parents=True)
    answer = {"pid": 7, "destinations": [{"name": "smtp://a.test:25", "active": 2, "away": False}]}
    monkeypatch.setattr(overview.client, "ask_owner", lambda *_: answer)
    found = {}
    assert overview.add_open(tmp_path, found) == 1
    assert (found["smtp://a.test:25"].active, found["smtp://a.test:25"].connections) == (2, 0)
