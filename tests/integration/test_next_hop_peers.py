"""Real servers as next hops, with TLS and accounts: Postfix with Dovecot's accounts, Exim with its own, and what OpenSSL speaks."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests import dovecot
from tests.certificates import Authority
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import Server, answers, free_port, wait_for
from tests.integration.test_proxy_protocol import proxied, v1
from tests.integration.test_sending_mtas import Exim
from tests.namespace import alone
from tests.needs import find_peer
from tests.postfix import Postfix

NAME = "hub.test"
PORT, SMTPS = 10025, 10465
ACCOUNT, SECRET = "edge", "open sesame"
MAIN = """
myhostname = hub.test
mydestination =
relay_domains = example.test
inet_interfaces = loopback-only
inet_protocols = ipv4
relayhost = [127.0.0.1]:{leaving}
smtpd_tls_cert_file = {chain}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
smtpd_client_connection_count_limit = 0
"""
SERVICE = f"""127.0.0.1:{PORT} inet n - n - - smtpd
127.0.0.1:{SMTPS} inet n - n - - smtpd
    -o smtpd_tls_wrappermode=yes
"""
AUTH = """
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {socket}
smtpd_tls_auth_only = no
smtpd_sasl_security_options = noanonymous
smtpd_sasl_mechanism_filter = {mechanism}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
"""


@pytest.fixture
def public():
    """A directory that any account can enter."""
    with TemporaryDirectory(prefix="hop-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        yield directory


@pytest.fixture
def authority(public):
    made = Authority(public / "ca")
    (public / "ca").chmod(0o755)
    return made


def readable(files):
    files.key.chmod(0o644)
    return files


@contextmanager
def postfix_behind(public, authority, *, names=(NAME,), days=90, more=""):
    """A Postfix with a certificate for these names, in a network of its own; gives it and the server that gets what it passes on."""
    files = readable(authority.sign(*names, days=days))
    home = public / "postfix"
    home.mkdir()
    with alone(), NextHop() as leaving:
        main = MAIN.format(leaving=leaving.port, chain=files.chain, key=files.key) + more
        with Postfix(home, main, SERVICE) as postfix:
            postfix.wait(PORT)
            yield postfix, leaving


def delivering(port, authority, tls, *, scheme="smtp", names=NAME, **more):
    """Settings."""
    settings = {"NEXT_HOP": f"{scheme}://127.0.0.1:{port}", "TLS": tls, "TLS_NAMES": names, "RETRY": "1", **more}
    if authority is not None:
        settings["TLS_CA"] = authority.certificate
    return {"MAILMOAT_WORKERS": "1"} | {f"MAILMOAT_DELIVERY__{name}": str(value) for name, value in settings.items()}


def account(public):
    """Settings of an account whose password is in a file."""
    file = public / "password"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return {"AUTH_NAME": ACCOUNT, "AUTH_PASSWORD_FILE": file}


def submit(mx, number=1):
    with mx.client() as client:
        for at in range(number):
            client.submit(f"m{at}", "alice@example.test")


def last_attempt(mx):
    wait_for(lambda: mx.logged("delivery-attempt"), 60, "an attempt")
    return mx.logged("delivery-attempt")[-1]


def deferral(mx):
    (outcome,) = last_attempt(mx)["outcomes"]
    assert outcome["outcome"] == "deferred"
    return outcome["reply"]


# --- Postfix ---


@pytest.mark.parametrize(
    ("tls", "scheme", "verified"),
    [
        ("none", "smtp", None),
        ("may", "smtp", False),
        ("encrypt", "smtp", False),
        ("verify", "smtp", True),
        ("verify", "smtps", True),
    ],
)
def test_postfix_gets_messages_at_each_level(server, public, authority, tls, scheme, verified):
    with postfix_behind(public, authority) as (postfix, leaving):
        port = SMTPS if scheme == "smtps" else PORT
        mx = server(**delivering(port, authority, tls, scheme=scheme))
        submit(mx)
        received = leaving.handed("alice@example.test").content.decode()
        attempt = last_attempt(mx)
        mx.until(mx.empty, what="empty spool")
        mx.stop()
    assert attempt["verified"] is bool(verified)
    assert attempt.get("tls", "").startswith("TLSv1.3 TLS_") is (verified is not None)
    assert (" with ESMTPS id" in received) is (verified is not None)
    assert ("TLS connection established from" in postfix.log.read_text()) is (verified is not None)


@pytest.mark.parametrize(
    ("names", "days", "why"), [(("other.test",), 90, "not for this name"), ((NAME,), -1, "expired")]
)
def test_a_postfix_with_a_certificate_that_is_not_right_gets_nothing_where_it_is_verified(
    server, public, authority, names, days, why
):
    with postfix_behind(public, authority, names=names, days=days) as (_, leaving):
        mx = server(**delivering(PORT, authority, "verify"))
        submit(mx)
        assert deferral(mx) == f"451 4.7.5 The TLS handshake failed: certificate not verified: {why}"
        assert leaving.messages == []
        (line,) = mx.logged("next-hop-not-secure")
        assert (line["reason"], line["level"]) == ("tls", "error")
        mx.stop()


def test_a_self_signed_postfix_is_no_server_of_the_systems_authorities(server, public, authority):
    with postfix_behind(public, authority):
        mx = server(**delivering(PORT, None, "verify", TLS_CA=Authority(public / "other", "Other CA").certificate))
        submit(mx)
        assert deferral(mx).endswith("certificate not verified: unknown issuer")
        mx.stop()


@pytest.mark.parametrize("mechanism", ["scram-sha-256", "plain", "login"])
def test_postfix_with_accounts_of_dovecot(server, public, authority, mechanism):
    with dovecot.running(f"{ACCOUNT}:{SECRET}::::::\n") as accounts:
        more = AUTH.format(socket=accounts.socket, mechanism=mechanism)
        with postfix_behind(public, authority, more=more) as (postfix, leaving):
            mx = server(**delivering(PORT, authority, "verify", **account(public)))
            submit(mx)
            leaving.handed("alice@example.test")
            mx.until(mx.empty, what="empty spool")
            mx.stop()
        assert f"sasl_method={mechanism.upper()}, sasl_username={ACCOUNT}" in postfix.log.read_text()
        assert SECRET not in mx.log.read_text()


def test_scram_needs_no_tls(server, public, authority):
    with dovecot.running(f"{ACCOUNT}:{SECRET}::::::\n") as accounts:
        more = AUTH.format(socket=accounts.socket, mechanism="scram-sha-256, plain")
        with postfix_behind(public, authority, more=more) as (postfix, leaving):
            mx = server(**delivering(PORT, authority, "none", **account(public)))
            submit(mx)
            leaving.handed("alice@example.test")
            mx.stop()
        assert f"sasl_method=SCRAM-SHA-256, sasl_username={ACCOUNT}" in postfix.log.read_text()


@pytest.mark.parametrize("mechanism", ["scram-sha-256", "plain"])
def test_a_wrong_password_bounces_nothing_and_is_logged_once(server, public, authority, mechanism):
    with dovecot.running(f"{ACCOUNT}:another::::::\n") as accounts:
        more = AUTH.format(socket=accounts.socket, mechanism=mechanism)
        with postfix_behind(public, authority, more=more) as (_, leaving):
            mx = server(**delivering(PORT, authority, "verify", **account(public)))
            submit(mx, 3)
            assert deferral(mx).startswith("454 4.7.8 Not authenticated: 535 5.7.8 ")
            wait_for(lambda: len(mx.logged("delivery-attempt")) >= 4, 60, "more attempts")
            (line,) = mx.logged("next-hop-not-secure")
            assert line["reason"] == "account"
            # Repaired, without a reload.
            (public / "password").write_text("another")
            wait_for(lambda: len(leaving.messages) == 3, 60, "the messages")
            mx.until(mx.empty, what="empty spool")
            assert mx.metric('bounces_total{kind="failed"}') == 0
            mx.stop()


@pytest.mark.parametrize(("offered", "logged"), [("xclient", "client=unknown["), ("xforward", "orig_client=")])
def test_postfix_learns_who_the_client_was(server, public, authority, offered, logged):
    with postfix_behind(public, authority, more=f"smtpd_authorized_{offered}_hosts = 127.0.0.0/8\n") as (
        postfix,
        leaving,
    ):
        mx, port = proxied(server, **delivering(PORT, authority, "may", XCLIENT="true"))
        for address in ("192.0.2.7", "198.51.100.9"):
            deliver(port, v1(address))
            wait_for(lambda address=address: f"[{address}]" in postfix.log.read_text(), what=f"{address} in its log")
        leaving.handed("alice@example.test", 2)
        mx.until(mx.empty, what="empty spool")
        mx.stop()
    assert logged in postfix.log.read_text()
    assert "warning: " not in "".join(line for line in postfix.log.read_text().splitlines() if offered in line.lower())


def deliver(port, header):
    """One message over a connection of which the header names the client."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, connection.makefile("rb") as lines:
        connection.sendall(header)
        assert lines.readline().startswith(b"220")
        for command in ("HELO c.remote.test", "MAIL FROM:<s@remote.test>", "RCPT TO:<alice@example.test>", "DATA"):
            connection.sendall(f"{command}\r\n".encode())
            assert lines.readline()[:1] in b"23", command
        connection.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert lines.readline().startswith(b"250")


# --- Exim ---

HOP = """
primary_hostname = hub.test
spool_directory = {spool}
log_file_path = {spool}/log/%slog
log_selector = +tls_cipher
keep_environment =
qualify_domain = hub.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {chain}
tls_privatekey = {key}
acl_smtp_rcpt = rcpt
disable_ipv6

begin acl
rcpt:
  accept authenticated = *
  deny

begin routers
nowhere:
  driver = redirect
  data = :blackhole:

begin authenticators
{mechanism}:
  driver = plaintext
  public_name = {mechanism}
  server_prompts = {prompts}
  server_condition = ${{if and {{{{eq{{{name}}}{{edge}}}}{{eq{{{password}}}{{open sesame}}}}}}}}
  server_set_id = {name}
  server_advertise_condition = ${{if def:tls_in_cipher}}
"""
PROMPTS = {
    "PLAIN": {"prompts": ":", "name": "$auth2", "password": "$auth3"},
    "LOGIN": {"prompts": "Username:: : Password::", "name": "$auth1", "password": "$auth2"},
}


@pytest.mark.peer("exim4")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_exim_with_an_account(server, public, authority, mechanism):
    files, port = readable(authority.sign(NAME)), free_port()
    home = public / "exim"
    home.mkdir()
    with alone():
        exim = Exim(find_peer("exim4"), home, port)
        exim.config.write_text(
            HOP.format(
                spool=exim.spool, port=port, chain=files.chain, key=files.key, mechanism=mechanism, **PROMPTS[mechanism]
            )
        )
        with subprocess.Popen([*exim.command, "-bdf"], env=exim.environment) as daemon:
            try:
                wait_for(lambda: answers(port), 30, "greeting of Exim")
                mx = server(**delivering(port, authority, "verify", **account(public)))
                submit(mx)
                mx.until(mx.empty, 60, "empty spool")
                assert last_attempt(mx)["verified"] is True
                mx.stop()
            finally:
                daemon.terminate()
                daemon.wait(30)
    assert f"A={mechanism}:{ACCOUNT}" in exim.log()
    assert "X=TLS1.3" in exim.log()


# --- what OpenSSL speaks ---


@contextmanager
def openssl_server(files, *options):
    """An SMTP server for one line of dialogue before STARTTLS that offers what these options say; its port."""
    inner = free_port()
    command = [
        "openssl",
        "s_server",
        "-quiet",
        "-accept",
        f"127.0.0.1:{inner}",
        "-cert",
        files.chain,
        "-key",
        files.key,
        *options,
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield inner
        finally:
            process.terminate()
            process.wait(10)


def relayed(inner):
    """Makes the TLS side of a next hop: what comes goes to OpenSSL, and back."""

    def accept(connection):
        for _ in range(100):
            try:
                other = socket.create_connection(("127.0.0.1", inner), timeout=5)
                break
            except OSError:
                time.sleep(0.05)

        def copy(source, target):
            with suppress(OSError):
                while octets := source.recv(65536):
                    target.sendall(octets)
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        back = threading.Thread(target=copy, args=(other, connection), daemon=True)
        back.start()
        copy(connection, other)
        back.join(5)
        raise EOFError

    return accept


@pytest.mark.parametrize(
    "options",
    [
        ["-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"],
        ["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
    ],
    ids=["TLS 1.0", "TLS 1.1", "RSA key exchange", "CBC"],
)
@pytest.mark.parametrize("tls", ["may", "encrypt"])
def test_servers_with_nothing_in_common(server, public, authority, options, tls):
    kind = "rsa2048" if "AES128-SHA:@SECLEVEL=0" in options else "p256"
    files = authority.sign(NAME, kind=kind)
    with openssl_server(files, *options) as inner, NextHop(tls=relayed(inner)) as hop:
        mx = server(**delivering(hop.port, None, tls))
        submit(mx)
        if tls == "may":
            hop.handed("alice@example.test")
            assert "tls" not in last_attempt(mx)
            (line,) = mx.logged("next-hop-in-clear")
            assert line["peer"] == f"127.0.0.1:{hop.port}"
            mx.until(mx.empty, what="empty spool")
        else:
            assert deferral(mx).startswith("451 4.7.0 The TLS handshake failed: ")
            assert hop.messages == []


# --- mailmoat ---


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"])
def test_another_mailmoat_with_an_account(server, public, authority, mechanism):
    files, home = readable(authority.sign(NAME)), public / "hub"
    home.mkdir()
    settings = {
        "TLS__CERTIFICATE": files.chain, "TLS__KEY": files.key, "AUTH__FILE": home / "accounts", "AUTH__MECHANISMS": mechanism,
        "HOSTNAME": NAME, "WORKERS": 1,
    }  # fmt: skip
    hub = Server(home, **{f"MAILMOAT_{name}": str(value) for name, value in settings.items()})
    hub.environment["MAILMOAT_LISTEN"] = f"submission://127.0.0.1:{hub.port}"
    added = subprocess.run(
        [sys.executable, "-m", "mailmoat", "user", "add", "--password-stdin", ACCOUNT],
        input=f"{SECRET}\n", env=hub.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    hub.start()
    try:
        mx = server(**delivering(hub.port, authority, "verify", **account(public)))
        submit(mx)
        wait_for(hub.delivered, 60, "the message")
        mx.until(mx.empty, what="empty spool")
        (accepted,) = hub.logged("message-accepted")
        assert accepted["authenticated"] == ACCOUNT
        assert " with ESMTPSA id" in hub.delivered()[0].read_text()
        ended = mx.stop(), hub.stop()
        assert ended == (0, 0)
        assert hub.logged("session-ended")[-1]["mechanism"] == mechanism
    finally:
        hub.stop()
