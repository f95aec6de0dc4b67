"""Maildir delivery: what lies in the file, under which name, and what a crash or a hostile address can do."""

import asyncio
import mailbox
import os
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat._native import Message, RecipientState
from mailmoat.delivery import maildir
from mailmoat.delivery.maildir import deliver, targets

ARRIVAL = 1_790_000_000_123
TRACE = b"Received: from client.example by mx.example.test id q7\r\n"
CONTENT = b"Subject: Hello\r\n\r\nOne\r\n.\r\n\r\nTwo\r\n"


def message(content=CONTENT, *, path=None, reverse_path="ann@example.org", queue_id="q7", body="8BITMIME"):
    octets = TRACE if path else TRACE + content
    if path:
        path.write_bytes(content)
    return SimpleNamespace(
        queue_id=queue_id,
        arrival=ARRIVAL,
        reverse_path=reverse_path,
        parameters={"BODY": body},
        open_content=lambda: path.open("rb") if path else None,
        octets=lambda: octets,
    )


def put(directory, what=None, *, recipients=("bob@example.test",), hostname="mx.example.test"):
    return deliver(directory, what or message(), recipients=recipients, hostname=hostname)


def names(directory):
    return [entry.name for entry in directory.iterdir()]


def test_the_file_has_the_delivery_fields_the_trace_and_unix_lines(tmp_path):
    final = Path(put(tmp_path / "deep" / "Maildir", recipients=["bob@example.test", "eve@example.test"]))
    assert final.parent == tmp_path / "deep" / "Maildir" / "new"
    assert final.read_bytes() == (
        b"Return-Path: <ann@example.org>\nDelivered-To: bob@example.test\nDelivered-To: eve@example.test\n"
        b"Received: from client.example by mx.example.test id q7\nSubject: Hello\n\nOne\n.\n\nTwo\n"
    )
    assert re.fullmatch(r"1790000000\.Qq7R[0-9a-f]{12}\.mx\.example\.test", final.name)
    assert names(tmp_path / "deep" / "Maildir" / "tmp") == []
    assert final.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("filed", [False, True])
def test_a_binary_message_keeps_each_octet(tmp_path, filed):
    content = b"A: b\r\n\r\n\0\r\n\n\r\r\n\xff\r"
    path = tmp_path / "content" if filed else None
    final = Path(put(tmp_path / "box", message(content, path=path, body="BINARYMIME")))
    top = b"Return-Path: <ann@example.org>\r\nDelivered-To: bob@example.test\r\n"
    assert final.read_bytes() == top + TRACE + content
    (found,) = mailbox.Maildir(tmp_path / "box", create=False)
    assert (found["Delivered-To"], found["A"]) == ("bob@example.test", "b")


def test_a_maildir_reader_finds_it(tmp_path):
    put(tmp_path / "box", message(reverse_path=""))
    (found,) = mailbox.Maildir(tmp_path / "box", create=False)
    assert found["Return-Path"] == "<>"
    assert found["Delivered-To"] == "bob@example.test"
    assert found["Subject"] == "Hello"


def test_a_message_made_by_the_extension_is_delivered(tmp_path):
    made = Message(
        queue_id="q7",
        arrival=ARRIVAL,
        reverse_path="ann@example.org",
        recipients=["b@x.test"],
        content=CONTENT,
        trace=TRACE,
    )
    assert Path(put(tmp_path / "box", made)).read_bytes().endswith(b" id q7\nSubject: Hello\n\nOne\n.\n\nTwo\n")


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
def test_large_content_comes_from_its_file_however_it_is_cut(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(maildir, "CHUNK", chunk)
    content = b"Subject: x\r\n\r\n" + b"line\r\nlone\rcr\r\n\r\n" * 20 + b"end\r"
    final = put(tmp_path / "box", message(content, path=tmp_path / "content"))
    assert Path(final).read_bytes().endswith(b" id q7\n" + content.replace(b"\r\n", b"\n"))


def test_a_delivery_repeated_after_a_crash_finds_the_first(tmp_path):
    first = put(tmp_path, recipients=["a@x.test", "b@x.test"])
    before = Path(first).stat()
    again = put(tmp_path, recipients=["b@x.test", "a@x.test"])
    assert again == first
    assert Path(again).stat().st_ino == before.st_ino
    assert len(names(tmp_path / "new")) == 1
    assert put(tmp_path, recipients=["a@x.test"]) != first
    assert put(tmp_path, message(queue_id="q8"), recipients=["a@x.test", "b@x.test"]) != first


def test_a_half_written_file_is_never_seen_and_not_left_behind(tmp_path):
    missing = SimpleNamespace(
        queue_id="q7",
        arrival=ARRIVAL,
        reverse_path="",
        parameters={},
        open_content=lambda: (tmp_path / "gone").open("rb"),
        octets=lambda: TRACE,
    )
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "box", missing)
    assert names(tmp_path / "box" / "tmp") == names(tmp_path / "box" / "new") == []


def test_a_file_where_a_maildir_should_be_is_an_oserror(tmp_path):
    (tmp_path / "box").write_bytes(b"")
    with pytest.raises(OSError):
        put(tmp_path / "box")


def test_file_and_directory_are_synced_in_the_order_that_survives_a_crash(tmp_path, monkeypatch):
    put(tmp_path, message(queue_id="first"))
    steps = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: steps.append(str(Path(f"/proc/self/fd/{fd}").readlink())) or fsync(fd))
    monkeypatch.setattr(Path, "replace", lambda source, target: steps.append("rename") or rename(source, target))
    put(tmp_path)
    written, renamed, directory = steps
    assert (Path(written).parent, renamed, directory) == (tmp_path / "tmp", "rename", str(tmp_path / "new"))


def test_the_host_cannot_leave_the_directory(tmp_path):
    assert Path(put(tmp_path, hostname="a/b:c")).name.endswith(r".a\057b\072c")


def test_a_plain_path_is_one_maildir_for_all_and_placeholders_make_more():
    recipients = ["Bob@Example.test", "eve@example.test", "bob@example.test"]
    assert targets(Path("/var/mail"), recipients) == {Path("/var/mail"): recipients}
    assert targets(Path("/v/{domain}/{local}/Maildir"), recipients) == {
        Path("/v/example.test/bob/Maildir"): ["Bob@Example.test", "bob@example.test"],
        Path("/v/example.test/eve/Maildir"): ["eve@example.test"],
    }


def test_all_spellings_of_a_mailbox_have_one_maildir():
    spellings = ["try..this@b.test", '"Try..This"@b.test', "JÖRG@b.test", "jörg@b.test"]
    assert list(targets(Path("/v/{local}"), spellings)) == [Path('/v/"try..this"'), Path("/v/jörg")]


@pytest.mark.parametrize(
    ("local", "name"),
    [
        ("../../etc", '"..%2F..%2Fetc"'),
        ("..", "%2E."),
        (".", "%2E"),
        (".ssh", '".ssh"'),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252fb"),
        ("{domain}", "{domain}"),
        ('"someone@remote.tld"', '"someone@remote.tld"'),
        ("žofie", "žofie"),
        ("nul\0", "nul%00"),
    ],
)
def test_an_address_names_one_directory_and_nothing_else(local, name):
    assert list(targets(Path("/v/{local}"), [f"{local}@example.test"])) == [Path("/v") / name]


@given(st.text(), st.text())
def test_two_addresses_share_a_maildir_only_when_they_are_the_same(one, other):
    found = targets(Path("/v/{local}"), [f"{one}@x.test", f"{other}@x.test"])
    assert all(
        path.parent == Path("/v") and path.name not in {"", ".", ".."} and "\0" not in path.name for path in found
    )
    assert (len(found) == 1) == (
        one.encode(errors="surrogatepass").lower() == other.encode(errors="surrogatepass").lower()
    )


def test_a_disk_that_hangs_keeps_no_thread_of_others(monkeypatch):
    answers = threading.Event()
    monkeypatch.setattr(maildir, "deliver", lambda *_, **__: answers.wait() and "new/1")

    async def case():
        loop, ended = asyncio.get_running_loop(), asyncio.Queue()
        transport = maildir.MaildirTransport(loop, Path("/srv/mail"), "mx.example.test")
        recipients = [SimpleNamespace(address="x@b.test", parameters={})]
        sent = SimpleNamespace(recipients=recipients, reverse_path="")
        for _ in range(50):
            attempt = SimpleNamespace(
                indexes=[0], message=sent, finished=lambda outcomes, _: ended.put_nowait(outcomes)
            )
            transport.submit(attempt)
        assert await loop.run_in_executor(None, lambda: "read") == "read"
        answers.set()
        return [(await ended.get())[0].state for _ in range(50)]

    assert asyncio.run(case()) == [RecipientState.DELIVERED] * 50


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (NotADirectoryError(20, "Not a directory", "/srv/mail/bob"), "451 4.3.0 Maildir not writable: Not a directory"),
        (ValueError("/srv/mail/bob"), "451 4.3.0 Internal error"),
    ],
)
def test_no_path_and_no_mistake_of_ours_is_in_the_reply_that_a_bounce_gives(monkeypatch, error, reply):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(maildir, "deliver", fail)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    ended = loop.create_future()
    to = SimpleNamespace(address="bob@example.test")
    attempt = SimpleNamespace(
        message=SimpleNamespace(recipients=[to]), indexes=[0], finished=lambda outcomes, _: ended.set_result(outcomes)
    )
    try:
        maildir.MaildirTransport(loop, Path("/srv/mail"), "mx.example.test").submit(attempt)
        (outcome,) = loop.run_until_complete(ended)
    finally:
        loop.close()
    assert (outcome.state, outcome.reply) == (RecipientState.PENDING, reply)
