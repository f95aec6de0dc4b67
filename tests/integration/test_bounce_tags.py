"""What leaves is signed, its bounce is accepted and comes to the mailbox without the tag, and a bounce about a forged message is refused."""

from __future__ import annotations

from tests.doubles.next_hop import NextHop
from tests.integration.conftest import wait_for

ALICE = "alice@example.test"


def start(server, hop, mode, **more):
    return server(
        **{
            "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{hop.port}",
            "MAILMOAT_DELIVERY__BOUNCE_TAGS": "always",
            "MAILMOAT_BOUNCE_TAGS__MODE": mode,
            "MAILMOAT_BOUNCE_TAGS__UNSIGNED_DOMAINS": "lists.test",
            "MAILMOAT_RELAY__NETWORKS": "127.0.0.2/32",
            **more,
        }
    )


def sent(hop, recipient):
    return wait_for(lambda: hop.to(recipient), what="message")[0].sender


def test_a_bounce_about_what_we_sent_comes_back_and_no_other(server):
    with NextHop() as hop:
        made = start(server, hop, "reject")
        with made.client(bind="127.0.0.2") as inside:
            for name, recipient, sender in (
                ("one", "x@remote.test", ALICE),
                ("two", "y@lists.test", ALICE),
                ("three", "z@remote.test", "someone@elsewhere.test"),
            ):
                inside.submit(name, recipient, sender=sender)
        tagged = sent(hop, "x@remote.test")
        assert tagged.startswith("prvs=")
        assert tagged.endswith(f"={ALICE}")
        assert sent(hop, "y@lists.test") == ALICE
        assert sent(hop, "z@remote.test") == "someone@elsewhere.test"
        with made.client() as outside:
            assert outside.ask("MAIL FROM:<>").code == 250
            refused = outside.ask(f"RCPT TO:<{ALICE}>")
            assert (refused.code, refused.text[:5]) == (550, "5.7.1")
            assert outside.ask(f"RCPT TO:<{tagged.replace('prvs=', 'prvs=9')[:-1]}>").code == 550
            outside.ask("RSET")
            outside.submit("four", tagged, sender="")
        wait_for(lambda: hop.to(ALICE), what="bounce")
        assert hop.to(ALICE)[0].sender == ""
    key = made.directory / "spool" / "bounce-tags.key"
    assert key.read_text().startswith("0 ")


def test_tags_outlive_a_restart(server):
    with NextHop() as hop:
        made = start(server, hop, "reject")
        with made.client(bind="127.0.0.2") as inside:
            inside.submit("one", "x@remote.test", sender=ALICE)
        tagged = sent(hop, "x@remote.test")
        made.stop()
        made.start()
        with made.client() as outside:
            outside.submit("two", tagged, sender="")
        wait_for(lambda: hop.to(ALICE), what="bounce")
