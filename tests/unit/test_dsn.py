"""Reports: read back field by field with the library's parser, compared with golden files, and held against hostile values."""

import base64
import email
import email.policy
import os
import quopri
import re
from datetime import UTC, datetime
from email.utils import format_datetime, parseaddr, parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat import clock
from mailmoat.reports.dsn import render
from mailmoat.reports.kind import ReportKind
from mailmoat.reports.languages import shipped
from mailmoat.reports.report import Original, Report, ReportedRecipient
from mailmoat.reports.status import status

GOLDEN = Path(__file__).parent.parent / "golden"
ARRIVAL, ATTEMPT, NOW = 1_790_000_000_000, 1_790_000_060_000, 1_790_000_061_500
ORIGINAL = (
    b"Received: from client.example ([192.0.2.7]) by mx.example.test with ESMTP id q7\r\n"
    b"From: Ann <ann@example.org>\r\nTo: nobody@example.test\r\nSubject: Hello\r\n"
    b"Message-ID:\r\n <one@example.org>\r\n\r\nOne line\r\n.\r\nand another\r\n"
)
UNKNOWN = ReportedRecipient("nobody@example.test", "550 5.1.1 User unknown", "hub.example.test", ATTEMPT)
LONG_REPLY = "554 5.7.1 Refused by policy; see https://policy.example.test/why?" + "x" * 120 + " " + "and so on " * 40


def report(*failures, **changes):
    """The rendered report; `changes` are fields of the notification or of the original message."""
    about = {
        "queue_id": "q7",
        "arrival_ms": ARRIVAL,
        "reverse_path": "ann@example.org",
        "client": "192.0.2.7",
        "octets": ORIGINAL,
        "whole": True,
        "envelope_id": "",
    }
    about |= {name: changes.pop(name) for name in tuple(changes) if name in about}
    fields = {
        "reporting_mta": "mx.example.test",
        "postmaster": "postmaster@example.test",
        "original": Original(**about),
        "kind": ReportKind.FAILED,
        "recipients": list(failures) or [UNKNOWN],
        "date_ms": NOW,
        "message_id": "<q8@mx.example.test>",
        "boundary": "=_q8",
    }
    return render(Report(**(fields | changes)), [shipped()["en"]])


def parse(octets, policy=email.policy.default):
    parsed = email.message_from_bytes(octets, policy=policy)
    assert not [part.defects for part in parsed.walk() if part.defects]
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    assert len(parsed.get_payload()) == 3
    return parsed


def status_blocks(octets):
    return parse(octets, email.policy.compat32).get_payload(1).get_payload()


def check_lines(octets):
    assert octets.endswith(b"\r\n")
    lines = octets.split(b"\r\n")
    assert all(len(line) <= 998 and b"\r" not in line and b"\n" not in line and b"\0" not in line for line in lines)


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.compat32])
def test_the_report_reads_back_field_by_field(policy):
    octets = report()
    parsed = parse(octets, policy)
    assert octets.isascii()
    assert parsed.keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "MIME-Version", "Content-Type",
    ]  # fmt: skip
    assert parsed["From"] == "Mail Delivery System <postmaster@example.test>"
    assert parseaddr(str(parsed["To"])) == ("", "ann@example.org")
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert parsed["MIME-Version"] == "1.0"
    assert parsed["Message-ID"] == "<q8@mx.example.test>"
    assert parsed["In-Reply-To"] == parsed["References"] == "<one@example.org>"
    assert parsedate_to_datetime(str(parsed["Date"])) == datetime.fromtimestamp(NOW // 1000, UTC)
    text, delivery_status, returned = parsed.get_payload()
    assert text.get_content_type() == "text/plain"
    assert text.get_content_charset() == "us-ascii"
    words = text.get_payload()
    for part in (
        "mx.example.test",
        "nobody@example.test",
        "550 5.1.1 User unknown",
        "hub.example.test",
        "q7",
        "postmaster@example.test",
    ):
        assert part in words
    assert delivery_status.get_content_type() == "message/delivery-status"
    message, recipient = delivery_status.get_payload()
    assert message["Reporting-MTA"] == "dns; mx.example.test"
    assert message["Received-From-MTA"] == "dns; [192.0.2.7]"
    assert parsedate_to_datetime(str(message["Arrival-Date"])) == datetime.fromtimestamp(ARRIVAL // 1000, UTC)
    assert recipient["Final-Recipient"] == "rfc822; nobody@example.test"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert recipient["Remote-MTA"] == "dns; hub.example.test"
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 User unknown"
    assert parsedate_to_datetime(str(recipient["Last-Attempt-Date"])) == datetime.fromtimestamp(ATTEMPT // 1000, UTC)
    assert returned.get_content_type() == "message/rfc822"
    assert returned.get_payload(0)["Subject"] == "Hello"


def test_the_returned_message_keeps_its_octets():
    octets = report()
    assert (
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + ORIGINAL + b"\r\n--=_q8--\r\n"
        in octets
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("report-unknown", {}),
        ("report-expired-headers", {
            "recipients": [
                ReportedRecipient("a@example.test", "451 4.3.2 Try later", "hub.example.test", ATTEMPT, 5 * 86_400.0),
                ReportedRecipient("b@example.test", "connection refused", "", ATTEMPT, 5 * 86_400.0),
                ReportedRecipient("c@example.test", LONG_REPLY, "hub.example.test", ATTEMPT),
            ],
            "whole": False,
        }),
        ("report-international", {
            "reverse_path": "jörg@example.org",
            "client": "2001:db8::7",
            "recipients": [ReportedRecipient("žofie@xn--bcher-kva.example", "550 5.1.1 Unbekannt: žofie", "hub.example.test", ATTEMPT)],
            "octets": "From: jörg@example.org\r\nSubject: Grüße\r\n\r\nÄ\r\n".encode(),
        }),
    ],
)  # fmt: skip
def test_golden(name, arguments, monkeypatch):
    monkeypatch.setattr(clock, "rfc5322_date", lambda ms: format_datetime(datetime.fromtimestamp(ms // 1000, UTC)))
    monkeypatch.setattr(clock, "plain_date", lambda ms: f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d %H:%M %z}")
    octets = report(**arguments)
    golden = GOLDEN / f"{name}.eml"
    if "MAILMOAT_TEST_WRITE_GOLDEN" in os.environ:
        golden.write_bytes(octets)
    parse(octets)
    check_lines(octets)
    assert octets == golden.read_bytes()


def test_expiry_says_how_long_it_was_tried_and_keeps_the_last_reply():
    octets = report(
        ReportedRecipient("a@example.test", "451 4.3.2 Try later", "hub.example.test", ATTEMPT, 5 * 86_400.0)
    )
    recipient = status_blocks(octets)[1]
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "4.4.7"
    assert recipient["Diagnostic-Code"] == "smtp; 451 4.3.2 Try later"
    assert b"could not be delivered within 5 days" in octets
    for seconds, words in ((86_400.0, b"1 day."), (5400.0, b"90 minutes."), (60.0, b"1 minute."), (0.0, b"0 seconds.")):
        assert b"within " + words in report(ReportedRecipient("a@b", "x", expired_after_s=seconds)).replace(
            b"\r\n   ", b""
        )


def test_a_reason_of_our_own_is_not_passed_off_as_a_reply():
    recipient = status_blocks(report(ReportedRecipient("a@example.test", "421 4.4.1 No connection")))[1]
    assert recipient["Diagnostic-Code"] == "X-Mailmoat; 421 4.4.1 No connection"
    recipient = status_blocks(report(ReportedRecipient("a@example.test", "552 5.2.2 Full", at_socket=True)))[1]
    assert (recipient["Diagnostic-Code"], recipient["Remote-MTA"]) == ("smtp; 552 5.2.2 Full", None)
    recipient = status_blocks(report(ReportedRecipient("a@example.test", "connection refused")))[1]
    assert recipient["Diagnostic-Code"] == "X-Mailmoat; connection refused"
    assert recipient["Status"] == "5.0.0"
    assert recipient["Remote-MTA"] is None
    assert recipient["Last-Attempt-Date"] is None


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("550 5.1.1 User unknown", "5.1.1"),
        ("550-5.7.26 First line 550 5.7.26 second", "5.7.26"),
        ("5.6.7 Address needs SMTPUTF8", "5.6.7"),
        ("452 4.2.2 Full", "4.2.2"),
        ("550 2.1.5 Contradiction", "5.0.0"),
        ("550 5.1.1.1 Not a code", "5.0.0"),
        ("550 No such user", "5.0.0"),
        ("552 Too much", "5.2.2"),
        ("553 Bad mailbox", "5.1.3"),
        ("500 What?", "5.5.2"),
        ("451 Later", "4.3.0"),
        ("421 Bye", "4.0.0"),
        ("", "5.0.0"),
    ],
)
def test_status_comes_from_the_enhanced_code_else_from_the_code(reply, expected):
    assert status(ReportedRecipient("a@example.test", reply)) == expected


def test_what_the_sender_gave_for_reports_stands_first():
    octets = report(ReportedRecipient("a@b", "550 5.1.1 no", original="rfc822;A+2Bc@b"), envelope_id="q 1")
    message, recipient = status_blocks(octets)
    assert (message.keys()[0], message["Original-Envelope-Id"]) == ("Original-Envelope-Id", "q 1")
    assert (recipient.keys()[0], recipient["Original-Recipient"]) == ("Original-Recipient", "rfc822; A+c@b")


def test_several_recipients_have_a_block_each():
    blocks = status_blocks(report(UNKNOWN, ReportedRecipient("b@example.test", "552 Full")))
    assert [block["Final-Recipient"] for block in blocks[1:]] == [
        "rfc822; nobody@example.test",
        "rfc822; b@example.test",
    ]


def test_the_header_alone_is_returned_when_the_message_is_not_wanted_or_cannot_travel():
    for changes in (
        {"whole": False},
        {"octets": ORIGINAL + b"x" * 1200 + b"\r\n"},
        {"octets": ORIGINAL + b"a\nb\r\n"},
    ):
        octets = report(**changes)
        returned = parse(octets).get_payload()[2]
        assert returned.get_content_type() == "text/rfc822-headers"
        assert "One line" not in returned.get_content()
        assert "Subject: Hello" in returned.get_content()
        assert b"the header of your message" in octets


def test_eight_bit_text_is_declared():
    octets = report(octets=ORIGINAL + "Grüße\r\n".encode("latin-1"))
    parsed = parse(octets)
    assert parsed["Content-Transfer-Encoding"] == "8bit"
    returned = parsed.get_payload()[2]
    assert (returned.get_content_type(), returned["Content-Transfer-Encoding"]) == ("message/rfc822", "8bit")


def test_an_eight_bit_header_that_is_not_utf8_is_returned_in_quoted_printable():
    octets = report(octets=b"Subject: Gr\xfc\xdfe\r\nX-Long: " + b"y" * 2000 + b"\r\n\r\nbody\r\n", whole=False)
    assert octets.isascii()
    check_lines(octets)
    returned = parse(octets).get_payload()[2]
    assert returned["Content-Transfer-Encoding"] == "quoted-printable"
    assert returned.get_payload(decode=True) == b"Subject: Gr\xfc\xdfe\r\nX-Long: " + b"y" * 2000 + b"\r\n"


def test_an_enormous_header_is_cut_at_a_line_end():
    header = b"".join(b"X-%05d: %s\r\n" % (number, b"z" * 60) for number in range(5000))
    octets = report(octets=header + b"\r\nbody\r\n", whole=False)
    assert len(octets) < 70_000
    assert re.search(rb"\r\nX-[0-9]{5}: z{60}\r\n\r\n--=_q8--\r\n$", octets)


def test_a_message_without_header_or_body_is_returned_all_the_same():
    for original in (b"", b"\r\n", b"\r\nbody only\r\n", b"Subject: x\r\n"):
        for whole in (True, False):
            check_lines(report(octets=original, whole=whole))
            parse(report(octets=original, whole=whole), email.policy.compat32)


def test_utf8_makes_the_international_forms_and_only_where_it_must():
    octets = report(
        ReportedRecipient("žofie@example.test", "550 5.1.1 Unbekannt: žofie", "hub.example.test"),
        reverse_path="jörg@example.org",
        client="2001:db8::7",
        octets="Subject: Grüße\r\n\r\nx\r\n".encode(),
    )
    parsed = email.message_from_string(octets.decode(), policy=email.policy.SMTPUTF8)
    assert parsed["To"].addresses[0].addr_spec == "jörg@example.org"
    types = [part.get_content_type() for part in parsed.get_payload()]
    assert types == ["text/plain", "message/global-delivery-status", "message/global"]
    assert "Final-Recipient: utf-8; žofie@example.test\r\n".encode() in octets
    assert "Diagnostic-Code: smtp; 550 5.1.1 Unbekannt: žofie\r\n".encode() in octets
    assert b"Received-From-MTA: dns; [IPv6:2001:db8::7]\r\n" in octets
    headers = parse(report(octets="Subject: Grüße\r\n\r\nx\r\n".encode(), whole=False)).get_payload()
    assert [part.get_content_type() for part in headers[1:]] == ["message/delivery-status", "message/global-headers"]


def test_a_reply_that_is_not_ascii_keeps_an_ascii_report_ascii():
    octets = report(ReportedRecipient("a@example.test", "550 5.1.1 Unbekannt: jörg\udcff", "hub.example.test"))
    assert octets.isascii()
    assert status_blocks(octets)[1]["Diagnostic-Code"] == r"smtp; 550 5.1.1 Unbekannt: j\x{F6}rg"


def test_a_long_reply_is_folded_and_whole_words_survive():
    octets = report(ReportedRecipient("a@example.test", LONG_REPLY, "hub.example.test"))
    check_lines(octets)
    diagnostic = status_blocks(octets)[1]["Diagnostic-Code"]
    assert re.sub(r"\s+", " ", diagnostic) == "smtp; " + re.sub(r"\s+", " ", LONG_REPLY).strip()


def test_the_boundary_gives_way_to_an_original_that_has_it():
    nested = report(octets=report())
    assert parse(nested).get_boundary() == "=_q8.1"
    assert parse(report(octets=nested)).get_boundary() == "=_q8.2"
    assert parse(nested).get_payload()[2].get_payload(0).get_content_type() == "multipart/report"


hostile = st.one_of(
    st.text(max_size=200),
    st.text(st.sampled_from('\r\n\t \0-=_q8:<>,;"\\ab@é\u2028\x85\udc80'), max_size=200),
    st.sampled_from(
        ["a\r\nBcc: x@y", "a\r\n\r\n--=_q8--\r\n", "x" * 3000, "é" * 3000, " " * 3000, "550 5.1.1\r\nAction: delivered"]
    ),
)
parameter_values = hostile.map(lambda text: text.encode(errors="replace").decode())
"""The spool holds text that is UTF-8."""
originals = st.one_of(
    st.binary(max_size=400),
    st.text(st.sampled_from("\r\n :aé-=_q8."), max_size=300).map(str.encode),
    st.just(ORIGINAL),
)


@given(hostile, hostile.filter(bool), hostile, hostile, hostile, parameter_values, originals, st.booleans())
def test_no_value_of_a_stranger_can_bend_the_report(
    reverse_path, address, reply, remote, client, given_with, original, whole
):
    octets = report(
        ReportedRecipient(address, reply, remote, ATTEMPT, original=f"x;{given_with}"),
        UNKNOWN,
        reverse_path=reverse_path,
        client=client,
        envelope_id=given_with,
        octets=original,
        whole=whole,
    )
    check_lines(octets)
    parsed = email.message_from_bytes(octets)
    assert set(parsed.keys()) <= {
        "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "MIME-Version", "Content-Type",
        "Content-Transfer-Encoding",
    }  # fmt: skip
    assert len(parsed.keys()) == len(set(parsed.keys()))
    boundary = parsed.get_boundary().encode()
    body = octets.partition(b"\r\n\r\n")[2]
    assert body.count(b"--" + boundary) == 4
    _, delivery_status, returned = body.split(b"--" + boundary + b"\r\n")[1:]
    opening, _, status_octets = delivery_status.partition(b"\r\n\r\n")
    decode = {b"quoted-printable": quopri.decodestring, b"base64": base64.b64decode}
    status_octets = decode.get(opening.rpartition(b" ")[2], bytes)(status_octets.removesuffix(b"\r\n"))
    check_lines(status_octets)
    blocks = status_octets.removesuffix(b"\r\n").split(b"\r\n\r\n")
    assert len(blocks) == 3
    for block in blocks[1:]:
        names = [line.partition(b":")[0] for line in block.split(b"\r\n") if not line.startswith(b" ")]
        first = int(names[0] == b"Original-Recipient")
        assert names[first : first + 3] == [b"Final-Recipient", b"Action", b"Status"]
        assert set(names[first + 3 :]) <= {b"Remote-MTA", b"Diagnostic-Code", b"Last-Attempt-Date"}
        assert len(names) == len(set(names))
        assert b"\r\nAction: failed\r\n" in block
    assert not octets.isascii() or b"8bit" not in octets.partition(b"\r\n\r\n")[0]
    if b"Content-Transfer-Encoding: 7bit" in returned:
        assert returned.isascii()
