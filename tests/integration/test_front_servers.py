"""Servers in front of us that say who their client is (XCLIENT), or where a message comes from (XFORWARD): real ones."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.doubles.client import Client
from tests.doubles.name_server import NameServer
from tests.integration.conftest import wait_for
from tests.namespace import alone
from tests.postfix import Postfix

ZONES = """
    77.2.0.192.in-addr.arpa   PTR mail.remote.tld
    mail.remote.tld           A   192.0.2.77
    7.2.0.192.in-addr.arpa    PTR forged.example.test
    forged.example.test       A   198.51.100.1
    1.0.0.127.in-addr.arpa    PTR localhost.remote.tld
    localhost.remote.tld      A   127.0.0.1
"""
FRONT = """
myhostname = front.remote.tld
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_send_xforward_command = yes
relayhost = [127.0.0.1]:{port}
"""
SMTPD = "127.0.0.1:10026 inet n - n - - smtpd\n"


@pytest.fixture
def names():
    with NameServer(ZONES) as server:
        yield server


def trace(mx, count=1):
    """The first lines of our Received fields in the messages that have arrived, so many at least."""

    def arrived():
        paths = list((mx.directory / "maildir").glob("**/new/*"))
        return len(paths) >= count and paths

    return [path.read_bytes().partition(b"\n\tby ")[0].splitlines()[-1] for path in wait_for(arrived, what="message")]


def test_swaks_says_who_its_client_is(server, peer, names):
    mx = server(
        MAILMOAT_SMTP__XCLIENT_NETWORKS="127.0.0.1", MAILMOAT_DNS__SERVERS=names.address, MAILMOAT_DNS__REVERSE_TIME="5"
    )
    swaks = [peer("swaks"), "--server", f"127.0.0.1:{mx.port}", "--from", "a@remote.tld", "--to", "alice@example.test"]
    client = ["--xclient-addr", "192.0.2.77", "--xclient-port", "4711", "--xclient-proto", "ESMTP"]
    rest = ["--xclient-delim", "--xclient-helo", "pc.remote.tld", "--xclient-login", "[UNAVAILABLE]"]
    options = [*swaks, *client, *rest, "--timeout", "10"]
    done = subprocess.run(options, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("220 mx.example.test ESMTP mailmoat") == 3
    [received] = trace(mx)
    assert received.startswith(b"Received: from pc.remote.tld (")
    assert received.endswith(b"[192.0.2.77])")  # with the name, if the answers were there in time
    replaced = wait_for(lambda: mx.logged("client-replaced"), what="line")
    assert [line["client"] for line in replaced] == ["192.0.2.77", "192.0.2.77"]


def test_one_that_is_not_listed_is_not_offered_it_and_is_refused(server, peer):
    mx = server(MAILMOAT_SMTP__XCLIENT_NETWORKS="192.0.2.1", MAILMOAT_TARPIT__TIME="0")
    swaks = [peer("swaks"), "--server", f"127.0.0.1:{mx.port}", "--from", "a@remote.tld", "--to", "alice@example.test"]
    options = [*swaks, "--xclient-addr", "192.0.2.77", "--timeout", "10"]
    done = subprocess.run(options, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "Host did not advertise XCLIENT" in done.stderr
    with Client(mx.port) as client:
        client.expect("XCLIENT ADDR=192.0.2.77", 550)


def test_the_name_of_a_client_by_a_name_server(server, names):
    """The second message has it for certain: its client waits for the answers first."""
    mx = server(MAILMOAT_DNS__SERVERS=names.address, MAILMOAT_DNS__REVERSE_TIME="5")
    client = Client(mx.port)
    client.ask("EHLO client.test")
    wait_for(lambda: ("localhost.remote.tld", "A") in names.questions, what="question")
    named = None
    for _ in range(50):
        client.ask("MAIL FROM:<>")
        client.ask("RCPT TO:<alice@example.test>")
        client.ask("DATA")
        client.ask("Subject: x\r\n\r\nx\r\n.")
        accepted = mx.logged("message-accepted")
        named = next((line for line in accepted if "client_name" in line), None)
        if named:
            break
    assert named is not None
    assert named["client_name"] == "localhost.remote.tld"
    assert any(
        line == b"Received: from client.test (localhost.remote.tld [127.0.0.1])" for line in trace(mx, len(accepted))
    )


def test_postfix_says_where_a_message_comes_from(server):
    with TemporaryDirectory(prefix="postfix-") as directory, alone():
        mx = server(MAILMOAT_SMTP__XFORWARD_NETWORKS="127.0.0.0/8")
        with Postfix(Path(directory), FRONT.format(port=mx.port), SMTPD) as postfix:
            postfix.wait(10026)
            client = Client(10026)
            client.ask("EHLO origin.remote.tld")
            client.ask("MAIL FROM:<a@remote.tld>")
            client.ask("RCPT TO:<alice@example.test>")
            client.ask("DATA")
            queued = client.ask("Subject: x\r\n\r\nx\r\n.")
            [accepted] = wait_for(lambda: mx.logged("message-accepted"), what="message")
            client.close()
    origin = accepted["origin"]
    assert (origin["address"], origin["helo"], origin["protocol"]) == ("127.0.0.1", "origin.remote.tld", "ESMTP")
    assert origin["queue_id"] == queued.rsplit(" ", 1)[1].strip()
    assert (accepted["client"], accepted["helo"]) == ("127.0.0.1", "front.remote.tld")
