"""`mailmoat dns-lists check`: the providers as a worker tests them, and an address in all of them, by a real name server."""

from __future__ import annotations

import json

import pytest
from tests.doubles.name_server import NameServer
from typer.testing import CliRunner

from mailmoat.cli import application

FILE = """
[dns]
servers = "{server}"

[dns_lists]
action = "{action}"
threshold = 3
time = "1s"

[[dns_lists.providers]]
zone = "bl.example.test"
weight = 3

[[dns_lists.providers]]
zone = "wl.example.test"
kind = "allow"
"""


@pytest.fixture
def check(tmp_path):
    with NameServer() as server:
        for zone in ("bl.example.test", "wl.example.test"):
            server.add(f"2.0.0.127.{zone}", "A", "127.0.0.2")
        server.add("77.2.0.192.bl.example.test", "A", "127.0.0.4")
        server.add("78.2.0.192.bl.example.test", "A", "127.0.0.4")
        server.add("78.2.0.192.wl.example.test", "A", "127.0.5.1")

        def check(*words, action="reject", **faults):
            for fault in faults.values():
                server.set("bl.example.test", fault=fault)
            file = tmp_path / "mailmoat.toml"
            file.write_text(FILE.format(server=server.address, action=action))
            return CliRunner().invoke(application(), ["dns-lists", "check", "--config", str(file), *words])

        yield check


def test_the_providers_are_tested(check):
    result = check()
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "bl.example.test  block  works, not for IPv6",
        "wl.example.test  allow  works, not for IPv6",
    ]


@pytest.mark.parametrize(
    ("address", "action", "verdict"),
    [
        ("192.0.2.77", "reject", "weight 3, threshold 3: refused"),
        ("::ffff:192.0.2.77", "stamp", "weight 3, threshold 3: stamped"),
        ("192.0.2.78", "reject", "known good"),
        ("192.0.2.79", "reject", "weight 0, below the threshold 3"),
    ],
)
def test_an_address(check, address, action, verdict):
    result = check(address, action=action)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == f"{address.removeprefix('::ffff:')}: {verdict}"


def test_a_provider_that_does_not_work(check):
    result = check("192.0.2.77", fault="servfail")
    assert result.exit_code == 1
    assert result.output.splitlines()[0] == "bl.example.test  block  no-answer (servfail)"


def test_as_json(check):
    result = check("192.0.2.77", "--json")
    document = json.loads(result.output)
    assert document["providers"][0] == {
        "zone": "bl.example.test",
        "kind": "block",
        "state": "works",
        "detail": "",
        "ipv6": False,
        "outcome": "listed",
        "answer": "127.0.0.4",
    }
    assert (document["address"], document["weight"], document["threshold"]) == ("192.0.2.77", 3, 3)


def test_what_is_no_address(check):
    assert check("192.0.2.299").exit_code == 2


def test_without_providers(tmp_path):
    (tmp_path / "mailmoat.toml").write_text("")
    result = CliRunner().invoke(application(), ["dns-lists", "check", "--config", str(tmp_path / "mailmoat.toml")])
    assert result.exit_code == 1
    assert "dns_lists.providers is empty" in result.output
