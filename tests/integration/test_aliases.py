"""Aliases of the recipient file, from RCPT to the next hop and to the report."""

from __future__ import annotations

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
