"""An upgrade with messages in the queue: a spool of the schema before is adopted and delivered."""

from __future__ import annotations

from tests.doubles.next_hop import NextHop
from tests.golden.spools import SCHEMA_1

REPORT = b"Content-Type: multipart/report"
HEADER_ALONE = b"Content-Type: text/rfc822-headers"

MESSAGES = {
    b"small": [["alice@example.test"]],
    b"large": [["alice@example.test"]],
    b"deferred": [["bob@example.test"]],
    b"several": [["again@example.test", "fresh@example.test"]],
    b"international": [["alice@example.test", "δοκ@example.test"]],
    b"report": [["carol@example.test"]],
}
"""Messages by their Message-ID, and the recipients of each transaction they come in."""
REPORTED = [["ann@remote.test"], ["ann@remote.test"], ["victim@remote.test"]]


def test_a_spool_of_schema_1_is_adopted_and_delivered(server):
    with NextHop() as hop:
        made = server(
            start=False,
            MAILMOAT_WORKERS="2",
            MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{hop.port}",
            MAILMOAT_DELIVERY__EXPIRE="36500d",
        )
        SCHEMA_1.copy(made.directory / "spool")
        made.start()
        made.until(made.empty, what="an empty spool")
        (adopted,) = made.logged("partition-adopted")
        assert (adopted["partition"], adopted["messages"]) == (SCHEMA_1.tag, len(SCHEMA_1.queued))
        reports = [message for message in hop.messages if REPORT in message.content]
        sent = [message for message in hop.messages if message not in reports]
        arrived = {
            name: [sorted(message.recipients) for message in sent if b"Message-ID: <%b@" % name in message.content]
            for name in MESSAGES
        }
        assert arrived == MESSAGES
        assert len(sent) == len(MESSAGES)
        (large,) = [message for message in sent if b"Message-ID: <large@" in message.content]
        assert large.content.endswith(b"\r\n\r\n" + b"A line of a large message.\r\n" * 100)
        assert sorted(message.recipients for message in reports) == REPORTED
        # Results of authentication were not kept as values then: nothing vouches for the sender.
        assert all(HEADER_ALONE in message.content for message in reports)
        assert made.health()["status"] == "ok"
        partition = made.directory / "spool" / "partitions" / SCHEMA_1.tag
        made.until(lambda: not partition.exists(), what="the removal of the partition")
