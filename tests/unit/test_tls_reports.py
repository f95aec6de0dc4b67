"""What became of TLS at servers found by MX records, and what is kept of it for reports (RFC 8460)."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from mailmoat import clock, maillog
from mailmoat.delivery import tls_reports
from mailmoat.delivery.tls_policy import TlsLevel, TlsPolicy
from mailmoat.delivery.tls_reports import DIRECTORY, KEPT_DAYS, MOST_PLACES, RESULTS, TlsReports, reports_to
from mailmoat.delivery.tls_results import LONGEST, PolicyKind, Published, TlsResult, reported, result_of
from mailmoat.resolver import Failed, Failure, Found, NoData

MAY, VERIFY = TlsPolicy(TlsLevel.MAY), TlsPolicy(TlsLevel.VERIFY)
TESTED = TlsPolicy(TlsLevel.MAY, recorded=True)
OPEN, STS = Published("example.test"), Published("example.test", PolicyKind.STS)
OFFERS = (True, True, 0, False)
RUA = ("mailto:tls@example.test",)


def client(*, facts=None, fault=None, offers=None, refusal=None):
    return SimpleNamespace(tls=facts, tls_fault=fault, offers=offers, refusal=refusal)


def facts(verdict=""):
    return SimpleNamespace(verified=not verdict, verdict=verdict)


def unverified(why):
    return client(fault=f"certificate not verified: {why}", refusal=(0, "451 4.7.5 no"))


@pytest.mark.parametrize(
    ("published", "policy", "ended", "result"),
    [
        (OPEN, MAY, client(facts=facts(), offers=OFFERS), (TlsResult.SUCCESS, "")),
        (OPEN, MAY, client(facts=facts("expired"), offers=OFFERS), (TlsResult.SUCCESS, "")),
        (OPEN, MAY, client(offers=OFFERS), (TlsResult.STARTTLS_NOT_SUPPORTED, "")),
        (OPEN, MAY, client(fault="no suite in common"), (TlsResult.VALIDATION_FAILURE, "no suite in common")),
        (
            OPEN,
            MAY,
            client(facts=facts(), fault="alert 116 certificate_required"),
            (TlsResult.VALIDATION_FAILURE, "alert 116 certificate_required"),
        ),
        (OPEN, MAY, client(facts=facts(), fault="alert 80 internal_error", offers=OFFERS), (TlsResult.SUCCESS, "")),
        (OPEN, MAY, client(refusal=(0, "421 4.3.2 busy")), None),
        (OPEN, MAY, client(), None),
        (OPEN, TlsPolicy(), client(offers=OFFERS), None),
        (STS, VERIFY, client(facts=facts(), offers=OFFERS), (TlsResult.SUCCESS, "")),
        (STS, VERIFY, client(refusal=(0, "451 4.7.0 TLS is required")), (TlsResult.STARTTLS_NOT_SUPPORTED, "")),
        (STS, VERIFY, client(refusal=(0, "451 4.7.5 No STARTTLS")), (TlsResult.STARTTLS_NOT_SUPPORTED, "")),
        (STS, VERIFY, unverified("expired"), (TlsResult.EXPIRED, "expired")),
        (STS, VERIFY, unverified("not for this name"), (TlsResult.HOST_MISMATCH, "not for this name")),
        (STS, VERIFY, unverified("unknown issuer"), (TlsResult.NOT_TRUSTED, "unknown issuer")),
        (STS, VERIFY, unverified("matches no TLSA record"), (TlsResult.VALIDATION_FAILURE, "matches no TLSA record")),
        (STS, TESTED, client(facts=facts("expired"), offers=OFFERS), (TlsResult.EXPIRED, "expired")),
        (STS, TESTED, client(facts=facts(), offers=OFFERS), (TlsResult.SUCCESS, "")),
        (
            Published("example.test", PolicyKind.STS, flaw=TlsResult.VALIDATION_FAILURE),
            TESTED,
            client(facts=facts(), offers=OFFERS),
            (TlsResult.VALIDATION_FAILURE, ""),
        ),
    ],
)
def test_a_connection_has_a_result_unless_it_did_not_come_to_tls(published, policy, ended, result):
    assert result_of(published, policy, ended) == result


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Found((b"v=TLSRPTv1;rua=mailto:reports@example.test",), 1.0), ("mailto:reports@example.test",)),
        (
            Found((b"v=TLSRPTv1; rua=https://a.test/x , mailto:b@c.test; x=y",), 1.0),
            ("https://a.test/x", "mailto:b@c.test"),
        ),
        (Found((b"v=spf1 -all", b"v=TLSRPTv1;rua=mailto:a@b.test"), 1.0), ("mailto:a@b.test",)),
        (Found((b"v=TLSRPTv1;rua=mailto:a@b.test",) * 2, 1.0), ()),
        (Found((b"v=TLSRPTv1;rua=ftp://a.test",), 1.0), ()),
        (Found((b"v=TLSRPTv1",), 1.0), ()),
        (Found((b"v=TLSRPTv1;\xff",), 1.0), ()),
        (NoData(1.0), ()),
        (Failed(Failure.TIMEOUT), ()),
    ],
)
def test_a_domain_says_where_it_wants_its_reports(answer, found):
    """RFC 8460 3."""
    assert reports_to(answer) == found


@pytest.fixture
def now(monkeypatch):
    time = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: time[0])
    monkeypatch.setattr(clock, "wall_ms", lambda: int(time[0] * 1000) + 1_700_000_000_000)
    return time


def lines(spool_dir):
    return [
        json.loads(line) for file in sorted((spool_dir / DIRECTORY).iterdir()) for line in file.read_text().splitlines()
    ]


def test_results_are_added_up_and_written_once_in_a_while_by_all_workers(tmp_path, now):
    workers = [TlsReports(tmp_path, None, kept=True) for _ in range(2)]
    for reports in workers:
        for _ in range(3):
            reports.count(STS, TlsResult.EXPIRED, RUA, host="mx.test", address="192.0.2.1", reason="expired")
        reports.count(STS, TlsResult.SUCCESS, RUA, host="mx.test", address="192.0.2.1")
        reports.tick()
    assert list(tmp_path.iterdir()) == []
    now[0] += 61
    for reports in workers:
        reports.tick()
        reports.tick()
    expired, success, *_ = found = lines(tmp_path)
    assert len(found) == 4
    assert expired == {
        "count": 3,
        "of": {
            "domain": "example.test",
            "reports_to": list(RUA),
            "policy": "sts",
            "lines": [],
            "patterns": [],
            "result": "certificate-expired",
            "host": "mx.test",
            "address": "192.0.2.1",
            "reason": "expired",
        },
    }
    assert (success["count"], success["of"]["result"], success["of"]["address"]) == (1, "success", "")


def test_what_nobody_asked_for_is_in_the_metrics_alone(tmp_path):
    counts = {}
    metrics = SimpleNamespace(add=lambda row: counts.update({row: counts.get(row, 0) + 1}))
    for kept, places in ((True, ()), (False, RUA)):
        reports = TlsReports(tmp_path, metrics, kept=kept)
        reports.count(OPEN, TlsResult.SUCCESS, places)
        reports.write()
    assert counts == {RESULTS[PolicyKind.NONE, TlsResult.SUCCESS]: 2}
    assert list(tmp_path.iterdir()) == []


def test_files_and_memory_are_bounded(tmp_path, now, monkeypatch):
    monkeypatch.setattr(tls_reports, "MOST", 2200)  # octets: room for five of these
    reports = TlsReports(tmp_path, None, kept=True)
    for day in range(KEPT_DAYS + 5):
        for number in range(9):
            reports.count(STS, TlsResult.SUCCESS, RUA, host=f"h{number}.test")
        reports.count(STS, TlsResult.SUCCESS, RUA, host="h0.test")
        reports.write()
        assert len(list((tmp_path / DIRECTORY).iterdir())) == min(day + 1, KEPT_DAYS)
        now[0] += 86_400
    monkeypatch.setattr(tls_reports, "LARGEST", 0)
    before = len(lines(tmp_path))
    assert before == 5 * KEPT_DAYS
    reports.count(STS, TlsResult.SUCCESS, RUA)
    reports.write()
    assert len(lines(tmp_path)) == before - 5  # the oldest day is gone, and the new one is full


def test_of_what_a_stranger_publishes_the_first_kilobytes_are_kept():
    lines = [f"mx: h{number}.test" for number in range(7000)]
    kept = reported(lines)
    assert kept == tuple(lines[: len(kept)])
    assert 0 < sum(map(len, kept)) <= LONGEST
    assert reported(["x" * (LONGEST + 1)]) == ()
    rua = b"v=TLSRPTv1; rua=" + b",".join(b"mailto:%d@h.test" % number for number in range(1000))
    assert reports_to(Found((rua,), 1)) == tuple(f"mailto:{number}@h.test" for number in range(MOST_PLACES))
    assert reports_to(Found((b"v=TLSRPTv1; rua=mailto:" + b"x" * 600,), 1)) == ()


def test_a_disk_that_cannot_be_written_costs_reports_alone(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(maillog, "event", lambda event, **fields: logged.append(event.value))
    (tmp_path / DIRECTORY).write_text("in the way")
    reports = TlsReports(tmp_path, None, kept=True)
    reports.count(STS, TlsResult.SUCCESS, RUA)
    reports.write()
    assert logged == ["tls-report-not-kept"]


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path, now):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    reports = TlsReports(tmp_path, None, kept=True)
    reports.count(STS, TlsResult.SUCCESS, RUA)
    (tmp_path / DIRECTORY).mkdir()
    (tmp_path / DIRECTORY / "2023-11-14.jsonl").symlink_to(elsewhere)
    reports.write()
    assert elsewhere.read_text() == ""
