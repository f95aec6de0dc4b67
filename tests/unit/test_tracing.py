"""`mailmoat trace`: where the log is found, and what of it belongs to a message, a session or an address."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys

import pytest

from mailmoat.tracing import history, sources
from mailmoat.tracing.history import Kind, Target
from mailmoat.tracing.shown import event_lines
from mailmoat.tracing.sources import LogError, LogFile

TAG = "1m89zsqxm00g2k"
ONE, TWO, BOUNCE = f"{TAG}y", f"{TAG}z", f"{TAG}10"
SESSION = f"{TAG}-28"


def line(second, event, **fields):
    return {"time": f"2026-11-25T18:37:{second:02}.000Z", "level": "info", "event": event, **fields}


LOG = [
    line(1, "started", pid=1),
    line(2, "sender-checked", session=SESSION, source="192.0.2.7"),
    line(
        3, "message-accepted", session=SESSION, client="192.0.2.7", helo="c.example", queue_id=ONE,
        mail_from="Sender@example.org", recipients=["carol@example.com", "al@example.com"], octets=399,
    ),
    line(4, "recipient-refused", session=SESSION, mail_from="x@example.org", recipient="typo@example.com", reply="550 5.1.1 no"),
    line(5, "message-accepted", session=SESSION, client="192.0.2.7", queue_id=TWO, mail_from="x@example.org", recipients=["al@example.com"]),
    line(
        6, "delivery-attempt", queue_id=ONE, session=SESSION, attempt=1, next_hop="127.0.0.1:25", duration=0.1,
        outcomes=[
            {"recipient": "carol@example.com", "outcome": "failed", "reply": "550 5.1.1 \u202eno\x1b[2J"},
            {"recipient": "al@example.com", "outcome": "delivered", "reply": "250 ok"},
        ],
    ),
    line(7, "bounce-made", queue_id=BOUNCE, about=ONE, to=["Sender@example.org"], recipients=["carol@example.com"]),
    line(8, "delivery-attempt", queue_id=BOUNCE, attempt=1, next_hop="127.0.0.1:25", outcomes=[]),
    line(9, "session-ended", session=SESSION, queue_ids=[ONE, TWO]),
    line(10, "delivery-attempt", queue_id=f"{ONE}0", attempt=1, outcomes=[]),
]  # fmt: skip


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in LOG))
    return path


def find(written, *paths, limit=20):
    return history.find(Target.parse(written), [LogFile(path) for path in paths], limit)


def events(lines):
    return [one["event"] for one in lines]


def test_a_message_has_what_its_session_did_before_it_and_the_bounce_about_it(log):
    found = find(ONE, log)
    assert list(found.messages) == [ONE, BOUNCE]
    assert events(found.messages[ONE]) == ["sender-checked", "message-accepted", "delivery-attempt", "bounce-made"]
    assert events(found.messages[BOUNCE]) == ["bounce-made", "delivery-attempt"]
    assert found.others == []
    assert found.read.lines == len(LOG)


def test_what_belongs_to_another_message_of_the_session_is_not_its(log):
    assert events(find(TWO, log).messages[TWO]) == ["recipient-refused", "message-accepted"]


def test_a_session_has_its_messages(log):
    found = find(SESSION, log)
    assert list(found.messages) == [ONE, TWO, BOUNCE]
    assert events(found.others) == ["session-ended"]


@pytest.mark.parametrize("written", ["sender@example.org", "<SENDER@Example.org>"])
def test_an_address_has_its_messages_in_whatever_letters_it_is_written(log, written):
    found = find(written, log)
    assert list(found.messages) == [ONE, BOUNCE]


def test_an_address_has_its_refusals(log):
    found = find("typo@example.com", log)
    assert found.messages == {}
    assert events(found.others) == ["recipient-refused"]


def test_what_happens_to_a_message_is_said_in_words():
    lines = [
        line(1, "bounce-made", queue_id=BOUNCE, about=ONE, kind="delayed", to=["a@b.test"], recipients=["c@d.test"]),
        line(2, "message-expired", queue_id=ONE, age=432000, attempts=9, recipients=["c@d.test"]),
        line(3, "bounce-suppressed", about=ONE, reason="domain-budget", mail_from="a@b.test", recipients=["c@d.test"]),
        line(3, "queue-command", queue_id=ONE, command="hold"),
        line(4, "queue-command", queue_id=ONE, command="redirect", detail="smtp://192.0.2.25:25"),
    ]
    assert [text.partition("Z  ")[2] for text in event_lines(lines)] == [
        f"report (delayed) {BOUNCE} about {ONE} to <a@b.test>: <c@d.test>",
        "expired at an age of 120 h, after 9 attempts: <c@d.test>",
        f"no bounce to <a@b.test> about {ONE} (domain-budget): <c@d.test>",
        "queue hold, by an administrator",
        "queue redirect, by an administrator: smtp://192.0.2.25:25",
    ]


def test_a_domain_is_every_address_at_it(log):
    found = find("@example.com", log)
    assert list(found.messages) == [ONE, TWO, BOUNCE]
    assert list(find("@ample.com", log).messages) == []


def test_of_an_address_with_many_messages_the_latest_are_kept(tmp_path):
    path = tmp_path / "log"
    ids = [f"{TAG}{number}" for number in range(100, 200)]
    path.write_text(
        "".join(
            json.dumps(line(0, "message-accepted", session=SESSION, queue_id=one, mail_from="a@b.test")) + "\n"
            for one in ids
        )
    )
    found = find("a@b.test", path, limit=3)
    assert sorted(found.messages) == ids[-3:]
    assert found.messages_left_out == 97


def test_the_lines_of_all_files_are_in_the_order_of_time(tmp_path, log):
    older, newer = tmp_path / "older.gz", tmp_path / "newer"
    lines = log.read_bytes().splitlines(keepends=True)
    older.write_bytes(gzip.compress(b"".join(lines[:4])))
    newer.write_bytes(b"Nov 25 host mailmoat[1]: " + b"Nov 25 host mailmoat[1]: ".join(lines[4:]))
    assert find(ONE, newer, older).messages == find(ONE, log).messages


def test_lines_that_are_not_json_are_counted(tmp_path):
    path = tmp_path / "log"
    path.write_text(f'2026-11-25T18:37:01.000Z info message-accepted queue_id={ONE}\n{{"time":1 {ONE}\n\n[]\n')
    found = find(ONE, path)
    assert (found.messages, found.read.not_json) == ({ONE: []}, 2)


@pytest.mark.parametrize("written", ["", "x", "../../etc/passwd", f"{ONE}\n", "1m89zsqxm00g2kI", "-"])
def test_what_is_nothing_that_can_be_traced_is_refused(written):
    with pytest.raises(ValueError, match="neither a queue ID nor"):
        Target.parse(written + "!" if written.endswith("\n") else written)


def test_targets_are_told_apart_by_their_form():
    assert [Target.parse(one).kind for one in (ONE, SESSION, "a@b", f" {ONE.upper()} ")] == [
        Kind.MESSAGE, Kind.SESSION, Kind.ADDRESS, Kind.MESSAGE,
    ]  # fmt: skip


def test_the_text_names_every_recipient_and_cannot_steer_a_terminal(log):
    text = list(event_lines(find(ONE, log).messages[ONE]))
    assert text[1].endswith(f"accepted from 192.0.2.7 (c.example), <Sender@example.org>, 399 octets, session {SESSION}")
    assert "      for <carol@example.com>" in text
    assert "      <carol@example.com> failed: 550 5.1.1 ?no?[2J" in text
    assert any("attempt 1 at 127.0.0.1:25, 0.1 s" in one for one in text)
    assert text[-1].endswith(f"bounce {BOUNCE} about {ONE} to <Sender@example.org>: <carol@example.com>")


def test_any_event_has_a_text():
    odd = line(1, "something-new", queue_id=ONE, reason="why", counts={"a": 1}, names=["b", "c"])
    assert list(event_lines([odd])) == ["  2026-11-25T18:37:01.000Z  something-new: reason why, counts a=1, names b c"]
    lean = [line(1, event) for event in ("message-accepted", "delivery-attempt", "recipient-refused", "bounce-made")]
    assert len(list(event_lines(lean))) == 4


# --- where the log is ---


def test_standard_input_is_read_more_than_once(monkeypatch, log):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log.read_bytes())))
    found = history.find(Target.parse(ONE), sources.named(["-"], None), 20)
    assert list(found.messages) == [ONE, BOUNCE]


def test_the_log_is_where_the_server_writes_to_and_what_was_rotated_before_it(tmp_path):
    path = tmp_path / "mail.log"
    names = ["mail.log.2.gz", "mail.log.1", "mail.log-20261125"]
    for second, name in enumerate(names):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (second, second))
    for other in ("mail.log.old", "mail.logs", "x.mail.log.1"):
        (tmp_path / other).touch()
    with path.open("a") as log, subprocess.Popen(["sleep", "60"], stdout=log) as process:
        try:
            found = sources.of_server(process.pid, None)
            assert [one.name for one in found] == [str(tmp_path / name) for name in [*names, "mail.log"]]
        finally:
            process.kill()


def test_a_log_that_nobody_can_read_again_is_named():
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as process:
        try:
            with pytest.raises(LogError, match=r"to a program \(pipe:.*--log FILE"):
                sources.of_server(process.pid, None)
        finally:
            process.kill()
    with pytest.raises(LogError, match="cannot be seen"):
        sources.of_server(2**22 + 1, None)


def test_without_a_server_and_without_a_journal_the_log_has_to_be_named(monkeypatch):
    monkeypatch.setattr(sources, "_has_journal", lambda: False)
    with pytest.raises(LogError, match="--log FILE"):
        sources.of_server(None, None)


def test_the_journal_is_read_by_journalctl(monkeypatch, tmp_path, log):
    program = tmp_path / "journalctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\ncat {log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(sources, "_has_journal", lambda: True)
    found = history.find(Target.parse(ONE), sources.of_server(None, "-2h"), 20)
    assert list(found.messages) == [ONE, BOUNCE]
    asked = (tmp_path / "arguments").read_text().splitlines()
    assert set(asked) == {"--unit mailmoat.service --output cat --quiet --no-pager --since -2h"}
    program.write_text("#!/bin/sh\necho 'No journal files were found.' >&2\nexit 1\n")
    with pytest.raises(LogError, match=r"the journal of mailmoat\.service cannot be read: No journal files were found"):
        history.find(Target.parse(ONE), sources.of_server(None, None), 20)


def test_since_is_for_the_journal_alone():
    with pytest.raises(LogError, match="--since is for the journal"):
        sources.named(["log"], "-2h")
