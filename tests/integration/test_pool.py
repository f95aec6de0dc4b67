"""The pool against scripted next hops and against a real smtp-sink, over the loopback."""

import asyncio
import contextlib
import inspect
import socket
import struct
import threading
from types import SimpleNamespace

import pytest
import uvloop
from tests.doubles.next_hop import NextHop
from tests.receiving import accept, config
from tests.routes import pool_of
from tests.smtp_sink import SmtpSink

from mailmoat import clock
from mailmoat._native import ClientStep, Message, TimeLimit
from mailmoat.callout.attempt import ask
from mailmoat.delivery import opening_pause
from mailmoat.delivery import pool as pools
from mailmoat.delivery.account import Account
from mailmoat.delivery.connection import OutboundConnection
from mailmoat.delivery.handshake import Secured
from mailmoat.delivery.hosts import Host
from mailmoat.delivery.offers import Offers
from mailmoat.delivery.security import Security
from mailmoat.runtime.timers import Timers

DELIVERED, DEFERRED, FAILED = 1, 0, 2
EHLO = "250-hop\r\n250-PIPELINING\r\n250 8BITMIME"
QUEUED = "250 2.0.0 queued"


class Sent:
    """A transaction that waits for its outcomes and counts them."""

    def __init__(self, message, indexes=None):
        self.message = message
        self.indexes = list(range(len(message.recipients))) if indexes is None else indexes
        self.result = asyncio.get_running_loop().create_future()
        self.record = None

    def finished(self, outcomes, record):
        assert [outcome.index for outcome in outcomes] == self.indexes
        self.record = record
        self.result.set_result([(outcome.state, outcome.reply) for outcome in outcomes])


@contextlib.asynccontextmanager
async def beside(hop):
    """The next hop, in threads of its own, for as long as the block lasts."""
    with hop:
        yield hop


def hop_that(**rules):
    return beside(NextHop(**{"EHLO": EHLO, "end": QUEUED} | rules))


class Patience:
    """With each opening in turn, however many there are beside it."""

    def __init__(self, seconds):
        self._seconds = iter(seconds)

    def __mul__(self, openings):
        return next(self._seconds)


def timers():
    return Timers(asyncio.get_running_loop(), lambda error: pytest.fail(repr(error)))


def settings(**more):
    times = {
        f"{name}_time": 30.0
        for name in ("connect", "greeting", "handshake", "mail", "rcpt", "data", "block", "end_of_data", "idle")
    }
    return SimpleNamespace(**({"connections": 5, "xclient": False, "chunking": True} | times | more))


def message(content=b"Subject: a\r\n\r\nb\r\n", recipients=("x@b.example",)):
    return Message(queue_id="a1", arrival=0, reverse_path="", recipients=list(recipients), content=content)


@contextlib.asynccontextmanager
async def pool_to(hop, **more):
    pool = pool_of(asyncio.get_running_loop(), hop, settings(**more), "me.example", timers())
    yield pool
    pool.abort()
    await until(lambda: not pool.connections)


async def send(pool, *messages):
    sent = [Sent(message) for message in messages or (message(),)]
    for transaction in sent:
        pool.submit(transaction)
    return [await asyncio.wait_for(transaction.result, 20) for transaction in sent]


async def until(condition):
    """Asks again and again; the test's time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - nothing signals what is asked here
        await asyncio.sleep(0.001)


def run(case):
    """The test runs on the loop the product runs on."""

    def on_loop(**arguments):
        uvloop.run(case(**arguments))

    on_loop.__name__, on_loop.__signature__ = case.__name__, inspect.signature(case)
    return on_loop


@run
async def test_connections_are_reused_and_bounded():
    async with hop_that() as hop, pool_to(hop, connections=2) as pool:
        results = await send(pool, *[message()] * 50)
        assert results == [[(DELIVERED, QUEUED)]] * 50
        assert hop.accepted == 2
        assert pool.connections == 2
        again = Sent(message())
        pool.submit(again)
        await again.result
        assert hop.accepted == 2
        assert again.record.reused
        assert again.record.peer == f"127.0.0.1:{hop.port}"
        assert again.record.next_hop == f"smtp://127.0.0.1:{hop.port}"
        assert again.record.seconds > 0
        pool.close()
        await until(lambda: not pool.connections)
        assert hop.commands.count("QUIT") == 2


@run
async def test_idle_connections_quit():
    async with hop_that() as hop, pool_to(hop, idle_time=0.02) as pool:
        await send(pool)
        await until(lambda: not pool.connections)
        assert hop.commands[-1] == "QUIT"
        await send(pool)
        assert hop.accepted == 2


@run
async def test_recipients_fates_are_kept_apart():
    async with hop_that(RCPT=["250 ok", "550 5.1.1 Unknown", "452 4.5.3 Later"]) as hop, pool_to(hop) as pool:
        [result] = await send(pool, message(recipients=["x@b.example", "y@b.example", "z@b.example"]))
    assert result == [(DELIVERED, QUEUED), (FAILED, "550 5.1.1 Unknown"), (DEFERRED, "452 4.5.3 Later")]


@pytest.mark.parametrize(
    ("what", "reply", "state"),
    [
        ("MAIL", "550 5.7.1 No", FAILED),
        ("MAIL", "451 4.7.1 Later", DEFERRED),
        ("RCPT", "550 5.1.1 Unknown", FAILED),
        ("RCPT", "450 4.2.0 Grey", DEFERRED),
        ("DATA", "554 5.5.0 No", FAILED),
        ("DATA", "451 4.3.0 Later", DEFERRED),
        ("end", "552 5.3.4 Big", FAILED),
        ("end", "452 4.3.1 Full", DEFERRED),
    ],
)
@run
async def test_refusals_keep_the_connection(what, reply, state):
    for more in ({}, {"EHLO": "250 hop"}, {"DATA": "354 even without recipients"}):
        async with hop_that(**more | {what: reply}) as hop, pool_to(hop, connections=1) as pool:
            assert await send(pool, message(), message()) == [[(state, reply)]] * 2
            assert hop.accepted == 1


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        ("521 5.3.2 No messages here", FAILED),
        ("554 No service", DEFERRED),
        ("556 5.1.10 No mail", FAILED),
        ("550 5.7.1 Blocked", DEFERRED),
        ("450 4.3.2 Busy", DEFERRED),
        ("421 4.3.2 Busy", DEFERRED),
    ],
)
@run
async def test_a_refusing_greeting_speaks_for_all_that_waits(reply, state):
    async with hop_that(greeting=reply) as hop, pool_to(hop, connections=2) as pool:
        assert await send(pool, *[message()] * 10) == [[(state, reply)]] * 10
        assert hop.accepted <= 2


@run
async def test_no_listener_defers_all_and_the_next_submit_tries_again():
    async with hop_that() as hop:
        pass
    async with pool_to(hop) as pool:
        for result in await send(pool, *[message()] * 10):
            assert result == [(DEFERRED, f"421 4.4.1 No connection to 127.0.0.1:{hop.port}: Connection refused")]
    assert pool.waiting == 0
    async with hop_that() as hop, pool_to(hop) as pool:
        hop.stop()
        assert (await send(pool))[0][0][0] == DEFERRED
        hop.start()
        assert (await send(pool))[0][0][0] == DELIVERED


@run
async def test_names_are_resolved_and_all_addresses_tried():
    async with hop_that() as hop:
        hop.host = "localhost"
        async with pool_to(hop) as pool:
            assert (await send(pool))[0][0][0] == DELIVERED
        hop.host = "no-such-host.invalid"
        async with pool_to(hop) as pool:
            [[(state, reply)]] = await send(pool)
            assert state == DEFERRED
            assert reply.startswith("421 4.4.3 No address of no-such-host.invalid: ")


@pytest.mark.parametrize("what", ["MAIL", "RCPT", "DATA", "end"])
@run
async def test_a_dropped_connection_defers(what):
    async with hop_that(**{what: ""}) as hop, pool_to(hop) as pool:
        [[(state, reply)]] = await send(pool)
    assert state == DEFERRED
    place = "the end of data (it may be delivered twice)" if what == "end" else what
    assert reply == f"421 4.4.2 Connection lost waiting for the reply to {place}"
    assert hop.accepted == 1


@pytest.mark.parametrize("what", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "end"])
@run
async def test_garbage_defers(what):
    for garbage in ("HTTP/1.1 400 Bad", "250-a\r\n550 b", "9" * 5000, "\0\xff"):
        async with hop_that(**{what: garbage}) as hop, pool_to(hop) as pool:
            [[(state, reply)]] = await send(pool)
        assert state == DEFERRED
        assert reply.startswith("451 4.5.0 The next hop broke the protocol: ")


@pytest.mark.parametrize(
    ("what", "limit", "place"),
    [
        ("greeting", "greeting", "greeting"),
        ("EHLO", "greeting", "reply to EHLO"),
        ("MAIL", "mail", "reply to MAIL"),
        ("RCPT", "rcpt", "reply to RCPT"),
        ("DATA", "data", "reply to DATA"),
        ("end", "end_of_data", "reply to the end of data (it may be delivered twice)"),
    ],
)
@run
async def test_a_hanging_next_hop_times_out(what, limit, place):
    async with hop_that(**{what: None}) as hop, pool_to(hop, **{f"{limit}_time": 0.02}) as pool:
        begun = clock.monotonic()
        [[(state, reply)]] = await send(pool)
        assert clock.monotonic() - begun >= 0.02
        assert (state, reply) == (DEFERRED, f"421 4.4.2 Timed out waiting for the {place}")
        await until(lambda: not pool.connections)


@run
async def test_octets_of_a_reply_without_end_do_not_hold_us():
    async def drip(reader, writer):
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"220-drip\r\n")
                await writer.drain()
                await asyncio.sleep(0.002)

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with pool_to(SimpleNamespace(kind="smtp", host=host, port=port), greeting_time=0.03) as pool:
            assert await send(pool) == [[(DEFERRED, "421 4.4.2 Timed out waiting for the greeting")]]


@run
async def test_a_stale_kept_connection_costs_no_deferral():
    for last in ("", "421 4.4.2 Idle too long"):
        async with hop_that(MAIL=["250 ok", last, "250 ok"]) as hop, pool_to(hop, connections=1) as pool:
            await send(pool)
            assert await send(pool) == [[(DELIVERED, QUEUED)]]
            assert hop.accepted == 2


@run
async def test_one_connection_too_many_leaves_the_work_to_the_others():
    async with (
        hop_that(greeting=["220 hop"] + ["421 4.7.0 Too many"] * 100) as hop,
        pool_to(hop, connections=5) as pool,
    ):
        assert await send(pool, *[message()] * 200) == [[(DELIVERED, QUEUED)]] * 200
        assert hop.accepted < 10


@run
async def test_a_refused_connection_does_not_end_the_attempts_while_another_is_busy(monkeypatch):
    monkeypatch.setattr(opening_pause, "FIRST", 0.01)
    greetings = ["220 hop", "421 4.7.0 Too many", "421 4.7.0 Too many", *["220 hop"] * 9]
    async with (
        hop_that(greeting=greetings, end=[None, *[QUEUED] * 9]) as hop,
        pool_to(hop, connections=2) as pool,
    ):
        busy = Sent(message())
        pool.submit(busy)
        await until(lambda: hop.contents)
        assert await send(pool, message()) == [[(DELIVERED, QUEUED)]]
        assert not busy.result.done()


@run
async def test_attempts_while_another_connection_is_busy_come_with_growing_pauses():
    """The hop has room for one; nothing is sent anew for each message that waits."""
    async with hop_that(greeting=["220 hop", *["421 4.7.0 Too many"] * 100], end=None) as hop:
        pool = pool_of(asyncio.get_running_loop(), hop, settings(connections=5), "me.example", timers())
        waiting = [Sent(message()) for _ in range(50)]
        for transaction in waiting:
            pool.submit(transaction)
        await until(lambda: hop.contents and hop.accepted == 5)
        await until(lambda: pool.connections == 1)
        for _ in range(100):
            pool.submit(Sent(message()))
        await asyncio.sleep(0)
        assert hop.accepted == 5
        pool.abort()
        await until(lambda: not pool.connections)


@run
async def test_a_greeting_that_never_comes_holds_up_no_message(monkeypatch):
    greetings = [None, "220 hop", None, "220 hop", "220 hop"]
    # On a busy machine a greeting may be late: that is no reason for another connection here.
    monkeypatch.setattr(pools, "PATIENCE", Patience([30.0 if greeting else 0.02 for greeting in greetings]))
    async with hop_that(greeting=greetings) as hop, pool_to(hop, idle_time=0.02) as pool:
        for hung in (1, 2, 2):
            # Alone each time: no other message makes a connection for it.
            assert await send(pool) == [[(DELIVERED, QUEUED)]]
            # Those that hang are still waited for.
            await until(lambda hung=hung: pool.connections == hung)
        assert hop.accepted == 5


@run
async def test_hung_openings_are_bounded(monkeypatch):
    monkeypatch.setattr(pools, "PATIENCE", 0.001)
    async with hop_that(greeting=None) as hop, pool_to(hop, connections=3, greeting_time=0.1) as pool:
        results = await send(pool, *[message()] * 10)
        assert results == [[(DEFERRED, "421 4.4.2 Timed out waiting for the greeting")]] * 10
        assert hop.accepted == 3


@run
async def test_no_connection_is_opened_for_a_callout_that_is_given_up(monkeypatch):
    monkeypatch.setattr(pools, "PATIENCE", 0.01)
    async with hop_that(greeting=None) as hop, pool_to(hop, connections=20) as pool:
        callouts = [asyncio.create_task(ask(pool, f"x{number}@b.example")) for number in range(4)]
        await until(lambda: pool.connections >= 2)
        for callout in callouts:
            callout.cancel()
        await asyncio.wait(callouts)
        opened = pool.connections
        await asyncio.sleep(0.3)
        assert (pool.waiting, pool.connections) == (0, opened)


@run
async def test_what_is_offered_is_learned_by_a_probe_and_from_each_connection():
    learned = []
    offers = ["250-hop\r\n250-8BITMIME\r\n250 SIZE 1000", "250-hop\r\n250-SIZE\r\n250 SMTPUTF8", "502 5.5.1 What"]
    async with hop_that(EHLO=offers) as hop:
        pool = pool_of(
            asyncio.get_running_loop(),
            hop,
            settings(idle_time=0.01),
            "me.example",
            timers(),
            learned=lambda offers, _: learned.append(offers),
        )
        for number in range(3):
            await (send(pool) if number == 1 else pool.probe())
            await until(lambda: not pool.connections)
        assert learned == [Offers(True, False, 1000), Offers(False, True, 0), Offers(False, False, 0)]
        assert [line for line in hop.commands if line in ("EHLO me.example", "QUIT")] == ["EHLO me.example", "QUIT"] * 3
    await pool.probe()
    assert (len(learned), pool.connections) == (3, 0), "a hop that is away teaches nothing"


@run
async def test_a_next_hop_is_not_asked_beyond_the_limit_of_connections():
    async with hop_that() as hop, pool_to(hop, connections=1) as pool:
        assert await pool.probe()
        assert await pool.probe() is None, "that says nothing of the next hop"
        assert hop.accepted == 1


@run
async def test_a_connection_lost_after_ehlo_does_not_tell_that_the_next_hop_is_back(monkeypatch):
    monkeypatch.setattr(OutboundConnection, "ready", property(lambda _: False))
    async with hop_that() as hop, pool_to(hop) as pool:
        assert not await pool.probe()
        assert hop.accepted == 1


@run
async def test_what_cannot_be_authenticated_waits(tmp_path):
    (tmp_path / "password").write_text("secret")
    account = Account("edge", tmp_path / "password")
    refused = "250-hop\r\n250 AUTH SCRAM-SHA-256"
    async with hop_that(EHLO=["250 hop", refused], AUTH="535 5.7.8 No") as hop:
        security = Security("smtp://hub.test:25", account=account)
        pool = pool_of(asyncio.get_running_loop(), hop, settings(), "me.example", timers(), security=security)
        [[first]], [[second]] = await send(pool), await send(pool)
        assert first == (DEFERRED, "454 4.7.8 Not authenticated: the next hop offers no mechanism that is usable here")
        assert second == (DEFERRED, "454 4.7.8 Not authenticated: 535 5.7.8 No")
        (tmp_path / "password").unlink()
        [[(state, reply)]] = await send(pool)
        assert (state, reply) == (DEFERRED, "454 4.7.8 Not authenticated: the account of this server cannot be used")
        await until(lambda: not pool.connections)
        assert hop.accepted == 2
        assert not [line for line in hop.commands if line.startswith("MAIL")]


@run
async def test_the_next_hop_that_is_this_server_itself_gets_nothing():
    async with hop_that(greeting="220 me.example ESMTP mailmoat") as hop, pool_to(hop) as pool:
        assert await send(pool) == [[(DEFERRED, "451 4.4.6 The next hop is this server itself")]]


class Interrupter(NextHop):
    """One that has seen enough of a content after some octets, says what it says to the end, and closes or goes on listening."""

    def __init__(self, reply, *, closes):
        super().__init__(EHLO=EHLO, end=reply)
        self.closes, self.after = closes, b""

    def _take(self, connection, lines, message):
        lines.read(20_000)
        connection.sendall(f"{self.rules['end']}\r\n".encode())
        if not self.closes:
            self.after = lines.read()
        # Unread content makes it a reset.
        raise EOFError


@pytest.mark.parametrize("filed", [False, True])
@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize(("reply", "state"), [("552 5.3.4 Enough", FAILED), ("452 4.3.1 Full", DEFERRED)])
@run
async def test_a_refusal_in_the_middle_of_the_content_decides(tmp_path, filed, closes, reply, state):
    octets = b"Subject: a\r\n\r\n" + b"0123456789\r\n" * 500_000
    for _ in range(10 if closes else 1):
        async with (
            beside(Interrupter(reply, closes=closes)) as hop,
            pool_to(hop, connections=1, block_time=1.0) as pool,
        ):
            large = accept(config(tmp_path, memory_content=64), octets) if filed else message(octets)
            assert await send(pool, large) == [[(state, reply)]]
            await until(lambda: not pool.connections)
        assert b"\r\n.\r\n" not in hop.after


def refuse_and_reset(listener):
    """A next hop in a thread of its own: its reset comes whenever it likes while we write."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            connection.sendall(b"220 hop\r\n")
            while (verb := lines.readline()[:4].upper()) != b"DATA":
                connection.sendall(EHLO.encode() + b"\r\n" if verb == b"EHLO" else b"250 ok\r\n")
            connection.sendall(b"354 go\r\n")
            lines.read(20_000)
            connection.sendall(b"552 5.3.4 Enough\r\n")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@run
async def test_a_refusal_is_heard_though_a_reset_follows_it(tmp_path):
    octets = b"Subject: a\r\n\r\n" + b"0123456789\r\n" * 200_000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=refuse_and_reset, args=(listener,), daemon=True).start()
        hop = SimpleNamespace(kind="smtp", host="127.0.0.1", port=listener.getsockname()[1])
        limits = config(tmp_path, memory_content=64)
        for _ in range(40):
            async with pool_to(hop) as pool:
                assert await send(pool, accept(limits, octets)) == [[(FAILED, "552 5.3.4 Enough")]]
        listener.shutdown(socket.SHUT_RDWR)


@run
async def test_lmtp_answers_for_each_recipient():
    fates = {"x@b.example": "250 2.0.0 In", "y@b.example": "452 4.2.2 Full"}
    async with hop_that(lmtp=True, end=fates.get) as hop, pool_to(hop) as pool:
        results = await send(pool, *[message(recipients=list(fates))] * 3)
    assert results == [[(DELIVERED, "250 2.0.0 In"), (DEFERRED, "452 4.2.2 Full")]] * 3
    assert hop.commands[0] == "LHLO me.example"


@run
async def test_without_extensions():
    async with hop_that(EHLO="502 5.5.1 What") as hop, pool_to(hop, connections=1) as pool:
        eight_bit = message("Subject: a\r\n\r\nä\r\n".encode())
        results = await send(pool, message(), *[eight_bit] * 2000, message())
    assert results[0] == results[-1] == [(DELIVERED, QUEUED)]
    assert {result[0][1][:10] for result in results[1:-1]} == {"550 5.6.3 "}
    transaction = ["MAIL FROM:<>", "RCPT TO:<x@b.example>", "DATA"]
    assert hop.commands[:5] == ["EHLO me.example", "HELO me.example", *transaction]
    assert [sent.stuffed for sent in hop.contents] == [b"Subject: a\r\n\r\nb\r\n"] * 2


@run
async def test_content_arrives_unchanged_through_a_slow_reader():
    lines = b"".join(b"%s%d\r\n" % (b"." * (number % 4), number) for number in range(100_000))
    async with hop_that() as hop, pool_to(hop) as pool:
        hop.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert (await send(pool, message(lines)))[0][0][0] == DELIVERED
    assert hop.contents[0].content == lines


class LargeContent:
    """Stands for the machine while it sends a content file in chunks; tells how much lay in the transport's buffer."""

    step, time_limit, refusal, untouched, replies = ClientStep.WAIT, TimeLimit.BLOCK, None, False, 0
    chunks = 100
    most = 0

    def receive(self, chunk):
        self.step = ClientStep.CLOSED if chunk == b"250 ok\r\n" else ClientStep.MORE
        return self.step

    def output(self):
        if self.step != ClientStep.MORE:
            return b""
        self.most = max(self.most, self.connection._transport.get_write_buffer_size())
        self.chunks -= 1
        if not self.chunks:
            self.step = ClientStep.WAIT
        return b"x" * 131072

    def end(self, cause):
        self.step = ClientStep.CLOSED


@run
async def test_a_large_content_is_read_no_faster_than_it_leaves():
    loop = asyncio.get_running_loop()
    received = 0

    async def slow(reader, writer):
        nonlocal received
        writer.write(b"354 go\r\n")
        while received < 100 * 131072:
            received += len(await reader.read(100_000))
        writer.write(b"250 ok\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(slow, "127.0.0.1", 0, limit=4096) as server:
        host, port = server.sockets[0].getsockname()
        gone = loop.create_future()
        owner = SimpleNamespace(lost=gone.set_result)
        client = LargeContent()
        client.connection = OutboundConnection(
            loop,
            owner,
            secured=Secured(client, None, False),
            next_hop="",
            host=Host("", 0),
            peer="",
            limits=(10.0,) * len(TimeLimit),
            timers=timers(),
        )
        await loop.create_connection(lambda: client.connection, host, port)
        await gone
    assert received == 100 * 131072
    assert client.most <= 256 * 1024


@run
async def test_closing_defers_what_waits_and_ends_what_runs():
    async with hop_that(end=None) as hop, pool_to(hop, connections=1) as pool:
        running, waiting, late = (Sent(message()) for _ in range(3))
        pool.submit(running)
        pool.submit(waiting)
        await until(lambda: hop.contents)
        pool.close()
        pool.submit(late)
        for transaction in (waiting, late):
            assert await transaction.result == [(DEFERRED, "421 4.3.2 Shutting down")]
        assert not running.result.done()
        pool.abort()
        [(state, _)] = await running.result
        assert state == DEFERRED


@run
async def test_closing_while_connecting():
    async with hop_that(greeting=None) as hop, pool_to(hop) as pool:
        transaction = Sent(message())
        pool.submit(transaction)
        await until(lambda: hop.accepted)
        pool.close()
        assert await transaction.result == [(DEFERRED, "421 4.3.2 Shutting down")]
        await until(lambda: not (pool.connections or hop.open))


# --- a real peer ---


@pytest.mark.peer("postfix")
@pytest.mark.parametrize(
    ("options", "state"),
    [
        ([], DELIVERED),
        (["-p"], DELIVERED),
        (["-e"], DELIVERED),
        (["-8"], DELIVERED),
        (["-L"], DELIVERED),
        (["-f", "mail"], FAILED),
        (["-f", "rcpt"], FAILED),
        (["-f", "data"], FAILED),
        (["-f", "."], FAILED),
        (["-r", "mail"], DEFERRED),
        (["-r", "rcpt"], DEFERRED),
        (["-r", "."], DEFERRED),
        (["-q", "mail"], DEFERRED),
        (["-q", "."], DEFERRED),
        (["-r", "connect"], DEFERRED),
        (["-q", "connect"], DEFERRED),
        (["-f", "connect"], DEFERRED),
        (["-f", "helo,ehlo"], DEFERRED),
        (["-q", "data"], DEFERRED),
        (["-W", "ehlo:1"], DELIVERED),
    ],
)
@run
async def test_smtp_sink(options, state):
    with SmtpSink(*options) as hop:
        async with pool_to(hop, connections=3) as pool:
            for result in await send(pool, *[message(recipients=["x@b.example", "y@b.example"])] * 20):
                assert [fate for fate, _ in result] == [state] * 2, result
