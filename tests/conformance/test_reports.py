"""Reports: RFC 3464, 6522, 6533, 3834."""

from __future__ import annotations

import base64
import quopri
import re
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parseaddr, parsedate_to_datetime
from itertools import pairwise

import pytest
from tests.doubles.next_hop import OFFERS, NextHop
from tests.integration.conftest import wait_for

from mailmoat.settings import Settings

row = pytest.mark.row

REFUSAL = "550-5.1.1 The address is not known here,\n550 5.1.1 ask the sender"


class Returned:
    """A report as its reader sees it."""

    def __init__(self, handed) -> None:
        self.handed = handed
        self.octets = handed if isinstance(handed, bytes) else handed.content
        self.message = message_from_bytes(self.octets, policy=policy.SMTPUTF8)
        assert isinstance(self.message, EmailMessage)
        self.parts = list(self.message.iter_parts())
        raw = re.sub(rb"\r\n[ \t]+", b" ", self.part(1))
        groups = [group for group in raw.decode().split("\r\n\r\n") if group.strip()]
        self.about, *self.recipients = [
            dict(line.split(": ", 1) for line in group.split("\r\n") if line) for group in groups
        ]

    def part(self, number: int) -> bytes:
        """Its octets, from 0, decoded; Python does not decode those of message types."""
        mark = self.message.get_boundary().encode()
        body = self.octets.split(b"--" + mark)[number + 1]
        decode = {"quoted-printable": quopri.decodestring, "base64": base64.b64decode}.get(
            self.parts[number]["Content-Transfer-Encoding"], bytes
        )
        return decode(body.split(b"\r\n\r\n", 1)[1])


OURS = "203.0.113.5"
"""A client that is trusted: what it brings goes back whole."""


@pytest.fixture
def plain(trusting):
    """In this file."""
    return trusting


@pytest.fixture
def returned(plain, someone):
    """Sends a message whose recipients the next hop refuses, and gives the report."""

    def send(
        content=b"Subject: sent\r\nMessage-ID: <one@remote.test>\r\n\r\nbody\r\n",
        *,
        recipients=1,
        reply=REFUSAL,
        parameters="",
        rcpt="",
        source="",
        hello="EHLO client.test",
    ):
        lost = [someone() for _ in range(recipients)] if isinstance(recipients, int) else recipients
        to = someone()
        with plain.hop.script(RCPT=lambda line: reply if any(each in line for each in lost) else "250 2.1.5 ok"):
            wire = plain.proxied(source) if source else plain.wire()
            wire.reply()
            wire.ask(hello)
            for line in (f"MAIL FROM:<{to}>{parameters}", *(f"RCPT TO:<{each}>{rcpt}" for each in lost)):
                assert wire.ask(line).code == 250, line
            assert wire.content(content).code == 250
            return lost, to, Returned(plain.hop.handed(to))

    return send


@row("dsn-04", "dsn-05")
def test_dsn_04_05_the_envelope_of_a_report(plain, returned):
    lost, sender, report = returned(recipients=3)
    assert report.handed.mail.startswith("MAIL FROM:<>")
    assert report.handed.recipients == [sender]
    assert "NOTIFY" not in " ".join(line for line in plain.hop.commands if sender in line)
    assert [each["Final-Recipient"] for each in report.recipients] == [f"rfc822; {each}" for each in lost]
    assert len(plain.hop.to(sender)) == 1, "one for all three"


@row("dsn-04")
@pytest.mark.parametrize("notify", ["NEVER", "SUCCESS", "delay,success"])
def test_dsn_04_no_report_of_a_failure_that_is_not_asked_for(plain, someone, notify):
    silent, told, later, sender = someone(), someone(), someone(), someone()
    with plain.hop.script(RCPT=lambda line: REFUSAL if silent in line or told in line else "250 2.1.5 ok"):
        wire = plain.connect()
        assert wire.ask(f"MAIL FROM:<{sender}>", f"RCPT TO:<{silent}> NOTIFY={notify}").code == 250
        assert wire.content(b"Subject: silent\r\n\r\n").code == 250
        plain.hop.heard(f"RCPT TO:<{silent}>")
        assert wire.ask(f"MAIL FROM:<{sender}>", f"RCPT TO:<{silent}> NOTIFY={notify}").code == 250
        assert wire.ask(f"RCPT TO:<{told}> NOTIFY=failure,DELAY", f"RCPT TO:<{later}> NOTIFY=NEVER").code == 250
        assert wire.content(b"Subject: told\r\n\r\n").code == 250
        [fields] = Returned(plain.hop.handed(sender)).recipients
        assert fields["Final-Recipient"] == f"rfc822; {told}"
        plain.hop.handed(later)
    assert len(plain.hop.to(sender)) == 1


@row("dsn-04", "dsn-06")
def test_dsn_04_06_a_next_hop_without_dsn_makes_us_report_that_we_passed_it_on(plain, someone):
    asking, silent, sender = someone(), someone(), someone()
    wire = plain.connect()
    assert (
        wire.ask(f"MAIL FROM:<{sender}> RET=FULL", f"RCPT TO:<{asking}> NOTIFY=SUCCESS", f"RCPT TO:<{silent}>").code
        == 250
    )
    assert wire.content(b"Subject: sent\r\n\r\nthe body\r\n").code == 250
    report = Returned(plain.hop.handed(sender))
    [fields] = report.recipients
    assert (fields["Final-Recipient"], fields["Action"], fields["Status"][0]) == (f"rfc822; {asking}", "relayed", "2")
    assert fields["Diagnostic-Code"] == "smtp; 250 2.0.0 taken"
    assert report.parts[2].get_content_type() == "text/rfc822-headers", "nothing failed"
    assert plain.hop.handed(asking).recipients == [asking, silent]
    assert len(plain.hop.to(sender)) == 1


@row("dsn-03", "dsn-04")
def test_dsn_03_04_a_next_hop_with_dsn_reports_itself(plain, someone):
    asking, later, sender = someone(), someone(), someone()
    with plain.hop.script(EHLO=OFFERS.replace("250-SIZE", "250-DSN\n250-SIZE")):
        wire = plain.connect()
        assert wire.ask(f"MAIL FROM:<{sender}>", f"RCPT TO:<{asking}> NOTIFY=SUCCESS").code == 250
        assert wire.content(b"\r\n").code == 250
        plain.hop.handed(asking)
        plain.hop.heard(f"RCPT TO:<{asking}> NOTIFY=SUCCESS")
    assert plain.connect().deliver(later).code == 250
    plain.hop.handed(later)
    assert not plain.hop.to(sender)


@row("dsn-04")
@pytest.mark.parametrize("notify", ["NEVER", "FAILURE", "DELAY,FAILURE", ""])
def test_dsn_04_no_report_of_success_that_is_not_asked_for(plain, someone, notify):
    recipient, later, sender = someone(), someone(), someone()
    wire = plain.connect()
    assert wire.ask(f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>{notify and f' NOTIFY={notify}'}").code == 250
    assert wire.content(b"\r\n").code == 250
    plain.hop.handed(recipient)
    assert plain.connect().deliver(later).code == 250
    plain.hop.handed(later)
    assert not plain.hop.to(sender)


@row("queue-10", "dsn-04", "dsn-06", "dsn-08")
def test_queue_10_dsn_04_06_08_a_delay_is_reported_once_where_it_is_asked_for(site, someone):
    slow = site(delivery__delay_report="1.5s")
    late, silent, sender, attempts = someone(), someone(), someone(), []

    def busy(line: str) -> str:
        if late in line:
            attempts.append(line)
        is_busy = len(attempts) < 6 and (late in line or silent in line)
        return "450 4.2.1 busy" if is_busy else "250 2.1.5 ok"

    with slow.hop.script(RCPT=busy):
        wire = slow.connect()
        assert wire.ask(f"MAIL FROM:<{sender}>", f"RCPT TO:<{late}>", f"RCPT TO:<{silent}> NOTIFY=FAILURE").code == 250
        assert wire.content(b"Subject: sent\r\n\r\nthe body\r\n").code == 250
        report = Returned(slow.hop.handed(sender))
        slow.hop.handed(late)
    [fields] = report.recipients
    assert (fields["Final-Recipient"], fields["Action"], fields["Status"]) == (f"rfc822; {late}", "delayed", "4.2.1")
    assert fields["Diagnostic-Code"] == "smtp; 450 4.2.1 busy"
    left = parsedate_to_datetime(fields["Will-Retry-Until"]) - parsedate_to_datetime(report.about["Arrival-Date"])
    assert left.total_seconds() == Settings().delivery.expire
    assert report.parts[2].get_content_type() == "text/rfc822-headers"
    assert len(slow.hop.to(sender)) == 1
    assert Settings().delivery.delay_report == 4 * 3600


@row("dsn-04", "dsn-05")
def test_dsn_04_05_no_report_of_success_to_the_null_reverse_path(plain, someone):
    recipient, later = someone(), someone()
    before = len(plain.hop.messages)
    wire = plain.connect()
    assert wire.ask("MAIL FROM:<>", f"RCPT TO:<{recipient}> NOTIFY=SUCCESS").code == 250
    assert wire.content(b"\r\n").code == 250
    plain.hop.handed(recipient)
    assert plain.connect().deliver(later).code == 250
    plain.hop.handed(later)
    assert [message.recipients for message in plain.hop.messages[before:]] == [[recipient], [later]]


@row("dsn-04", "dsn-08")
def test_dsn_04_08_lmtp_is_delivery(fresh, someone):
    asking, full, sender = someone(), someone(), someone()
    with NextHop(lmtp=True, end=lambda line: "552 5.2.2 full" if full in line else "250 2.1.5 saved") as hop:
        site = fresh(hop=hop, delivery__next_hop=f"lmtp://127.0.0.1:{hop.port}")
        wire = site.connect()
        assert wire.ask(f"MAIL FROM:<{sender}>").code == 250
        assert wire.ask(*(f"RCPT TO:<{each}> NOTIFY=SUCCESS,FAILURE" for each in (asking, full))).code == 250
        assert wire.content(b"\r\n").code == 250
        hop.wait(lambda: len(hop.to(sender)) == 2, "two reports, one of each kind")
        reports = {each.recipients[0]["Action"]: each.recipients for each in map(Returned, hop.to(sender))}
    [failed], [delivered] = reports["failed"], reports["delivered"]
    assert (failed["Final-Recipient"], failed["Status"]) == (f"rfc822; {full}", "5.2.2")
    assert (delivered["Final-Recipient"], delivered["Status"]) == (f"rfc822; {asking}", "2.1.5")


@row("dsn-04", "dsn-08")
def test_dsn_04_08_a_maildir_is_delivery_and_its_path_is_nobodys_concern(fresh, someone, tmp_path):
    asking, sender = someone(), someone()
    site = fresh(delivery__next_hop=f"maildir:{tmp_path}/mail/{{domain}}/{{local}}")
    wire = site.connect()
    assert wire.ask(f"MAIL FROM:<{sender}>", f"RCPT TO:<{asking}> NOTIFY=SUCCESS").code == 250
    assert wire.content(b"\r\n").code == 250
    mailbox = tmp_path / "mail" / "all.example.test" / sender.partition("@")[0] / "new"
    wait_for(lambda: mailbox.is_dir() and list(mailbox.iterdir()), what="report")
    [path] = mailbox.iterdir()
    report = Returned(path.read_bytes().replace(b"\n", b"\r\n"))
    [fields] = report.recipients
    assert (fields["Action"], fields["Status"]) == ("delivered", "2.0.0")
    assert not {"Diagnostic-Code", "Remote-MTA"} & set(fields)
    assert str(tmp_path) not in report.octets.decode()


@row("dsn-06")
@pytest.mark.parametrize(("asked", "kind"), [("FULL", "message/rfc822"), ("HDRS", "text/rfc822-headers")])
def test_dsn_06_as_much_of_the_message_as_is_asked_for(returned, asked, kind):
    report = returned(b"Subject: sent\r\n\r\nthe body\r\n", source=OURS, parameters=f" RET={asked}")[2]
    assert report.parts[2].get_content_type() == kind
    assert (b"the body" in report.octets) == (asked == "FULL")
    assert not [word for word in report.handed.mail.split() if word.startswith(("RET", "ENVID"))]


@row("dsn-07")
def test_dsn_07_the_envelope_id_decoded(returned):
    report = returned(parameters=" ENVID=QQ+2B314+20x")[2]
    assert report.about["Original-Envelope-Id"] == "QQ+314 x"
    assert report.about["Reporting-MTA"]


@row("dsn-08")
@pytest.mark.parametrize(
    ("orcpt", "shown"),
    [
        ("rfc822;Bob+2Btag@Example.Test", "rfc822; Bob+tag@Example.Test"),
        ("X400;/C+3Dde/", "X400; /C=de/"),
        ("utf-8;jörg@b.test", "utf-8; j\\x{F6}rg@b.test"),
        ("utf-8;j\\x{F6}rg@b.test", "utf-8; j\\x{F6}rg@b.test"),
    ],
)
def test_dsn_08_the_recipient_that_the_sender_meant(returned, orcpt, shown):
    lost, _, report = returned(rcpt=f" ORCPT={orcpt}")
    [fields] = report.recipients
    assert (fields["Original-Recipient"], fields["Final-Recipient"]) == (shown, f"rfc822; {lost[0]}")
    assert next(iter(fields)) == "Original-Recipient"


@row("dsn-11")
def test_dsn_11_the_original_recipient_in_utf8(returned):
    lost = ["zażółć@all.example.test"]
    for orcpt in ("utf-8;jörg@b.test", "utf-8;j\\x{F6}rg@b.test"):
        report = returned(recipients=lost, parameters=" SMTPUTF8", rcpt=f" ORCPT={orcpt}")[2]
        assert report.recipients[0]["Original-Recipient"] == "utf-8; jörg@b.test"


@row("dsn-05")
def test_dsn_05_no_report_about_a_report(plain, someone):
    lost, later, sender = someone(), someone(), someone()
    before = len(plain.hop.messages)
    with plain.hop.script(RCPT=lambda line: "550 5.1.1 no" if lost in line or sender in line else "250 2.1.5 ok"):
        assert plain.connect().deliver(lost, sender=sender).code == 250
        plain.hop.heard(f"RCPT TO:<{sender}>")
        assert plain.connect().deliver(later).code == 250
        plain.hop.handed(later)
    assert [
        message.recipients
        for message in plain.hop.messages[before:]
        if sender.encode() in message.content and message.recipients
    ] == []


@row("dsn-06")
def test_dsn_06_three_parts(returned):
    content = b"Subject: sent\r\nX-Own: field\r\n\r\nthe body\r\n"
    report = returned(content, source=OURS)[2]
    assert report.message.get_content_type() == "multipart/report"
    assert report.message.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in report.parts] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
    assert content in report.octets
    assert report.message["MIME-Version"] == "1.0"


@row("dsn-07")
def test_dsn_07_fields_of_the_message(returned):
    report = returned(source="198.51.100.77", hello="EHLO sender.test")[2]
    assert report.about["Reporting-MTA"] == "dns; mx.example.test"
    assert parsedate_to_datetime(report.about["Arrival-Date"])
    kind, _, name = report.about["Received-From-MTA"].partition("; ")
    assert kind == "dns"
    assert name in ("sender.test", "[198.51.100.77]")
    assert "Original-Envelope-Id" not in report.about


@row("dsn-08")
def test_dsn_08_fields_of_a_recipient(returned):
    lost, _, report = returned()
    [fields] = report.recipients
    assert fields["Final-Recipient"] == f"rfc822; {lost[0]}"
    assert fields["Action"] == "failed"
    assert fields["Status"] == "5.1.1"
    assert re.fullmatch(r"dns; \S+", fields["Remote-MTA"])
    assert fields["Diagnostic-Code"].startswith("smtp; 550")
    assert "The address is not known here," in fields["Diagnostic-Code"]
    assert "ask the sender" in fields["Diagnostic-Code"]
    assert parsedate_to_datetime(fields["Last-Attempt-Date"])


@row("dsn-08")
@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("550 no such thing", "5.0.0"),
        ("553 5.1.3 odd", "5.1.3"),
        ("554 5.7.1 policy", "5.7.1"),
        ("550 4.2.1 wrong class", None),
    ],
)
def test_dsn_08_the_status_follows_the_reply(returned, reply, status):
    [fields] = returned(reply=reply)[2].recipients
    assert re.fullmatch(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fields["Status"])
    assert status is None or fields["Status"] == status or fields["Status"].startswith("5.")


@row("queue-10", "dsn-08")
def test_queue_10_dsn_08_retries_are_spread_and_end(site, someone):
    brief = site(delivery__expire="2.5s")
    recipient, sender, times = someone(), someone(), []

    def busy(line: str) -> str:
        if recipient in line:
            times.append(time.monotonic())
            return "450 4.2.1 busy"
        return "250 2.1.5 ok"

    with brief.hop.script(RCPT=busy):
        assert brief.connect().deliver(recipient, sender=sender).code == 250
        [fields] = Returned(brief.hop.handed(sender)).recipients
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(waits) >= 2
    assert all(0.99 <= wait < 2 for wait in waits)
    assert fields["Action"] == "failed"
    assert fields["Status"] in ("4.4.7", "5.4.7")
    assert "450 4.2.1 busy" in fields["Diagnostic-Code"]
    usual = Settings().delivery
    assert usual.retry[-1] >= 30 * 60
    assert sum(usual.retry[:-1]) <= 3 * 3600, "only the first few come sooner"
    assert 4 <= usual.expire / 86_400 <= 5


HOSTILE = (
    b"Subject: \xff\xfe\x01\r\nFrom: <a\r\n b>\r\nX: "
    + b"y" * 980
    + b"\r\n\r\n--report\r\n"
    + bytes(range(128, 256))
    + b"\r\n"
)


@row("dsn-09")
@pytest.mark.parametrize("content", [b"Subject: x\r\n\r\nx\r\n", b"", HOSTILE])
@pytest.mark.parametrize(
    "reply", [REFUSAL, "550 5.1.1 " + "long " * 90, '550 \x01\x7f: a\t=?utf-8?q?x?= <>"', "550 5.1.1 żółć"]
)
def test_dsn_09_the_form_of_a_report(plain, returned, content, reply):
    _, sender, report = returned(content, reply=reply)
    head, _, body = report.octets.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].lower() for line in re.sub(rb"\r\n[ \t]", b" ", head).split(b"\r\n")]
    for name in (
        b"from",
        b"to",
        b"subject",
        b"date",
        b"message-id",
        b"mime-version",
        b"content-type",
        b"auto-submitted",
    ):
        assert names.count(name) == 1, name
    assert head.isascii()
    assert all(len(line) <= 998 for line in report.octets.split(b"\r\n"))
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", report.octets)
    assert all(part.as_bytes().isascii() for part in report.parts[:2]), "7-bit clean"
    assert (report.message.get("Content-Transfer-Encoding", "7bit") == "8bit") == (not body.isascii())
    assert parseaddr(report.message["To"])[1] == sender
    assert parsedate_to_datetime(report.message["Date"])
    assert re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", report.message["Message-ID"])
    # Somebody reads what is sent to its author.
    assert plain.connect().deliver(parseaddr(report.message["From"])[1]).code == 250


@row("dsn-10")
def test_dsn_10_reports_say_that_they_are_automatic(returned):
    assert returned()[2].message["Auto-Submitted"] == "auto-replied"


@row("dsn-11")
def test_dsn_11_international_reports(returned):
    lost = ["zażółć@all.example.test"]
    content = "Subject: gęś\r\n\r\nbody\r\n".encode()
    report = returned(content, recipients=lost, parameters=" SMTPUTF8 BODY=8BITMIME")[2]
    kinds = [part.get_content_type() for part in report.parts]
    assert kinds[1] == "message/global-delivery-status"
    assert kinds[2] in ("message/global", "message/global-headers")
    assert report.recipients[0]["Final-Recipient"] == f"utf-8; {lost[0]}"
    plain = returned(content, parameters=" BODY=8BITMIME")[2]
    assert plain.parts[1].get_content_type() == "message/delivery-status"


@row("dsn-09", "dsn-11")
def test_dsn_09_11_a_next_hop_of_seven_bits_takes_an_international_report_to_an_ascii_address(plain, someone):
    lost, sender = "zażółć@all.example.test", someone()
    with plain.offered("250 hop.test", someone()):
        wire = plain.connect()
        assert wire.ask(f"MAIL FROM:<{sender}> SMTPUTF8", f"RCPT TO:<{lost}>").code == 250
        assert wire.content("Subject: gęś\r\n\r\nbody\r\n".encode()).code == 250
        report = Returned(plain.hop.handed(sender))
    assert report.octets.isascii()
    [fields] = report.recipients
    assert (fields["Final-Recipient"], fields["Status"]) == (f"utf-8; {lost}", "5.6.7")
    assert "Subject: gęś\r\n".encode() in report.part(2)


@row("dsn-06")
@pytest.mark.parametrize(
    ("language", "said"),
    [("ja-JP", "配信できませんでした"), ("pl", "nie udało się doręczyć"), ("de", "was not delivered")],
)
def test_dsn_06_people_read_it_in_the_language_they_wrote(returned, language, said):
    report = returned(f"Content-Language: {language}\r\nSubject: x\r\n\r\nx\r\n".encode())[2]
    assert said in report.parts[0].get_content()
    assert report.octets.isascii()


@row("dsn-12")
def test_dsn_12_a_long_message_comes_back_as_its_header(returned):
    header = b"Subject: long\r\nX-Own: field\r\n"
    for size, kind in ((10_000, "message/rfc822"), (70_000, "text/rfc822-headers"), (500_000, "text/rfc822-headers")):
        content = header + b"\r\n" + (b"0123456789" * 7 + b"\r\n") * (size // 72)
        report = returned(content, source=OURS)[2]
        assert report.parts[2].get_content_type() == kind
        assert header in report.octets
        assert len(report.octets) < size + 5000 if kind == "message/rfc822" else len(report.octets) < 10_000
    assert returned(header + b"\r\nshort\r\n")[2].parts[2].get_content_type() == "text/rfc822-headers", (
        "nobody vouches for this sender"
    )
