"""The log: fields, forms, thresholds, and a reader that hangs, comes back, or goes away."""

import asyncio
import json
import os
import pty
import socket

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from mailmoat import logstream, maillog
from mailmoat.events import Event
from mailmoat.logstream import LogStream
from mailmoat.maillog import Outcome, Transaction


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A log of its own that writes into a file; call it for the lines."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(maillog, "_stream", LogStream())
    monkeypatch.setattr(maillog, "_threshold", 20)
    maillog.configure("auto", "info", descriptor)
    yield lambda: [json.loads(line) for line in path.read_bytes().splitlines()]
    os.close(descriptor)


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def on_stream(descriptor, *, human=False):
    stream = LogStream()
    stream.open(descriptor, human=human)
    return stream


def read_all(descriptor):
    os.set_blocking(descriptor, False)
    octets = b""
    while True:
        try:
            piece = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return octets
        if not piece:
            return octets
        octets += piece


def test_a_session_line_has_what_an_operator_asks_for(log):
    maillog.session_ended(
        session="s1",
        client="192.0.2.7",
        helo="client.example",
        duration=15.00049,
        transactions=[Transaction("a@example.org", [("x@example.test", 550), ("y@example.test", 250)], "q1", 300)],
        replies={"2xx": 5, "3xx": 1, "5xx": 3},
        refusals=["550 5.1.1 User unknown"],
        reasons=["recipient_filter"],
        commands=9,
        messages=1,
        octets=300,
        holds=3,
        held=15.0,
    )
    (line,) = log()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "session-ended",
        "session": "s1",
        "client": "192.0.2.7",
        "helo": "client.example",
        "queue_ids": ["q1"],
        "transactions": [
            {
                "mail_from": "a@example.org",
                "recipients": [["x@example.test", 550], ["y@example.test", 250]],
                "queue_id": "q1",
                "octets": 300,
            }
        ],
        "replies": {"2xx": 5, "3xx": 1, "5xx": 3},
        "refusals": ["550 5.1.1 User unknown"],
        "reasons": ["recipient_filter"],
        "commands": 9,
        "messages": 1,
        "octets": 300,
        "holds": 3,
        "held": 15.0,
        "duration": 15.0,
    }


def test_a_delivery_attempt_names_the_outcome_of_each_recipient(log):
    maillog.delivery_attempt(
        queue_id="q1",
        session="s1",
        attempt=2,
        next_hop="smtp://127.0.0.1:25",
        outcomes=[Outcome("a@b.test", "delivered", "250 2.0.0 Ok"), Outcome("c@b.test", "deferred", "451 4.3.0 Later")],
        duration=0.25,
        octets=1234,
        next_attempt_ms=1_790_000_000_007,
    )
    maillog.delivery_attempt(
        queue_id="q1", attempt=3, next_hop="x", outcomes=[Outcome("c@b.test", "failed", "550 No")], duration=0
    )
    first, second = log()
    assert (first["level"], second["level"]) == ("info", "warning")
    assert first["outcomes"][1] == {"recipient": "c@b.test", "outcome": "deferred", "reply": "451 4.3.0 Later"}
    assert first["next_attempt"] == "2026-09-21T14:13:20.007Z"
    assert "next_attempt" not in second
    assert second["attempt"] == 3


def test_the_other_events(log):
    maillog.event(Event.SETTING_KEPT, key="workers", value=0, wanted=False, detail=None)
    maillog.bounce_made(queue_id="q2", about="q1", kind="failed", to=["a@example.org"], recipients=["x@example.test"])
    maillog.bounce_suppressed(about="q1", reason="null-reverse-path", mail_from="", recipients=["x@example.test"])
    maillog.message_expired(queue_id="q1", age=432_000.4, attempts=99, recipients=["x@example.test"])
    try:
        raise KeyError("boom\nforged")  # noqa: TRY301
    except KeyError as error:
        maillog.agent_failed("Relay", error, session_id="s1", stage="rcpt")
    started, made, suppressed, expired, failed = log()
    assert {**started, "time": ""} == {
        "time": "",
        "level": "warning",
        "event": "setting-kept",
        "key": "workers",
        "value": 0,
        "wanted": False,
    }
    assert (made["event"], made["about"], made["kind"]) == ("bounce-made", "q1", "failed")
    assert made["to"] == ["a@example.org"]
    assert (suppressed["event"], suppressed["reason"]) == ("bounce-suppressed", "null-reverse-path")
    assert (expired["event"], expired["age"], expired["attempts"]) == ("message-expired", 432_000, 99)
    assert (failed["level"], failed["agent"], failed["error"]) == ("error", "Relay", "KeyError: 'boom\\nforged'")
    assert "test_the_other_events" in failed["raised_by"][-1]


def test_the_threshold_keeps_lesser_lines_out(log):
    maillog.event(Event.STOPPING, level="debug")
    maillog.configure("json", "warning", maillog._stream._stream_fd)
    maillog.event(Event.STOPPING)
    maillog.session_ended(session="s", client="c", duration=0)
    maillog.event(Event.STRESS_BEGAN)
    assert [line["event"] for line in log()] == ["stress-began"]


def test_long_lists_keep_both_ends_and_say_how_many_are_left_out(log):
    maillog.session_ended(session="s", client="c", duration=0, refusals=[f"550 5.1.1 No {n:04}" for n in range(5000)])
    recipients = [(f"{n}@example.test", 550) for n in range(5000)]
    maillog.session_ended(session="s", client="c", duration=0, transactions=[Transaction("a", recipients)])
    line, other = log()
    assert (line["refusals"][0], line["refusals"][-1]) == ("550 5.1.1 No 0000", "550 5.1.1 No 4999")
    assert line["left_out"] == {"refusals": 5000 - len(line["refusals"])}
    kept = other["transactions"][0]["recipients"]
    assert (kept[0], kept[-1]) == (["0@example.test", 550], ["4999@example.test", 550])
    assert other["left_out"] == {"recipients": 5000 - len(kept)}
    assert len(kept) > 20


LONGEST = {"session": "s" * 30, "client": "2001:db8::1", "helo": "h" * 255, "mail_from": "m" * 300}


@pytest.mark.parametrize("form", ["json", "human"])
def test_no_line_is_longer_than_a_pipe_takes_at_once(tmp_path, monkeypatch, form):
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(maillog, "_stream", LogStream())
    maillog.configure(form, "debug", descriptor)
    for letter in ("x", "\u00e9", "\x00", "\u2028", "\U0001f600", '"', "\udc80"):
        recipients = [f"{n}{letter * 300}@example.test" for n in range(1000)]
        maillog.message_accepted(**{**LONGEST, "helo": letter * 5000}, recipients=recipients, queue_id="q", octets=1)
        maillog.refused(**LONGEST, recipient=letter * 3000, command="", reply="550 " + letter * 600, reason="r")
        maillog.session_ended(
            session="s",
            client="c",
            duration=1,
            transactions=[Transaction(letter * 300, [(address, 250) for address in recipients[:100]])] * 50,
            refusals=[letter * 512] * 4,
        )
        for deep in ([[[letter * 900] * 50] * 3] * 3, [[[letter * 900] * 3] * 3] * 50, [[[letter] * 50] * 20] * 20):
            maillog.event(Event.STOPPED, **{letter * 5000: deep, "k": {letter * n: n for n in range(200)}})
        maillog.delivery_attempt(
            queue_id="q",
            attempt=1,
            next_hop="x",
            outcomes=[Outcome(address, "deferred", letter * 900) for address in recipients[:20]],
            duration=0,
        )
    os.close(descriptor)
    lines = path.read_bytes().splitlines(keepends=True)
    assert max(map(len, lines)) <= 4000
    assert len(lines) > 35
    if form == "json":
        assert all(json.loads(line)["event"] for line in lines)


def test_every_recipient_of_an_attempt_and_of_a_dropped_message_is_named(log):
    names = [f"{'r' * 60}{n}@example.test" for n in range(1000)]
    outcomes = [Outcome(name, "failed", "550 5.1.1 User unknown") for name in names]
    maillog.delivery_attempt(queue_id="q", attempt=1, next_hop="x", outcomes=outcomes, duration=0)
    maillog.message_dropped(session="s", mail_from="m", recipients=names, reason="r", detail="")
    lines = log()
    tried = [line for line in lines if line["event"] == "delivery-attempt"]
    assert [outcome["recipient"] for line in tried for outcome in line["outcomes"]] == names
    assert {line["level"] for line in tried} == {"warning"}
    assert [name for line in lines if line["event"] == "message-dropped" for name in line["recipients"]] == names
    assert not any("left_out" in line for line in lines)


def test_an_accepted_message_names_the_first_and_last_recipients_and_how_many_there_were(log):
    names = [f"{n}@example.test" for n in range(1000)]
    for recipients in (names[:20], names):
        maillog.message_accepted(**LONGEST, recipients=recipients, queue_id="q", octets=7)
    few, many = log()
    assert few["recipients"] == names[:20]
    assert "left_out" not in few
    assert many["recipients"] == names[:10] + names[-10:]
    assert many["left_out"] == {"recipients": 980}


def test_before_configure_nothing_is_written():
    LogStream().write("early", "info", {})


class Unspeakable:
    def __str__(self):
        return "spoken\nfor"


values = st.recursive(
    st.one_of(
        st.builds(Outcome, st.text(), st.just("failed"), st.text(st.characters(categories=["Cs", "Cc"]))),
        st.text(), st.text(st.characters(categories=["Cs", "Cc", "Zl", "Zp"])), st.integers(), st.binary(), st.builds(Unspeakable)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip


@given(values, st.booleans())
def test_no_value_can_break_or_forge_a_line(value, human):
    reader, writer = os.pipe()
    try:
        stream = on_stream(writer, human=human)
        stream.write("first", "info", {"value": value})
        stream.write("second", "info", {})
        stream._release()
        octets = read_all(reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert octets.count(b"\n") == 2
    lines = octets.decode().splitlines()
    assert len(lines) == 2
    if human:
        assert all(line.isprintable() for line in lines)
    else:
        assert [json.loads(line)["event"] for line in lines] == ["first", "second"]


def test_on_a_terminal_lines_are_for_people():
    reader, writer = pty.openpty()
    stream = LogStream()
    stream.open(writer, human=os.isatty(writer))
    maillog_line = {
        "client": "192.0.2.7",
        "reply": "550 5.1.1\x1b[2J\r\nforged=1",
        "codes": {"2xx": 1},
        "ids": ["a", "b"],
    }
    stream.open(writer, human=True)
    stream.write("session-ended", "info", maillog_line)
    stream._release()
    line = os.read(reader, 4096).decode()
    os.close(reader)
    os.close(writer)
    assert line.endswith(
        "Z info    session-ended client=192.0.2.7 reply='550 5.1.1\\x1b[2J\\r\\nforged=1' codes={2xx=1} ids=[a, b]\r\n"
    )


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_lines_of_one_turn_are_one_write(pipe, new_loop, monkeypatch):
    reader, writer = pipe
    stream = on_stream(writer)
    sizes = []
    write = os.write
    monkeypatch.setattr(logstream.os, "write", lambda fd, octets: sizes.append(write(fd, octets)) or sizes[-1])
    loop = new_loop()
    stream.bind_loop(loop)

    async def turn():
        before = len(sizes)
        for number in range(10):
            stream.write("line", "info", {"number": number})
        assert len(sizes) == before
        await turn_of(loop)
        assert len(sizes) == before + 1

    loop.run_until_complete(turn())
    loop.run_until_complete(turn())
    loop.close()
    assert len(read_all(reader).splitlines()) == 20
    stream.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_reader_that_hangs_costs_lines_and_never_time_and_is_told_later(pipe, new_loop, monkeypatch):
    monkeypatch.setattr(logstream, "MAX_WAITING", 100_000)
    reader, writer = pipe
    stream = on_stream(writer)
    loop = new_loop()
    stream.bind_loop(loop)

    async def flood():
        for number in range(5000):
            stream.write("line", "info", {"number": number, "padding": "x" * 100})
            if number % 100 == 0:
                await turn_of(loop)

    async def read_until_told():
        octets = b""
        while b"lines_lost" not in octets:
            readable = loop.create_future()
            loop.add_reader(reader, readable.set_result, None)
            await readable
            loop.remove_reader(reader)
            octets += os.read(reader, 65536)
            if not stream._waiting:
                stream.write("after", "info", {})
        return octets

    loop.run_until_complete(flood())
    assert os.get_blocking(writer)
    octets = loop.run_until_complete(read_until_told())
    stream.close()
    loop.close()
    lines = [json.loads(line) for line in (octets + read_all(reader)).splitlines()]
    numbers = [line["number"] for line in lines if line["event"] == "line"]
    assert numbers == list(range(len(numbers)))
    assert next(line["lines_lost"] for line in lines if "lines_lost" in line) == 5000 - len(numbers)


async def turn_of(loop):
    passed = loop.create_future()
    loop.call_soon(passed.set_result, None)
    await passed


def test_without_a_loop_a_full_pipe_is_tried_again_with_the_next_line_and_at_the_end(pipe):
    reader, writer = pipe
    stream = on_stream(writer)
    for number in range(2000):
        stream.write("line", "info", {"number": number, "padding": "x" * 100})
    assert stream._waiting
    octets = read_all(reader)
    stream.write("last", "info", {})
    while stream._waiting:
        octets += read_all(reader)
        stream.flush()
    stream.close()
    octets += read_all(reader)
    events = [json.loads(line) for line in octets.splitlines()]
    assert [event["number"] for event in events[:-1]] == list(range(2000))
    assert events[-1]["event"] == "last"


def test_a_line_longer_than_a_pipe_takes_at_once_is_cut_in_its_middle(pipe):
    reader, writer = pipe
    stream = on_stream(writer)
    stream.write("long", "info", {"value": "b" + "x" * 200_000 + "e"})
    octets = read_all(reader)
    stream._release()
    value = json.loads(octets)["value"]
    assert (value[0], value[-1], "..." in value) == ("b", "e", True)
    assert len(octets) <= 4000


def test_a_reader_that_is_gone_raises_nothing_and_is_counted():
    reader, writer = os.pipe()
    stream = on_stream(writer)
    os.close(reader)
    for _ in range(3):
        stream.write("line", "info", {})
    assert stream._lost == 3
    os.close(writer)


def test_lost_lines_are_counted_and_told_without_another_line(pipe, monkeypatch):
    monkeypatch.setattr(logstream, "MAX_WAITING", 10_000)
    reader, writer = pipe
    lost = []
    stream = on_stream(writer)
    stream.count_lost(lost.append)
    for number in range(1000):
        stream.write("line", "info", {"number": number, "padding": "x" * 100})
    assert lost
    stream.tell_lost()  # nobody reads yet
    octets = read_all(reader)
    while stream._waiting:
        stream.tell_lost()
        octets += read_all(reader)
    stream.tell_lost()
    stream.tell_lost()
    stream.close()
    told = [json.loads(line) for line in (octets + read_all(reader)).splitlines()]
    assert [line["lines_lost"] for line in told if line["event"] == "log-lines-lost"] == [sum(lost)]
    assert len(told) == 1000 - sum(lost) + 1


def test_lines_that_nobody_takes_at_the_end_are_counted(pipe, monkeypatch):
    monkeypatch.setattr(logstream, "_PATIENCE_MS", 10)
    lost = []
    stream = on_stream(pipe[1])
    stream.count_lost(lost.append)
    for number in range(1000):
        stream.write("line", "info", {"number": number, "padding": "x" * 100})
    assert not lost
    stream.close()
    assert sum(lost) + len(read_all(pipe[0]).splitlines()) == 1000


def test_a_socket_is_written_without_changing_its_mode():
    ours, theirs = socket.socketpair()
    stream = on_stream(ours.fileno())
    for number in range(20_000):
        stream.write("line", "info", {"number": number})
    assert ours.getblocking()
    assert stream._waiting
    octets = b""
    theirs.setblocking(False)
    while True:
        try:
            octets += theirs.recv(1 << 20)
        except BlockingIOError:
            if not stream._waiting:
                break
            stream.flush()
    stream._release()
    ours.close()
    theirs.close()
    assert [json.loads(line)["number"] for line in octets.splitlines()] == list(range(20_000))


def test_a_forked_child_does_not_repeat_the_lines_that_wait(pipe):
    reader, writer = pipe
    stream = on_stream(writer)
    for number in range(2000):
        stream.write("line", "info", {"number": number, "padding": "x" * 100})
    assert stream._waiting
    stream.forget()
    assert not stream._waiting
    read_all(reader)
    stream.write("child", "info", {})
    assert json.loads(read_all(reader))["event"] == "child"
    stream.close()
