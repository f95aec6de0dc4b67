"""Reports about what could not be delivered: who gets one, what it says, and who never gets one."""

from __future__ import annotations

import email
import email.policy

import pytest
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import wait_for

SENDER, ALICE, BOB, CAROL = "sender@remote.test", "alice@example.test", "bob@example.test", "carol@all.example.test"


def start(server, hop, **more):
    return server(
        **{
            "MAILMOAT_WORKERS": "1",
            "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{hop.port}",
            "MAILMOAT_DELIVERY__RETRY": "1",
            **more,
        }
    )


def read(received):
    """The three parts of a report: text, status fields (of the message, then of each recipient), what is returned."""
    assert received.sender == ""
    report = email.message_from_bytes(received.content, policy=email.policy.SMTP)
    assert (report.get_content_type(), report.get_param("report-type")) == ("multipart/report", "delivery-status")
    assert report["Auto-Submitted"] == "auto-replied"
    assert not report.defects
    text, status, returned = report.get_payload()
    assert text.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    return report, text.get_content(), status.get_payload(), returned


@pytest.mark.parametrize("stage", ["RCPT", "MAIL", "end"])
def test_a_550_makes_exactly_one_report_to_the_sender(server, stage):
    reply = "550 5.7.1 We do not want this"

    def refuse(line):
        # The report itself, with its null reverse-path and to its sender, is taken.
        return "250 ok" if "<>" in line or SENDER in line.partition("TO:")[2] else reply

    with NextHop(**{stage: refuse}) as hop:
        made = start(server, hop)
        with made.client() as client:
            queue_id = client.submit("one", ALICE, body=b"the body\r\n").split()[2]
        wait_for(lambda: hop.messages, what="report")
        wait_for(made.empty, what="empty spool")
        (received,) = hop.messages
    assert received.recipients == [SENDER]
    report, text, (message, recipient), returned = read(received)
    assert report["To"] == SENDER
    assert report["From"].addresses[0].addr_spec == "postmaster@example.test"
    assert "We do not want this" in text
    assert message["Reporting-MTA"] == "dns; mx.example.test"
    assert message["X-Mailmoat-Queue-ID"] == queue_id
    assert message["Received-From-MTA"] == "dns; [127.0.0.1]"
    assert recipient["Final-Recipient"] == f"rfc822; {ALICE}"
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.7.1")
    assert recipient["Diagnostic-Code"] == f"smtp; {reply}"
    assert recipient["Remote-MTA"] == "dns; [127.0.0.1]"
    assert returned.get_content_type() == "text/rfc822-headers"
    original = email.message_from_string(returned.get_payload(), policy=email.policy.SMTP)
    assert original["Message-ID"] == "<one@remote.test>"
    assert f"id {queue_id}" in original["Received"]
    assert b"the body" not in received.content, "anybody could have sent it in this name"
    (line,) = made.logged("bounce-made")
    assert (line["about"], line["to"], line["recipients"]) == (queue_id, [SENDER], [ALICE])


@pytest.mark.parametrize(
    ("size", "kind"), [(10, "message/rfc822"), (100_000, "message/rfc822"), (110_000, "text/rfc822-headers")]
)
def test_what_a_client_of_ours_brought_goes_back_up_to_the_size_that_is_set(server, size, kind):
    """Wherever the content is: of 100,000 octets the body is in a file."""
    with NextHop(RCPT=lambda line: "550 5.1.1 no" if ALICE in line else "250 ok") as hop:
        made = start(
            server,
            hop,
            MAILMOAT_RELAY__NETWORKS="127.0.0.0/8",
            MAILMOAT_DELIVERY__RETURN_SIZE="105000",
            MAILMOAT_LIMITS__MEMORY_CONTENT="50000",
        )
        with made.client() as client:
            client.submit("one", ALICE, body=b"12345678\r\n" * (size // 10))
        wait_for(lambda: hop.messages, what="report")
        (received,) = hop.messages
    returned = read(received)[3]
    assert returned.get_content_type() == kind
    assert received.content.count(b"12345678\r\n") == (size // 10 if kind == "message/rfc822" else 0)


def test_one_report_for_all_that_failed_and_for_none_that_did_not(server):
    refused = {BOB: "550 5.1.1 no bob", CAROL: "553 5.1.3 no such name"}

    def rcpt(line):
        return next((reply for address, reply in refused.items() if address in line), "250 ok")

    with NextHop(RCPT=rcpt) as hop:
        made = start(server, hop)
        with made.client() as client:
            client.submit("one", BOB, ALICE, CAROL)
        wait_for(lambda: hop.to(SENDER), what="report")
        wait_for(made.empty, what="empty spool")
        (message,), (received,) = hop.to(ALICE), hop.to(SENDER)
    assert len(hop.messages) == 2
    assert message.recipients == [ALICE]
    _, text, (_, *recipients), _ = read(received)
    assert [(part["Final-Recipient"], part["Status"]) for part in recipients] == [
        (f"rfc822; {BOB}", "5.1.1"),
        (f"rfc822; {CAROL}", "5.1.3"),
    ]
    assert ALICE not in text


def test_expiry_makes_a_report(server):
    with NextHop(RCPT=lambda line: "250 ok" if SENDER in line else "450 4.2.1 busy") as hop:
        made = start(server, hop, MAILMOAT_DELIVERY__EXPIRE="2")
        with made.client() as client:
            client.submit("one", ALICE)
        wait_for(lambda: hop.messages, what="report")
        wait_for(made.empty, what="empty spool")
        (received,) = hop.messages
    _, text, (_, recipient), _ = read(received)
    assert (recipient["Action"], recipient["Status"]) == ("failed", "4.4.7")
    assert recipient["Diagnostic-Code"] == "smtp; 450 4.2.1 busy"
    assert "within 2 seconds" in text
    (expired,) = made.logged("message-expired")
    assert expired["attempts"] >= 2
    assert expired["age"] >= 2


def test_with_lookup_off_unknown_recipients_are_reported_later(server):
    with NextHop() as hop:
        made = start(server, hop, MAILMOAT_RECIPIENTS__LOOKUP="false")
        with made.client() as client:
            client.submit("one", ALICE, "nobody@example.test")
        wait_for(lambda: len(hop.messages) == 2, what="message and report")
        wait_for(made.empty, what="empty spool")
        (message,), (received,) = hop.to(ALICE), hop.to(SENDER)
    assert message.recipients == [ALICE]
    _, text, (_, recipient), _ = read(received)
    assert recipient["Final-Recipient"] == "rfc822; nobody@example.test"
    assert recipient["Status"] == "5.1.1"
    assert recipient["Remote-MTA"] is None, "the next hop was never asked"
    assert "127.0.0.1" not in text


def test_a_null_reverse_path_never_makes_a_report(server):
    with NextHop(RCPT="550 5.1.1 no") as hop:
        made = start(server, hop, MAILMOAT_NDR__COPY_TO=BOB)
        with made.client() as client:
            client.submit("one", ALICE, sender="")
        wait_for(lambda: made.logged("bounce-suppressed"), what="log line")
        wait_for(made.empty, what="empty spool")
        assert hop.messages == []
    (line,) = made.logged("bounce-suppressed")
    assert (line["reason"], line["recipients"]) == ("null-reverse-path", [ALICE])
    assert made.logged("bounce-made") == []


def test_switched_off_no_report_is_made_and_the_log_says_so(server):
    with NextHop(RCPT="550 5.1.1 no") as hop:
        made = start(server, hop, MAILMOAT_NDR__ENABLED="false")
        with made.client() as client:
            client.submit("one", ALICE)
        wait_for(made.empty, what="empty spool")
        wait_for(lambda: made.logged("bounce-suppressed"), what="log line")
        assert hop.messages == []
    assert [line["reason"] for line in made.logged("bounce-suppressed")] == ["ndr-disabled"]
    assert made.logged("bounce-made") == []


def test_a_copy_goes_to_whom_the_operator_named(server):
    with NextHop(RCPT=lambda line: "550 5.1.1 no" if ALICE in line else "250 ok") as hop:
        made = start(server, hop, MAILMOAT_NDR__COPY_TO="watch@example.test")
        with made.client() as client:
            client.submit("one", ALICE)
        wait_for(lambda: hop.messages, what="report")
        wait_for(made.empty, what="empty spool")
        (received,) = hop.messages
    assert received.recipients == [SENDER, "watch@example.test"]
    assert read(received)[0]["To"] == SENDER


def test_a_report_that_fails_is_dropped_and_the_log_says_so(server):
    with NextHop(RCPT="550 5.1.1 nobody is here") as hop:
        made = start(server, hop)
        with made.client() as client:
            queue_id = client.submit("one", ALICE).split()[2]
        wait_for(lambda: made.logged("bounce-suppressed"), what="log line")
        wait_for(made.empty, what="empty spool")
        assert hop.messages == []
    (report,), (dropped,) = made.logged("bounce-made"), made.logged("bounce-suppressed")
    assert report["about"] == queue_id
    assert (dropped["about"], dropped["reason"], dropped["recipients"]) == (
        report["queue_id"],
        "null-reverse-path",
        [SENDER],
    )


@pytest.mark.parametrize("state", ["before the report", "between report and removal"])
def test_a_crash_reports_at_least_once(server, state):
    """The spool as a crash leaves it: the failed recipient is still pending, and the report is there or not."""
    from mailmoat import _native, clock

    hop = NextHop(RCPT=lambda line: "550 5.1.1 no" if ALICE in line else "250 ok")
    with hop:
        made = start(server, hop, start=False)
        (made.directory / "spool").mkdir()
        partition = _native.Partition.create(made.environment["MAILMOAT_SPOOL_DIR"])
        reports = [("", SENDER)] if state != "before the report" else []
        for sender, recipient in ((SENDER, ALICE), *reports):
            message = _native.Message(
                queue_id=partition.next_queue_id(), arrival=clock.wall_ms(), reverse_path=sender, recipients=[recipient],
                content=b"Message-ID: <left@remote.test>\r\n\r\nx\r\n",
            )  # fmt: skip
            partition.insert(object(), message)
        partition.close()
        made.start()
        wait_for(lambda: len(hop.to(SENDER)) == 1 + len(reports), what="report")
        wait_for(made.empty, what="empty spool")
    assert all(message.sender == "" for message in hop.messages)
    assert len(made.logged("bounce-made")) == 1


def test_a_reload_takes_the_texts_that_have_changed_and_names_what_is_wrong_in_them(server, tmp_path):
    """Although no setting has changed."""
    texts = tmp_path / "texts"
    texts.mkdir()
    file = texts / "en.txt"
    file.write_text("[failed.subject]\nOnce\n")
    with NextHop(RCPT=lambda line: "550 5.1.1 no" if ALICE in line else "250 ok") as hop:
        made = start(server, hop, MAILMOAT_REPORTS__TEMPLATES=str(texts), MAILMOAT_NDR__FOLD_TIME="0")

        def subject(number):
            with made.client() as client:
                client.submit(f"m{number}", ALICE)
            wait_for(lambda: len(hop.messages) == number, what="report")
            return read(hop.messages[-1])[0]["Subject"]

        assert subject(1) == "Once"
        file.write_text("[failed.subject]\nTwice\n")
        made.cli("reload", check=True)
        assert subject(2) == "Twice"
        file.write_text("[failed.subject]\n{oops}\n")
        refused = made.cli("reload")
        assert refused.returncode == 1
        assert f"refused: reports.templates: {file}, line 2: {{oops}} is not a placeholder" in refused.stderr
        assert subject(3) == "Twice"
