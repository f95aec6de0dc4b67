"""TLS of a running server as scanners and other hands see it: versions, suites, and what is put into the stream in clear."""

from __future__ import annotations

import socket
import ssl
import subprocess
from contextlib import suppress
from xml.etree import ElementTree as ET

import pytest
from tests.certificates import Authority
from tests.doubles.client import PATIENCE, Client
from tests.integration.conftest import Server, free_port
from tests.needs import find_peer

HOST = "mx.example.test"
TLS13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
TLS12 = {
    f"ECDHE-{kind}-{suite}"
    for kind in ("ECDSA", "RSA")
    for suite in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
}
OTHERS = ("ECDHE-RSA-AES256-SHA384", "DHE-RSA-AES256-GCM-SHA384", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA")
"""Suites with CBC, finite fields, and no forward secrecy."""


@pytest.fixture(scope="module")
def mx(tmp_path_factory):
    directory = tmp_path_factory.mktemp("outside")
    authority = Authority(directory / "authority")
    ecdsa, rsa = authority.sign(HOST, file="ecdsa"), authority.sign(HOST, kind="rsa2048", file="rsa")
    implicit = free_port()
    server = Server(
        directory,
        MAILMOAT_TLS__CERTIFICATE=f"{ecdsa.chain},{rsa.chain}",
        MAILMOAT_TLS__KEY=f"{ecdsa.key},{rsa.key}",
        MAILMOAT_TLS__WITHHOLD="0",  # else the first old version that is tried ends the offer of STARTTLS
    )
    server.environment["MAILMOAT_LISTEN"] += f", smtps://127.0.0.1:{implicit}"
    server.implicit = implicit
    server.start()
    yield server
    assert server.stop() == 0


@pytest.mark.peer("sslscan")
@pytest.mark.parametrize("implicit", [False, True])
def test_sslscan_finds_nothing(mx, implicit):
    where = [f"127.0.0.1:{mx.implicit}"] if implicit else ["--starttls-smtp", f"127.0.0.1:{mx.port}"]
    words = [find_peer("sslscan"), "--xml=-", "--show-client-cas", *where]
    found = ET.fromstring(subprocess.run(words, capture_output=True, check=True).stdout).find("ssltest")
    enabled = {each.get("version") for each in found.iter("protocol") if each.get("enabled") == "1"}
    assert enabled == {"1.2", "1.3"}
    assert {each.get("cipher") for each in found.iter("cipher")} == TLS12 | TLS13
    assert [each.get("vulnerable") for each in found.iter("heartbleed")] == ["0", "0"]
    # TLS_FALLBACK_SCSV (RFC 7507) is for clients that try older versions: rustls has none below 1.2, and marks 1.2 (RFC 8446 4.1.3).
    assert found.find("fallback") is None or found.find("fallback").get("supported") == "0"
    assert found.find("renegotiation").attrib == {"supported": "0", "secure": "0"}


def handshake(mx, *words: str) -> str:
    """What OpenSSL agreed on with the server: version and suite; nothing when there was no handshake."""
    command = [find_peer("openssl"), "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{mx.port}", "-brief"]
    done = subprocess.run([*command, *words], input=b"QUIT\r\n", capture_output=True, timeout=PATIENCE, check=False)
    said = dict(line.split(": ", 1) for line in done.stderr.decode().splitlines() if ": " in line)
    agreed = [said.get("Protocol version"), said.get("Ciphersuite")]
    return " ".join(agreed) if done.returncode == 0 else ""


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("suite", sorted(TLS12 | TLS13))
def test_openssl_agrees_on_each_suite(mx, suite):
    if suite in TLS13:
        assert handshake(mx, "-tls1_3", "-ciphersuites", suite) == f"TLSv1.3 {suite}"
    else:
        assert handshake(mx, "-tls1_2", "-cipher", suite) == f"TLSv1.2 {suite}"


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("words", [["-tls1"], ["-tls1_1"], *(["-tls1_2", "-cipher", suite] for suite in OTHERS)])
def test_openssl_agrees_on_nothing_older(mx, words):
    weakest = [] if "-cipher" in words else ["-cipher", "ALL:@SECLEVEL=0"]
    assert handshake(mx, *words, *weakest) == ""


CLEAR = [b"EHLO client.test\r\n", b"STARTTLS\r\n"]
TRANSACTION = b"MAIL FROM:<s@remote.test>\r\nRCPT TO:<alice@example.test>\r\n"
INJECTED = {
    "command": b"RSET\r\n",
    "message": TRANSACTION + b"DATA\r\nSubject: injected\r\n\r\nx\r\n.\r\n",
    "chunk": TRANSACTION + b"BDAT 21 LAST\r\nSubject: injected\r\n\r\n",
    "hello": b"EHLO injected.test\r\nMAIL FROM:<s@remote.test>\r\n",
    "part of a line": b"RCPT TO:<alice@exa",
    "alert": b"\x15\x03\x03\x00\x02\x01\x00",
    "much": b"NOOP\r\n" * 20_000,
}


def secure(client: Client) -> bool:
    """Begin TLS after the 220; false when the server has ended the connection instead."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    assert client.received[:1] in {b"", b"\x15"}, "nothing in clear follows the 220 but an alert"
    try:
        client.socket = context.wrap_socket(client.socket)
    except OSError:  # an alert, or the end
        return False
    return client.socket.version() is not None  # else it was reset before


def ended_or_forgotten(client: Client) -> None:
    """The connection is over, or nothing that was put in has happened in it."""
    if secure(client):
        assert client.ask("RCPT TO:<alice@example.test>").code == 503
        assert client.ask("EHLO client.test").code == 250
        assert client.ask("RCPT TO:<alice@example.test>").code == 503
        assert client.ask("QUIT").code == 221
        assert client.closed()


@pytest.mark.parametrize("name", INJECTED)
def test_nothing_in_clear_behind_starttls_happens(mx, name):
    """CVE-2011-0411: in the segment of STARTTLS, in one of its own, and between the 220 and the ClientHello, cut anywhere."""
    injected = INJECTED[name]
    stream = b"".join(CLEAR) + injected
    begins = len(stream) - len(injected)
    cuts = {0, begins - 2, begins - 1, begins, begins + 1, begins + len(injected) // 2, len(stream) - 1}
    for cut in sorted(cuts):
        client = Client(mx.port)
        with suppress(ConnectionError):  # it ends while there is more to send
            client.raw(stream[:cut])
            client.raw(stream[cut:])
        codes = client.codes(2)
        assert codes in ([250, 220], [250, 0], [0, 0]), "what follows 220 is TLS, or the end"
        if codes[1]:
            ended_or_forgotten(client)
        client.close()
    client = Client(mx.port, hello="EHLO client.test")
    client.expect("STARTTLS", 220)
    with suppress(ConnectionError):
        client.raw(injected)
    ended_or_forgotten(client)
    client.close()
    assert mx.empty()
    assert not mx.delivered()


@pytest.mark.parametrize("implicit", [False, True])
def test_a_client_that_goes_away_in_its_handshake_leaves_no_handshake_open(server, implicit):
    """Else those of a scanner, or of a balancer that asks whether the port is open, would take the place of others for its time."""
    mx = server(start=False, MAILMOAT_WORKERS="1", MAILMOAT_TLS__HANDSHAKES_PER_SOURCE="1")
    port = free_port() if implicit else mx.port
    if implicit:
        mx.environment["MAILMOAT_LISTEN"] += f", smtps://127.0.0.1:{port}"
    mx.start()
    for _ in range(3):
        client = Client(port, greeted=not implicit)
        if not implicit:
            client.ask("EHLO client.test")
            client.expect("STARTTLS", 220)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.closed()
    mx.until(lambda: len(mx.logged("tls-failed")) == 3, what="ends of the handshakes")
    assert [line["reason"] for line in mx.logged("tls-failed")] == ["disconnected"] * 3
    client = mx.client(port=mx.port)
    client.expect("STARTTLS", 220)
    assert secure(client)
