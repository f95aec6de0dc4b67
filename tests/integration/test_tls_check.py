"""`mailmoat tls check` at a real Postfix: STARTTLS, and what it says where there is none."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.certificates import Authority
from tests.namespace import alone
from tests.postfix import Postfix
from typer.testing import CliRunner

from mailmoat.cli import application

HOST = "mx.example.test"
PORT = 10026
SERVICE = f"127.0.0.1:{PORT} inet n - n - - smtpd\n"
MAIN = f"""
myhostname = {HOST}
inet_interfaces = loopback-only
inet_protocols = ipv4
smtpd_tls_security_level = {{level}}
smtpd_tls_chain_files = {{key}} {{chain}}
smtpd_tls_protocols = {{protocols}}
"""


@contextmanager
def postfix(level="may", protocols=">=TLSv1.2"):
    """A server with a certificate of the authority that is given, in a network of its own."""
    with TemporaryDirectory(prefix="postfix-") as directory, alone():
        authority = Authority(Path(directory) / "ca")
        signed = authority.sign(HOST)
        for file in (signed.chain, signed.key):
            shutil.chown(file, "root")
        main = MAIN.format(level=level, key=signed.key, chain=signed.chain, protocols=protocols)
        with Postfix(Path(directory), main, SERVICE) as running:
            running.wait(PORT)
            yield authority


def check(*options, status=0):
    arguments = ["tls", "check", f"127.0.0.1:{PORT}", *map(str, options)]
    result = CliRunner().invoke(application(), arguments, env={"MAILMOAT_HOSTNAME": "client.test"})
    assert result.exit_code == status, result.output
    return result


def test_starttls_at_postfix():
    with postfix() as authority:
        document = json.loads(check("--name", HOST, "--ca", authority.certificate, "--json").stdout)
        assert (document["version"], document["verified"], document["implicit"]) == ("TLSv1.3", True, False)
        assert document["versions"] == {"TLSv1.3": None, "TLSv1.2": None}
        assert [each["subject"] for each in document["chain"]] == [f"CN={HOST}", "CN=Test CA"]
        wrong = check("--ca", authority.certificate, status=1)
        assert "  verified      no: " in wrong.stdout


def test_a_postfix_without_starttls_and_one_with_a_single_version():
    with postfix(level="none"):
        assert check(status=1).stderr == f"mailmoat: 127.0.0.1:{PORT}: it does not offer STARTTLS\n"
    with postfix(protocols=">=TLSv1.3") as authority:
        found = json.loads(check("--name", HOST, "--ca", authority.certificate, "--json").stdout)
        assert found["versions"]["TLSv1.3"] is None
        assert "protocol_version" in found["versions"]["TLSv1.2"]


def test_a_check_of_this_server_does_not_try_what_it_refuses(server):
    """It would not be offered STARTTLS for an hour."""
    mx = server(MAILMOAT_TLS__MINIMUM="1.3")
    for _ in range(2):
        arguments = ["tls", "check", "--json", "--config", str(mx.config)]
        result = CliRunner().invoke(application(), arguments, env=mx.environment)
        versions = json.loads(result.stdout)["versions"]
        assert versions == {"TLSv1.3": None, "TLSv1.2": "tls.minimum is 1.3"}
    assert mx.logged("tls-failed") == []
