"""Warnings about routes, and where mail for an address goes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mailmoat.cli import application
from mailmoat.delivery.route_lint import warnings
from mailmoat.settings import Settings


def found(*routes, relay=None, **more):
    rows = [{"next_hop": "smtp://h.test"} | ({"domains": row} if isinstance(row, str) else row) for row in routes]
    given = {"delivery": {"next_hop": "smtp://hub.test"}, "relay": relay or {"networks": "192.0.2.0/24"}} | more
    return warnings(Settings(hostname="mx.example.test", routes=rows, **given))


@pytest.mark.parametrize(
    ("routes", "wrong"),
    [
        (("a.test", "a.test"), ["routes[2] never gets mail for a.test: routes[1] has it before"]),
        ((".test", "a.test, b.org"), ["routes[2] never gets mail for a.test: routes[1] has it before"]),
        ((".test", ".a.test"), ["routes[2] never gets mail for .a.test"]),
        (
            ("*", "a.test", ".b.test", "*"),
            ["for a.test", "for .b.test", "for *", "delivery.next_hop never gets mail: routes[1]"],
        ),
        (("",), ["routes[1] has no domains"]),
        (("a.test", ".test", "*"), ["delivery.next_hop never gets mail: routes[3] has every domain"]),
        ((".a.test", "a.test", ".test"), []),
    ],
)
def test_routes_that_an_earlier_one_hides(routes, wrong):
    texts = found(*routes)
    assert len(texts) == len(wrong)
    assert all(part in text for part, text in zip(wrong, texts, strict=True)), texts


@pytest.mark.parametrize(
    ("route", "more", "warned"),
    [
        ("a.test", {}, True),
        (".sub.test", {}, True),
        ("local.test", {}, False),
        ("unfiltered.test", {}, False),
        (".local.test, .test", {}, True),
        (".test", {}, False),
        ("*", {}, False),
        ("a.test", {"auth": {"file": "/etc/accounts"}}, False),
    ],
)
def test_a_route_to_which_nobody_may_send(route, more, warned):
    relay = {"local_domains": "local.test", "unfiltered_domains": "unfiltered.test"}
    texts = [text for text in found(route, relay=relay, **more) if "does not make a domain relayable" in text]
    assert bool(texts) is warned


def test_a_domain_of_ours_that_goes_by_mx():
    relay = {"local_domains": "a.test, b.test"}
    (text,) = found("b.test", relay=relay, delivery={"next_hop": "mx"})
    assert text.startswith("mail for a.test goes by its MX records, which name this server")
    assert found("b.test", relay=relay) == []


def test_a_default_next_hop_beside_a_route_for_every_domain():
    assert found("*", delivery={}) == []
    (text,) = found("a.test", "*")
    assert text == "delivery.next_hop never gets mail: routes[2] has every domain; remove one of the two"


def test_mx_with_tls_and_an_account_without():
    unused, text = found({"domains": "*", "next_hop": "mx"}, delivery={"next_hop": "smtp://hub.test", "tls": "verify"})
    assert unused.startswith("delivery.next_hop never gets mail")
    assert "the route * is mx and has tls = verify" in text
    partner = {"domains": "partner.test", "next_hop": "mx", "tls": "verify"}
    assert found(partner, relay={"networks": "192.0.2.0/24"}) == []
    (text,) = found({"domains": "a.test", "auth_name": "edge", "auth_password_file": "/p"})
    assert text.startswith("routes[1].auth_name is set and its tls is not verify")


FILE = """
hostname = "mx.example.test"
[relay]
local_domains = "a.test"
networks = "192.0.2.0/24"
[[routes]]
domains = ["a.test", ".a.test"]
next_hop = "smtp://one.test*2 | smtp://two.test"
tls = "verify"
[[routes]]
domains = "b.test"
next_hop = "discard:"
"""


def test_where_mail_goes_and_why(tmp_path):
    file = tmp_path / "mailmoat.toml"
    file.write_text(FILE)
    runner = CliRunner()
    asked = ["route", "-c", str(file), "x@a.test", "x@Sub.A.test", "B.test", "x@c.test", "x@@"]
    text = runner.invoke(application(), asked)
    assert text.exit_code == 1
    assert text.stdout.splitlines()[:4] == [
        "x@a.test goes to smtp://one.test:25*2 | smtp://two.test:25",
        "    why      routes[1] has a.test",
        "    tls      verify",
        "    accepted from everybody: relay.local_domains has a.test",
    ]
    documents = json.loads(runner.invoke(application(), [*asked, "--json"]).stdout)
    assert [(one["next_hop"], one["why"]) for one in documents[1:4]] == [
        ("smtp://one.test:25*2 | smtp://two.test:25", "routes[1] has .a.test"),
        ("discard:", "routes[2] has b.test"),
        (None, "no route has its domain, and delivery.next_hop is not set"),
    ]
    assert documents[1]["relayed"].startswith("from clients that may relay")
    assert documents[4]["why"].startswith("it is no address")
    assert runner.invoke(application(), ["route", "-c", str(file), "x@a.test"]).exit_code == 0


def test_a_route_is_shown_with_what_it_sets(tmp_path):
    file = tmp_path / "mailmoat.toml"
    file.write_text(FILE)
    shown = CliRunner().invoke(application(), ["settings", "-c", str(file), "--changed"]).stdout
    assert [line.partition("  [")[0] for line in shown.splitlines() if line.startswith("routes")] == [
        "routes[1].domains = a.test, .a.test",
        "routes[1].next_hop = smtp://one.test:25*2 | smtp://two.test:25",
        "routes[1].tls = verify",
        "routes[2].domains = b.test",
        "routes[2].next_hop = discard:",
    ]
