"""Certificates of a running server: who reads them, what refuses a start or a reload, and what an administrator sees."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import signal
import ssl
import stat

import pytest
from tests.certificates import Authority
from tests.integration.conftest import Server
from tests.integration.test_reload import reload, unless_reset

from mailmoat.tls.self_signed import FILE_NAME

HOST = "mx.example.test"
DAY = 86_400


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


def settings(signed) -> dict[str, str]:
    return {"MAILMOAT_TLS__CERTIFICATE": str(signed.chain), "MAILMOAT_TLS__KEY": str(signed.key)}


def put(signed, other) -> None:
    shutil.copyfile(other.chain, signed.chain)
    shutil.copyfile(other.key, signed.key)


def test_a_server_without_a_certificate_makes_one_and_keeps_it(server):
    mx = server()
    made = mx.directory / "spool" / FILE_NAME
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    ((names, path),) = [(line["names"], line["path"]) for line in mx.logged("certificate-made")]
    assert (names, path) == ([HOST], str(made))
    tls = mx.until(lambda: mx.health()["tls"], what="metrics of the certificate")
    assert tls["state"] == "self-signed"
    mx.until(lambda: mx.health()["status"] == "ok", what="health without a reason")
    assert "certificate self-signed, " in mx.cli("status", check=True).stdout
    assert mx.cli("tls", "show", check=True).stdout.splitlines()[0] == str(made)
    before = made.read_bytes()
    assert mx.stop() == 0
    mx.start()
    assert made.read_bytes() == before
    assert len(mx.logged("certificate-made")) == 1


def test_check_connects_to_this_server_as_a_peer_does(server, authority):
    ecdsa, rsa = authority.sign(HOST, file="ecdsa"), authority.sign(HOST, kind="rsa2048", file="rsa")
    mx = server(MAILMOAT_TLS__CERTIFICATE=f"{ecdsa.chain},{rsa.chain}", MAILMOAT_TLS__KEY=f"{ecdsa.key},{rsa.key}")
    found = json.loads(mx.cli("tls", "check", "--ca", str(authority.certificate), "--json", check=True).stdout)
    assert (found["version"], found["verified"], found["name"]) == ("TLSv1.3", True, HOST)
    assert found["versions"] == {"TLSv1.3": None, "TLSv1.2": None}
    assert found["chain"][0]["key_kind"] == "ECDSA P-256"
    unknown = mx.cli("tls", "check")
    assert unknown.returncode == 1
    assert "  verified      no: " in unknown.stdout
    sessions = mx.until(lambda: len(ended := checks(mx)) == 4 and ended, what="ends of the sessions")
    assert [line.get("reason", "quit") for line in sessions] == ["quit"] * 4


def checks(mx) -> list[dict]:
    return [line for line in mx.logged("session-ended") if line.get("helo") == "[127.0.0.1]"]


def test_a_start_is_refused_with_the_file_and_the_fix(server, authority):
    signed = authority.sign(HOST)
    signed.key.write_bytes(authority.sign("other.test").key.read_bytes())
    mx = server(start=False, **settings(signed))
    mx.start(wait=False)
    assert mx.process.wait(30) == 1
    (line,) = mx.logged("start-refused")
    assert line["detail"] == (
        f"tls.certificate = {signed.chain}, tls.key = {signed.key}: the private key does not belong to the certificate"
    )
    assert f"mistake: {line['detail']}" in mx.cli("check-config").stderr


def test_a_reload_takes_new_files_at_once_and_refuses_broken_ones(server, authority):
    signed = authority.sign(HOST, file="served")
    mx = server(MAILMOAT_WORKERS="2", **settings(signed))
    mx.until(lambda: mx.metric('tls_certificate_state{state="current"}'), what="metrics of the certificate")
    assert 89 * DAY < mx.metric("tls_certificate_left_seconds") < 91 * DAY
    signed.key.write_bytes(b"")
    line = reload(mx, "reload-refused")
    assert line["detail"].endswith("there is no private key in it (a PEM block `BEGIN PRIVATE KEY`)")
    refused = mx.cli("reload")
    assert refused.returncode == 1
    assert f"refused: {line['detail']}\n" in refused.stderr
    assert mx.client().ask("NOOP").code == 250, "the old certificate stays in force"
    put(signed, authority.sign(HOST, days=400, file="longer"))
    reload(mx, "files-reread")

    def shown():
        tls = unless_reset(mx.health) or {"tls": {"days_left": 0}}
        return tls["tls"]["days_left"] >= 399 and tls["tls"]["state"] == "current"

    mx.until(shown, what="the new certificate")


def test_a_certificate_that_is_replaced_by_a_reload_ends_no_session(server, authority):
    signed = authority.sign(HOST, file="served")
    mx = server(MAILMOAT_WORKERS="2", **settings(signed))
    context = ssl.create_default_context(cafile=str(authority.certificate))
    live = [secured(mx, context) for _ in range(20)]
    workers, old = mx.workers(), live[0].socket.getpeercert(binary_form=True)
    for number in range(3):
        put(signed, authority.sign(HOST, file=f"new-{number}"))
        mx.cli("reload", check=True)
        fresh = secured(mx, context)
        served = fresh.socket.getpeercert(binary_form=True)
        assert served != old, "the command ends when all workers serve the new one"
        old = served
        assert [wire.deliver()[:3] for wire in (*live, fresh)] == ["250"] * 21
    assert mx.workers() == workers
    assert mx.logged("draining") == []
    assert {line["generation"] for line in mx.logged("files-reread")} == {0}


def secured(mx, context):
    wire = mx.client()
    wire.expect("STARTTLS", 220)
    wire.socket = context.wrap_socket(wire.socket, server_hostname=HOST)
    wire.ask("EHLO client.test")
    return wire


def test_a_worker_that_begins_during_a_renewal_serves_what_the_supervisor_has_read(server, authority):
    signed = authority.sign(HOST, file="served")
    mx = server(MAILMOAT_WORKERS="1", **settings(signed))
    signed.chain.write_bytes(authority.sign(HOST, file="half").chain.read_bytes())
    (worker,) = mx.workers()
    os.kill(worker, signal.SIGKILL)
    mx.until(lambda: mx.logged("certificate-refused"), what="a look at the files")
    mx.until(lambda: mx.metric('tls_certificate_state{state="refused"}'), what="metrics of the certificate")
    assert mx.health()["reasons"] == ["TLS certificate refused, an older one is in force"]
    assert mx.client().ask("NOOP").code == 250


@pytest.mark.usefixtures("root")
def test_the_key_is_read_with_the_rights_of_the_account(public):
    authority = Authority(public / "authority")
    signed = authority.sign(HOST, file="served")
    signed.key.chmod(0o600)
    mx = Server(public, 'user = "nobody"\n', **settings(signed))
    mx.start(wait=False)
    assert mx.process.wait(30) == 1
    fix = f"tls.key = {signed.key}: may not be read; let the account of the server read it"
    assert [line["detail"] for line in mx.logged("start-refused")] == [fix]
    assert f"mistake: {fix}" in mx.cli("check-config").stderr
    shutil.chown(signed.key, group=grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name)
    signed.key.chmod(0o640)
    assert "may not be read" not in mx.cli("check-config").stderr
    mx.start()
    assert mx.stop() == 0


def test_a_verified_certificate_for_a_listed_name_authenticates_its_client(server, authority):
    """Names of hosts have no case (RFC 4343 3)."""
    shown = {name: authority.sign(name) for name in ("relay.test", "other.test")}
    mx = server(
        MAILMOAT_TLS__CLIENT_CERTIFICATES="verify",
        MAILMOAT_TLS__CLIENT_CA=str(authority.certificate),
        MAILMOAT_TLS__CLIENT_SUBJECTS="Relay.TEST, test",
    )
    for name, code in (("relay.test", 250), ("other.test", 550), (None, 550)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if name is not None:
            context.load_cert_chain(shown[name].chain, shown[name].key)
        wire = mx.client()
        wire.expect("STARTTLS", 220)
        wire.socket = context.wrap_socket(wire.socket)
        wire.ask("EHLO client.test", "MAIL FROM:<a@client.test>")
        assert wire.ask("RCPT TO:<someone@elsewhere.test>").code == code, name
