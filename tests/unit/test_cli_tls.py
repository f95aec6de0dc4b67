"""`mailmoat tls`: what it prints of certificates on disk, and of servers of OpenSSL."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import contextmanager

import pytest
from tests.certificates import Authority
from tests.needs import find_peer
from typer.testing import CliRunner

from mailmoat.cli import application
from mailmoat.settings import load
from mailmoat.tls import self_signed

HOST = "mx.example.test"


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("MAILMOAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAILMOAT_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("MAILMOAT_HOSTNAME", HOST)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def run(*arguments, status=0, **environment):
    environment = {f"MAILMOAT_{name}": value for name, value in environment.items()}
    result = CliRunner().invoke(application(), ["tls", *map(str, arguments)], env=environment)
    assert result.exit_code == status, result.output
    return result


def lines(result) -> dict[str, str]:
    """By label; those without one belong to the one before."""
    return dict(re.findall(r"^  (\S[\S ]*?) {2,}(.*)$", result.stdout, re.MULTILINE))


@contextmanager
def server(signed, *options, alone=False):
    """OpenSSL with TLS from the first octet on; it says no SMTP. `alone`: it sends its own certificate and none of a CA."""
    command = [
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        signed.chain,
        "-key",
        signed.key,
        *([] if alone else ["-cert_chain", signed.chain.with_name("ca.pem")]),
    ]
    with subprocess.Popen(
        [find_peer("openssl"), *map(str, command), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            line = next(line for line in process.stdout if line.startswith("ACCEPT"))
            yield f"127.0.0.1:{line.rpartition(':')[2].strip()}"
        finally:
            process.kill()


# --- show ---


def test_show_prints_each_certificate(authority):
    first, second = authority.sign(HOST, "192.0.2.1"), authority.sign("b.test", kind="rsa2048")
    files = {"TLS__CERTIFICATE": f"{first.chain},{second.chain}", "TLS__KEY": f"{first.key},{second.key}"}
    result = run("show", **files)
    one, other = result.stdout.split("\n\n")
    assert one.splitlines()[0] == str(first.chain)
    assert re.search(r"^  names +mx\.example\.test\n +192\.0\.2\.1$", one, re.MULTILINE)
    assert re.search(r"^  valid +\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d, (89|90) days left$", one, re.MULTILINE)
    assert re.search(r"^  chain +CN=Test CA, until \d{4}-\d\d-\d\d$", one, re.MULTILINE)
    assert re.search(r"^  key +RSA 2048$", other, re.MULTILINE)
    assert max(map(len, result.stdout.splitlines()[1:5])) <= 80
    document = json.loads(run("show", "--json", **files).stdout)
    assert [each["chain"][0]["names"] for each in document] == [[HOST, "192.0.2.1"], ["b.test"]]
    assert "PRIVATE" not in result.stdout + json.dumps(document)


def test_show_prints_the_self_signed_one(tmp_path):
    assert "and the server makes one when it starts." in run("show").stdout
    assert "and tls.offer is off." in run("show", TLS__OFFER="false").stdout
    (tmp_path / "spool").mkdir()
    self_signed.ensure(tmp_path / "spool", load().hostname)
    assert lines(run("show"))["issuer"] == "itself"


def test_show_says_what_is_wrong(authority):
    one, other = authority.sign(HOST), authority.sign("b.test")
    result = run("show", status=1, TLS__CERTIFICATE=str(one.chain), TLS__KEY=str(other.key))
    assert "the private key does not belong to the certificate" in result.stderr


# --- check ---


def test_check_prints_what_a_peer_sees(authority):
    with server(authority.sign(HOST, file="seen")) as place:
        result = run("check", place, "--implicit", "--name", HOST, "--ca", authority.certificate)
        found = lines(result)
        assert result.stdout.splitlines()[0] == f"{place}, TLS from the first octet on"
        assert found["version"] == "TLSv1.3"
        assert found["cipher suite"].startswith("TLS_")
        assert found["key exchange"].upper().startswith("X25519")
        assert (found["TLSv1.3"], found["TLSv1.2"]) == ("yes", "yes")
        assert (found["certificate"], found["issuer"]) == (f"CN={HOST}", "CN=Test CA")
        assert found["verified"] == f"yes, for {HOST}"
        assert re.fullmatch(r"\d+\.\d ms", found["handshake"])
        document = json.loads(
            run("check", place, "--implicit", "--name", HOST, "--ca", authority.certificate, "--json").stdout
        )
        assert (document["verified"], document["verdict"]) == (True, None)
        assert document["versions"] == {"TLSv1.3": None, "TLSv1.2": None}
        assert [each["subject"] for each in document["chain"]] == [f"CN={HOST}", "CN=Test CA"]


def test_check_says_why_a_certificate_cannot_be_verified(authority, tmp_path):
    other = Authority(tmp_path / "other", "Other CA")
    with server(authority.sign(HOST, file="unverified")) as place:
        for name, ca, why in (
            (HOST, other.certificate, "unknown issuer; a CA of your own is named by --ca"),
            ("other.test", authority.certificate, "not for this name; another name is given by --name"),
            (HOST, None, ""),
        ):
            options = ("--ca", ca) if ca else ()
            found = lines(run("check", place, "--implicit", "--name", name, *options, status=1))
            assert found["version"] == "TLSv1.3"
            assert re.match(r"no: \w", found["verified"])
            assert found["verified"].endswith(why)
    with server(authority.sign(HOST, file="alone"), alone=True) as place:
        found = lines(run("check", place, "--implicit", "--name", HOST, "--ca", other.certificate, status=1))
        assert (
            found["verified"]
            == "no: unknown issuer; the server sends its own certificate alone: it lacks that of the CA"
        )
    with server(authority.sign(HOST, days=-1, file="over")) as place:
        found = lines(run("check", place, "--implicit", "--name", HOST, "--ca", authority.certificate, status=1))
        assert found["valid"].endswith("expired")
        assert found["verified"].startswith("no: ")


@pytest.mark.parametrize(
    ("option", "works", "fails"), [("-tls1_2", "TLSv1.2", "TLSv1.3"), ("-tls1_3", "TLSv1.3", "TLSv1.2")]
)
def test_check_tries_both_versions(authority, option, works, fails):
    with server(authority.sign(HOST, kind="rsa2048", file=f"rsa{option}"), option) as place:
        found = lines(run("check", place, "--implicit", "--name", HOST, "--ca", authority.certificate))
        assert (found["version"], found[works]) == (works, "yes")
        assert re.match(r"no: the handshake failed: \w", found[fails])


def test_check_says_what_is_no_tls(authority):
    with server(authority.sign(HOST, file="silent")) as place:
        result = run("check", place, "--starttls", "--timeout", "1", status=1)
        assert result.stderr == f"mailmoat: {place}: no answer within 1 s\n"
        document = json.loads(run("check", place, "--starttls", "--timeout", "1", "--json", status=1).stdout)
        assert document["error"] == "no answer within 1 s"
    result = run("check", place, status=1)
    assert result.stderr == f"mailmoat: {place}: cannot connect: Connection refused\n"
    assert "0 is not a port to connect to" in run("check", "mx.test:0", status=2).stderr
    assert "cannot be read: No such file or directory" in run("check", place, "--ca", "none.pem", status=1).stderr
    assert (
        "a b is not the name of a host; write one after --name" in run("check", place, "--name", "a b", status=1).stderr
    )
    no_ca = authority.sign(HOST, file="no-ca").key
    assert "the file of CAs cannot be used: there is no" in run("check", place, "--ca", no_ca, status=1).stderr
    only = {"LISTEN": "proxy://127.0.0.1:25", "LISTEN_PROXY_NETWORKS": "127.0.0.1"}
    assert "takes a connection without a PROXY protocol header" in run("check", status=1, **only).stderr


def test_check_without_a_host_is_for_this_server(authority):
    with server(authority.sign(HOST, file="own")) as place:
        port = place.rpartition(":")[2]
        result = run(
            "check",
            "--ca",
            authority.certificate,
            LISTEN=f"proxy://127.0.0.1:1, smtps://0.0.0.0:{port}",
            LISTEN_PROXY_NETWORKS="127.0.0.1",
        )
        assert lines(result)["verified"] == f"yes, for {HOST}"
