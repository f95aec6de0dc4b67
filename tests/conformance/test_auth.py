"""AUTH on the wire (RFC 4954), over TLS and in clear, with accounts of a file, and what a listener for submission asks for (RFC 6409)."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from scramp import ScramClient
from tests.doubles.client import Client
from tests.integration.conftest import free_port
from tests.needs import find_peer

row = pytest.mark.row

ALICE, SECRET = "alice@example.test", "open sesame"
LOCAL = "local"
MAILMOAT = Path(sys.executable).with_name("mailmoat")


def context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def b64(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


def plain(name: str = ALICE, password: str = SECRET, acts_as: str = "") -> str:
    return "AUTH PLAIN " + b64(f"{acts_as}\0{name}\0{password}")


def account_file(directory: Path) -> Path:
    file = directory / "accounts"
    for name, *rights in ((ALICE,), (LOCAL, "--no-relay")):
        subprocess.run(
            [MAILMOAT, "user", "add", name, *rights, "--password-stdin"],
            env={"MAILMOAT_AUTH__FILE": str(file), "MAILMOAT_CONFIG": "/dev/null"},
            input=SECRET, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    return file


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    return {
        "auth__file": str(account_file(tmp_path_factory.mktemp("accounts"))),
        "tls__offer": "yes",
        "tarpit__auth_time": "0",
        "limits__auth_failures": "0",
        "limits__auth_failure_rate": "off",
    }


@pytest.fixture(scope="session")
def accounts(site, settings):
    """Alice may send everywhere, `local` to us alone."""
    return site(**settings)


def secured(site, *, port: int = 0, hello: str = "EHLO client.test") -> Client:
    """A connection with TLS that has said hello."""
    wire = site.wire(port)
    assert wire.reply().code == 220
    wire.ask("EHLO client.test")
    assert wire.ask("STARTTLS").code == 220
    wire.socket = context().wrap_socket(wire.socket)
    if hello:
        assert wire.ask(hello).code == 250
    return wire


def offered(wire: Client) -> list[str]:
    lines = [line.split() for line in wire.ask("EHLO client.test").lines]
    return next((words[1:] for words in lines if words[0] == "AUTH"), [])


@row("auth-01")
def test_auth_01_passwords_are_offered_under_tls_alone(accounts):
    clear = accounts.connect()
    assert offered(clear) == []
    for line in (plain(), "AUTH LOGIN", "AUTH XOAUTH2 x", "AUTH SCRAM-SHA-256"):
        reply = clear.ask(line)
        assert (reply.code, reply.enhanced) == (538, "5.7.11"), line
    listed = offered(secured(accounts))
    assert set(listed) == {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"}
    assert listed[-2:] == ["PLAIN", "LOGIN"]


@row("auth-02")
def test_auth_02_is_not_for_a_transaction_and_not_for_a_second_time(accounts):
    wire = secured(accounts)
    wire.expect("MAIL FROM:<a@client.test>", 250)
    assert wire.ask(plain()).code == 503
    wire.expect("RSET", 250)
    assert wire.ask(plain()) == "235 2.7.0 Authentication successful"
    assert wire.ask(plain()).code == 503
    wire.ask("RSET", "EHLO client.test")
    assert wire.ask("AUTH LOGIN").enhanced == "5.5.1"


@row("auth-03")
def test_auth_03_the_lines_of_an_exchange(accounts):
    wire = secured(accounts)
    for line in ("*", "AAA=BBB", "=AAA", "nonsense!", "AAAA BBBB"):
        assert wire.ask("AUTH PLAIN") == "334 "
        reply = wire.ask(line)
        assert (reply.code, reply.enhanced) == (501, "5.7.0" if line == "*" else "5.5.2"), line
    assert wire.ask("AUTH PLAIN =AAA").enhanced == "5.5.2"
    assert wire.ask("AUTH PLAIN =").code == 501  # empty, which PLAIN has no use for
    assert wire.ask("AUTH PLAIN").code == 334
    assert wire.ask(b"A" * 12_286).code == 501  # all of it is read
    assert wire.ask("AUTH PLAIN").code == 334
    reply = wire.ask(b"A" * 12_288)
    assert (reply.code, reply.enhanced) == (500, "5.5.6")
    assert wire.ask("AUTH PLAIN", plain().split()[-1]).code == 235


@row("auth-03")
def test_auth_03_login_asks_for_name_and_password(accounts):
    wire = secured(accounts)
    assert b64decode(wire.ask("AUTH LOGIN").text) == b"Username:"
    assert b64decode(wire.ask(b64(ALICE)).text) == b"Password:"
    assert wire.ask(b64(SECRET)).code == 235


@row("auth-04")
def test_auth_04_the_replies_of_failures(accounts):
    wire = secured(accounts)
    wrong = wire.ask(plain(password="wrong"))
    assert (wrong.code, wrong.enhanced) == (535, "5.7.8")
    assert wire.ask(plain(name="nobody@example.test", password="wrong")) == wrong
    assert wire.ask(plain(acts_as="bob@example.test")) == wrong
    unknown = wire.ask("AUTH CRAM-MD5")
    assert (unknown.code, unknown.enhanced) == (504, "5.5.4")
    assert wire.ask(plain()).code == 235


@row("auth-04")
def test_auth_04_a_backend_that_is_away_is_a_failure_for_now(site, settings, tmp_path_factory):
    """Dovecot's socket is there, and nobody answers: AUTH is not offered, and mail without it goes on."""
    away = site(**{**settings, "auth__file": "", "auth__dovecot": str(tmp_path_factory.mktemp("none") / "socket")})
    wire = secured(away)
    assert offered(wire) == []
    assert wire.ask(plain()).code in {454, 504}
    assert wire.deliver().code == 250


@row("auth-06")
def test_auth_06_failures_are_held_and_cut_off(fresh, tmp_path):
    site = fresh(
        auth__file=str(account_file(tmp_path)), tls__offer="yes", tarpit__auth_time="0.3", limits__auth_failures="2",
        limits__auth_failure_rate="3/10min",
    )  # fmt: skip
    wire = secured(site)
    for _ in range(2):
        seconds, reply = wire.timed(plain(password="wrong"))
        assert reply.code == 535
        assert seconds >= 0.3
    end = wire.reply()
    assert (end.code, end.enhanced) == (421, "4.7.0")
    open_before = secured(site)
    assert secured(site).ask(plain(password="wrong")).code == 535
    limited = open_before.ask(plain())
    assert (limited.code, limited.enhanced) == (454, "4.7.0")
    assert offered(secured(site)) == []


@row("auth-07")
def test_auth_07_a_listener_for_submission_asks_for_authentication(fresh, tmp_path):
    site = fresh(auth__file=str(account_file(tmp_path)), tls__offer="yes")
    port = free_port()
    site.server.stop()
    site.server.environment["MAILMOAT_LISTEN"] += f",submission://127.0.0.1:{port}"
    site.server.start()
    wire = site.wire(port)
    assert wire.reply().code == 220
    wire.ask("EHLO client.test")
    reply = wire.ask("MAIL FROM:<a@client.test>")
    assert (reply.code, reply.enhanced) == (530, "5.7.0")
    wire = secured(site, port=port)
    for line in ("MAIL FROM:<a@client.test>", "RCPT TO:<alice@example.test>", "DATA", "VRFY alice"):
        assert wire.ask(line) == "530 5.7.0 Authentication required", line
    for line in ("NOOP", "RSET", "EHLO client.test"):
        assert wire.ask(line).code == 250, line
    wire.expect(plain(), 235)
    assert wire.deliver("somebody@elsewhere.test", sender=ALICE).code == 250
    message = site.hop.handed("somebody@elsewhere.test").content
    assert b" with ESMTPSA id " in message
    assert b"\r\nDate: " in message
    assert b"\r\nMessage-ID: <" in message


def test_who_has_authenticated_may_send_where_its_account_may(accounts):
    wire = secured(accounts)
    assert wire.ask("MAIL FROM:<a@client.test>", "RCPT TO:<x@elsewhere.test>").enhanced == "5.7.1"
    wire.expect("RSET", 250)
    wire.expect(plain(name=LOCAL), 235)
    assert wire.ask("MAIL FROM:<a@client.test>", "RCPT TO:<x@elsewhere.test>").enhanced == "5.7.1"
    other = secured(accounts)
    other.expect(plain(), 235)
    assert other.deliver("x@elsewhere.test").code == 250


def test_scram_binds_to_the_channel(accounts):
    """RFC 5802 6, by `tls-server-end-point` (RFC 5929 4), the one that Python's TLS can give."""
    wire = secured(accounts)
    assert "SCRAM-SHA-256-PLUS" in offered(wire)
    binding = "tls-server-end-point", hashlib.sha256(wire.socket.getpeercert(binary_form=True)).digest()
    client = ScramClient(["SCRAM-SHA-256-PLUS"], ALICE, SECRET, channel_binding=binding)
    challenge = wire.expect(f"AUTH SCRAM-SHA-256-PLUS {b64(client.get_client_first())}", 334)
    client.set_server_first(b64decode(challenge.text).decode())
    final = wire.expect(b64(client.get_client_final()), 334)
    client.set_server_final(b64decode(final.text).decode())
    assert wire.ask("").code == 235
    wrong = ScramClient(["SCRAM-SHA-256-PLUS"], ALICE, SECRET, channel_binding=(binding[0], bytes(32)))
    other = secured(accounts)
    challenge = other.expect(f"AUTH SCRAM-SHA-256-PLUS {b64(wrong.get_client_first())}", 334)
    wrong.set_server_first(b64decode(challenge.text).decode())
    assert other.ask(b64(wrong.get_client_final())) == "535 5.7.8 Authentication credentials invalid"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_smtplib_authenticates(accounts, mechanism):
    with smtplib.SMTP("127.0.0.1", accounts.server.port) as client:
        client.starttls(context=context())
        client.ehlo("client.test")
        client.esmtp_features["auth"] = mechanism
        client.login(ALICE, SECRET)


def arguments(program: str, port: int, mechanism: str, recipient: str, directory: Path) -> list[str]:
    """How a client submits a message with authentication."""
    message = directory / "message"
    message.write_bytes(b"Subject: x\r\n\r\nx\r\n")
    if program == "swaks":
        return [
            "--server", "127.0.0.1", "--port", str(port), "--tls", "--auth", mechanism, "--auth-user", ALICE,
            "--auth-password", SECRET, "--from", ALICE, "--to", recipient,
        ]  # fmt: skip
    if program == "curl":
        return [
            "-sS", "--insecure", "--ssl-reqd", "--user", f"{ALICE}:{SECRET}", "--login-options", f"AUTH={mechanism}",
            "--mail-from", ALICE, "--mail-rcpt", recipient, "--upload-file", str(message),
            f"smtp://127.0.0.1:{port}/client.test",
        ]  # fmt: skip
    return [
        "--host=127.0.0.1", f"--port={port}", "--tls=on", "--tls-starttls=on", "--tls-certcheck=off", f"--auth={mechanism.lower()}",
        f"--user={ALICE}", f"--passwordeval=printf '{SECRET}'", f"--from={ALICE}", recipient,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("program", "mechanism"),
    [
        ("swaks", "PLAIN"),
        ("swaks", "LOGIN"),
        ("curl", "PLAIN"),
        ("curl", "LOGIN"),
        ("msmtp", "PLAIN"),
        ("msmtp", "LOGIN"),
        ("msmtp", "SCRAM-SHA-256"),
    ],
)
def test_real_clients_authenticate_and_relay(accounts, program, mechanism, someone, tmp_path):
    path = find_peer(program)
    recipient = someone().replace("all.example.test", "elsewhere.test")
    done = subprocess.run(
        [path, *arguments(program, accounts.server.port, mechanism, recipient, tmp_path)],
        input="Subject: x\n\nx\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert b" with ESMTPSA id " in accounts.hop.handed(recipient).content
