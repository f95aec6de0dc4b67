"""`mailmoat senderid`: what it shows, what it writes, and what it finds at a real name server."""

from __future__ import annotations

import json
import os

import pytest
from tests.doubles.name_server import NameServer
from typer.testing import CliRunner

from mailmoat.cli import application
from mailmoat.supervisor import instance

ZONE = """
    pass.test     TXT "v=spf1 include:part.pass.test -all"
    part.pass.test TXT "v=spf1 ip4:192.0.2.0/24 -all"
    fail.test     TXT "v=spf1 -all exp=why.fail.test"
    why.fail.test TXT "Ask us"
    none.test     A   192.0.2.1
    bad.test      TXT "v=spf1 wombat"
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("MAILMOAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAILMOAT_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def names(monkeypatch):
    with NameServer(ZONE) as server:
        server.set("temp.test", fault="servfail")
        monkeypatch.setenv("MAILMOAT_DNS__SERVERS", server.address)
        yield server


def run(*arguments, status=0):
    result = CliRunner().invoke(application(), ["senderid", *arguments])
    assert result.exit_code == status, result.output
    return result


# --- get and set ---


def test_get(tmp_path):
    file = tmp_path / "m.toml"
    file.write_text('[senderid]\nspoofed_domain_action = "Reject"\ninternal_servers = ["10.0.0.0/8"]\n')
    shown = run("get", "-c", str(file)).stdout.splitlines()
    assert "enabled = false  [default]" in shown
    assert f"spoofed_domain_action = Reject  [{file}]" in shown
    document = json.loads(run("get", "-c", str(file), "--json").stdout)
    assert document["enabled"] is False
    assert document["internal_servers"] == ["10.0.0.0/8"]
    assert document["void_lookups"] == 2


def test_set_writes_the_file(tmp_path):
    file = tmp_path / "m.toml"
    file.write_text("# ours\n")
    said = run("set", "TempErrorAction", "reject", "-c", str(file)).output
    assert file.read_text() == '# ours\n\n[senderid]\ntemp_error_action = "reject"\n'
    assert f"{file}: senderid.temp_error_action = Reject" in said
    assert "warning: senderid.temp_error_action is Reject and senderid.enabled is off" in said
    assert f"No server was found running on {tmp_path / 'spool'}: send SIGHUP" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("set", "colour", "red"), "colour: no such setting; there are enabled, spoofed_domain_action, "),
        (("set", "enabled", "maybe"), 'senderid.enabled = "maybe": neither true nor false'),
        (("set", "temp_error_action", "Delete"), "would silently lose legitimate messages"),
    ],
)
def test_set_refuses(tmp_path, arguments, complaint):
    file = tmp_path / "m.toml"
    file.write_text("# ours\n")
    assert complaint in run(*arguments, "-c", str(file), status=1).output
    assert file.read_text() == "# ours\n"


def test_set_wants_a_file_that_is_there(tmp_path):
    assert "there is no settings file to write to" in run("set", "enabled", "true", status=1).output
    assert "No such file" in run("set", "enabled", "true", "-c", str(tmp_path / "none.toml"), status=1).output


def test_set_says_what_overrides(tmp_path, monkeypatch):
    file = tmp_path / "m.toml"
    file.write_text("")
    monkeypatch.setenv("MAILMOAT_SENDERID__ENABLED", "false")
    said = run("set", "senderid.enabled", "true", "-c", str(file)).output
    assert "warning: MAILMOAT_SENDERID__ENABLED in the environment overrides it" in said


def test_nobody_runs_on_a_spool_that_is_not_there(tmp_path):
    assert instance.find_server(tmp_path / "nowhere") is None
    (tmp_path / "lock").touch()
    assert instance.find_server(tmp_path) is None


# --- test ---


@pytest.mark.parametrize(
    ("domain", "said", "status"),
    [
        ("pass.test", "pra       pass.test: Pass (Permitted)", 0),
        ("PASS.test.", "pra       pass.test: Pass (Permitted)", 0),
        ("fail.test", "pra       fail.test: Fail (Not Permitted)", 1),
        ("missing.test", "pra       missing.test: Fail (Domain Does Not Exist)", 1),
        ("none.test", "pra       none.test: None (No Record)", 0),
        ("bad.test", "pra       bad.test: PermError (Invalid Record)", 1),
        ("temp.test", "pra       temp.test: TempError (Temporary DNS Error)", 1),
        ("localhost", "pra       localhost: None (Malformed Domain)", 0),
    ],
)
def test_a_domain(names, domain, said, status):
    assert said in run("test", "--ip", "192.0.2.1", "--pra-domain", domain, status=status).stdout.splitlines()


def test_an_explanation_is_the_domains(names):
    assert "the domain explains: Ask us" in run("test", "--ip", "::1", "--pra-domain", "fail.test", status=1).stdout


def test_trace(names):
    said = run("test", "--ip", "192.0.2.1", "--pra-domain", "pass.test", "--trace").stdout
    assert "include:part.pass.test" in said
    assert "ip4:192.0.2.0/24" in said
    assert "part.pass.test" in said


def test_json(names):
    [document] = json.loads(
        run("test", "--ip", "::ffff:192.0.2.1", "--pra-domain", "pass.test", "--json", "--trace").stdout
    )
    assert (document["identity"], document["domain"], document["status"]) == ("pra", "pass.test", "Pass")
    assert document["mechanism"] == "include:part.pass.test"
    assert {step["kind"] for step in document["trace"]} >= {"record", "mechanism", "result"}


def test_a_message(names, tmp_path):
    file = tmp_path / "message.eml"
    file.write_bytes(b"Sender: a@pass.test\nFrom: b@fail.test\nSubject: x\n\nFrom: c@none.test\n")
    said = run("test", "--ip", "192.0.2.1", "--message", str(file)).stdout
    assert said.startswith("pra       pass.test: Pass (Permitted)\n")
    said = run(
        "test",
        "--ip",
        "192.0.2.1",
        "--message",
        str(file),
        "--mail-from",
        "x@fail.test",
        "--helo",
        "pass.test",
        status=1,
    ).stdout
    assert "mailfrom  fail.test: Fail (Not Permitted)\n" in said
    assert "helo      pass.test: Pass (Permitted)\n" in said


def test_a_message_without_a_responsible_address(names, tmp_path):
    file = tmp_path / "message.eml"
    file.write_bytes(b"From: a@pass.test\r\nFrom: b@pass.test\r\n")
    said = run("test", "--ip", "192.0.2.1", "--message", str(file), status=1).stdout
    assert said == "pra       -: Fail (No PRA)\n"
    assert names.questions == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ip", "192.0.2.1"),
        ("--ip", "192.0.2.1", "--pra-domain", "a.test", "--message", "x"),
        ("--ip", "nowhere", "--pra-domain", "a.test"),
        ("--ip", "192.0.2.1", "--pra-domain", "a b"),
        ("--pra-domain", "a.test"),
    ],
)
def test_usage(arguments):
    run("test", *arguments, status=2)


def test_a_message_that_is_not_there(tmp_path):
    assert "cannot be read" in run("test", "--ip", "::1", "--message", str(tmp_path / "none"), status=1).output
