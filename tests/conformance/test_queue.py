"""Responsibility, queue, relay: RFC 5321 4.5.4, 5, 6; RFC 7504."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from tests.doubles.name_server import NameServer

from mailmoat.settings import Settings

row = pytest.mark.row


def report(site, sender: str, count: int = 1):
    """The report that came back to this sender."""
    handed = site.hop.handed(sender, count)
    assert handed.mail.startswith("MAIL FROM:<>")
    return handed.content.decode()


def killed(site) -> None:
    """Every process of it, at once."""
    workers = site.server.pids()
    site.server.kill(signal.SIGSTOP)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    site.server.kill()
    site.server.process.wait(20)


@row("queue-01")
def test_queue_01_what_was_acknowledged_survives_a_kill(fresh, someone):
    site = fresh()
    recipients = [someone() for _ in range(20)]
    with site.hop.script(RCPT="451 4.3.0 not now"):
        wire = site.connect()
        for recipient in recipients:
            assert wire.deliver(recipient, b"Subject: kept\r\n\r\n" + b"k" * 500 + b"\r\n").code == 250
        large = b"Subject: large\r\n\r\n" + (b"L" * 900 + b"\r\n") * 400
        assert wire.deliver(recipients[0], large).code == 250
        killed(site)
    site.server.start()
    for recipient in recipients:
        assert site.hop.handed(recipient)
    site.hop.wait(lambda: any(message.original == large for message in site.hop.messages), "large message")


@row("queue-02")
def test_queue_02_no_storage_is_a_temporary_refusal(fresh, someone):
    site = fresh(limits__memory_content="2048")
    large = b"Subject: large\r\n\r\n" + (b"L" * 900 + b"\r\n") * 20
    broken = [path for path in (site.server.directory / "spool").rglob("*") if path.is_dir()]
    saved = [path for path in broken if not any(path.iterdir())]
    for path in saved:
        path.rmdir()
        path.write_text("no directory")
    wire, small = site.connect(), someone()
    reply = wire.deliver(someone(), large)
    assert (reply.code, reply.enhanced) in {(452, "4.3.1"), (451, "4.3.0")}
    assert wire.deliver(small).code == 250, "what can be stored is taken"
    assert site.hop.handed(small)
    for path in saved:
        path.unlink()
        path.mkdir()
    recipient = someone()
    assert wire.deliver(recipient, large).code == 250
    assert site.hop.handed(recipient).original == large


@row("queue-03")
def test_queue_03_a_crash_delivers_again_rather_than_never(fresh, someone):
    site, recipient = fresh(), someone()
    with site.hop.script(end=None):
        assert site.connect().deliver(recipient).code == 250
        site.hop.heard("DATA")
        killed(site)
    site.server.start()
    assert site.hop.handed(recipient)


@row("queue-07", "queue-13")
@pytest.mark.parametrize(("stage", "answer"), [("greeting", None), ("EHLO", "451 4.3.0 later"), ("EHLO", "")])
def test_queue_07_13_a_host_not_ready_is_tried_again(impatient, someone, stage, answer):
    recipient, sender, hop, asked = someone(), someone(), impatient.hop, []
    good = hop.rules[stage]

    def once(_: str) -> str | None:
        asked.append(stage)
        return answer if len(asked) == 1 else good

    with hop.script(**{stage: once}):
        assert impatient.connect().deliver(recipient, sender=sender).code == 250
        hop.handed(recipient)
    assert not hop.to(sender), "not reported"


@row("queue-07", "queue-13")
def test_queue_07_13_what_is_temporary_is_tried_again(impatient, someone):
    hop, answers = impatient.hop, ("451 4.3.0 later", None, "")
    stages = ("MAIL", "RCPT", "DATA", "end")
    cases = {someone(): (stage, answer) for stage in stages for answer in answers}
    senders = {recipient: f"from-{recipient}" for recipient in cases}
    tried = set()

    def judge(stage: str, good: str):
        def once(line: str) -> str | None:
            for recipient, (at, answer) in cases.items():
                if at == stage and recipient in line and recipient not in tried:
                    tried.add(recipient)
                    return answer
            return good

        return once

    with hop.script(**{stage: judge(stage, hop.rules[stage]) for stage in stages}):
        wire = impatient.connect()
        for recipient, sender in senders.items():
            assert wire.deliver(recipient, sender=sender).code == 250
        for recipient in cases:
            hop.handed(recipient)
    assert tried == set(cases)
    assert not any(hop.to(sender) for sender in senders.values()), "not reported"


@row("queue-07", "queue-11")
@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        ("MAIL", "550 5.7.1 no"),
        ("RCPT", "550 5.1.1 unknown"),
        ("RCPT", "553 5.1.3 odd"),
        ("DATA", "554 5.5.0 no"),
        ("end", "554 5.6.0 no"),
    ],
)
def test_queue_07_11_what_is_permanent_is_reported_once(plain, someone, stage, reply):
    recipient, sender = someone(), someone()
    hop, tried = plain.hop, []
    good = hop.rules[stage]

    def judge(line: str) -> str:
        ours = {"MAIL": sender in line, "RCPT": recipient in line}.get(stage, not tried)
        if ours:
            tried.append(line)
        return reply if ours else good

    with hop.script(**{stage: judge}):
        assert plain.connect().deliver(recipient, sender=sender).code == 250
        text = report(plain, sender)
        assert reply[4:] in text
        later = someone()
        assert plain.connect().deliver(later).code == 250
        hop.handed(later)
    assert len(tried) == 1, "not tried again"
    assert len(hop.to(sender)) == 1, "one report"


@row("queue-09")
def test_queue_09_a_sender_who_accepts_no_mail_is_refused(fresh, someone):
    with NameServer("null.test MX 0 .\nmx.test MX 10 mail.mx.test") as names:
        wire = fresh(dns__servers=names.address, sender_filter__unresolvable="reject").connect()
        wire.expect("MAIL FROM:<a@null.test>", 250)
        assert wire.ask(f"RCPT TO:<{someone()}>").startswith("550 5.7.27 ")
        wire.expect("RSET", 250)
        assert wire.deliver(someone(), sender="a@mx.test").code == 250


@row("queue-11")
def test_queue_11_nothing_is_reported_to_nobody(plain, someone):
    lost, later = someone(), someone()
    with plain.hop.script(RCPT=lambda line: "550 5.1.1 unknown" if lost in line else "250 2.1.5 ok"):
        before = len(plain.hop.messages)
        assert plain.connect().deliver(lost, sender="").code == 250
        plain.hop.heard(f"RCPT TO:<{lost}>")
        assert plain.connect().deliver(later, sender="a@remote.test").code == 250
        plain.hop.handed(later)
    assert not [
        message for message in plain.hop.messages[before:] if lost.encode() in message.content and message.recipients
    ]
    assert "RCPT TO:<>" not in plain.hop.commands


@row("queue-12")
def test_queue_12_the_times_waited(impatient, someone):
    usual = Settings().delivery
    least = {"greeting": 300, "mail": 300, "rcpt": 300, "data": 120, "block": 180, "end_of_data": 600}
    assert all(getattr(usual, f"{name}_time") >= seconds for name, seconds in least.items())

    def slow(reply: str):
        def answer(_: str) -> str:
            threading.Event().wait(0.6)
            return reply

        return answer

    recipient, rules = someone(), impatient.hop.rules
    stages = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "end")
    with impatient.hop.script(**{stage: slow(rules[stage]) for stage in stages}):
        assert impatient.connect().deliver(recipient).code == 250
        impatient.hop.handed(recipient)
    assert len(impatient.hop.to(recipient)) == 1, "each reply has its own time"


@row("queue-13")
def test_queue_13_helo_when_ehlo_is_refused(plain, someone):
    for refusal in ("500 unknown", "502 5.5.1 no", "554 no"):
        recipient = someone()
        with plain.offered(refusal, someone()):
            assert plain.connect().deliver(recipient).code == 250
            handed = plain.hop.handed(recipient)
        assert handed.mail == "MAIL FROM:<sender@remote.test>", "no parameter that was not offered"


@row("queue-13")
def test_queue_13_552_to_rcpt_is_temporary(plain, someone):
    first, second, sender = someone(), someone(), someone()
    refused = []

    def full(line: str) -> str:
        if second in line and not refused:
            refused.append(line)
            return "552 too many recipients"
        return "250 2.1.5 ok"

    with plain.hop.script(RCPT=full):
        wire = plain.connect()
        assert wire.ask(f"MAIL FROM:<{sender}>", f"RCPT TO:<{first}>", f"RCPT TO:<{second}>").code == 250
        assert wire.content(b"\r\n").code == 250
        plain.hop.handed(second)
    assert (len(plain.hop.to(first)), len(plain.hop.to(second)), len(plain.hop.to(sender))) == (1, 1, 0)


@row("queue-13")
def test_queue_13_replies_of_many_lines(plain, someone):
    recipient = someone()
    rules = {
        stage: f"{code}-one\n{code}-two\n{code} three"
        for stage, code in (("greeting", 220), ("MAIL", 250), ("RCPT", 250), ("DATA", 354), ("end", 250))
    }
    with plain.hop.script(**rules):
        assert plain.connect().deliver(recipient).code == 250
        plain.hop.handed(recipient)


@row("queue-13")
def test_queue_13_nothing_is_sent_again_after_250(plain, someone):
    recipient = someone()
    assert plain.connect().deliver(recipient).code == 250
    plain.hop.handed(recipient)
    assert not threading.Event().wait(1.2), "longer than a retry takes"
    assert len(plain.hop.to(recipient)) == 1


@row("queue-14")
def test_queue_14_fates_are_kept_apart(plain, someone):
    good, bad, later, sender = (someone() for _ in range(4))
    deferred = []

    def judge(line: str) -> str:
        if bad in line:
            return "550 5.1.1 unknown"
        if later in line and not deferred:
            deferred.append(line)
            return "450 4.2.0 grey"
        return "250 2.1.5 ok"

    with plain.hop.script(RCPT=judge):
        wire = plain.connect()
        assert wire.ask(f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in (good, bad, later))).code == 250
        assert wire.content(b"\r\n").code == 250
        plain.hop.handed(later)
        text = report(plain, sender)
    assert bad in text
    assert good not in text
    assert later not in text
    assert plain.hop.to(good)[0].recipients == [good]
    assert plain.hop.to(later)[0].recipients == [later]
    assert len(plain.hop.to(good)) == 1


@row("queue-15")
@pytest.mark.parametrize("greeting", ["521 hop.test takes nothing", "556 hop.test takes nothing"])
def test_queue_15_a_host_that_takes_no_messages(plain, someone, greeting):
    recipient, sender, greeted = someone(), someone(), []

    def once(_: str) -> str:
        greeted.append(1)
        return greeting if len(greeted) == 1 else "220 hop.test"

    with plain.hop.script(greeting=once):
        assert plain.connect().deliver(recipient, sender=sender).code == 250
        assert "takes nothing" in report(plain, sender)
    assert not plain.hop.to(recipient)


@row("queue-16")
def test_queue_16_refusals_are_made_in_the_session(plain, someone):
    sender, last = someone(), someone()
    wire = plain.connect()
    assert wire.ask(f"MAIL FROM:<{sender}>").code == 250
    reply = wire.ask("RCPT TO:<nobody@example.test>")
    assert (reply.code, reply.enhanced) == (550, "5.1.1")
    assert wire.ask("RCPT TO:<someone@remote.test>").code in (550, 554)
    assert wire.ask("RSET").code == 250
    for content in (b"Received: x\r\n" * 200 + b"\r\n", b"bare\nlf\r\n"):
        assert wire.deliver("alice@example.test", content, sender=sender).code >= 500
    assert wire.deliver(last).code == 250
    plain.hop.handed(last)
    assert not plain.hop.to(sender), "no report"


OUTSIDE = [
    "<x@remote.test>", "<x@REMOTE.test>", "x@remote.test", "<@example.test:x@remote.test>", "<@example.test,@all.example.test:x@remote.test>",
    "<x@[192.0.2.1]>", "<x@[127.0.0.1]>", "<x@[IPv6:::1]>", "<x@192.0.2.1>", "<x@sub.example.test>", "<x@notexample.test>", "<x@test>", "<x@mx.example.test>",
    '<"alice@example.test"@remote.test>', "<alice%example.test@remote.test>", "<example.test!alice@remote.test>", "<x@xn--bcher-kva.test.remote.test>",
    # At a domain of ours: no such mailbox, and no way out.
    "<x%remote.test@example.test>", "<remote.test!x@example.test>", '<"x@remote.test"@example.test>', '<"x%remote.test"@example.test>',
    "<IMCEASMTP-x+40remote+2Etest@example.test>", '<"x@remote.test">', "<x%remote.test>", "<remote.test!x>", "<x@remote.test@example.test>",
    "<x%remote.test%example.test@example.test>", '<"remote.test!x"@example.test>', "<@remote.test:x%remote.test@example.test>",
]  # fmt: skip


@row("queue-17")
@pytest.mark.parametrize(
    "sender",
    ["<>", "<x@remote.test>", "<alice@example.test>", "<postmaster@example.test>", "<x@[127.0.0.1]>", "<alice>"],
)
def test_queue_17_no_open_relay(plain, sender):
    wire = plain.connect()
    assert wire.ask(f"MAIL FROM:{sender}").code == 250
    for path in OUTSIDE:
        reply = wire.ask(f"RCPT TO:{path}")
        assert reply.code in (550, 554, 501, 553), path
        if path.startswith(("<x@", "x@", "<@e")) and reply.code != 501:
            assert reply.enhanced == "5.7.1", path
    assert wire.ask("DATA").code in (503, 554)
