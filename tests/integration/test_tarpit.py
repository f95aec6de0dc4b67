"""The tar pit over real connections (behaviours 1): who is held, how long, and what one held session costs the others: nothing."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

UNKNOWN = "RCPT TO:<nobody@example.test>"
KNOWN = "RCPT TO:<alice@example.test>"
MAIL = "MAIL FROM:<sender@remote.tld>"
"""Seconds a reply may come after its time."""


def hold(server, *commands):
    """A client whose last command is being held."""
    client = server.client()
    client.ask(MAIL)
    client.send(*(commands or (UNKNOWN,)))
    return client


def held(server, count):
    server.until(lambda: server.metric("tarpit_held_sessions") == count, what=f"{count} held sessions")


def memory(server):
    """KiB of memory of the workers."""
    total = 0
    for pid in server.workers():
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total


def test_5xx_replies_wait_each_for_itself_and_no_others(server):
    mx = server(MAILMOAT_TARPIT__TIME="0.4", MAILMOAT_LIMITS__RECIPIENTS="2")
    slow = [
        "FOO",
        "RCPT TO:<x@remote.tld>",
        UNKNOWN,
        "EXPN x",
        "DATA",
        "MAIL FROM:<x@y.tld> FOO=1",
        "RCPT TO:<>",
        "MAIL",
    ]
    quick = [KNOWN, "RSET", "NOOP", "VRFY x", "HELP", "EHLO x.tld", "MAIL FROM:<>", KNOWN, "RCPT TO:<bob@example.test>"]
    quick += ["RCPT TO:<c@all.example.test>", "DATA", "x\r\n."]

    def one(command):
        client = mx.client()
        client.ask(MAIL)
        return client.timed(command)

    with ThreadPoolExecutor(len(slow)) as pool:
        for command, (seconds, reply) in zip(slow, pool.map(one, slow), strict=True):
            assert reply[0] == "5", command
            assert seconds >= 0.4, command
    client = mx.client()
    client.ask(MAIL)
    replies = []
    for command in quick:
        client.send(command)
        replies.append(client.reply())
    assert [reply[:3] for reply in replies] == [
        "250",
        "250",
        "250",
        "252",
        "214",
        "250",
        "250",
        "250",
        "250",
        "452",
        "354",
        "250",
    ]
    assert mx.metric("tarpit_holds_total") == len(slow), "none of these was held"


def test_a_pipelined_group_gets_its_earlier_replies_first_and_each_hold_in_turn(server):
    mx = server(MAILMOAT_TARPIT__TIME="0.5")
    client = mx.client()
    begun = time.monotonic()
    client.send(MAIL, KNOWN, UNKNOWN, UNKNOWN, "NOOP", UNKNOWN, "QUIT")
    times = []
    replies = []
    for _ in range(7):
        replies.append(client.reply())
        times.append(time.monotonic() - begun)
    assert [reply[:3] for reply in replies] == ["250", "250", "550", "550", "250", "550", "221"]
    assert replies[2] == "550 5.1.1 User unknown"
    for index, least in enumerate([0, 0, 0.5, 1.0, 1.0, 1.5, 1.5]):
        assert least <= times[index], (replies, times)
    assert mx.metric("tarpit_holds_total") == 3


def test_three_unknown_in_one_segment_take_one_two_and_three_times_the_delay(server):
    mx = server(MAILMOAT_TARPIT__TIME="1")
    client = mx.client(timeout=20)
    begun = time.monotonic()
    client.send(MAIL, UNKNOWN, UNKNOWN, UNKNOWN)
    assert client.reply()[:3] == "250"
    for least in (1.0, 2.0, 3.0):
        assert client.reply() == "550 5.1.1 User unknown"
        assert least <= time.monotonic() - begun


def test_no_hold_is_ever_early(server):
    """Many at once, begun at all phases of the millisecond and of the loop."""
    mx = server(MAILMOAT_TARPIT__TIME="0.25", MAILMOAT_WORKERS="2")

    def one(number):
        client = mx.client()
        client.ask(MAIL)
        spans = []
        for _ in range(5):
            begun = time.monotonic()
            client.send(UNKNOWN)
            assert client.reply()[:3] == "550"
            spans.append(time.monotonic() - begun)
        return spans

    with ThreadPoolExecutor(20) as pool:
        spans = [span for some in pool.map(one, range(40)) for span in some]
    assert len(spans) == 200
    assert min(spans) >= 0.25


def test_a_good_recipient_elsewhere_is_answered_at_once_meanwhile(server):
    mx = server(
        MAILMOAT_TARPIT__TIME="120", MAILMOAT_TARPIT__MAX_SESSION="0", MAILMOAT_WORKERS="1", MAILMOAT_DRAIN_TIME="1"
    )
    waiting = [hold(mx) for _ in range(5)]
    held(mx, 5)
    other = mx.client()
    assert other.ask(MAIL, KNOWN) == "250 2.1.5 alice@example.test"
    assert mx.metric("tarpit_held_sessions") == 5
    assert all(client.silent(0.01) for client in waiting)


def test_exempt_networks_are_never_held(server):
    mx = server(MAILMOAT_TARPIT__TIME="5", MAILMOAT_TARPIT__EXEMPT_NETWORKS="192.0.2.0/24,127.0.0.0/8")
    client = hold(mx)
    assert client.reply() == "550 5.1.1 User unknown"
    assert mx.metric("tarpit_holds_total") == 0


def test_a_session_that_has_used_up_its_delay_is_closed(server):
    mx = server(MAILMOAT_TARPIT__TIME="0.2", MAILMOAT_TARPIT__MAX_SESSION="0.5")
    client = hold(mx, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    assert [reply[:9] for reply in client.replies(4)] == ["550 5.1.1", "550 5.1.1", "421 4.7.0", ""]
    mx.until(lambda: mx.metric('sessions_ended_total{reason="tarpit-limit"}') == 1, what="session limit in the metrics")
    mx.stop()
    unbounded = server(MAILMOAT_TARPIT__TIME="0.1", MAILMOAT_TARPIT__MAX_SESSION="0")
    assert [reply[:9] for reply in hold(unbounded, *[UNKNOWN] * 6).replies(6)] == ["550 5.1.1"] * 6


def test_above_max_held_the_longest_held_of_the_host_is_evicted(server):
    mx = server(
        MAILMOAT_TARPIT__TIME="120", MAILMOAT_TARPIT__MAX_HELD="8", MAILMOAT_WORKERS="2", MAILMOAT_DRAIN_TIME="1"
    )
    clients = []
    for count in range(1, 13):
        clients.append(hold(mx))
        held(mx, min(count, 8))
        mx.until(lambda count=count: mx.metric("tarpit_evictions_total") == max(0, count - 8), what="evictions")
    for client in clients[:4]:
        assert client.reply().startswith("421 4.7.0")
        assert client.reply() == ""
    assert all(client.silent(0.02) for client in clients[4:])
    mx.stop()
    slots = {line["session"].partition("-")[0] for line in mx.logged("session-ended") if line.get("holds")}
    assert len(slots) == 2, "the kernel put all connections on one worker: nothing was proved about two"


@pytest.mark.parametrize("ahead", [0, 40_000, 180_000], ids=["idle", "pipelined more than is kept", "much more"])
def test_a_client_that_resets_while_held_is_gone_and_its_place_is_kept(server, ahead):
    mx = server(MAILMOAT_TARPIT__TIME="30")
    client = hold(mx)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.sendall(b"NOOP\r\n" * (ahead // 6))
    held(mx, 1)
    client.close()
    mx.until(lambda: mx.metric("tarpit_disconnected_total") == 1, what="notice of the reset")
    assert mx.metric("tarpit_held_sessions") == 1
    assert mx.metric("connections") == 1
    assert mx.logged("session-ended")[-1]["reason"] == "disconnected"


@pytest.mark.parametrize("resets", [True, False], ids=["resets", "closes"])
def test_the_place_of_one_that_left_is_given_back_when_its_hold_is_over(server, resets):
    mx = server(MAILMOAT_TARPIT__TIME="2", MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE="2", MAILMOAT_WORKERS="2")
    mx.until(lambda: mx.metric("connections") == 0, what="the end of the connection that looked whether it is ready")
    begun = time.monotonic()
    for _ in range(2):
        client = hold(mx)
        if resets:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    refused = mx.client(hello="", greeted=False).reply()
    if time.monotonic() - begun < 2:
        assert refused.startswith("421 mx.example.test Too many connections from your address")
    mx.until(lambda: mx.client(hello="", greeted=False).reply()[:3] == "220", what="room for the source")
    assert time.monotonic() - begun >= 2
    held(mx, 0)
    for client in mx.clients:
        client.close()
    mx.until(lambda: mx.metric("connections") == 0, what="no connection")


def test_one_that_leaves_behind_a_full_window_is_noticed_when_its_hold_ends(server):
    """Its FIN waits in its own kernel behind octets we do not take: only what we say next finds out."""
    mx = server(MAILMOAT_TARPIT__TIME="2", MAILMOAT_LIMITS__ERRORS="0")
    client = hold(mx)
    held(mx, 1)
    client.socket.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            client.socket.send(b"FOO\r\n" * 10_000)
    client.close()
    held(mx, 0)
    assert mx.metric("tarpit_disconnected_total") == 1
    assert mx.metric("tarpit_holds_total") <= 3


def test_held_input_is_bounded_and_nothing_of_it_is_lost(server):
    mx = server(
        MAILMOAT_TARPIT__TIME="20",
        MAILMOAT_WORKERS="1",
        MAILMOAT_LIMITS__IDLE_COMMANDS="0",
        MAILMOAT_TARPIT__MAX_SESSION="0",
    )
    clients = [mx.client() for _ in range(20)]
    before = memory(mx)
    for client in clients:
        client.send(UNKNOWN.replace("RCPT", "XXXX"))
    held(mx, 20)
    sent = [0] * len(clients)
    octets = b"NOOP\r\n" * 10_000
    for index, client in enumerate(clients):
        client.socket.settimeout(0.02)
        try:
            while sent[index] < 20_000_000:
                sent[index] += client.socket.send(octets[sent[index] % 6 :])
        except TimeoutError:
            pass
    assert max(sent) < 20_000_000, "the server reads on while it holds"
    grown = memory(mx) - before
    assert grown < 20 * 64 + 1024, f"{grown} KiB more for 20 held clients"
    assert mx.metric("tarpit_held_sessions") == 20, "too slow to prove anything"
    client = clients[0]
    client.socket.settimeout(60)
    assert client.reply()[:3] == "500"
    replies = client.received
    while replies.count(b"\n") < sent[0] // 6:
        replies += client.socket.recv(1 << 20)
    assert replies == b"250 2.0.0 OK\r\n" * (sent[0] // 6)


def test_five_hundred_held_sessions_cost_other_clients_nothing(server):
    mx = server(MAILMOAT_TARPIT__TIME="20", MAILMOAT_WORKERS="2")
    with ThreadPoolExecutor(16) as pool:
        waiting = list(pool.map(lambda _: hold(mx), range(500)))
    held(mx, 500)
    client = mx.client()
    for number in range(100):
        assert client.deliver(octets=b"Subject: %d\r\n\r\nx\r\n" % number)[:3] == "250"
    assert mx.metric("tarpit_held_sessions") == 500, "all are still held when the messages are there"
    assert all(client.reply() == "550 5.1.1 User unknown" for client in waiting)
    held(mx, 0)
    mx.until(lambda: len(mx.delivered()) == 100, what="100 messages delivered")
    assert mx.metric("tarpit_seconds_total") == 10_000
