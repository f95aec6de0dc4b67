"""`mailmoat queue` on a spool that no server has: what is shown, exported, imported, and by whose rights."""

from __future__ import annotations

import bz2
import errno
import gzip
import json
import lzma
import os
import select
import sqlite3
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir

import pytest
from typer.testing import CliRunner

from mailmoat import _native
from mailmoat.cli import application
from mailmoat.runtime import command_notes
from mailmoat.tracing import sources

NOBODY = 65534
ARRIVAL = 1_790_000_000_000


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("MAILMOAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAILMOAT_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("MAILMOAT_HOSTNAME", "mx.a.test")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def spool(tmp_path):
    path = tmp_path / "spool"
    path.mkdir()
    return path


def run(*arguments, status=0, answer=None):
    result = CliRunner().invoke(application(), ["queue", *map(str, arguments)], input=answer)
    assert result.exit_code == status, result.output
    return result


def document(*arguments, status=0):
    return json.loads(run(*arguments, "--json", status=status).stdout)


def completed(partition, number):
    while number:
        assert select.select([partition.descriptor], [], [], 30)[0]
        for _, error, _ in partition.completions():
            assert error is None
            number -= 1


def store(spool, *messages):
    """Put messages (sender, recipients, content) into a partition of their own; their queue IDs."""
    partition = _native.Partition.create(str(spool))
    queue_ids = []
    for sender, recipients, content in messages:
        queue_ids.append(partition.next_queue_id())
        partition.insert(
            "stored",
            _native.Message(
                queue_id=queue_ids[-1], arrival=ARRIVAL, reverse_path=sender, recipients=recipients, content=content,
                trace=b"Received: by mx.a.test\r\n", parameters={"BODY": "8BITMIME"},
            ),
        )  # fmt: skip
    completed(partition, len(messages))
    partition.close()
    return queue_ids


SMALL = b"Subject: caf\xc3\xa9 \x1b[2J\r\n\r\nbody\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"x" * 70 * 40_000 + b"\r\n"


# --- shown ---


def test_messages_are_listed_by_filters_over_all_partitions(spool):
    one, bounce = store(spool, ("a@x.test", ["b@y.test"], SMALL), ("", ["a@x.test"], SMALL))
    (other,) = store(spool, ("c@z.test", ["d@sub.y.test", "b@y.test"], SMALL))

    def listed(*filters):
        return {message["queue_id"] for message in document("list", *filters)}

    assert listed() == {one, bounce, other}
    assert listed("--to", "b@Y.test") == {one, other}
    assert listed("--to", ".y.test") == {other}
    assert listed("--from", "<>") == {bounce}
    assert listed("--to", "y.test", "--from", "*@z.*") == {other}
    assert len(listed("--limit", "2")) == 2
    assert listed("--status", "deferred", "--status", "held") == set()
    assert listed("--status", "queued", "--older-than", "1h") == {one, bounce, other}
    assert "3 messages" in run("list").stdout


def test_a_message_is_shown_with_its_header_and_nothing_that_steers_a_terminal(spool):
    (queue_id,) = store(spool, ("a@x.test", ["b@y.test"], SMALL))
    text = run("show", queue_id).stdout
    assert "Received: by mx.a.test\nSubject: caf\u00e9 ?[2J\n" in text
    assert "parameters of MAIL: BODY=8BITMIME" in text
    assert "body" not in text
    shown = document("show", queue_id)
    assert shown["header"] == "Received: by mx.a.test\r\nSubject: caf\u00e9 \x1b[2J\r\n\r\n"
    assert (shown["status"], shown["history"], shown["damage"]) == ("queued", [], None)
    assert "mailmoat trace" in run("show", f"{queue_id}0", status=1).stderr
    assert "not a queue ID" in run("show", "../../etc/passwd", status=2).stderr.replace("\n", " ")


def test_what_is_in_the_queue_is_counted(spool):
    store(spool, ("a@x.test", ["b@y.test", "c@y.test", "d@z.test"], SMALL), ("", ["a@x.test"], SMALL))
    stats = document("stats")
    assert (stats["messages"], stats["recipients"], stats["oldest"]) == (2, 4, ARRIVAL)
    assert stats["statuses"] == {"queued": 2, "deferred": 0, "held": 0, "crashed": 0, "damaged": 0}
    assert [(one["name"], one["recipients"]) for one in stats["domains"]] == [
        ("y.test", 2),
        ("x.test", 1),
        ("z.test", 1),
    ]
    text = run("stats", "--limit", "1").stdout
    assert "2 messages for 4 recipients" in text
    assert "not tried yet" in text
    assert "and 2 more" in text


def test_an_empty_spool_is_counted(spool):
    assert run("stats").stdout.startswith("0 messages for 0 recipients, 0 octets\n")
    assert document("list") == []


# --- export and import ---


def test_what_is_imported_is_what_was_exported(spool, tmp_path):
    queue_ids = store(spool, ("a@x.test", ["b@y.test", "c@y.test"], SMALL), ("", ["a@x.test"], LARGE))
    away = tmp_path / "away"
    assert document("export", away, "--all")["exported"] == sorted(queue_ids)
    assert {path.stat().st_mode & 0o777 for path in away.iterdir()} == {0o600}
    assert document("import", away, "--dry-run")["dry_run"] is True
    assert len(document("list")) == 2
    imported = document("import", away)["imported"]
    assert len(document("list")) == 4
    for path, queue_id in imported.items():
        old, new = document("show", os.path.basename(path).removesuffix(".mailmoat")), document("show", queue_id)
        for changed in ("queue_id", "partition"):
            assert old.pop(changed) != new.pop(changed)
        assert old == new
    assert not list(spool.glob("transfer-*"))


def test_messages_are_exported_by_name_or_filter(spool, tmp_path):
    one, two = store(spool, ("a@x.test", ["b@y.test"], SMALL), ("", ["a@x.test"], SMALL))
    assert document("export", tmp_path / "one", one)["exported"] == [one]
    assert document("export", tmp_path / "two", "--from", "<>")["exported"] == [two]
    assert document("export", tmp_path / "none", "--all", "--dry-run")["selected"] == 2
    assert not (tmp_path / "none").exists()
    assert "name queue IDs" in run("export", tmp_path / "none", status=2).stderr.replace("\n", " ")
    gone = run("export", tmp_path / "one", f"{one}0", status=1)
    assert f"not, or no longer, in the queue: {one}0" in gone.stderr
    assert "is there already" in run("export", tmp_path / "one", one, status=1).stderr


@pytest.mark.parametrize(
    "damage",
    [lambda octets: octets[:-1], lambda octets: octets + b"x", lambda octets: octets.replace(b"body", b"bodx"), lambda _octets: b"", lambda _octets: b"mailmoat message 9\n\n"],
)  # fmt: skip
def test_a_damaged_file_keeps_all_others_out(spool, tmp_path, damage):
    store(spool, *((f"{number}@x.test", ["b@y.test"], SMALL) for number in range(5)))
    away = tmp_path / "away"
    run("export", away, "--all")
    last = max(away.iterdir())
    last.write_bytes(damage(last.read_bytes()))
    for arguments in ((), ("--dry-run",)):
        result = run("import", away, *arguments, status=1)
        assert str(last) in result.stderr
        assert "nothing was imported" in result.stderr
    assert len(document("list")) == 5
    assert sorted(path.name for path in spool.iterdir()) == ["partitions"]


def test_what_is_not_there_cannot_be_imported(spool, tmp_path):
    assert "No such file" in run("import", tmp_path / "gone", status=1).stderr
    (tmp_path / "empty").mkdir()
    assert document("import", tmp_path / "empty")["imported"] == {}
    assert list(spool.glob("partitions/*")) == []


def test_what_a_killed_import_left_is_removed_by_the_next(spool, tmp_path):
    store(spool, ("a@x.test", ["b@y.test"], SMALL))
    run("export", tmp_path / "away", "--all")
    left = spool / "transfer-left"
    (left / "partitions").mkdir(parents=True)
    run("import", tmp_path / "away")
    assert not left.exists()
    assert len(document("list")) == 2


# --- rights ---

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root works with the rights of another account")


def give_away(path):
    for directory, _, files in os.walk(path):
        for name in (directory, *(os.path.join(directory, file) for file in files)):
            os.chown(name, NOBODY, NOBODY, follow_symlinks=False)


def owners(path):
    return {
        os.lstat(os.path.join(directory, name)).st_uid
        for directory, below, files in os.walk(path)
        for name in (*below, *files)
    }


@pytest.fixture
def foreign(spool):
    """A spool of the account that the server runs as, which can reach it."""
    for path in takewhile(lambda path: path != Path(gettempdir()), spool.parents):
        path.chmod(path.stat().st_mode | 0o111)
    store(spool, ("a@x.test", ["b@y.test"], SMALL), ("", ["a@x.test"], LARGE))
    give_away(spool)
    return spool


@AS_ROOT
def test_root_leaves_every_file_to_the_owner_of_the_spool(foreign, tmp_path):
    away = tmp_path / "away"
    assert len(document("export", away, "--all")["exported"]) == 2
    assert owners(away) == {0}
    assert len(document("import", away)["imported"]) == 2
    assert len(document("list")) == 4
    assert owners(foreign) == {NOBODY}
    assert (os.geteuid(), os.getegid()) == (0, 0)


@AS_ROOT
def test_a_link_in_the_spool_leads_root_nowhere_that_its_owner_may_not_go(foreign, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * len(LARGE))
    secret.chmod(0o600)
    (content,) = foreign.glob("partitions/*/content/*")
    content.unlink()
    content.symlink_to(secret)
    result = run("export", tmp_path / "away", "--all", status=1)
    assert "Permission denied" in result.stderr
    assert not [path for path in (tmp_path / "away").iterdir() if b"xxxxxxxx" in path.read_bytes()]


@AS_ROOT
def test_another_account_is_told_whom_to_be(spool, tmp_path):
    store(spool, ("a@x.test", ["b@y.test"], SMALL))
    spool.chmod(0o700)
    os.seteuid(NOBODY)
    try:
        results = [run(*words, status=1) for words in (("list",), ("stats",), ("import", "/"))]
    finally:
        os.seteuid(0)
    for result in results[:2]:
        assert "run this as root or as the server's account" in result.stderr
    assert "ermission denied" in results[2].stderr


# --- trace ---


def trace(*arguments, status=0):
    result = CliRunner().invoke(application(), ["trace", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def test_a_trace_ends_with_where_the_message_is_now(spool, tmp_path):
    (queue_id,) = store(spool, ("a@x.test", ["b@y.test"], SMALL))
    log = tmp_path / "log"
    accepted = {
        "time": "2026-11-25T18:37:01.000Z",
        "event": "message-accepted",
        "queue_id": queue_id,
        "mail_from": "a@x.test",
    }
    log.write_text(json.dumps(accepted) + "\n")
    for what in (queue_id, "a@x.test", "B@Y.test", "@y.test"):
        text = trace(what, "--log", log).stdout
        assert f"message {queue_id}\n" in text
        assert "in the queue, next when a worker takes it\n      <b@y.test> pending\n" in text
        assert text.endswith(f"Looked at {log} (1 lines) and at the queue.\n")
    assert "accepted from an unknown client, <a@x.test>" in trace(queue_id, "--log", log).stdout
    found = json.loads(trace(queue_id, "--log", log, "--json").stdout)
    assert found["messages"][0]["events"] == [accepted]
    assert found["messages"][0]["queued"]["queue_id"] == queue_id
    assert (found["log"], found["log_lines"]) == ([str(log)], 1)


def test_without_a_log_the_queue_is_shown(spool, monkeypatch):
    monkeypatch.setattr("mailmoat.tracing.sources._has_journal", lambda: False)
    (queue_id,) = store(spool, ("a@x.test", ["b@y.test"], SMALL))
    result = trace(queue_id)
    assert "the queue alone is shown: no server runs here" in result.stderr
    assert "Looked at no log" in result.stdout
    trace(f"{queue_id}0", status=1)


def test_a_trace_of_what_cannot_be_read_says_so(spool, tmp_path):
    assert "neither a queue ID" in " ".join(trace("x", status=2).stderr.split())
    assert "No such file" in trace("a@b", "--log", tmp_path / "gone", status=1).stderr
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"x" * 100_000)[:-20])
    assert "ends too soon" in trace("a@b", "--log", cut, status=1).stderr
    for number, damaged in enumerate(
        (gzip.compress(os.urandom(9_000)), lzma.compress(os.urandom(9_000)), bz2.compress(os.urandom(9_000)))
    ):
        changed = tmp_path / f"changed.{number}"
        changed.write_bytes(damaged[:4_000] + bytes(100) + damaged[4_100:])
        assert f"{changed} cannot be read" in trace("a@b", "--log", changed, status=1).stderr
    assert "--since is for the journal" in trace("a@b", "--log", cut, "--since", "-2h", status=1).stderr


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_a_log_is_read_however_it_is_compressed_and_however_long_its_lines_are(spool, tmp_path, compress):
    line = json.dumps({"time": "2026-11-25T18:37:01.000Z", "event": "message-expired", "queue_id": "1m89zsqxm00g2ky"})
    log = tmp_path / "log"
    log.write_bytes(compress(b"x" * (1 << 17) + b"\n" + line.encode() + b"\n" + b'{"time":' * 30_000))
    (read,) = sources.named([str(log)], None)
    assert max(map(len, read.lines())) <= sources.MOST_LINE
    assert "expired at an age of" in trace("1m89zsqxm00g2ky", "--log", log).stdout


def test_the_queue_log_has_what_was_given_up_and_what_was_done(spool, tmp_path):
    lines = [
        {"event": "message-accepted", "queue_id": "1"},
        {"event": "bounce-suppressed", "about": "1", "reason": "forged-sender", "recipients": ["b@y.test"]},
        {"event": "delivery-attempt", "queue_id": "1", "outcomes": [{"reply": '"bounce-made"'}]},
        {"event": "message-expired", "queue_id": "2", "age": 90, "attempts": 3, "recipients": ["c@y.test"]},
        {"event": "queue-command", "queue_id": "3", "command": "remove"},
    ]
    log = tmp_path / "log"
    log.write_text(
        "".join(
            json.dumps({"time": "2026-11-25T18:37:01.000Z", **line}, separators=(",", ":")) + "\n" for line in lines
        )
    )
    found = document("log", "--log", log)
    assert [line["event"] for line in found] == ["bounce-suppressed", "message-expired", "queue-command"]
    text = run("log", "--log", log, "--limit", "2").stdout.splitlines()
    assert text[0].endswith("2  expired at an age of 90 s, after 3 attempts: <c@y.test>")
    assert text[1].endswith("3  queue remove, by an administrator")
    assert text[2] == f"2 events in {log}."


# --- what strangers wrote, and files from anywhere ---


@pytest.mark.parametrize("arguments", [("list",), ("show",), ("list", "--from", "x.test")])
def test_json_has_nothing_that_steers_a_terminal(spool, arguments):
    sender = "\u202e\u009bhi@x.test"
    (queue_id,) = store(
        spool, (sender, ["b@y.test"], "Subject: \u009b2J \u202e\x1b[2J \U000e0001\r\n\r\nbody\r\n".encode())
    )
    text = run(*arguments, *([queue_id] if arguments == ("show",) else []), "--json").stdout
    assert all(line.isprintable() for line in text.splitlines())
    found = json.loads(text)
    found = found[0] if isinstance(found, list) else found
    assert found["reverse_path"] == sender
    assert arguments != ("show",) or "Subject: \u009b2J \u202e\x1b[2J \U000e0001" in found["header"]


@pytest.mark.parametrize("separator", ["\v", "\f", "\x1c", "\x85", "\u2028", "\r", "\n"])
def test_no_field_looks_like_two(spool, separator):
    content = f"Subject: hi{separator}X-Mailmoat-Filter: none\r\n\r\nbody\r\n".encode()
    (queue_id,) = store(spool, ("a@x.test", ["b@y.test"], content))
    lines = run("show", queue_id).stdout.split("\n")
    assert lines[-4:] == ["Received: by mx.a.test", "Subject: hi?X-Mailmoat-Filter: none", "", ""]


def test_a_damaged_entry_costs_no_other_message(spool, tmp_path):
    queue_ids = store(spool, *(("a@x.test", ["b@y.test"], SMALL) for _ in range(5)))
    (database,) = spool.glob("partitions/*/queue.db")
    with sqlite3.connect(database) as connection:
        rows = [seq for (seq,) in connection.execute("SELECT seq FROM message ORDER BY seq")]
        for row, change in zip(
            rows,
            (
                "UPDATE recipient SET due=4611686018427387904",
                "UPDATE message SET arrival=-4611686018427387904",
                "UPDATE recipient SET state=99",
                "UPDATE recipient SET address=char(27) || ']0;x' || char(7, 13, 10)",
            ),
            strict=False,
        ):
            connection.execute(f"{change} WHERE seq={row}")
    connection.close()
    for arguments in (
        ("list",),
        ("stats",),
        ("top", "--once"),
        *(("show", one) for one in queue_ids if one != queue_ids[2]),
    ):
        assert all(line.isprintable() for line in run(*arguments).stdout.splitlines())
        run(*arguments, "--json")
    assert "9999-12-3" in run("show", queue_ids[0]).stdout
    assert "99 out of range" in run("show", queue_ids[2], status=1).stderr
    found = trace("a@x.test", status=0)
    assert f"what is stored of {queue_ids[2]} is damaged" in found.stderr
    assert queue_ids[4] in found.stdout
    shown = run("export", tmp_path / "away", "--all", status=1)
    assert "4 messages exported" in shown.stdout
    assert f"{queue_ids[2]} is damaged: " in shown.stderr
    assert document("remove", "--all", "--yes")["done"] == 5


def test_a_pipe_or_a_device_is_not_imported(spool, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    os.mkfifo(away / "x.mailmoat")
    assert "it is not a file" in run("import", away, status=1).stderr
    assert "it is not a file" in run("import", "/dev/zero", status=1).stderr
    assert "it is not a file" in run("import", tmp_path / "away" / "x.mailmoat", status=1).stderr


def test_an_address_that_would_be_two_commands_is_not_imported(spool, tmp_path):
    store(spool, ("a@x.test", ["b@y.test"], SMALL))
    away = tmp_path / "away"
    run("export", away, "--all")
    (path,) = away.iterdir()
    path.write_bytes(
        path.read_bytes().replace(b"recipient: b@y.test\n", b"recipient: b@y.test>\\r\\nRCPT TO:<c@z.test\n")
    )
    assert "the value of recipient is wrong" in run("import", away, status=1).stderr
    assert len(document("list")) == 1


def test_a_disk_that_is_full_keeps_nobody_from_removing_messages(spool, monkeypatch):
    first, second = store(spool, ("a@x.test", ["b@y.test"], SMALL), ("a@x.test", ["b@y.test"], SMALL))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(command_notes, "leave", full)
    assert document("remove", first)["not_noted"] == "No space left on device"
    assert "the log will not say what was done: No space left" in run("remove", second).stderr
    assert document("list") == []


def test_a_note_is_taken_once_and_what_is_none_is_left_out(spool):
    note = command_notes.CommandNote(ARRIVAL, "remove", "", ("1m89zsqxm00g2ky",))
    command_notes.leave(spool, note)
    (spool / "commands" / "0-other").write_bytes(b"[" * 100_000)
    (spool / "commands" / "1-other").mkdir()
    assert list(command_notes.take(spool)) == [note]
    assert list(command_notes.take(spool)) == []
