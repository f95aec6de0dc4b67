"""Reputation with the real server: who is blocked, for how long it is remembered, and what a worker's or the server's death costs."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

MAIL = "MAIL FROM:<sender@remote.tld>"
BAD = "127.0.0.66"
GOOD = "127.0.0.77"


def guess(mx, count, source=BAD, first=0):
    """So many unknown recipients, twenty in each session; the last replies."""
    replies = []
    for number in range(first, first + count):
        if (number - first) % 19 == 0:
            client = mx.client(bind=source)
            client.ask(MAIL)
        replies.append(client.ask(f"RCPT TO:<guess{number}@example.test>"))
    return replies


def deliver(mx, source=GOOD, recipient="alice@example.test"):
    client = mx.client(bind=source)
    client.ask(MAIL)
    return client.ask(f"RCPT TO:<{recipient}>")


def test_a_harvester_is_blocked_and_the_others_are_not(server):
    mx = server(MAILMOAT_REPUTATION__ACTION="reject", MAILMOAT_WORKERS="2")
    replies = guess(mx, 25)
    assert [reply[:9] for reply in replies] == ["550 5.1.1"] * 20 + ["550 5.7.1"] * 5
    assert deliver(mx, BAD) == (
        f"550 5.7.1 Mail from {BAD} is refused for what it sent before; to object, write to postmaster here"
    )
    assert deliver(mx, BAD, "postmaster@example.test").startswith("250")
    assert deliver(mx).startswith("250")
    (blocked,) = mx.until(lambda: mx.logged("source-blocked"))
    assert (blocked["source"], blocked["reputation"], blocked["seconds"]) == (f"{BAD}/32", 9, 86_400)
    assert blocked["evidence"] == {"unknown-recipient": 20.0}
    assert mx.metric("reputation_blocks_total") == 1
    assert mx.metrics()['mailmoat_policy_refusals_total{reason="bad-reputation"}'] == 6


def test_records_survive_the_death_of_a_worker(server):
    mx = server(MAILMOAT_REPUTATION__ACTION="reject", MAILMOAT_WORKERS="2")
    guess(mx, 20)
    for pid in mx.workers():
        os.kill(pid, signal.SIGKILL)
    mx.until(lambda: mx.metric("worker_restarts_total") == 2 and mx.metric("workers_ready") == 2)
    assert deliver(mx, BAD).startswith("550 5.7.1")


def test_records_survive_a_restart_and_a_reload(server):
    mx = server(MAILMOAT_REPUTATION__ACTION="reject")
    guess(mx, 20)
    assert mx.stop() == 0
    assert (Path(mx.environment["MAILMOAT_SPOOL_DIR"]) / "reputation").stat().st_mode & 0o777 == 0o600
    mx.start()
    assert deliver(mx, BAD).startswith("550 5.7.1")
    mx.config.write_text("[limits]\nhops = 99\n")
    assert mx.cli("reload").returncode == 0
    assert deliver(mx, BAD).startswith("550 5.7.1")
    assert deliver(mx).startswith("250")


def test_a_killed_server_forgets_a_minute_at_most_and_a_damaged_file_is_set_aside(server):
    mx = server(MAILMOAT_REPUTATION__ACTION="reject")
    guess(mx, 20)
    assert mx.stop() == 0
    spool = Path(mx.environment["MAILMOAT_SPOOL_DIR"])
    mx.start()
    workers = mx.workers()
    mx.kill()
    mx.process.wait()
    mx.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), what="end of the workers")
    mx.start()
    assert deliver(mx, BAD).startswith("550 5.7.1")
    assert mx.stop() == 0
    saved = spool / "reputation"
    saved.write_bytes(saved.read_bytes()[:-7])
    mx.start()
    assert deliver(mx, BAD).startswith("250")
    (line,) = mx.logged("reputation-not-read")
    assert "set aside as damaged-reputation" in line["detail"]
    assert (spool / "damaged-reputation").exists()


def test_a_server_in_front_has_no_reputation_and_its_client_has(server):
    mx = server(MAILMOAT_REPUTATION__ACTION="reject", MAILMOAT_SMTP__XCLIENT_NETWORKS="127.0.0.0/8")
    guess(mx, 40)
    assert deliver(mx, BAD).startswith("250")
    for number in range(20):
        client = mx.client(bind=BAD)
        client.ask("XCLIENT ADDR=192.0.2.9")
        client.ask("EHLO client.test")
        client.ask(MAIL)
        client.ask(f"RCPT TO:<another{number}@example.test>")
    (blocked,) = mx.until(lambda: mx.logged("source-blocked"))
    assert blocked["source"] == "192.0.2.9/32"


def test_a_harvest_of_many_sources_is_one_event_of_all_workers(server):
    mx = server(MAILMOAT_WORKERS="2", MAILMOAT_REPUTATION__HARVEST="10")
    for number in range(60):
        guess(mx, 1, f"127.{number}.0.1", number)
    (began,) = mx.until(lambda: mx.logged("harvest-began"))
    assert (began["scope"], began["domain"], began["guesses"]) == ("domain", "example.test", 40)
    assert 35 <= began["sources"] <= 45
    mx.until(lambda: mx.metric("harvests_active") == 1)
    assert mx.health()["harvests"] == 1
    assert "1 attack goes on" in mx.cli("status").stdout


def test_guesses_at_the_wrong_door_and_broken_smtp_count(server):
    mx = server()
    for _ in range(3):
        mx.client(bind=BAD, hello="GET / HTTP/1.1")
    mx.until(lambda: mx.metrics()['mailmoat_reputation_evidence_total{evidence="malformed"}'] == 3)
    assert mx.client(bind=GOOD).deliver().startswith("250")
    mx.until(lambda: mx.metrics()['mailmoat_reputation_evidence_total{evidence="accepted-message"}'] == 1)


def test_sources_are_shown_and_forgotten_while_the_server_runs_and_while_not(server):
    mx = server(MAILMOAT_REPUTATION__ACTION="reject", MAILMOAT_WORKERS="2")
    guess(mx, 20)
    assert mx.client(bind=GOOD).deliver().startswith("250")
    shown = mx.cli("reputation", "show", check=True).stdout.splitlines()
    assert re.match(rf"{BAD}/32  level 9, blocked for (1d0h|23h59m): unknown-recipient ", shown[0])
    assert shown[1] == f"{GOOD}/32  no level: accepted-message 1"
    (one,) = json.loads(mx.cli("reputation", "show", BAD, "--json", check=True).stdout)["sources"]
    assert (one["source"], one["level"]) == (f"{BAD}/32", 9)
    assert mx.cli("reputation", "reset", "198.51.100.0/24").returncode == 1
    assert mx.cli("reputation", "reset", "127.0.0.64/30", check=True).stdout == "1 source is forgotten.\n"
    assert deliver(mx, BAD).startswith("250")
    assert mx.cli("reputation", "reset").returncode == 2
    assert mx.cli("reputation", "show", "nonsense").returncode == 2
    assert mx.stop() == 0
    assert mx.cli("reputation", "show", check=True).stdout == f"{GOOD}/32  no level: accepted-message 1\n"
    assert mx.cli("reputation", "reset", "--all", check=True).stdout == "1 source is forgotten.\n"
    assert mx.cli("reputation", "show", check=True).stdout == "Nothing is remembered.\n"


def test_a_stamp_is_counted_and_logged_with_the_message_that_has_it(server):
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_REPUTATION__ACTION="stamp")
    guess(mx, 40)
    assert mx.logged("message-stamped") == []
    assert mx.client(bind=BAD).deliver().startswith("250")
    (line,) = mx.until(lambda: mx.logged("message-stamped"))
    assert (line["reason"], line["detail"]) == ("bad-reputation", "level 9")
    mx.until(lambda: mx.metrics()['mailmoat_filter_stamps_total{reason="bad-reputation"}'] == 1)
