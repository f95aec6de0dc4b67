"""Reports as programs of others read them: flufl.bounce (Mailman's), Mail::DeliveryStatus::BounceParser (Perl), Python's parser."""

import email
import email.policy
import shutil
import subprocess

import pytest
from tests.needs import missing, need_module

from mailmoat.reports.dsn import render
from mailmoat.reports.kind import ReportKind
from mailmoat.reports.languages import shipped
from mailmoat.reports.report import Original, Report, ReportedRecipient

LANGUAGES = ["en", "ja", "pl"]
KINDS = list(ReportKind)
REPLIES = {
    ReportKind.FAILED: ("550 5.1.1 <%s>: User unknown", "552 5.2.2 Mailbox full"),
    ReportKind.DELAYED: ("451 4.3.0 Try later", "450 4.2.1 Busy"),
}
ADDRESSES = ["bob@example.test", "carol+tag@sub.example.test"]
ORIGINAL = (
    b"Received: from client.test by mx.example.test\r\nFrom: Ann <ann@example.org>\r\nTo: bob@example.test\r\n"
    b"Subject: =?utf-8?b?44GT44KT44Gr44Gh44Gv?=\r\nMessage-ID: <one@example.org>\r\n\r\nHello\r\n"
)
PERL = r"""
use strict; use Mail::DeliveryStatus::BounceParser;
my $bounce = Mail::DeliveryStatus::BounceParser->new(do { local $/; <STDIN> });
print "bounce ", ($bounce->is_bounce ? 1 : 0), "\n";
for my $report ($bounce->reports) {
  print join("|", map { $_ // "" } $report->get("email"), $report->get("std_reason"), map { s/\s+$//r } map { $report->get($_) // "" }
    ("action", "status", "diagnostic-code")), "\n";
}
print "message ", $bounce->orig_message_id // "", "\n";
"""


def report(kind, language="en", *, addresses=ADDRESSES, whole=False, reverse_path="ann@example.org"):
    replies = REPLIES.get(kind, ("250 2.0.0 taken",))
    recipients = [
        ReportedRecipient(
            address,
            replies[at % len(replies)].replace("%s", address),
            "192.0.2.1",
            1_790_000_060_000,
            original=f"rfc822;{address.replace('+', '+2B')}",
            will_retry_until_ms=1_790_100_000_000 if kind is ReportKind.DELAYED else None,
            index=at,
        )
        for at, address in enumerate(addresses)
    ]
    about = Original("q7", 1_790_000_000_000, reverse_path, "192.0.2.7", "env 1", ORIGINAL, whole)
    made = Report(kind, "mx.example.test", "postmaster@example.test", about, recipients, 1_790_000_061_500, "<q8@mx.example.test>", "=_q8")  # fmt: skip
    return render(made, [shipped()[language]])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_flufl_bounce_finds_who_failed_and_who_is_only_late(kind, language):
    need_module("flufl.bounce")
    from flufl.bounce import all_failures

    temporary, permanent = all_failures(email.message_from_bytes(report(kind, language)))
    addresses = {address.encode() for address in ADDRESSES}
    assert permanent == (addresses if kind is ReportKind.FAILED else set())
    assert temporary == (addresses if kind is ReportKind.DELAYED else set())


@pytest.fixture(scope="module")
def perl():
    """Mail::DeliveryStatus::BounceParser, reading one report: whether it is a bounce, a tuple a recipient, the original's Message-ID."""
    check = ["perl", "-MMail::DeliveryStatus::BounceParser", "-e", "1"]
    if shutil.which("perl") is None or subprocess.run(check, check=False, capture_output=True).returncode:
        missing("install libmail-deliverystatus-bounceparser-perl")

    def read(octets):
        lines = octets.replace(b"\r\n", b"\n")  # as in a mailbox
        said = subprocess.run(["perl", "-e", PERL], input=lines, capture_output=True, check=True).stdout.decode()
        bounce, *recipients, message = said.splitlines()
        return bounce == "bounce 1", [tuple(line.split("|")) for line in recipients], message.removeprefix("message ")

    return read


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("whole", [True, False])
def test_bounce_parser_reads_failures(perl, language, whole):
    is_bounce, recipients, message = perl(report(ReportKind.FAILED, language, whole=whole))
    assert is_bounce
    assert [each[0] for each in recipients] == ADDRESSES
    assert [each[1] for each in recipients] == ["user_unknown", "over_quota"]
    assert [each[2:4] for each in recipients] == [("failed", "5.1.1"), ("failed", "5.2.2")]
    assert "User unknown" in recipients[0][4]
    assert message == "<one@example.org>"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not ReportKind.FAILED])
def test_bounce_parser_takes_nothing_else_for_a_failure(perl, kind):
    assert "user_unknown" not in [each[1] for each in perl(report(kind))[1]]
    assert all(each[2] != "failed" for each in perl(report(kind))[1])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_python_reads_every_field(kind, language):
    parsed = email.message_from_bytes(report(kind, language), policy=email.policy.default)
    assert not [part.defects for part in parsed.walk() if part.defects]
    message, *recipients = parsed.get_payload(1).get_payload()
    assert message["Reporting-MTA"] == "dns; mx.example.test"
    assert message["Original-Envelope-Id"] == "env 1"
    assert [each["Final-Recipient"] for each in recipients] == [f"rfc822; {address}" for address in ADDRESSES]
    assert [each["Original-Recipient"] for each in recipients] == [f"rfc822; {address}" for address in ADDRESSES]
    assert {each["Action"] for each in recipients} == {str(kind)}
    classes = {ReportKind.FAILED: "5", ReportKind.DELAYED: "4"}
    assert {each["Status"][0] for each in recipients} == {classes.get(kind, "2")}
    assert {each["Will-Retry-Until"] is not None for each in recipients} == {kind is ReportKind.DELAYED}
    assert parsed.get_payload(2).get_content_type() == "text/rfc822-headers"
    assert "Hello" not in parsed.get_payload(2).get_content()
