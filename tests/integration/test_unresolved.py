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


def send_back(made, other):
    """Send the server what it has sent to another host."""
    with made.client() as again:
        again.ask(f"MAIL FROM:<{SENDER}>")
        again.ask(f"RCPT TO:<{NOBODY}>")
        again.ask("DATA")
        again.raw(other.messages[0].content + b"\r\n.\r\n")
        again.expect("", 250)
    wait_for(made.empty, what="empty spool")


def test_what_comes_back_from_there_goes_where_the_routes_say(server):
    with NextHop(RCPT=lambda line: "550 5.1.1 no" if NOBODY in line else "250 ok") as hop, NextHop() as other:
        made = start(server, hop, other)
        with made.client() as client:
            client.submit("one", NOBODY)
        wait_for(lambda: other.messages, what="message")
        send_back(made, other)
        assert len(other.messages) == 1
        assert [message.recipients for message in hop.messages] == [[SENDER]]


def unknown_for(*names):
    return lambda line: "550 5.1.1 no such user" if any(name in line for name in names) else "250 2.1.5 ok"


def test_what_the_next_hop_does_not_have_goes_to_the_other_host(server):
    with NextHop(RCPT=unknown_for("nobody", "ghost")) as hop, NextHop(RCPT=unknown_for("ghost")) as other:
        made = server(
            MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{hop.port}",
            MAILMOAT_NDR__UNRESOLVED_NEXT_HOP=f"smtp://127.0.0.1:{other.port}",
            MAILMOAT_RECIPIENTS__FILE=None,
        )
        with made.client() as client:
            client.submit("one", ALICE, NOBODY)
            client.submit("two", NOBODY, sender="")
            client.submit("three", "ghost@example.test", "postmaster@example.test")
            client.ask(f"MAIL FROM:<{SENDER}>")
            client.ask("RCPT TO:<nobody2@example.test> NOTIFY=NEVER")
            client.ask("DATA")
            client.raw(b"Subject: four\r\n\r\nbody\r\n.\r\n")
            client.expect("", 250)
        wait_for(made.empty, what="empty spool")
        got = sorted(message.recipients for message in hop.messages)
        assert got == [[ALICE], ["postmaster@example.test"], [SENDER]]
        assert sorted(message.recipients for message in other.messages) == [
            ["nobody2@example.test"],
            [NOBODY],
            [NOBODY],
        ]
        (report,) = [message for message in hop.messages if message.sender == ""]
        assert report.content.count(b"Action: failed") == 1
        assert b"Final-Recipient: rfc822; ghost@example.test" in report.content
    passed = {line["recipient"] for line in made.logged("recipient-passed-on")}
    assert passed == {NOBODY, "ghost@example.test", "nobody2@example.test"}
    assert len(made.logged("bounce-made")) == 1


def test_what_was_passed_on_waits_for_the_other_host_and_stays_there(server):
    with (
        NextHop(RCPT=unknown_for("nobody")) as hop,
        NextHop(RCPT=["450 4.2.1 later", "450 4.2.1 later", "250 ok"]) as other,
    ):
        made = server(
            MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{hop.port}",
            MAILMOAT_NDR__UNRESOLVED_NEXT_HOP=f"smtp://127.0.0.1:{other.port}",
            MAILMOAT_RECIPIENTS__FILE=None,
            MAILMOAT_DELIVERY__RETRY="1s",
        )
        with made.client() as client:
            client.submit("one", NOBODY)
        wait_for(lambda: len(other.commands) > 2, what="the first attempt there")
        assert made.stop() == 0
        made.start()
        wait_for(made.empty, what="empty spool")
        assert [command for command in hop.commands if "nobody" in command] == [f"RCPT TO:<{NOBODY}>"]
        assert [message.recipients for message in other.messages] == [[NOBODY]]


def test_a_refused_address_of_another_domain_or_a_circle_is_reported(server):
    with NextHop(RCPT=unknown_for("nobody", "far.test")) as hop, NextHop() as other:
        made = server(
            MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{hop.port}",
            MAILMOAT_NDR__UNRESOLVED_NEXT_HOP=f"smtp://127.0.0.1:{other.port}",
            MAILMOAT_RECIPIENTS__FILE=None,
            MAILMOAT_RELAY__NETWORKS="127.0.0.0/8",
        )
        with made.client() as client:
            client.submit("one", "x@far.test")
        wait_for(made.empty, what="empty spool")
        assert [message.recipients for message in hop.messages] == [[SENDER]]
        with made.client() as client:
            client.submit("two", NOBODY)
        wait_for(lambda: other.messages, what="message")
        send_back(made, other)
        assert len(other.messages) == 1
        assert [message.recipients for message in hop.messages] == [[SENDER], [SENDER]]


def test_an_administrator_can_send_an_unresolved_recipient_elsewhere(server):
    with NextHop() as hop, NextHop(RCPT="450 4.2.1 later") as other, NextHop(RCPT=unknown_for("nobody")) as third:
        made = start(server, hop, other)
        with made.client() as client:
            queue_id = client.submit("one", NOBODY).split()[2]
        wait_for(lambda: made.queue()[0]["attempts"], what="attempt")
        made.cli("queue", "redirect", f"smtp://127.0.0.1:{third.port}", queue_id, check=True)
        made.cli("queue", "flush", check=True)
        wait_for(made.empty, what="empty spool")
        assert f"RCPT TO:<{NOBODY}>" in third.commands
        assert [message.recipients for message in hop.messages] == [[SENDER]], "what is refused there is reported"
