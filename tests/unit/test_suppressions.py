"""`mailmoat queue log`: what a log says of bounces that were not sent."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mailmoat.cli import application
from mailmoat.tracing import bounces
from mailmoat.tracing.lines import Count
from mailmoat.tracing.sources import LogFile


def line(event, **fields):
    return json.dumps(
        {"time": "2026-11-26T07:00:00.000Z", "level": "warning", "event": event, **fields}, separators=(",", ":")
    )


def suppressed(number, reason):
    sender = f"u{number}@victim{number % 3}.example"
    return line(
        "bounce-suppressed", about=f"q{number}", reason=reason, mail_from=sender, recipients=["nobody@example.test"]
    )


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [
        "not of ours",
        *(suppressed(number, "domain-budget") for number in range(40)),
        *(suppressed(number, "folded") for number in range(2)),
        line("bounce-made", queue_id="q1"),
        line("bounce-flood-began", side="outside", withheld=50, domains=3),
        line("bounce-flood-ended", side="outside", withheld=990, domains=3, duration=1200.0),
        '{"time":"x","event":"bounce-suppressed", cut',
        '{"time":' + "[" * 5000 + '"bounce-suppressed"',
    ]
    path.write_text("\n".join(lines))
    return path


def test_they_are_counted_by_reason_and_domain(log):
    found = bounces.find([LogFile(log)], Count(), reason=None, most=5)
    assert (found.count, dict(found.reasons)) == (42, {"domain-budget": 40, "folded": 2})
    assert dict(found.domains) == {"victim0.example": 15, "victim1.example": 14, "victim2.example": 13}
    assert len(found.floods) == 2
    assert bounces.find([LogFile(log)], Count(), reason="folded", most=5).count == 2


def test_what_a_syslog_daemon_or_a_container_put_in_front_is_passed_over(log):
    log.write_text(f"Nov 26 07:00:00 mx mailmoat[7]: {suppressed(1, 'folded')}\n")
    assert bounces.find([LogFile(log)], Count(), reason=None, most=5).count == 1


def test_few_domains_of_many_are_kept(log, monkeypatch):
    monkeypatch.setattr(bounces, "MOST_DOMAINS", 2)
    assert len(bounces.find([LogFile(log)], Count(), reason=None, most=5).domains) <= 2


def test_the_command_counts_them(log):
    run = CliRunner().invoke
    shown = run(application(), ["queue", "log", "--log", str(log), "--counts", "--limit", "3"])
    assert shown.exit_code == 0
    assert "       40  domain-budget" in shown.output
    assert "bounce-flood-ended: side outside, withheld 990, domains 3, duration 1200.0" in shown.output
    said = run(application(), ["queue", "log", "--log", str(log), "--json", "--counts", "--reason", "folded"])
    assert json.loads(said.stdout)["reasons"] == {"folded": 2}
    assert "2 lines were left out that are not JSON" in said.stderr
    one = run(application(), ["queue", "log", "--log", str(log), "--json", "--reason", "folded", "--limit", "1"])
    assert [line["about"] for line in json.loads(one.stdout)] == ["q1"]
    assert run(application(), ["queue", "log", "--log", str(log), "--reason", "null-reverse-path"]).exit_code == 0
    assert run(application(), ["queue", "log", "--log", str(log) + ".none"]).exit_code == 1


def test_a_log_for_people_is_said_to_be_one(log):
    log.write_text("2026-11-26T07:00:00.000Z warning bounce-suppressed about=q1 reason=folded\n" * 3)
    for more in ((), ("--counts",)):
        shown = CliRunner().invoke(application(), ["queue", "log", "--log", str(log), *more])
        assert "3 lines were left out that are not JSON: log.format = json makes them so" in shown.stderr
