"""Every limit over real connections: what is said when it is reached, and that 0 switches it off (RFC 5321 4.5.3)."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest
from tests.processes import assert_rests

from mailmoat import _native
from mailmoat.receive.descriptors import SPARE

MAIL = "MAIL FROM:<sender@remote.tld>"
KNOWN = "RCPT TO:<alice@example.test>"
OFF = {
    f"MAILMOAT_LIMITS__{name}": "0"
    for name in (
        "COMMAND_LINE", "TEXT_LINE", "RECIPIENTS", "MESSAGE_SIZE", "HOPS", "COMMAND_TIME", "DATA_TIME", "SESSION_TIME",
        "ERRORS", "IDLE_COMMANDS", "CONNECTIONS", "CONNECTIONS_PER_SOURCE", "LOCAL_PART", "DOMAIN", "PATH",
    )
}  # fmt: skip


def is_greeted(one):
    """Whether a greeting waits to be read."""
    one.setblocking(False)
    try:
        return one.recv(3, socket.MSG_PEEK) == b"220"
    except BlockingIOError:
        return False


def test_lines_recipients_sizes_and_hops(server):
    mx = server(MAILMOAT_LIMITS__MESSAGE_SIZE="10000", MAILMOAT_LIMITS__ERRORS="0", MAILMOAT_LIMITS__IDLE_COMMANDS="0")
    client = mx.client(hello="")
    assert "250-SIZE 10000" in client.ask("EHLO x.tld").split("\n")
    # Command line: 2048 octets with CRLF, at least 512 (RFC 5321 4.5.3.1.4); the one after it is understood.
    assert client.ask("NOOP " + "x" * (2048 - 7))[:3] == "250"
    assert client.ask("NOOP " + "x" * (2048 - 6)) == "500 5.5.2 Command line too long"
    assert client.ask("NOOP " + "x" * 100_000) == "500 5.5.2 Command line too long"
    assert client.ask("NOOP") == "250 2.0.0 OK"
    # Addresses (4.5.3.1.1 to 4.5.3.1.3); a local part may have more than the 64 octets of the standard.
    assert client.ask(f"MAIL FROM:<{'x' * 257}@remote.tld>")[:3] in ("501", "553")
    assert client.ask(f"MAIL FROM:<x@{'y.' * 126}tldx>")[:3] in ("501", "553")
    assert client.ask(f"MAIL FROM:<{'x' * 256}@remote.tld>")[:3] == "250"
    # Recipients: 100, each counted once; those beyond get 452 and the message goes to the others.
    for number in range(100):
        assert client.ask(f"RCPT TO:<r{number}@all.example.test>")[:3] == "250"
    assert client.ask("RCPT TO:<r100@all.example.test>") == "452 4.5.3 Too many recipients"
    assert client.ask("DATA", "x\r\n.")[:3] == "250"
    # Size as announced, and as it is (RFC 1870 6).
    assert client.ask(MAIL + " SIZE=10001") == "552 5.3.4 Message size exceeds fixed maximum message size"
    assert client.deliver(octets=b"x" * 98 + (b"\r\n" + b"x" * 98) * 99 + b"\r\n")[:3] == "250"
    assert (
        client.deliver(octets=b"x" * 99 + (b"\r\n" + b"x" * 98) * 99 + b"\r\n")
        == "552 5.3.4 Message size exceeds fixed maximum message size"
    )
    # A line of text: 1000 octets with CRLF, a stuffed dot not counted (4.5.3.1.6).
    assert client.deliver(octets=b"x" * 998 + b"\r\n")[:3] == "250"
    assert client.deliver(octets=b".." + b"x" * 997 + b"\r\n")[:3] == "250"
    assert client.deliver(octets=b"x" * 999 + b"\r\n") == "500 5.6.0 A line of the message is too long"
    # Hops (6.3).
    assert client.deliver(octets=b"Received: x\r\n" * 99 + b"\r\nReceived: x\r\n")[:3] == "250"
    assert client.deliver(octets=b"Received: x\r\n" * 100 + b"\r\nx\r\n") == "554 5.4.6 Too many hops: mail loop"
    assert client.ask("QUIT")[:3] == "221"


def test_errors_and_commands_that_bring_nothing_close_the_session(server):
    mx = server(MAILMOAT_LIMITS__ERRORS="3", MAILMOAT_LIMITS__IDLE_COMMANDS="6")
    client = mx.client()
    client.send(*["FOO"] * 5)
    assert [reply[:3] for reply in client.replies(5)] == ["500", "500", "500", "421", ""]
    client = mx.client()
    client.send(*["NOOP"] * 7)
    assert [reply[:3] for reply in client.replies(7)] == ["250"] * 5 + ["421", ""]  # EHLO was the first of six
    client = mx.client()
    for _ in range(4):
        assert client.deliver()[:3] == "250"  # an accepted message begins the count anew
    assert client.ask("NOOP")[:3] == "250"


def test_zero_switches_each_limit_off(server):
    mx = server(**OFF, MAILMOAT_WORKERS="1")
    client = mx.client()
    assert "SIZE 0" in client.ask("EHLO x.tld").replace("\n250", " ").replace("-", "")
    assert client.ask("NOOP " + "x" * 10_000) == "250 2.0.0 OK"
    client.send(*["FOO"] * 30, *["NOOP"] * 150)
    assert {reply[:3] for reply in client.replies(180)} == {"500", "250"}
    assert client.ask(f"MAIL FROM:<{'x' * 300}@{'y' * 60}.{'z' * 60}.tld> SIZE=99999999")[:3] == "250"
    client.send(*[f"RCPT TO:<r{number}@all.example.test>" for number in range(150)])
    assert {reply[:3] for reply in client.replies(150)} == {"250"}
    assert client.ask("DATA", "Received: x\r\n" * 150 + "\r\n" + "x" * 100_000 + "\r\n.")[:3] == "250"
    others = [mx.client() for _ in range(120)]
    assert all(other.ask("NOOP")[:3] == "250" for other in others)


def test_times(server):
    """Each in its own server, side by side: they only wait."""

    def silent_at_a_command(port_of):
        begun = time.monotonic()
        client = port_of.client()
        reply = client.reply()
        return time.monotonic() - begun, reply, client.reply()

    def silent_in_content(port_of):
        client = port_of.client()
        client.ask(MAIL, KNOWN, "DATA")
        seconds, reply = client.timed("Subject: x")
        return seconds, reply, client.reply()

    def busy_for_too_long(port_of):
        begun = time.monotonic()
        client = port_of.client()
        reply = "250"
        while reply[:3] == "250":
            reply = client.ask("NOOP")
        return time.monotonic() - begun, reply, client.reply()

    mx = server(
        MAILMOAT_LIMITS__COMMAND_TIME="0.5", MAILMOAT_LIMITS__DATA_TIME="1", MAILMOAT_LIMITS__SESSION_TIME="2",
        MAILMOAT_LIMITS__IDLE_COMMANDS="0", MAILMOAT_LOG__LEVEL="info",
    )  # fmt: skip
    runs = (silent_at_a_command, silent_in_content, busy_for_too_long)
    with ThreadPoolExecutor() as pool:
        waits = [pool.submit(run, mx) for run in runs]
        for wait, run, least in zip(waits, runs, (0.5, 1, 2), strict=True):
            seconds, reply, after = wait.result()
            assert reply.startswith("421 4.4.2"), (run, reply)
            assert after == ""
            assert seconds >= least, (run, seconds)


def test_each_time_counts_though_the_others_are_long(server):
    """A short one is kept to the second when the others are at their defaults, or off."""
    mx = server(MAILMOAT_LIMITS__SESSION_TIME="1", MAILMOAT_LIMITS__IDLE_COMMANDS="0")
    client, busy = mx.client(), mx.client()
    assert client.reply().startswith("421 4.4.2")
    reply = "250"
    while reply[:3] == "250":
        reply = busy.ask("NOOP")
    assert reply.startswith("421 4.4.2")
    mx.stop()
    mx = server(MAILMOAT_LIMITS__DATA_TIME="1", MAILMOAT_LIMITS__COMMAND_TIME="0")
    client = mx.client()
    begun = time.monotonic()
    client.ask(MAIL, KNOWN, "DATA")
    assert client.reply().startswith("421 4.4.2")
    assert time.monotonic() - begun >= 1


def test_rates_hold_over_workers_and_over_the_death_of_one(server):
    """Four workers let through what one would; a worker that is killed takes nothing with it, and gives nothing back."""
    mx = server(MAILMOAT_WORKERS="4", MAILMOAT_LIMITS__MESSAGE_RATE="40/hour", MAILMOAT_LIMITS__IDLE_COMMANDS="0")

    def spend(number):
        client, got = mx.client(), 0
        while client.ask(MAIL, "RSET")[:3] == "250" and got < number:
            got += 1
        return got

    assert sum(spend(2) for _ in range(10)) == 20
    victim = mx.workers()[0]
    os.kill(victim, signal.SIGKILL)
    mx.until(lambda: victim not in mx.workers() and len(mx.workers()) == 4, what="another worker")
    shown = json.loads(mx.cli("limits", "show", "127.0.0.1", "--json", check=True).stdout)
    source = next(one for one in shown["limits"] if one["prefix"] == "127.0.0.1/32")
    # Each client has asked for one more than it counted.
    assert (source["class"], source["used"], source["burst"]) == ("messages", 30, 40)
    with ThreadPoolExecutor() as pool:
        list(pool.map(spend, [100] * 12))
    shown = json.loads(mx.cli("limits", "show", "127.0.0.1", "--json", check=True).stdout)
    source = next(one for one in shown["limits"] if one["prefix"] == "127.0.0.1/32")
    assert (source["used"], source["spent"]) == (40, 40)
    client = mx.client()
    reply = client.ask(MAIL)
    assert reply.startswith("421 4.4.2 mx.example.test Message submission rate for this client has exceeded")
    assert client.reply() == ""
    assert mx.metric('limited_total{class="messages",direction="in"}') >= 1
    assert mx.metric('policy_refusals_total{reason="message-rate"}') >= 1
    assert {line["reason"] for line in mx.logged("command-refused")} == {"message-rate"}
    assert mx.cli("limits", "reset", "127.0.0.1", check=True).stdout == "2 entries reset.\n"
    assert mx.client().deliver()[:3] == "250"
    assert "127.0.0.1/32  1 of 40" in mx.cli("limits", "show", check=True).stdout


def test_limits_commands_say_what_is_wrong(server):
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE="5")
    client = mx.client()
    shown = mx.cli("limits", "show", "127.0.0.0/24", check=True).stdout
    assert "127.0.0.1/32  1" in shown
    assert "Nothing counts against a rate." in shown
    unclear = mx.cli("limits", "reset")
    assert unclear.returncode == 2
    assert "name a prefix, or --all" in unclear.stderr
    wrong = mx.cli("limits", "show", "192.0.2.1/24")
    assert wrong.returncode == 2
    assert "192.0.2.1/24: it has bits behind its length" in wrong.stderr
    assert client.ask("NOOP")[:3] == "250"
    mx.stop()
    stopped = mx.cli("limits", "show")
    assert stopped.returncode == 1
    assert stopped.stderr.startswith("mailmoat: no server runs on ")


def test_connections_of_the_host_and_of_one_source(server):
    mx = server(MAILMOAT_WORKERS="2", MAILMOAT_LIMITS__CONNECTIONS="5")
    mx.until(lambda: mx.metric("connections") == 0, what="no connection")
    clients = [mx.client() for _ in range(5)]
    for client in clients:
        assert client.ask(MAIL, KNOWN, "DATA")[:3] == "354"  # at work: an idle one would make way
    refused = mx.client(hello="")
    assert refused.greeting.startswith("421 mx.example.test ")  # a greeting: no enhanced code (RFC 2034 4)
    assert refused.reply() == ""
    clients.pop().close()
    mx.until(lambda: mx.metric("connections") == 4, what="a place")
    assert mx.client().ask("NOOP")[:3] == "250"
    assert mx.metric('connections_refused_total{limit="server"}') == 1
    mx.stop()
    mx = server(MAILMOAT_WORKERS="2", MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE="3")
    mx.until(lambda: mx.metric("connections") == 0, what="no connection")
    clients = [mx.client() for _ in range(3)]
    refused = mx.client(hello="")
    assert refused.greeting.startswith("421 mx.example.test ")  # a greeting: no enhanced code (RFC 2034 4)
    assert refused.reply() == ""
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.9", 0))
        elsewhere.connect(("127.0.0.1", mx.port))
        assert elsewhere.recv(3) == b"220"
    clients[0].close()
    mx.until(lambda: mx.metric("connections") == 2, what="a place")
    assert mx.client().ask("NOOP")[:3] == "250"
    assert mx.metric('connections_refused_total{limit="source"}') == 1


OTHERS = 30 + _native.OPEN_CONTENT_FILES + 2 * 20 + SPARE
"""Descriptors that a worker has open or keeps for the spool, content and delivery."""


def start_with(mx, descriptors):
    """Starts the server with so many descriptors for each process."""
    limit = (descriptors, descriptors)
    with pytest.MonkeyPatch.context() as patch:
        popen = partial(subprocess.Popen, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit))
        patch.setattr(subprocess, "Popen", popen)
        return mx.start()


def test_mute_clients_do_not_lock_others_out(server):
    """As many as the descriptors allow, from addresses enough: mail goes on, and health and metrics say what is happening."""
    mx = start_with(
        server(start=False, MAILMOAT_WORKERS="1", MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE="100"),
        OTHERS + 735,
    )
    mute = []
    for number in range(750):
        one = socket.socket()
        one.bind((f"127.0.{10 + number // 84}.1", 0))
        one.connect(("127.0.0.1", mx.port))
        mute.append(one)
    mx.until(lambda: mx.metric("connections") > 600, what="mute clients")
    for _ in range(5):
        client = mx.client()
        assert client.deliver()[:3] == "250"
        client.close()
    assert mx.metric("connections_idle_closed_total") > 0
    assert mx.metric("workers_stressed") == 1
    health = mx.health()
    assert (health["status"], health["reasons"]) == ("degraded", ["1 of 1 workers near their limit of connections"])
    told = next(one for one in mute if b"421 " in one.recv(1000))
    told.close()
    for one in mute:
        one.close()
    mx.until(lambda: mx.health()["status"] == "ok", what="health")
    assert [710 < line["limit"] < 755 for line in mx.logged("stress-began")] == [True]
    assert len(mx.logged("stress-ended")) == 1


def test_want_of_descriptors_pauses_accepting_and_never_spins(server):
    mx = start_with(server(start=False, MAILMOAT_WORKERS="1"), OTHERS + 64)
    sockets = [socket.create_connection(("127.0.0.1", mx.port), timeout=10) for _ in range(120)]
    for one in sockets:  # all of them at work: idle ones would make way
        one.sendall(b"HELO x.tld\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")

    def greeted():
        return sum(map(is_greeted, sockets))

    accepted = mx.until(lambda: mx.metric("accept_pauses_total") and greeted(), what="pause")
    assert 30 < accepted < 100
    assert_rests(*mx.workers())
    assert greeted() >= accepted - 1
    assert mx.logged("accept-paused")
    # Those inside are served meanwhile.
    inside = next(one for one in sockets if is_greeted(one))
    inside.settimeout(15)
    inside.sendall(b".\r\nQUIT\r\n")
    assert b"\r\n250 2.6.0" in b"".join(iter(partial(inside.recv, 1000), b""))
    sockets.remove(inside)
    # Room again: those that waited are greeted, in time nobody is left.
    for one in [one for one in sockets if is_greeted(one)]:
        one.close()
        sockets.remove(one)
    mx.until(lambda: greeted() >= min(len(sockets), 60) - 1, what="greetings after the pause")
    for one in sockets:
        one.close()
    assert mx.client().deliver()[:3] == "250"
    assert "Traceback" not in mx.log.read_text()


def test_a_client_that_does_not_read_is_not_read_either(server):
    """Its replies would else fill our memory."""
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_LIMITS__IDLE_COMMANDS="0", MAILMOAT_LIMITS__COMMAND_TIME="1")
    client = mx.client()
    client.socket.settimeout(0.5)
    sent = 0
    with suppress(TimeoutError):
        while sent < 60_000_000:
            sent += client.socket.send(b"HELP\r\n" * 20_000)
    assert sent < 60_000_000
    # And it is not kept for ever: it is told to go, does not read that either, and is cut off.
    mx.until(lambda: mx.metric("connections") == 0, 20, what="end of the connection")


def test_clients_that_reset_at_once_leave_nothing_behind(server):
    mx = server(
        MAILMOAT_WORKERS="2",
        MAILMOAT_TARPIT__EXEMPT_NETWORKS="192.0.2.0/24",
        MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE="50",
    )
    for pid in mx.workers():
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(40):
            with socket.create_connection(("127.0.0.1", mx.port)) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    finally:
        for pid in mx.workers():
            os.kill(pid, signal.SIGCONT)
    assert mx.client().deliver()[:3] == "250"
    mx.until(lambda: mx.metric("connections") == 1, what="no connection but ours")
    assert "Traceback" not in mx.log.read_text()
    assert "Exception" not in mx.log.read_text()
