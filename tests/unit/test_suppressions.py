"""`mailmoat bounces`: what a log says of bounces that were not sent."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mailmoat.cli import application
from mailmoat.tracing import bounces
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
    found = bounces.find([LogFile(log)], reason=None, most=5)
    assert (found.count, dict(found.reasons)) == (42, {"domain-budget": 40, "folded": 2})
    assert dict(found.domains) == {"victim0.example": 15, "victim1.example": 14, "victim2.example": 13}
    assert ([one["about"] for one in found.latest], len(found.floods)) == (["q37", "q38", "q39", "q0", "q1"], 2)
    assert bounces.find([LogFile(log)], reason="folded", most=5).count == 2


def test_what_a_syslog_daemon_or_a_container_put_in_front_is_passed_over(log):
    log.write_text(f"Nov 26 07:00:00 mx mailmoat[7]: {suppressed(1, 'folded')}\n")
    assert bounces.find([LogFile(log)], reason=None, most=5).count == 1


def test_few_domains_of_many_are_kept(log, monkeypatch):
    monkeypatch.setattr(bounces, "MOST_DOMAINS", 2)
    assert len(bounces.find([LogFile(log)], reason=None, most=5).domains) <= 2


def test_the_command_shows_them(log):
    run = CliRunner().invoke
    shown = run(application(), ["bounces", "--log", str(log), "--limit", "3"])
    assert shown.exit_code == 0
    assert "       40 domain-budget" in shown.output
    assert "over after 1200.0 s, 990 not sent, 3 domains" in shown.output
    said = json.loads(run(application(), ["bounces", "--log", str(log), "--json", "--reason", "folded"]).output)
    assert (said["suppressed"], said["reasons"]) == (2, {"folded": 2})
    assert run(application(), ["bounces", "--log", str(log), "--reason", "null-reverse-path"]).exit_code == 1
    assert run(application(), ["bounces", "--log", str(log) + ".none"]).exit_code != 0
