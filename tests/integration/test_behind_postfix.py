"""A real Postfix behind us, made from the manual's own lines, in a network where nothing can leave: what it relays arrives at its
relayhost, a server of the test's.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.doubles.client import Client
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import wait_for
from tests.namespace import alone
from tests.postfix import Postfix

MANUAL = Path(__file__).parents[2] / "docs" / "manual.md"
PORT = 10025
ROUTES = [
    "victim%evil.example@example.com",
    "evil.example!victim@example.com",
    '"victim@evil.example"@example.com',
    '"victim%evil.example"@example.com',
    '"evil.example!victim"@example.com',
    r'"\"victim@evil.example\""@example.com',
    "victim%evil.example%example.com@example.com",
    "example.com!evil.example!victim@example.com",
    "evil.example!victim%other.example@example.com",
    '"@example.com:victim@evil.example"@example.com',
    '"victim@evil.example@example.com"@example.com',
    '"evil.example::victim"@example.com',
    "IMCEASMTP-victim+40evil+2Eexample@example.com",
    "|victim@example.com",
    "-victim@example.com",
]
"""The forms of which a Postfix as it comes out of its package relays nine."""
OUTSIDE = "sender@outside.example"
OWN = """
myhostname = inside.example
mydestination = example.com, example.net
alias_maps = inline:{{ {{alice = alice@mailbox.example}} }}
inet_interfaces = loopback-only
inet_protocols = ipv4
relayhost = [127.0.0.1]:{relayhost}
"""


def manual(language: str) -> list[str]:
    """The blocks of the section about Postfix."""
    section = MANUAL.read_text().partition("\n## In front of Postfix\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@contextmanager
def behind(main=None):
    """A Postfix after the manual, `main` instead of its lines in main.cf; gives it and the server that shows what leaves it."""
    lines, service = manual("text")
    # Not below pytest's directories: they are closed to Postfix's own account.
    with TemporaryDirectory(prefix="postfix-") as directory, alone(), NextHop() as leaving:
        ours = OWN.format(relayhost=leaving.port)
        with Postfix(Path(directory), ours + (lines if main is None else main), service) as postfix:
            postfix.wait(PORT)
            yield postfix, leaving


def offer(client: Client, sender: str, recipients: list[str]) -> dict[str, str]:
    """One message a recipient; the reply to RCPT, or to the end of data of those it took."""
    replies = {}
    for recipient in recipients:
        client.ask("RSET")
        assert client.ask(f"MAIL FROM:<{sender}>").startswith("250")
        replies[recipient] = client.ask(f"RCPT TO:<{recipient}>")
        if replies[recipient].startswith("250"):
            client.ask("DATA")
            assert client.ask("Subject: x\r\n\r\nx\r\n.").startswith("250")
    return replies


def arrived(leaving: NextHop, recipient: str):
    return lambda: leaving.to(recipient)


def addressees(leaving: NextHop) -> set[str]:
    return {recipient for message in leaving.messages for recipient in message.recipients}


@pytest.mark.parametrize("sender", ["", OUTSIDE])
def test_postfix_after_the_manual_relays_no_form_that_comes_from_our_address(sender):
    """Even if they came: mailmoat is not there, its address is."""
    with behind() as (postfix, leaving):
        client = Client(PORT)
        client.ask("EHLO mx.example.com")
        replies = offer(client, sender, [*ROUTES, "alice@example.com"])
        wait_for(arrived(leaving, "alice@mailbox.example"), what="mail that is to arrive")
        if not sender:
            offer(client, sender, [OUTSIDE])
            wait_for(arrived(leaving, OUTSIDE), what="a report on its way out")
        wait_for(postfix.at_rest, what="the queue at rest")
        client.close()
    assert {recipient for recipient in ROUTES if replies[recipient].startswith("2")} == set()
    assert addressees(leaving) == {"alice@mailbox.example"} | ({OUTSIDE} if not sender else set())


def test_postfix_without_these_lines_relays_them():
    """What the lines are for; and that this test would see it."""
    with behind(main="") as (_, leaving):
        client = Client(PORT)
        client.ask("EHLO mx.example.com")
        offer(client, "", ROUTES)
        wait_for(lambda: len(leaving.to("victim@evil.example")) >= 8, what="relayed mail")
        client.close()


@pytest.mark.parametrize("lookup", ["true", "false"])
def test_nothing_is_relayed_through_us_without_a_recipient_file(server, lookup):
    with behind() as (postfix, leaving):
        mx = edge(server, MAILMOAT_RECIPIENTS__LOOKUP=lookup, MAILMOAT_NDR__PER_ADDRESS="off")
        client = mx.client()
        replies = offer(client, OUTSIDE, [*ROUTES, "alice@example.com"])
        wait_for(arrived(leaving, "alice@mailbox.example"), what="mail that is to arrive")
        offer(client, "victim%evil.example@example.com", ["victim%evil.example@example.com"])
        if lookup == "false":
            wait_for(lambda: len(leaving.to(OUTSIDE)) == len(ROUTES), seconds=60, what="a report for each")
        wait_for(lambda: mx.empty() and postfix.at_rest(), what="the queues at rest")
        mx.stop()
    wanted = "550 5.1.1 User unknown" if lookup == "true" else "250 2.1.5 "
    assert [reply for reply in replies.values() if not reply.startswith(wanted)] == (
        ["250 2.1.5 alice@example.com"] if lookup == "true" else []
    )
    assert addressees(leaving) == {"alice@mailbox.example"} | ({OUTSIDE} if lookup == "false" else set())


def test_relay_test_says_of_an_accepted_form_that_it_proves_nothing(server):
    """The server of this test relays nothing, but nobody can tell that from its 250."""
    with behind() as (_, leaving):
        mx = edge(server, MAILMOAT_RECIPIENTS__LOOKUP="false")
        asked = ("relay-test", f"127.0.0.1:{mx.port}", "--local-domain", "example.com", "--json")
        tested = mx.cli(*asked)
        mx.stop()
        mx.environment["MAILMOAT_RECIPIENTS__LOOKUP"] = "true"
        mx.start()
        strict = mx.cli(*asked)
        mx.stop()
    verdicts = {probe["rcpt_to"]: probe["verdict"] for probe in json.loads(tested.stdout)["probes"]}
    assert verdicts["<someone%example.org@example.com>"] == "inconclusive"
    assert verdicts['<"someone@example.org"@example.com>'] == "inconclusive"
    assert verdicts["<example.org!someone@example.com>"] == "inconclusive"
    assert "fail" not in verdicts.values()
    assert tested.returncode == 1
    assert json.loads(strict.stdout)["results"] | {"pass": 0} == {"pass": 0, "fail": 0, "inconclusive": 0}
    assert strict.returncode == 0
    assert leaving.messages == []


def edge(server, **environment):
    """mailmoat after the manual, but without a recipient file."""
    return server(
        manual("toml")[0].replace('file = "recipients.txt"\n', ""),
        MAILMOAT_RELAY__LOCAL_DOMAINS=None,
        MAILMOAT_RECIPIENTS__FILE=None,
        MAILMOAT_DELIVERY__NEXT_HOP=None,
        MAILMOAT_TARPIT__TIME="0",
        MAILMOAT_LIMITS__ERRORS="0",
        MAILMOAT_LIMITS__IDLE_COMMANDS="0",
        **environment,
    )
