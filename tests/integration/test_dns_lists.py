"""Lists in the DNS with the real server and a real name server: who is refused, who is not, and what is said of a provider that does not work."""

from __future__ import annotations

import json

import pytest
from tests.doubles.name_server import NameServer
from tests.integration.conftest import free_port
from tests.integration.test_proxy_protocol import through, v1

ZONES = ("bl.test", "two.test", "mask.test", "wl.test")
ROWS = [
    {"zone": "bl.test", "weight": 3, "text": "[{address}] is on {zone}: {reason}, see https://bl.test/{address}"},
    {"zone": "two.test", "weight": 2, "answers": "127.0.0.[2-9]", "text": "two"},
    {"zone": "mask.test", "weight": 1, "bit_mask": "0.0.0.6", "text": "mask"},
    {"zone": "wl.test", "kind": "allow"},
]


@pytest.fixture
def names():
    with NameServer() as server:
        for zone in ZONES:
            server.add(f"2.0.0.127.{zone}", "A", "127.0.0.2")
        yield server


@pytest.fixture
def lists(server, names):
    """A server that asks these lists about the clients that a balancer names; it and the balancer's port."""

    def start(rows=ROWS, **environment):
        port = free_port()
        mx = server(
            start=False,
            MAILMOAT_WORKERS="1",
            MAILMOAT_LISTEN_PROXY_NETWORKS="127.0.0.0/8",
            MAILMOAT_DNS__SERVERS=names.address,
            MAILMOAT_DNS_LISTS__PROVIDERS=json.dumps(rows),
            MAILMOAT_DNS_LISTS__THRESHOLD="3",
            MAILMOAT_DNS_LISTS__TIME="2s",
            **{"MAILMOAT_DNS_LISTS__ACTION": "reject"} | environment,
        )
        mx.environment["MAILMOAT_LISTEN"] = f"127.0.0.1:{mx.port},proxy://127.0.0.1:{port}"
        return mx.start(), port

    return start


def reply(mx, port, address):
    """What the first recipient of a client at this address gets."""
    client = through(mx, port, v1(address))
    assert client.ask("MAIL FROM:<x@client.test>")[:3] == "250"
    said = client.ask("RCPT TO:<alice@example.test>")
    client.ask("QUIT")
    return said


def listed(names, address, **zones):
    reverse = ".".join(reversed(address.split(".")))
    for zone, answer in zones.items():
        names.add(f"{reverse}.{zone}.test", "A", answer)
    return f"{reverse}."


def test_each_verdict(lists, names):
    names.add(listed(names, "192.0.2.1", bl="127.0.0.4") + "bl.test", "TXT", "sends spam")
    listed(names, "192.0.2.2", two="127.0.0.2", mask="127.0.0.4")
    listed(names, "192.0.2.3", two="127.0.0.2")
    listed(names, "192.0.2.4", two="127.0.0.10", mask="127.0.0.8")
    listed(names, "192.0.2.5", bl="127.0.0.2", wl="127.0.5.1")
    mx, port = lists()
    assert (
        reply(mx, port, "192.0.2.1") == "550 5.7.1 [192.0.2.1] is on bl.test: sends spam, see https://bl.test/192.0.2.1"
    )
    assert reply(mx, port, "192.0.2.2") == "550 5.7.1 two"
    for address in ("192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"):
        assert reply(mx, port, address)[:3] == "250", address
    (first, second) = mx.logged("recipient-refused")
    assert (first["reason"], first["detail"], first["recipient"]) == (
        "dns-listed",
        "bl.test (127.0.0.4)",
        "alice@example.test",
    )
    assert second["detail"] == "two.test (127.0.0.2), mask.test (127.0.0.4)"
    assert mx.metric('dns_list_lookups_total{provider="1",outcome="listed"}') == 2
    assert mx.metric('dns_list_lookups_total{provider="2",outcome="not_listed"}') == 4
    assert mx.metric('policy_refusals_total{reason="dns-listed"}') == 2
    asked = len(names.questions)
    assert reply(mx, port, "192.0.2.1")[:3] == "550"
    assert len(names.questions) == asked, "the second session of a client costs no query"
    assert mx.health()["status"] == "ok"


def test_a_stamp_is_on_the_message_that_is_delivered(lists, names):
    listed(names, "192.0.2.1", bl="127.0.0.4")
    mx, port = lists(MAILMOAT_DNS_LISTS__ACTION="stamp")
    client = through(mx, port, v1("192.0.2.1"))
    for command in ("MAIL FROM:<x@client.test>", "RCPT TO:<alice@example.test>", "DATA"):
        client.ask(command)
    assert client.ask("X-Mailmoat-Filter: forged\r\n\r\n.")[:3] == "250"
    mx.until(mx.delivered, what="delivery")
    text = mx.delivered()[0].read_text()
    assert text.count("X-Mailmoat-Filter: ") == 1
    assert "X-Mailmoat-Filter: dns-listed; bl.test (127.0.0.4)\n" in text


def test_a_provider_that_refuses_us_is_out_of_force(lists, names):
    listed(names, "192.0.2.1", bl="127.255.255.254")
    listed(names, "192.0.2.2", bl="127.0.0.2")
    mx, port = lists()
    assert reply(mx, port, "192.0.2.1")[:3] == "250"
    assert reply(mx, port, "192.0.2.2")[:3] == "250", "it is not used any more"
    (line,) = mx.logged("dns-list-failed")
    assert (line["zone"], line["reason"], line["detail"]) == ("bl.test", "refused", "127.255.255.254")
    assert mx.health()["reasons"] == [
        "provider 1 of dns_lists.providers does not work and is not used; see mailmoat dns-lists check"
    ]
    assert mx.metric('dns_lists_out_of_force{provider="1"}') == 1


def test_zones_that_fail_their_test_refuse_nobody(lists, names):
    names.add("1.0.0.127.bl.test", "A", "127.0.0.2")
    names.clear("2.0.0.127.two.test")
    listed(names, "192.0.2.1", bl="127.0.0.2", two="127.0.0.2", mask="127.0.0.2")
    mx, port = lists()
    mx.until(lambda: len(mx.logged("dns-list-failed")) == 2, what="alarms")
    assert {line["zone"]: line["reason"] for line in mx.logged("dns-list-failed")} == {
        "bl.test": "lists-everything",
        "two.test": "test-entry-missing",
    }
    assert reply(mx, port, "192.0.2.1")[:3] == "250"
    assert mx.health()["status"] == "degraded"
    shown = mx.cli("dns-lists", "check", "192.0.2.1")
    assert shown.returncode == 1
    assert "bl.test  block  lists-everything (127.0.0.2)" in shown.stdout


def test_a_provider_that_dies_refuses_nobody_and_raises_an_alarm(lists, names):
    """Not one client waits for it once it is out of force."""
    listed(names, "192.0.2.9", mask="127.0.0.4", two="127.0.0.2")
    mx, port = lists()
    mx.until(lambda: ("1.0.0.127.wl.test", "A") in names.questions, what="test")
    names.set("bl.test", fault="drop")
    number = 10
    while not mx.logged("dns-list-failed"):
        assert reply(mx, port, f"192.0.2.{number}")[:3] == "250"
        number += 1
    (line,) = mx.logged("dns-list-failed")
    assert (line["zone"], line["reason"]) == ("bl.test", "no-answer")
    asked = [name for name, _ in names.questions].count("200.2.0.192.bl.test")
    assert reply(mx, port, "192.0.2.200")[:3] == "250"
    assert [name for name, _ in names.questions].count("200.2.0.192.bl.test") == asked
    assert reply(mx, port, "192.0.2.9") == "550 5.7.1 two", "the others are in force"
    assert mx.health()["status"] == "degraded"
    assert mx.metric('dns_list_lookups_total{provider="1",outcome="no_answer"}') >= 5


def test_a_name_server_that_never_answered_refuses_nobody(lists, names):
    names.set("", fault="drop")
    mx, port = lists()
    assert reply(mx, port, "192.0.2.1")[:3] == "250"
    mx.until(lambda: len(mx.logged("dns-list-failed")) == len(ROWS), what="alarms")
    assert {line["reason"] for line in mx.logged("dns-list-failed")} == {"no-answer"}
