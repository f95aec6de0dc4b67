"""Sender filter and HELO checks by a whole server with a real name server: each verdict, a dead and a slow DNS, the file while it runs."""

from __future__ import annotations

import json
import os

import pytest
from tests.doubles.name_server import NameServer
from tests.integration.conftest import free_port, replace

OUTSIDE = "198.51.100.4"
ZONE = """
    mx.net           MX   10 mail.mx.net
    address.net      A    192.0.2.1
    six.net          AAAA 2001:db8::1
    text.net         TXT  "x"
    null.net         MX   0 .
    host.client.net  A    198.51.100.4
"""
TAKEN = "250 2.1.5"


@pytest.fixture
def names():
    with NameServer(ZONE) as running:
        yield running


@pytest.fixture
def filtering(server, names):
    """Makes servers that filter and ask `names`; a client with `source` comes from outside."""

    def make(toml="", start=True, **environment):
        environment = {
            "MAILMOAT_WORKERS": "2",
            "MAILMOAT_DNS__SERVERS": names.address,
            **{f"MAILMOAT_{name}": value for name, value in environment.items()},
        }
        mx = server(toml, start=False, **environment)
        mx.proxied = free_port()
        mx.environment["MAILMOAT_LISTEN"] = f"127.0.0.1:{mx.port},proxy://127.0.0.1:{mx.proxied}"
        mx.environment["MAILMOAT_LISTEN_PROXY_NETWORKS"] = "127.0.0.0/8"
        return mx.start() if start else mx

    return make


def ask(mx, sender, recipient="alice@example.test", hello="EHLO host.client.net"):
    """The reply to RCPT of a client from outside."""
    with mx.client(hello, port=mx.proxied, source=OUTSIDE) as client:
        assert client.ask(f"MAIL FROM:<{sender}>")[:3] == "250"
        return client.ask(f"RCPT TO:<{recipient}>")


def test_domains_that_nobody_can_reply_to(filtering, names):
    names.set("broken.net", fault="servfail")
    mx = filtering(SENDER_FILTER__UNRESOLVABLE="reject", SENDER_FILTER__RESERVED_DOMAINS="reject")
    for sender, reply in [
        ("a@mx.net", TAKEN),
        ("a@address.net", TAKEN),
        ("a@six.net", TAKEN),
        ("a@broken.net", TAKEN),
        ("a@example.test", TAKEN),
        ("", TAKEN),
        ("a@gone.net", "550 5.1.8 gone.net does not exist"),
        ("a@text.net", "550 5.1.8 text.net has neither MX nor address"),
        ("a@null.net", "550 5.7.27 null.net has a null MX"),
        ("a@some.test", "550 5.1.8 some.test is reserved"),
    ]:
        assert ask(mx, sender).startswith(reply), sender
    assert ask(mx, "a@gone.net", "postmaster@example.test").startswith(TAKEN)
    assert {name for name, _ in names.questions} == {
        "mx.net",
        "address.net",
        "six.net",
        "broken.net",
        "gone.net",
        "text.net",
        "null.net",
    }
    assert mx.metric('policy_refusals_total{reason="sender-domain-null-mx"}') == 1
    (refused,) = [line for line in mx.logged("recipient-refused") if line.get("reason") == "sender-domain-absent"]
    assert (refused["recipient"], refused["detail"]) == ("alice@example.test", "gone.net")


@pytest.mark.parametrize(("failure", "reply"), [("accept", TAKEN), ("defer", "451 4.4.3 d")])
def test_a_dead_name_server_refuses_nobody(filtering, names, failure, reply):
    names.set("", fault="drop")
    mx = filtering(
        SENDER_FILTER__UNRESOLVABLE="reject",
        SENDER_FILTER__DNS_FAILURE=failure,
        SENDER_FILTER__DNS_TIME="0.3s",
        HELO__UNRESOLVABLE="reject",
        HELO__DNS_TIME="0.3s",
        DNS__TIMEOUT="0.1s",
        DNS__LIFETIME="0.2s",
    )
    for number in range(8):
        assert ask(mx, f"a@d{number}.net", hello=f"EHLO h{number}.net").startswith(reply)
    mx.until(lambda: mx.metric("dns_circuit_breakers_open") or mx.metric("workers_dns_silent"), what="circuit breaker")


def test_a_slow_name_server_holds_up_no_other_session(filtering, names):
    names.set("slow.net", delay=1.0)
    mx = filtering(SENDER_FILTER__UNRESOLVABLE="reject", WORKERS="1")
    with mx.client("EHLO host.client.net", port=mx.proxied, source=OUTSIDE) as waiting:
        assert waiting.ask("MAIL FROM:<a@slow.net>")[:3] == "250", "MAIL waits for nothing"
        waiting.send("RCPT TO:<alice@example.test>")
        for _ in range(20):
            assert ask(mx, "a@mx.net").startswith(TAKEN)
        assert waiting.reply().startswith("550 5.1.8 slow.net")
    assert names.questions.count(("slow.net", "MX")) == 1


def test_a_blocked_sender_in_the_envelope_and_in_from(filtering):
    mx = filtering(SENDER_FILTER__BLOCKED="bad@evil.net, .worse.net", SENDER_FILTER__HEADER_FROM="true")
    assert ask(mx, "BAD+x@evil.net") == "554 5.1.0 Sender Denied"
    assert ask(mx, "a@x.worse.net") == "554 5.1.0 Sender Denied"
    assert ask(mx, "a@notworse.net").startswith(TAKEN)
    with mx.client("EHLO host.client.net", port=mx.proxied, source=OUTSIDE) as client:
        for line in ("MAIL FROM:<a@good.net>", "RCPT TO:<alice@example.test>", "DATA"):
            assert client.ask(line)[0] in "23"
        assert client.ask("From: Good <good@good.net>, <bad@evil.net>\r\n\r\nx\r\n.") == "554 5.1.0 Sender Denied"
        assert client.ask("NOOP").startswith("250"), "the session goes on"
    assert mx.metric('policy_refusals_total{reason="blocked-sender"}') == 2
    assert mx.metric('policy_refusals_total{reason="blocked-from"}') == 1
    (line,) = [line for line in mx.logged("command-refused") if line.get("reason") == "blocked-from"]
    assert line["detail"] == "bad@evil.net: bad@evil.net in sender_filter.blocked"


def test_stamped_in_each_form(filtering):
    mx = filtering(
        SENDER_FILTER__BLOCKED="evil.net",
        SENDER_FILTER__ACTION="stamp",
        SENDER_FILTER__UNRESOLVABLE="stamp",
        HELO__OWN_NAME="stamp",
        HELO__UNRESOLVABLE="stamp",
    )
    hello = f"EHLO {mx.environment.get('MAILMOAT_HOSTNAME', 'mx.example.test')}"
    for sender, greeting in (("bad@evil.net", hello), ("a@gone.net", "EHLO gone.client.net")):
        with mx.client(greeting, port=mx.proxied, source=OUTSIDE) as client:
            for line in (f"MAIL FROM:<{sender}>", "RCPT TO:<alice@example.test>", "DATA"):
                assert client.ask(line)[0] in "23"
            assert client.ask(f"X-Mailmoat-Filter: forged\r\nSubject: {sender}\r\n\r\nx\r\n.").startswith("250 2.6.0")
    mx.until(lambda: len(mx.delivered()) == 2, what="two messages")
    heads = sorted(
        path.read_bytes().partition(b"\r\n\r\n")[0].decode().replace("\r\n", "\n") for path in mx.delivered()
    )
    stamps = {line for head in heads for line in head.splitlines() if line.startswith("X-Mailmoat-Filter")}
    assert {stamp.partition(";")[0].partition(": ")[2] for stamp in stamps} == {
        "blocked-sender", "helo-own-name", "sender-domain-absent", "helo-unresolvable",
    }  # fmt: skip
    assert mx.metric('filter_stamps_total{reason="blocked-sender"}') == 1
    assert {line["reason"] for line in mx.logged("message-stamped")} >= {"blocked-sender", "helo-unresolvable"}


def test_the_file_is_in_force_while_the_server_runs(filtering):
    mx = filtering(start=False)
    listed = mx.directory / "blocked.txt"
    mx.environment["MAILMOAT_SENDER_FILTER__BLOCKED_FILE"] = str(listed)
    listed.write_text("a@one.net\n" + "".join(f"d{number}.many.net\n" for number in range(100_000)))
    os.utime(listed, (1, 1))
    mx.start()
    mx.until(lambda: mx.metric("sender_file_entries") == 100_001, what="the file")
    assert ask(mx, "a@one.net") == "554 5.1.0 Sender Denied"
    assert ask(mx, "x@d99999.many.net") == "554 5.1.0 Sender Denied"
    assert ask(mx, "a@two.net").startswith(TAKEN)
    replace(listed, listed.read_text() + ".two.net\n")
    os.utime(listed, (2, 2))
    mx.until(lambda: mx.metric("sender_file_entries") == 100_002, what="the new file")
    denied = {"554 5.1.0 Sender Denied"}
    mx.until(lambda: {ask(mx, "a@sub.two.net") for _ in range(8)} == denied, what="the new file in each worker")
    replace(listed, listed.read_text() + "*.wrong.net\n")
    os.utime(listed, (3, 3))
    mx.until(lambda: mx.logged("sender-file-refused"), what="the mistake")
    (mistake,) = mx.logged("sender-file-refused")
    assert mistake["detail"].startswith(f'{listed}: line 100003: "*.wrong.net": * means nothing here. Write .wrong.net')
    assert mx.metric('sender_file_state{state="refused"}') == 1
    assert ask(mx, "a@sub.two.net") == "554 5.1.0 Sender Denied", "what was in force stays"
    replace(listed, "a@one.net\n")
    mx.until(lambda: mx.logged("sender-file-waits"), what="suspicion")
    assert "it shrank from" in mx.logged("sender-file-waits")[0]["detail"]


def test_a_server_does_not_start_with_a_bad_file(filtering):
    mx = filtering(start=False)
    listed = mx.directory / "blocked.txt"
    listed.write_text("spammer\n")
    mx.environment["MAILMOAT_SENDER_FILTER__BLOCKED_FILE"] = str(listed)
    checked = mx.cli("check-config")
    assert checked.returncode == 1
    assert f"sender_filter.blocked_file: {listed}: line 1:" in checked.stderr
    mx.start(wait=False)
    mx.until(mx.exited, what="the end")
    (refused,) = mx.logged("start-refused")
    assert refused["detail"] == "the file of blocked senders is not usable, and no older snapshot is there"


def test_the_command_says_what_would_be_decided(filtering, names):
    names.set("broken.net", fault="servfail")
    mx = filtering(
        start=False,
        SENDER_FILTER__BLOCKED=".evil.net, !friend@evil.net",
        SENDER_FILTER__UNRESOLVABLE="reject",
        SENDER_FILTER__DNS_FAILURE="defer",
        HELO__UNQUALIFIED="stamp",
        RELAY__NETWORKS="10.0.0.0/8",
    )
    for arguments, status, answer, reasons in [
        (("friend@mx.net",), 0, "accept", []),
        (("x@sub.evil.net",), 1, "reject", ["blocked-sender"]),
        (("friend@mx.net", "--from", "x@evil.net"), 1, "reject", ["blocked-from"]),
        (("friend@mx.net", "--from", "friend@evil.net"), 0, "accept", []),
        (("x@null.net",), 1, "reject", ["sender-domain-null-mx"]),
        (("x@broken.net",), 1, "defer", ["sender-domain-unknown"]),
        (("x@mx.net", "--helo", "localhost"), 0, "stamp", ["helo-unqualified"]),
        (("x@evil.net", "--client", "10.0.0.1"), 0, "accept", []),
        (("<>",), 0, "accept", []),
    ]:
        done = mx.cli("senders", "check", "--json", *arguments)
        said = json.loads(done.stdout)
        assert (done.returncode, said["answer"], [row["reason"] for row in said["found"]]) == (
            status,
            answer,
            reasons,
        ), arguments
    plain = mx.cli("senders", "check", "x@sub.evil.net")
    assert plain.stdout == (
        "x@sub.evil.net: reject\n"
        "  reject: blocked-sender, 554 5.1.0 Sender Denied (x@sub.evil.net: .evil.net in sender_filter.blocked)\n"
    )
    assert "it is not judged" in mx.cli("senders", "check", "x@evil.net", "--client", "10.0.0.1").stdout
    (mx.directory / "spool").mkdir(mode=0o700)
    mx.cli("allow", "add", "192.0.2.128/25", check=True)
    assert "it is not judged" in mx.cli("senders", "check", "x@evil.net", "--client", "192.0.2.200").stdout
    assert mx.cli("senders", "check", "a@b@c").returncode == 1
