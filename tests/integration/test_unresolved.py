"""Recipients that the file does not have go to another host instead of a bounce, and never round in a circle."""

from __future__ import annotations

from tests.doubles.next_hop import NextHop
from tests.integration.conftest import wait_for

ALICE, NOBODY, SENDER = "alice@example.test", "nobody@example.test", "sender@remote.test"


def start(server, hop, other):
    return server(
        MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{hop.port}",
        MAILMOAT_NDR__UNRESOLVED_NEXT_HOP=f"smtp://127.0.0.1:{other.port}",
        MAILMOAT_RECIPIENTS__LOOKUP="false",
    )


def test_unresolved_recipients_go_to_another_host(server):
    with NextHop() as hop, NextHop() as other:
        made = start(server, hop, other)
        with made.client() as client:
            client.submit("one", ALICE, NOBODY, "postmaster@example.test")
            client.submit("two", NOBODY, sender="")
        wait_for(made.empty, what="empty spool")
        assert [message.recipients for message in hop.messages] == [[ALICE, "postmaster@example.test"]]
        assert [message.recipients for message in other.messages] == [[NOBODY], [NOBODY]]
    assert made.logged("bounce-made") == []


def test_what_the_other_host_refuses_is_reported(server):
    with NextHop() as hop, NextHop(RCPT="550 5.1.1 not here either") as other:
        made = start(server, hop, other)
        with made.client() as client:
            client.submit("one", NOBODY)
        wait_for(made.empty, what="empty spool")
        assert [message.recipients for message in hop.messages] == [[SENDER]]
        assert b"not here either" in hop.messages[0].content


def test_what_comes_back_from_there_goes_where_the_routes_say(server):
    with NextHop(RCPT=lambda line: "550 5.1.1 no" if NOBODY in line else "250 ok") as hop, NextHop() as other:
        made = start(server, hop, other)
        with made.client() as client:
            client.submit("one", NOBODY)
        wait_for(lambda: other.messages, what="message")
        with made.client() as again:
            again.ask(f"MAIL FROM:<{SENDER}>")
            again.ask(f"RCPT TO:<{NOBODY}>")
            again.ask("DATA")
            again.raw(other.messages[0].content + b"\r\n.\r\n")
            again.expect("", 250)
        wait_for(made.empty, what="empty spool")
        assert len(other.messages) == 1
        assert [message.recipients for message in hop.messages] == [[SENDER]]
