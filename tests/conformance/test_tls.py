"""STARTTLS and TLS on the wire, with OpenSSL as the peer (RFC 3207, RFC 8314, RFC 9325)."""

from __future__ import annotations

import ssl
import subprocess

import pytest
from tests.certificates import Authority
from tests.doubles.client import Client
from tests.integration.conftest import free_port, wait_for
from tests.needs import find_peer

row = pytest.mark.row

NAMES = ("mx.example.test", "mail.other.test")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Two names, the first with a key of each kind."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    made = [authority.sign(NAMES[0], file="first"), authority.sign(NAMES[0], kind="rsa2048", file="second")]
    return [*made, authority.sign(NAMES[1], file="third")]


@pytest.fixture(scope="session")
def settings(certificates):
    return {
        "tls__certificate": ",".join(str(files.chain) for files in certificates),
        "tls__key": ",".join(str(files.key) for files in certificates),
        "tls__required_domains": "bank.test",
        "tls__withhold": "0",
    }


@pytest.fixture(scope="session")
def secure(site, settings):
    return site(**settings)


def context(version=None, suites="") -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if suites:
        made.set_ciphers(suites)
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def handshake(wire: Client, tls: ssl.SSLContext | None = None, name: str | None = None) -> Client:
    """From the reply to STARTTLS on."""
    wire.socket = (tls or context()).wrap_socket(wire.socket, server_hostname=name)
    return wire


def secured(site, tls=None, name=None) -> Client:
    wire = site.connect()
    wire.expect("STARTTLS", 220)
    return handshake(wire, tls, name)


def offers(wire: Client) -> bool:
    return "STARTTLS" in wire.ask("EHLO client.test").lines


@row("tls-01")
def test_tls_01_starttls_has_no_parameter_and_is_not_for_a_second_time(secure):
    wire = secure.connect()
    assert offers(wire)
    assert wire.ask("STARTTLS now").code == 501
    wire.expect("STARTTLS", 220)
    handshake(wire)
    assert not offers(wire)
    assert wire.ask("STARTTLS").code == 503


@row("tls-02")
def test_tls_02_nothing_said_before_counts(secure):
    wire = secure.connect()
    wire.expect("MAIL FROM:<a@client.test>", 250)
    wire.expect("RCPT TO:<alice@example.test>", 250)
    wire.expect("STARTTLS", 220)
    handshake(wire)
    assert wire.ask("DATA").code == 503
    assert wire.ask("RCPT TO:<alice@example.test>").code == 503
    assert wire.ask("MAIL FROM:<a@client.test>").code == 503
    assert wire.ask("EHLO client.test").code == 250
    assert wire.deliver("alice@example.test").code == 250


@row("tls-03")
@pytest.mark.parametrize("behind", ["MAIL FROM:<evil@client.test>", "RSET", "QUIT", "x" * 3000])
def test_tls_03_what_stands_behind_starttls_is_thrown_away(secure, behind):
    wire = secure.connect()
    wire.raw(f"STARTTLS\r\n{behind}\r\n".encode())
    assert wire.reply().code == 220
    handshake(wire)
    assert wire.ask("RCPT TO:<alice@example.test>").code == 503
    assert wire.ask("EHLO client.test").code == 250
    assert wire.ask("MAIL FROM:<good@client.test>").code == 250


@row("tls-03")
def test_tls_03_clear_text_in_place_of_a_handshake_ends_the_session(secure):
    wire = secure.connect()
    wire.expect("STARTTLS", 220)
    wire.raw(b"MAIL FROM:<evil@client.test>\r\n")
    answer = wire.socket.recv(100)
    assert not answer or answer[:1] == b"\x15"  # an alert, and no word of SMTP
    assert not answer or not wire.socket.recv(100)


@row("tls-04")
def test_tls_04_nothing_of_a_batch_is_done_behind_starttls(secure):
    """RFC 2920 3.1 asks clients for it; a server does what came before and nothing after."""
    wire = secure.connect()
    wire.raw(b"NOOP\r\nSTARTTLS\r\nNOOP\r\nNOOP\r\n")
    assert [reply.code for reply in wire.replies(2)] == [250, 220]
    handshake(wire)
    assert wire.ask("HELP").code == 214


@row("tls-05")
def test_tls_05_tls_is_demanded_where_policy_says_so_alone(secure, site, settings):
    wire = secure.connect()
    assert wire.ask("MAIL FROM:<a@bank.test>").enhanced == "5.7.10"
    assert wire.ask("MAIL FROM:<a@other.test>").code == 250
    strict = site(**settings, tls__required_networks="127.0.0.0/8").connect(hello="")
    for line, code in (
        ("NOOP", 250),
        ("HELO client.test", 530),
        ("MAIL FROM:<a@client.test>", 530),
        ("VRFY alice", 530),
        ("RSET", 530),
        ("EHLO client.test", 250),
        ("STARTTLS", 220),
    ):
        reply = strict.ask(line)
        assert reply.code == code, line
        # RFC 2034 4: the reply to HELO has no enhanced code.
        assert code != 530 or line[:4] == "HELO" or reply.enhanced == "5.7.0"
    handshake(strict)
    assert strict.ask("EHLO client.test").code == 250
    assert strict.ask("MAIL FROM:<a@client.test>").code == 250


@row("tls-06")
def test_tls_06_a_failed_handshake_ends_that_connection_alone(secure):
    other = secured(secure)
    wire = secure.connect()
    wire.expect("STARTTLS", 220)
    strict = ssl.create_default_context()  # it does not know our CA, and says so
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(wire, strict, NAMES[0])
    assert other.ask("NOOP").code == 250
    assert other.ask("EHLO client.test").code == 250


@row("tls-06")
def test_tls_06_454_where_no_handshake_can_begin_now(site, settings):
    crowded = site(**settings, tls__handshakes="1")
    first, second = crowded.connect(), crowded.connect()
    first.expect("STARTTLS", 220)
    assert second.ask("STARTTLS") == "454 4.7.0 TLS not available due to temporary reason"
    assert second.deliver("alice@example.test").code == 250
    handshake(first)
    assert second.ask("STARTTLS").code == 220


@row("tls-06")
def test_tls_06_a_handshake_that_does_not_go_on_keeps_nobody_out(site, settings):
    crowded = site(**settings, tls__handshakes="1", limits__idle_commands="0")
    first, second = crowded.connect(), crowded.connect()
    first.expect("STARTTLS", 220)
    wait_for(lambda: second.ask("STARTTLS").code == 220, what="room for another handshake")
    assert handshake(second).ask("EHLO client.test").code == 250
    with pytest.raises((ConnectionError, ssl.SSLError)):
        handshake(first)


@row("tls-07")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("version", "suites"),
    [
        (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES256-SHA:AES128-SHA:AES128-GCM-SHA256:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "aNULL:eNULL:@SECLEVEL=0"),
    ],
    ids=["TLS 1.0", "TLS 1.1", "RSA key exchange", "CBC", "anonymous or without encryption"],
)
def test_tls_07_old_versions_and_weak_suites_are_not_to_be_had(secure, version, suites):
    wire = secure.connect()
    wire.expect("STARTTLS", 220)
    with pytest.raises(ssl.SSLError):
        handshake(wire, context(version, suites))


@row("tls-07")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_07_the_versions_there_are_without_compression(secure, version):
    wire = secured(secure, context(version))
    assert wire.socket.version() == version.name.replace("v1_", "v1.")
    assert wire.socket.compression() is None
    assert wire.ask("EHLO client.test").code == 250


@row("tls-07")
@pytest.mark.peer("openssl")
def test_tls_07_a_client_cannot_renegotiate(secure):
    address = f"127.0.0.1:{secure.server.port}"
    command = [find_peer("openssl"), "s_client", "-connect", address, "-starttls", "smtp", "-tls1_2"]
    done = subprocess.run(command, input=b"R\nNOOP\n", capture_output=True, timeout=60, check=False)
    assert b"no renegotiation" in done.stderr, done.stderr[-300:]


@row("tls-08")
@pytest.mark.parametrize("name", [None, "nobody.test", NAMES[0], NAMES[1]])
def test_tls_08_an_unknown_name_gets_the_first_certificate(secure, certificates, name):
    wire = secured(secure, name=name)
    shown = wire.socket.getpeercert(binary_form=True)
    expected = certificates[2 if name == NAMES[1] else 0].chain.read_text()
    assert ssl.DER_cert_to_PEM_cert(shown) in expected


@row("tls-08")
def test_tls_08_a_name_can_have_a_certificate_of_each_kind(secure, certificates):
    """A client that takes RSA alone gets the certificate with the RSA key."""
    wire = secured(secure, context(ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256"), NAMES[0])
    shown = ssl.DER_cert_to_PEM_cert(wire.socket.getpeercert(binary_form=True))
    assert shown in certificates[1].chain.read_text()


@row("tls-09")
def test_tls_09_received_and_log_say_tls(secure):
    wire = secured(secure, name=NAMES[0])
    assert wire.ask("EHLO client.test").code == 250
    assert wire.deliver("bob@example.test").code == 250
    suite = {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"} & {
        wire.socket.cipher()[0]
    }
    content = secure.hop.handed("bob@example.test").content.decode()
    assert "with ESMTPS id " in content
    assert f"\ttls {suite.pop()};" in content
    wire.expect("QUIT", 221)
    line = next(line for line in secure.server.logged("session-ended") if line.get("server_name") == NAMES[0])
    assert line["tls"].startswith("TLSv1.3 TLS_")


@pytest.fixture(scope="session")
def submission(site, settings):
    """Ports for submission: with STARTTLS, and with TLS from the first octet on."""
    ports = free_port(), free_port()
    site(**settings, more_listeners=f"submission://127.0.0.1:{ports[0]},submissions://127.0.0.1:{ports[1]}")
    return ports


@row("tls-11")
def test_tls_11_submission_by_implicit_tls_and_by_starttls_alike(submission):
    by_starttls, implicit = Client(submission[0]), Client(submission[1], greeted=False)
    by_starttls.ask("EHLO client.test")
    by_starttls.expect("STARTTLS", 220)
    handshake(by_starttls)
    handshake(implicit)
    assert implicit.reply().code == 220
    assert implicit.ask("EHLO client.test").lines[1:] == by_starttls.ask("EHLO client.test").lines[1:]
    for wire in (implicit, by_starttls):
        assert wire.ask("MAIL FROM:<a@example.test>").enhanced == "5.7.0"
        wire.close()
