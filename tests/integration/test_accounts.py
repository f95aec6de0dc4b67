"""Accounts in a real server over TLS: our file and a real Dovecot, real clients, and accounts that change while it runs."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
import sys
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from scramp import ScramClient
from tests import dovecot
from tests.doubles.scram import Client
from tests.integration.conftest import Server, replace, wait_for
from tests.namespace import alone
from tests.needs import find_peer, missing
from tests.postfix import Postfix

from mailmoat.auth.accounts import Account
from mailmoat.auth.verifiers import Argon2Hash, ScramKeys

ALICE, PASSWORD = "alice@example.test", "correct horse"
MESSAGE = "From: alice@example.test\r\nSubject: Hello\r\n\r\nHello\r\n"


def accounts(*passwords: tuple[str, str]) -> str:
    """The text of a file with these accounts."""
    return "".join(
        f"{Account(name, Argon2Hash.make(password.encode()), ScramKeys.make(password.encode())).line()}\n"
        for name, password in passwords
    )


def trusting() -> ssl.SSLContext:
    """The server has made its certificate itself."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Submitter(smtplib.SMTP):
    """A client that speaks TLS from its second command on."""

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=30)
        self.starttls(context=trusting())
        self.ehlo()

    def login_by(self, mechanism: str, name: str, password: str) -> tuple[int, bytes]:
        """The reply to AUTH."""
        self.user, self.password = name, password
        objects = {"PLAIN": self.auth_plain, "LOGIN": self.auth_login}
        try:
            return self.auth(mechanism, objects[mechanism])
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code, error.smtp_error


@pytest.fixture(scope="module")
def of_dovecot():
    with dovecot.running(f"{ALICE}:{{PLAIN}}{PASSWORD}\n") as server:
        yield server


@pytest.fixture(scope="module", params=["file", "dovecot"])
def mx(request, tmp_path_factory):
    """One server for all tests of the accounts of one source, which leave them as they are."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "file":
        (directory / "accounts").write_text(accounts((ALICE, PASSWORD)))
        source = {"MAILMOAT_AUTH__FILE": str(directory / "accounts")}
    else:
        source = {"MAILMOAT_AUTH__DOVECOT": str(request.getfixturevalue("of_dovecot").socket)}
    server = Server(directory, MAILMOAT_WORKERS="1", **source).start()
    yield server
    assert server.stop() == 0


def test_who_authenticates_sends_to_any_domain(mx):
    for mechanism in ("PLAIN", "LOGIN"):
        client = Submitter(mx.port)
        assert client.login_by(mechanism, ALICE, PASSWORD)[0] == 235
        assert client.sendmail(ALICE, ["somebody@elsewhere.test"], MESSAGE) == {}
        client.quit()


def test_who_does_not_gets_one_reply_for_each_reason(mx):
    replies = set()
    for name, password in ((ALICE, "wrong"), ("nobody@example.test", "wrong"), (ALICE, "correct hors")):
        client = Submitter(mx.port)
        replies.add(client.login_by("PLAIN", name, password))
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(ALICE, ["somebody@elsewhere.test"], MESSAGE)
        client.close()
    ((code, text),) = replies
    assert (code, text[:5]) == (535, b"5.7.8")
    log = mx.log.read_text()
    assert "wrong" not in log
    assert "correct" not in log


def test_nothing_is_offered_in_clear(mx):
    client = smtplib.SMTP("127.0.0.1", mx.port, timeout=30)
    client.ehlo()
    assert "auth" not in client.esmtp_features
    client.quit()
    with Submitter(mx.port) as client:
        assert {"SCRAM-SHA-256", "PLAIN", "LOGIN"} <= set(client.esmtp_features["auth"].split())


@pytest.mark.peer("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(mx, mechanism):
    if subprocess.run(["perl", "-MNet::SSLeay", "-e1"], capture_output=True, check=False).returncode:
        missing("install libnet-ssleay-perl")
    swaks = [find_peer("swaks"), "--server", f"127.0.0.1:{mx.port}", "-tls", "--auth", mechanism]
    words = [*swaks, "--auth-user", ALICE, "--from", ALICE, "--to", "somebody@elsewhere.test", "--timeout", "30"]
    right = subprocess.run([*words, "--auth-password", PASSWORD], capture_output=True, text=True, check=False)
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = subprocess.run([*words, "--auth-password", "wrong"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 28, wrong.stdout  # its status for a failed AUTH


@pytest.mark.peer("msmtp")
@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_msmtp(mx, tmp_path, mechanism):
    """With GNU SASL, and so with SCRAM of another hand over TLS of another hand."""
    words = [
        find_peer("msmtp"),
        "--file=/dev/null",
        "--host=127.0.0.1",
        f"--port={mx.port}",
        "--tls=on",
        "--tls-starttls=on",
    ]
    words += [
        "--tls-certcheck=off",
        f"--auth={mechanism}",
        f"--user={ALICE}",
        f"--from={ALICE}",
        "somebody@elsewhere.test",
    ]
    for password, status in ((PASSWORD, 0), ("wrong", 77)):
        asked = tmp_path / "password"
        asked.write_text(password)
        sent = subprocess.run(
            [*words[:-1], f"--passwordeval=cat {asked}", words[-1]],
            input=MESSAGE,
            capture_output=True,
            text=True,
            check=False,
        )
        assert sent.returncode == status, sent.stderr


def scram_plus(client: Submitter, data: bytes, password: str = PASSWORD) -> int:
    """The code of the reply to SCRAM-SHA-256-PLUS with `tls-server-end-point`, by a client of another hand."""
    scram = ScramClient(["SCRAM-SHA-256-PLUS"], ALICE, password, channel_binding=("tls-server-end-point", data))

    def said(words: str) -> tuple[int, str]:
        code, text = client.docmd(words)
        return code, b64decode(text).decode() if code == 334 else ""

    def encoded(text: str) -> str:
        return b64encode(text.encode()).decode()

    code, challenge = said(f"AUTH SCRAM-SHA-256-PLUS {encoded(scram.get_client_first())}")
    if code != 334:
        return code
    scram.set_server_first(challenge)
    code, signature = said(encoded(scram.get_client_final()))
    if code != 334:
        return code
    scram.set_server_final(signature)
    return said("")[0]


def test_scram_is_bound_to_the_tls_connection(tmp_path):
    """The binding is what the client saw of the server's certificate; of another certificate it is refused."""
    (tmp_path / "accounts").write_text(accounts((ALICE, PASSWORD)))
    mx = Server(tmp_path, MAILMOAT_WORKERS="1", MAILMOAT_AUTH__FILE=str(tmp_path / "accounts")).start()
    try:
        for change, password, code in ((b"", PASSWORD, 235), (b"x", PASSWORD, 535), (b"", "wrong", 535)):
            with Submitter(mx.port) as client:
                seen = sha256(client.sock.getpeercert(binary_form=True)).digest()
                assert scram_plus(client, (change + seen)[:32], password) == code
        assert [line["reason"] for line in mx.logged("auth-failed")] == ["channel-binding", "credentials"]
    finally:
        assert mx.stop() == 0


class OpenSsl:
    """A client that knows the keying material of its TLS connection, which Python's ssl does not export."""

    def __init__(self, port: int) -> None:
        words = [
            find_peer("openssl"),
            "s_client",
            "-starttls",
            "smtp",
            "-connect",
            f"127.0.0.1:{port}",
            "-tls1_3",
            "-crlf",
        ]
        words += ["-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.exporter = bytes.fromhex(self.line("Keying material: ").strip())

    def line(self, beginning: str) -> str:
        """The rest of the next line that begins so, after blanks."""
        while read := self._process.stdout.readline():
            text = read.decode().strip()
            if text.startswith(beginning):
                return text.removeprefix(beginning)
        raise EOFError(beginning)

    def say(self, words: str, beginning: str) -> str:
        """Say a line; the rest of the answer that begins so."""
        self._process.stdin.write(f"{words}\n".encode())
        self._process.stdin.flush()
        return self.line(beginning)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.mark.peer("openssl")
@pytest.mark.parametrize(("change", "code"), [(b"", "235"), (b"x", "535")])
def test_scram_is_bound_to_the_keys_of_the_connection(tmp_path, change, code):
    """`tls-exporter` (RFC 9266): what OpenSSL exports is what our side compares."""
    (tmp_path / "accounts").write_text(accounts((ALICE, PASSWORD)))
    mx = Server(tmp_path, MAILMOAT_WORKERS="1", MAILMOAT_AUTH__FILE=str(tmp_path / "accounts")).start()
    tls = OpenSsl(mx.port)
    try:
        client = Client(ALICE, PASSWORD, "p=tls-exporter,,", (change + tls.exporter)[:32])
        tls.say("EHLO client.test", "250 ")
        first = b64encode(client.first).decode()
        challenge = b64decode(tls.say(f"AUTH SCRAM-SHA-256-PLUS {first}", "334 "))
        final = b64encode(client.final(challenge)).decode()
        if code == "235":
            assert b64decode(tls.say(final, "334 ")) == b"v=" + b64encode(client.server_signature)
            final = ""
        assert tls.say(final, f"{code} ")
        if code == "535":
            # RFC 9266 4.1: one exchange of a connection has its binding.
            client = Client(ALICE, PASSWORD, "p=tls-exporter,,", tls.exporter)
            tls.say(f"AUTH SCRAM-SHA-256-PLUS {b64encode(client.first).decode()}", "535 ")
    finally:
        tls.close()
        assert mx.stop() == 0


def test_accounts_change_while_the_server_runs(tmp_path):
    file = tmp_path / "accounts"
    file.write_text(accounts((ALICE, PASSWORD)))
    file.chmod(0o600)
    mx = Server(tmp_path, MAILMOAT_WORKERS="1", MAILMOAT_AUTH__FILE=str(file)).start()
    try:
        assert [line["accounts"] for line in mx.logged("accounts-read")] == [1]
        replace(file, accounts((ALICE, "another one"), ("bob", "bob's")))
        wait_for(lambda: len(mx.logged("accounts-read")) == 2, what="accounts-read")
        with Submitter(mx.port) as client:
            assert client.login_by("PLAIN", ALICE, PASSWORD)[0] == 535
        with Submitter(mx.port) as client:
            assert client.login_by("PLAIN", "BOB", "bob's")[0] == 235
        replace(file, "bob nothing\n" * 20)
        wait_for(lambda: mx.logged("accounts-refused"), what="accounts-refused")
        with Submitter(mx.port) as client:
            assert client.login_by("PLAIN", "bob", "bob's")[0] == 235
        added = subprocess.run(
            [sys.executable, "-m", "mailmoat", "user", "list"],
            env=mx.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert added.returncode == 1
        assert "line 1: a word after the name" in added.stderr
        assert mx.health()["status"] == "ok"
    finally:
        assert mx.stop() == 0


def test_a_broken_file_of_accounts_prevents_the_start(tmp_path):
    (tmp_path / "accounts").write_text("alice\n")
    mx = Server(tmp_path, MAILMOAT_AUTH__FILE=str(tmp_path / "accounts")).start(wait=False)
    assert wait_for(mx.exited, what="end")
    assert "line 1: the account has no password" in mx.log.read_text()


def test_without_dovecot_mail_is_taken_and_health_says_so(tmp_path):
    mx = Server(tmp_path, MAILMOAT_WORKERS="1", MAILMOAT_AUTH__DOVECOT=str(tmp_path / "auth")).start()
    try:
        assert mx.health()["reasons"] == ["accounts not available, so clients cannot authenticate"]
        assert mx.logged("auth-service-lost")[0]["detail"] == "No such file or directory"
        with Submitter(mx.port) as client:
            assert "auth" not in client.esmtp_features
            assert client.sendmail("x@elsewhere.test", ["alice@example.test"], MESSAGE) == {}
    finally:
        assert mx.stop() == 0


SMARTHOST = f"""
myhostname = client.test
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
relayhost = [127.0.0.1]:{{port}}
smtp_tls_security_level = encrypt
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = scram-sha-256
smtp_sasl_password_maps = inline:{{{{ {{{{ [127.0.0.1]:{{port}} = {ALICE}:{PASSWORD} }}}} }}}}
"""


def test_postfix_authenticates_by_scram(tmp_path):
    """Cyrus SASL computes 65,536 iterations and no more."""
    if not list(Path("/usr/lib").glob("**/sasl2/libscram.so")):
        missing("install libsasl2-modules")
    (tmp_path / "accounts").write_text(accounts((ALICE, PASSWORD)))
    with TemporaryDirectory(prefix="postfix-") as directory, alone():
        mx = Server(tmp_path, MAILMOAT_WORKERS="1", MAILMOAT_AUTH__FILE=str(tmp_path / "accounts")).start()
        with Postfix(
            Path(directory), SMARTHOST.format(port=mx.port), "127.0.0.1:10027 inet n - n - - smtpd\n"
        ) as postfix:
            postfix.wait(10027)
            with smtplib.SMTP("127.0.0.1", 10027, timeout=30) as client:
                client.sendmail(ALICE, ["somebody@elsewhere.test"], MESSAGE)
            [ended] = wait_for(
                lambda: [line for line in mx.logged("session-ended") if "tls" in line], what="session of Postfix"
            )
        assert (ended.get("mechanism"), ended["messages"]) == ("SCRAM-SHA-256", 1), postfix.log.read_text()
        assert mx.stop() == 0
