"""Options of domains at a real server: each spelling of a recipient is accepted, and delivered as the client wrote it."""

from __future__ import annotations

import json

from tests.doubles.next_hop import NextHop
from tests.integration.conftest import wait_for

ROWS = [
    {"domains": "dots.test", "dots": "ignore"},
    {"domains": "case.test", "case": "keep", "delimiter": "-"},
]


def test_spellings_are_those_of_the_domain_and_delivery_keeps_them(server, tmp_path):
    file = tmp_path / "recipients.txt"
    file.write_text("first.last@dots.test\nBob@case.test\nbob@case.test\nann@example.test\n")
    with NextHop() as hop:
        made = server(
            MAILMOAT_WORKERS="1",
            MAILMOAT_RECIPIENTS__FILE=str(file),
            MAILMOAT_RELAY__LOCAL_DOMAINS="dots.test, case.test, example.test",
            MAILMOAT_RECIPIENT_DOMAINS=json.dumps(ROWS),
            MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{hop.port}",
        )
        with made.client() as client:
            client.expect("MAIL FROM:<sender@remote.test>", 250)
            for written, code in {
                "Fir.st.Last+Tag@dots.test": 250,
                "firstlast@dots.test": 250,
                "firstlast+tag@dots.test": 250,
                "last@dots.test": 550,
                "Bob@case.test": 250,
                "bob@case.test": 250,
                "BOB@case.test": 550,
                "Bob-x@case.test": 250,
                "bob+x@case.test": 550,
                "ANN@example.test": 250,
                "ann@example.test": 250,
                "a.nn@example.test": 550,
            }.items():
                client.expect(f"RCPT TO:<{written}>", code)
            client.expect("DATA", 354)
            client.expect("Subject: a\r\n\r\nb\r\n.", 250)
        wait_for(lambda: hop.messages, what="message")
        wait_for(made.empty, what="empty spool")
        # Of several spellings of one mailbox the first is delivered.
        assert hop.messages[0].recipients == [
            "Fir.st.Last+Tag@dots.test",
            "firstlast@dots.test",
            "Bob@case.test",
            "bob@case.test",
            "Bob-x@case.test",
            "ANN@example.test",
        ]
