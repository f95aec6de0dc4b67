"""Aliases of the recipient file, from RCPT to the next hop and to the report."""

from __future__ import annotations

import json
import sqlite3

import pytest
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import wait_for

LINES = "alice@example.test\nbob@example.test\nboth@example.test = alice@example.test, carol@elsewhere.test\n"


def to(hop):
    return {"MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{hop.port}"}


def test_an_alias_is_delivered_to_its_addresses_and_a_report_says_that_it_was_expanded(server, tmp_path):
    file = tmp_path / "aliases.txt"
    file.write_text(LINES)
    with NextHop() as hop:
        made = server(MAILMOAT_WORKERS="1", MAILMOAT_RECIPIENTS__FILE=str(file), **to(hop))
        with made.client() as client:
            client.expect("MAIL FROM:<sender@remote.test> ENVID=e1", 250)
            assert "Both@example.test" in client.expect("RCPT TO:<Both@example.test> NOTIFY=SUCCESS,FAILURE", 250)
            client.expect("RCPT TO:<alice@example.test>", 250)
            client.expect("DATA", 354)
            client.expect("Subject: a\r\n\r\nb\r\n.", 250)
        wait_for(lambda: len(hop.messages) == 2, what="message and report")
        wait_for(made.empty, what="empty spool")
        (message,) = [one for one in hop.messages if one.recipients != ["sender@remote.test"]]
        assert message.mail.startswith("MAIL FROM:<sender@remote.test>")
        assert message.recipients == ["alice@example.test", "carol@elsewhere.test"]
        (report,) = hop.to("sender@remote.test")
        assert b"Action: expanded" in report.content
        assert b"Final-Recipient: rfc822; Both@example.test" in report.content
        assert b"carol@elsewhere.test" not in report.content
        (logged,) = made.logged("recipient-redirected")
        assert (logged["recipient"], logged["to"]) == (
            "Both@example.test",
            ["alice@example.test", "carol@elsewhere.test"],
        )


TARGETS = {
    "team@example.test": ["ann@example.test", "bob@minus.test", "cid+own@example.test", "dan@elsewhere.test"],
    "ann@example.test": [],
}


def in_a_file(tmp_path):
    lines = [f"{address} = {', '.join(targets)}" if targets else address for address, targets in TARGETS.items()]
    (tmp_path / "aliases.txt").write_text("\n".join((*lines, "bob@minus.test\n")))
    return {"MAILMOAT_RECIPIENTS__FILE": str(tmp_path / "aliases.txt")}, ""


def in_a_live_source(tmp_path, listed=TARGETS):
    base = sqlite3.connect(tmp_path / "db")
    base.execute("CREATE TABLE aliases(address TEXT, targets TEXT)")
    base.executemany("INSERT INTO aliases VALUES (?, ?)", [(one, ",".join(targets)) for one, targets in listed.items()])
    base.commit()
    base.close()
    query = "SELECT address, targets FROM aliases WHERE address = :address"
    rows = f'[[directories]]\nname = "base"\nurl = "sqlite://{tmp_path}/db"\nmode = "live"\nlookup_query = "{query}"\n'
    return {}, rows + 'target_domains = ["elsewhere.test"]\n'


@pytest.mark.parametrize("listed", [in_a_file, in_a_live_source])
def test_the_detail_of_a_subaddress_goes_on_to_our_targets(server, tmp_path, listed):
    settings, toml = listed(tmp_path)
    with NextHop() as hop:
        made = server(
            toml,
            MAILMOAT_WORKERS="1",
            MAILMOAT_RELAY__LOCAL_DOMAINS="example.test, minus.test",
            MAILMOAT_RECIPIENT_DOMAINS=json.dumps([{"domains": "minus.test", "delimiter": "-"}]),
            **settings,
            **to(hop),
        )
        with made.client() as client:
            client.expect("MAIL FROM:<sender@remote.test>", 250)
            made.until(lambda: client.ask("RCPT TO:<Team+News@example.test>").code == 250, what="answer of the source")
            client.expect("DATA", 354)
            client.expect("Subject: a\r\n\r\nb\r\n.", 250)
        wait_for(lambda: hop.messages, what="message")
        wait_for(made.empty, what="empty spool")
        assert [line for line in hop.commands if line.startswith("RCPT")] == [
            "RCPT TO:<ann+News@example.test>",
            "RCPT TO:<bob-News@minus.test>",
            "RCPT TO:<cid+own@example.test>",
            "RCPT TO:<dan@elsewhere.test>",
        ]


def test_each_of_a_thousand_targets_has_the_original_recipient_of_the_alias(server, tmp_path):
    """RFC 3461 5.2.7: ORCPT goes on to all of them as it was given."""
    targets = [f"user{number:03}@example.test" for number in range(1000)]
    (tmp_path / "aliases.txt").write_text("\n".join((*targets, f"team@example.test = {', '.join(targets)}\n")))
    with NextHop(EHLO="250-hop\r\n250 DSN") as hop:
        made = server(
            MAILMOAT_WORKERS="1",
            MAILMOAT_RECIPIENTS__FILE=str(tmp_path / "aliases.txt"),
            MAILMOAT_LIMITS__RECIPIENTS="1001",
            **to(hop),
        )
        with made.client() as client:
            client.expect("MAIL FROM:<sender@remote.test>", 250)
            client.expect("RCPT TO:<user007@example.test> NOTIFY=NEVER ORCPT=rfc822;other@remote.test", 250)
            client.expect("RCPT TO:<team@example.test> NOTIFY=FAILURE ORCPT=rfc822;list+2B1@remote.test", 250)
            client.expect("RCPT TO:<team@example.test>", 452)
            client.expect("DATA", 354)
            client.expect("Subject: a\r\n\r\nb\r\n.", 250)
        wait_for(made.empty, what="empty spool")
        asked = {line.split()[1]: line.split()[2:] for line in hop.commands if line.startswith("RCPT")}
        assert asked.pop("TO:<user007@example.test>") == ["NOTIFY=NEVER", "ORCPT=rfc822;other@remote.test"]
        assert list(asked) == [f"TO:<{target}>" for target in targets if not target.startswith("user007")]
        assert {tuple(given) for given in asked.values()} == {("NOTIFY=FAILURE", "ORCPT=rfc822;list+2B1@remote.test")}


def test_targets_in_a_circle_over_two_sources_end_where_they_are_first_named(server, tmp_path):
    """What a live source says is not looked up again, so there is nothing to go round in."""
    (tmp_path / "aliases.txt").write_text("a@example.test = b@example.test\n")
    listed = {
        "b@example.test": ["a@example.test"],
        "self@example.test": ["self@example.test"],
        "keeps@example.test": ["keeps@example.test", "b@example.test"],
    }
    _, toml = in_a_live_source(tmp_path, listed)
    with NextHop() as hop:
        made = server(toml, MAILMOAT_WORKERS="1", MAILMOAT_RECIPIENTS__FILE=str(tmp_path / "aliases.txt"), **to(hop))
        reached = {
            "a": ["b@example.test"],
            "b": ["a@example.test"],
            "self": ["self@example.test"],
            "keeps": ["keeps@example.test", "b@example.test"],
            "self+x": ["self+x@example.test"],
        }
        for number, (name, expected) in enumerate(reached.items(), 1):
            with made.client() as client:
                client.expect("MAIL FROM:<sender@remote.test>", 250)
                made.until(
                    lambda: client.ask(f"RCPT TO:<{name}@example.test>").code == 250,  # noqa: B023 - called at once
                    what="answer of the source",
                )
                client.expect("DATA", 354)
                client.expect("Subject: a\r\n\r\nb\r\n.", 250)
            wait_for(lambda: len(hop.messages) == number, what="message")  # noqa: B023 - called at once
            assert hop.messages[-1].recipients == expected
        wait_for(made.empty, what="empty spool")
