"""Which servers get the mail of a domain: RFC 5321 5.1, RFC 7505, RFC 7672, RFC 8461."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from tests.certificates import Authority
from tests.doubles.name_server import NameServer
from tests.integration.conftest import server  # noqa: F401 - a fixture
from tests.mx_world import World, record, secured

from mailmoat._native import Certificate

row = pytest.mark.row


@pytest.fixture
def world(server):  # noqa: F811 - the fixture
    with ExitStack() as stack:
        yield World(server, stack, stack.enter_context(NameServer()))


@row("queue-04")
def test_queue_04_hosts_are_tried_by_preference_and_equal_ones_by_chance(world, ipv6):
    record(
        world.names,
        """
        one.test    MX      10 a.one.test
        one.test    MX      10 b.one.test
        one.test    MX      20 c.one.test
        a.one.test  A       127.0.0.2
        b.one.test  AAAA    ::1
        c.one.test  A       127.0.0.4
        two.test    MX      10 a.two.test
        a.two.test  A       127.0.0.9
        a.two.test  A       127.0.0.4
        bare.test   A       127.0.0.4
        """,
    )
    hops = [world.host("127.0.0.2"), world.host("::1"), world.host("127.0.0.4")]
    world.start(MAILMOAT_DELIVERY__IDLE_TIME="0.01")
    first, second, last = hops
    for number in range(40):
        world.send(f"x{number}@one.test")
        hops[0].wait(lambda sent=number + 1: sum(len(hop.messages) for hop in hops) == sent, "message")
        for hop in hops:  # the next message needs a connection of its own, for which the hosts are chosen anew
            hop.wait(lambda hop=hop: not hop.open, "end of the connection")
        if first.messages and second.messages:
            break
    assert first.messages and second.messages and not last.messages
    world.send("x@two.test", "x@bare.test")
    last.wait(
        lambda: {to for message in last.messages for to in message.recipients} == {"x@two.test", "x@bare.test"}, "all"
    )


@row("queue-05")
def test_queue_05_this_server_and_what_is_no_better_are_left_out(world):
    record(
        world.names,
        """
        good.test   MX      10 a.test
        good.test   MX      20 mx.example.test
        good.test   MX      30 b.test
        loop.test   MX      10 mx.example.test
        loop.test   MX      10 b.test
        a.test      A       127.0.0.2
        b.test      A       127.0.0.3
        """,
    )
    good, worse = world.host("127.0.0.2", greeting="421 4.3.2 not now"), world.host("127.0.0.3")
    world.start()
    assert world.reply(world.send("x@good.test")).startswith("421")
    good.rules["greeting"] = "220 a.test ESMTP"
    good.wait(lambda: good.messages, "message")
    assert world.reply(world.send("x@loop.test")).startswith("554 5.4.6")
    assert worse.accepted == 0


@row("queue-06")
def test_queue_06_an_mx_set_is_not_bypassed_and_aliases_are_followed(world):
    record(
        world.names,
        """
        set.test    MX      10 gone.test
        set.test    A       127.0.0.2
        alias.test  CNAME   real.test
        real.test   MX      10 mx.real.test
        mx.real.test CNAME  host.test
        host.test   A       127.0.0.3
        """,
    )
    bypassed, hop = world.host("127.0.0.2"), world.host("127.0.0.3")
    world.start()
    assert world.reply(world.send("x@set.test")).startswith("451 4.4.4")
    world.send("x@alias.test")
    hop.wait(lambda: [message.recipients for message in hop.messages] == [["x@alias.test"]], "message")
    assert bypassed.accepted == 0


@row("queue-07")
def test_queue_07_no_domain_is_permanent_and_no_answer_is_not(world):
    record(world.names, "later.test A 127.0.0.2")
    world.names.set("later.test", fault="servfail")
    hop = world.host("127.0.0.2")
    world.start()
    assert world.reply(world.send("x@gone.test")).startswith("550 5.1.2")
    assert world.reply(world.send("x@later.test")).startswith("451 4.4.3")
    world.names.set("later.test")
    hop.wait(lambda: hop.messages, "message")


@row("queue-08")
def test_queue_08_a_null_mx_is_permanent(world):
    world.names.add("null.test", "MX", (0, "."))
    world.names.add("null.test", "A", "127.0.0.2")
    world.names.add("odd.test", "MX", (0, "."), (10, "a.test"))
    world.names.add("a.test", "A", "127.0.0.2")
    hop = world.host("127.0.0.2")
    world.start()
    assert world.reply(world.send("x@null.test")).startswith("556 5.1.10")
    world.send("x@odd.test")
    hop.wait(lambda: [message.recipients for message in hop.messages] == [["x@odd.test"]], "message")
    assert ("", "A") not in world.names.questions


@row("tls-10")
def test_tls_10_nothing_is_sent_to_a_server_that_dane_does_not_authenticate(world, tmp_path):
    tls = secured(Authority(tmp_path / "ca"), "elsewhere.test")
    digest = Certificate(tls.leaf).public_key_digest
    record(
        world.names,
        f"""
        dane.test                       MX      10 mx.dane.test
        mx.dane.test                    A       127.0.0.2
        _{world.port}._tcp.mx.dane.test TLSA    3 1 1 {digest}
        """,
    )
    world.names.sign("dane.test")
    hop = world.host("127.0.0.2")
    world.start()
    waiting = world.send("x@dane.test")
    assert world.reply(waiting).startswith("451 4.7.5")
    hop.tls = secured(Authority(tmp_path / "other"), "elsewhere.test")
    hop.wait(lambda: len(hop.handshakes) > 0 or hop.accepted > 3, "another attempt")
    assert not [line for line in hop.commands if line.startswith("MAIL")]
    hop.tls = tls
    hop.wait(lambda: hop.messages, "message")
