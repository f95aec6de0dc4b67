"""What the log says while a session goes on, and how much of it one session can cause."""

from __future__ import annotations

import json
import os
import socket
import subprocess

import pytest


def test_what_is_no_http_request_writes_no_line(server):
    """Each line of a log in JSON is JSON, whatever strangers make a library say."""
    mx = server()
    for octets in (b"no request\r\n\r\n", b"\x16\x03\x01"):
        with socket.create_connection(("127.0.0.1", mx.admin), timeout=60) as connection:
            connection.sendall(octets)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    begun = mx.log.read_text().index("{")
    mx.stop()
    assert [line for line in mx.log.read_text()[begun:].splitlines() if not line.startswith("{")] == []


def test_a_message_and_each_refusal_are_logged_while_the_session_goes_on(server):
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_TARPIT__TIME="0")
    client = mx.client()
    assert client.ask("FOO bar")[:3] == "500"
    assert client.ask("MAIL FROM:<s@remote.tld>")[:3] == "250"
    assert client.ask("RCPT TO:<typo@example.test>")[:3] == "550"
    assert client.ask("RCPT TO:<a@b@c>")[:1] == "5"
    assert client.ask("RCPT TO:<alice@example.test>")[:3] == "250"
    accepted = client.ask("DATA", "Subject: x\r\n\r\nx\r\n.")
    assert client.deliver(octets=b"x\r\ny" + b"z" * 2000 + b"\r\n")[:3] == "500"
    mx.until(lambda: len(mx.logged("command-refused")) == 2, what="lines")
    common = {"level": "info", "client": "127.0.0.1", "helo": "client.remote.tld"}

    def lines(event: str) -> list[dict]:
        found = mx.logged(event)
        assert {line.pop("session") for line in found} == {session}
        return [{key: value for key, value in line.items() if key not in ("time", "event", *common)} for line in found]

    session = mx.logged("message-accepted")[0]["session"]
    assert lines("command-refused") == [
        {"command": "FOO bar", "reply": "500 5.5.1 Unrecognized command"},
        {
            "command": "end of data",
            "mail_from": "sender@remote.test",
            "reply": "500 5.6.0 A line of the message is too long",
        },
    ]
    unknown, odd = lines("recipient-refused")
    assert unknown == {
        "mail_from": "s@remote.tld",
        "recipient": "typo@example.test",
        "reply": "550 5.1.1 User unknown",
        "reason": "unknown-recipient",
    }
    assert odd["recipient"] == "a@b@c"
    [taken] = lines("message-accepted")
    assert taken.pop("octets") > 10
    assert accepted.startswith(f"250 2.6.0 {taken.pop('queue_id')} ")
    assert taken == {"mail_from": "s@remote.tld", "recipients": ["alice@example.test"]}
    assert all(line["session"] != session for line in mx.logged("session-ended"))
    client.ask("QUIT")
    [ended] = mx.until(lambda: [one for one in mx.logged("session-ended") if one["messages"]], what="end")
    assert ended["replies"]["5xx"] == 4


def test_a_rule_is_named_with_what_it_refused_though_other_refusals_came_in_the_same_read(server):
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_TARPIT__TIME="0")
    client = mx.client()
    client.send("MAIL FROM:<s@remote.tld>", "FOO", "RCPT TO:<typo@example.test>", "BAR", "NOOP")
    assert [reply[:3] for reply in client.replies(5)] == ["250", "500", "550", "500", "250"]
    mx.until(lambda: len(mx.logged("command-refused")) == 2, what="lines")
    assert [line.get("reason") for line in mx.logged("recipient-refused")] == ["unknown-recipient"]
    assert [line.get("reason") for line in mx.logged("command-refused")] == [None, None]


def test_one_session_cannot_flood_the_log(server):
    mx = server(
        MAILMOAT_WORKERS="1",
        MAILMOAT_TARPIT__TIME="0",
        MAILMOAT_LIMITS__ERRORS="0",
        MAILMOAT_LIMITS__IDLE_COMMANDS="0",
    )
    client = mx.client()
    client.ask("MAIL FROM:<s@remote.tld>")
    client.send(*[f"RCPT TO:<{'t' * 40}{number}@example.test>" for number in range(300)], *["FOO"] * 300)
    assert {reply[:1] for reply in client.replies(600)} == {"5"}
    client.ask("QUIT")
    [ended] = mx.until(lambda: [one for one in mx.logged("session-ended") if one.get("refusals")], what="end")
    assert ended["refusals_left_out"] == 500
    assert ended["replies"]["5xx"] == 600
    assert len(mx.logged("recipient-refused")) == 100
    assert not mx.logged("command-refused")


def test_the_longest_session_makes_no_line_that_a_pipe_tears(server):
    """49 transactions of 100 recipients each, given up: 748 KiB of one line once."""
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_LIMITS__IDLE_COMMANDS="0")
    client = mx.client()
    for _ in range(49):
        client.send(
            f"MAIL FROM:<{'s' * 60}@{'d' * 60}.remote.tld>",
            *[f"RCPT TO:<{'r' * 57}{number:03}@all.example.test>" for number in range(100)],
            "RSET",
        )
        assert {reply[:3] for reply in client.replies(102)} == {"250"}
    client.ask("QUIT")
    [ended] = mx.until(lambda: [one for one in mx.logged("session-ended") if one.get("transactions")], what="end")
    assert ended["transactions_left_out"] == 47
    assert ended["transactions"][0]["recipients_left_out"] == 96
    assert max(len(line) for line in mx.log.read_bytes().splitlines()) < 4000


def test_lines_nobody_reads_are_counted_and_told(server):
    mx = server(start=False, MAILMOAT_WORKERS="1", MAILMOAT_TARPIT__TIME="0", MAILMOAT_LIMITS__ERRORS="0")
    reader, writer = os.pipe()
    with pytest.MonkeyPatch.context() as patch:
        popen = subprocess.Popen
        patch.setattr(subprocess, "Popen", lambda *a, **k: popen(*a, **{**k, "stdout": writer, "stderr": None}))
        mx.start()
    os.close(writer)
    # More than the pipe takes and the worker keeps: 4 MiB, in sessions of 100 lines.
    begin = ["EHLO c.tld", "MAIL FROM:<s@remote.tld>"]
    refused = [f"RCPT TO:<{'t' * 60}{number}@{'d' * 60}.{'d' * 60}.{'d' * 50}.example.test>" for number in range(100)]
    for _ in range(200):
        client = mx.client(hello="")
        client.send(*begin, *refused, "QUIT")
        while client.reply()[:3] != "221":
            pass
        if mx.metric("log_lines_lost_total"):
            break
    lost = mx.metric("log_lines_lost_total")
    assert lost > 0
    octets = b""
    while b'"lines_lost"' not in octets:
        octets += os.read(reader, 1 << 20)
    told = [
        json.loads(line)["lines_lost"] for line in octets.splitlines() if b'"lines_lost"' in line and line[-1:] == b"}"
    ]
    assert told
    assert told[0] <= mx.metric("log_lines_lost_total")
    assert lost <= told[-1]
    os.close(reader)  # nobody reads any more: that costs lines and nothing else
    assert mx.client().deliver()[:3] == "250"
