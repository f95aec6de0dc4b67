"""The pool with several servers, over a Unix socket, and beside the pools of other workers, against scripted next hops."""

import asyncio
import contextlib

import pytest
from tests.doubles.next_hop import NextHop
from tests.integration.test_pool import (
    DEFERRED,
    DELIVERED,
    EHLO,
    FAILED,
    QUEUED,
    Sent,
    beside,
    hop_that,
    message,
    run,
    send,
    settings,
    timers,
    until,
)
from tests.routes import list_pool, pool_of

from mailmoat._native import NextHopShare
from mailmoat.delivery import allowance, hosts
from mailmoat.delivery.allowance import Allowance, WorkerConnections
from mailmoat.metrics import share

TAKEN = [[(DELIVERED, QUEUED)]]


@contextlib.asynccontextmanager
async def ended(*pools):
    """The pools are ended behind the block."""
    yield
    for one in pools:
        one.abort()
    await until(lambda: not any(one.connections for one in pools))


def pool_to(*ranks, **more):
    return list_pool(asyncio.get_running_loop(), ranks, settings(**more), "me.example", timers())


# --- Unix sockets ---


@run
async def test_lmtp_over_a_unix_socket(tmp_path):
    fates = {"x@b.example": "250 2.0.0 In", "y@b.example": "452 4.2.2 Full"}
    hop = NextHop(lmtp=True, path=tmp_path / "lmtp", LHLO=EHLO, end=fates.get)
    async with beside(hop):
        ours = pool_of(asyncio.get_running_loop(), hop, settings(), "me.example", timers())
        async with ended(ours):
            results = await send(ours, *[message(recipients=list(fates))] * 3)
            assert results == [[(DELIVERED, "250 2.0.0 In"), (DEFERRED, "452 4.2.2 Full")]] * 3
            last = Sent(message(recipients=["x@b.example"]))
            ours.submit(last)
            await last.result
    assert hop.commands[0] == "LHLO me.example"
    assert (last.record.peer, last.record.remote_mta) == (str(tmp_path / "lmtp"), "")


@run
async def test_a_unix_socket_that_is_not_there_defers_and_its_path_is_in_no_reply(tmp_path):
    hop = NextHop(lmtp=True, path=tmp_path / "lmtp", start=False)
    ours = pool_of(asyncio.get_running_loop(), hop, settings(), "me.example", timers())
    async with ended(ours):
        assert await send(ours) == [
            [(DEFERRED, "421 4.4.1 No connection to the local socket: No such file or directory")]
        ]


# --- lists ---


@run
async def test_the_next_rank_is_used_while_the_one_before_is_away():
    async with hop_that() as first, hop_that() as backup:
        ours = pool_to([first], [backup])
        async with ended(ours):
            assert await send(ours, *[message()] * 3) == TAKEN * 3
            assert (len(first.messages), backup.accepted) == (3, 0)
            first.stop()
            await until(lambda: not ours.connections)
            assert await send(ours, *[message()] * 3) == TAKEN * 3
            assert len(backup.messages) == 3


@pytest.mark.parametrize(
    ("greeting", "state"),
    [("521 5.3.2 No mail here", FAILED), ("554 5.7.1 Blocked", DEFERRED), ("421 4.3.2 Later", DEFERRED)],
)
@run
async def test_one_that_takes_no_mail_is_passed_over_and_fails_nothing_while_another_may_take_it(greeting, state):
    """RFC 7504: it holds for that host."""
    async with hop_that(greeting=greeting) as first, hop_that() as backup:
        ours = pool_to([first], [backup])
        async with ended(ours):
            assert await send(ours) == TAKEN
        backup.stop()
        later = pool_to([first], [backup])
        async with ended(later):
            [[(found, _)]] = await send(later)
            assert found == DEFERRED, "the backup may come back"
        alone = pool_to([first])
        async with ended(alone):
            assert (await send(alone))[0][0][0] == state


@run
async def test_the_preferred_server_gets_the_mail_again_when_it_is_back(monkeypatch):
    """Though the connection to the backup is never idle."""
    monkeypatch.setattr(hosts, "FIRST_ABSENCE", 0.05)
    monkeypatch.setattr(hosts, "LONGEST_ABSENCE", 0.1)
    async with hop_that() as first, hop_that() as backup:
        port = first.port
        first.stop()
        ours = pool_to([first], [backup], connections=5)
        async with ended(ours):
            assert await send(ours, *[message()] * 20) == TAKEN * 20
            assert (len(first.messages), len(backup.messages)) == (0, 20)
            first.port = port
            first.start()
            while not first.messages:
                assert await send(ours, *[message()] * 5) == TAKEN * 5
            for _ in range(3):  # each connection has its turn, those to the backup their last
                assert await send(ours, *[message()] * 50) == TAKEN * 50
            given = len(backup.messages)
            assert await send(ours, *[message()] * 50) == TAKEN * 50
            assert len(backup.messages) == given


@run
async def test_servers_of_one_rank_share_the_messages(monkeypatch):
    async with hop_that(end=[QUEUED]) as one, hop_that() as other:
        ours = pool_to([one, other], connections=1, idle_time=0.001)
        async with ended(ours):
            for _ in range(60):
                await send(ours)
                await until(lambda: not ours.connections)
            assert min(one.accepted, other.accepted) > 5


# --- beside other workers ---


class Host:
    """The pools of several workers to one next hop."""

    def __init__(self, hop, workers=2, *, connections=4, rate=None, descriptors=100):
        self.shared = share(workers, sources=1)
        loop, wheel = asyncio.get_running_loop(), timers()
        self.pools = []
        for slot in range(workers):
            native = NextHopShare(self.shared, slot, "hub", connections, rate)
            ours = Allowance(native, WorkerConnections(descriptors))
            self.pools.append(
                pool_of(loop, hop, settings(connections=connections), "me.example", wheel, allowance=ours)
            )

    @property
    def connections(self):
        return self.shared.at_next_hop("hub")[0]


@run
async def test_connections_are_those_of_all_workers():
    async with hop_that() as hop:
        host = Host(hop)
        async with ended(*host.pools):
            both = await asyncio.gather(*(send(each, *[message()] * 200) for each in host.pools))
            assert both == [TAKEN * 200] * 2
            assert hop.peak <= 4
            assert host.connections == sum(each.connections for each in host.pools)
        assert host.connections == 0


@run
async def test_a_worker_that_has_all_connections_leaves_some_to_one_that_waits(monkeypatch):
    monkeypatch.setattr(allowance, "TURN", 0.0)
    monkeypatch.setattr(allowance, "TURN_PAUSE", 0.01)
    async with hop_that() as hop:
        host = Host(hop)
        one, other = host.pools
        async with ended(one, other):
            busy = asyncio.gather(*(send(one, *[message()] * 3000) for _ in range(1)))
            await until(lambda: one.connections == 4)
            assert await send(other) == TAKEN, "while the first still has much to send"
            assert not busy.done()
            assert await busy == [TAKEN * 3000]
        assert hop.peak <= 4


@run
async def test_what_a_dead_worker_had_is_given_back():
    async with hop_that(end=[None, QUEUED]) as hop:
        host = Host(hop, connections=1)
        one, other = host.pools
        async with ended(one, other):
            one.submit(Sent(message()))
            await until(lambda: hop.contents)
            waiting = Sent(message())
            other.submit(waiting)
            await asyncio.sleep(0)
            assert (other.connections, other.waiting) == (0, 1)
            host.shared.next_hop_clear(0)
            assert await asyncio.wait_for(waiting.result, 20) == [(DELIVERED, QUEUED)]


@run
async def test_a_worker_without_descriptors_waits_for_its_own_connections():
    async with hop_that() as hop:
        host = Host(hop, workers=1, descriptors=2)
        async with ended(*host.pools):
            assert await send(host.pools[0], *[message()] * 20) == TAKEN * 20
        assert hop.peak <= 2


@run
async def test_messages_have_a_rate_over_all_workers():
    """A burst at once, and then one after the other, however many workers and connections there are."""
    async with hop_that() as hop:
        host = Host(hop, rate=(50, 1.0, 5))
        begun = asyncio.get_running_loop().time()
        async with ended(*host.pools):
            both = await asyncio.gather(*(send(each, *[message()] * 10) for each in host.pools))
        assert both == [TAKEN * 10] * 2
        assert asyncio.get_running_loop().time() - begun >= 15 / 50 - 0.02
