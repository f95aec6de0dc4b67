"""Messages on their way to a next hop: real ones (smtp-sink, Postfix, Maildirs) and ones that misbehave as they are told."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.doubles.client import Client
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import answers, free_port, wait_for
from tests.needs import missing
from tests.smtp_sink import SmtpSink

SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
MANY = 20_000 if SOAK else 2_000
ALICE, BOB = "alice@example.test", "bob@example.test"


def to(hop, kind="smtp", **more):
    """Settings: deliver to this next hop, with waits a test can bear."""
    return {
        "MAILMOAT_DELIVERY__NEXT_HOP": f"{kind}://127.0.0.1:{hop if isinstance(hop, int) else hop.port}",
        "MAILMOAT_DELIVERY__RETRY": "1",
        **{f"MAILMOAT_DELIVERY__{name.upper()}": str(value) for name, value in more.items()},
    }


@pytest.fixture
def sinking():
    """Starts an smtp-sink with these options."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(SmtpSink(*options))


# --- in bulk, to smtp-sink ---


@pytest.mark.timeout(600)
@pytest.mark.parametrize("connections", ["new", "kept"])
def test_all_that_smtp_source_sends_arrives_at_smtp_sink_and_none_twice(server, peer, sinking, tmp_path, connections):
    source, dump = peer("smtp-source"), tmp_path / "dump"
    made = server(MAILMOAT_WORKERS="2", **to(sinking("-4", "-D", str(dump))))
    keep = ["-d"] if connections == "kept" else []
    subprocess.run(
        [source, "-4", "-s", "50", "-m", str(MANY), *keep, "-f", "load@remote.test", "-t", ALICE, f"127.0.0.1:{made.port}"],
        check=True, timeout=300, capture_output=True,
    )  # fmt: skip
    wait_for(made.empty, 120, "empty spool")
    made.stop()
    octets = dump.read_bytes()
    queue_ids = Counter(re.findall(rb"by mx\.example\.test[^;]*? id ([0-9a-z]+)", octets))
    assert (len(queue_ids), set(queue_ids.values())) == (MANY, {1})
    message_ids = Counter(re.findall(rb"(?mi)^message-id: (\S+)", octets))
    assert (len(message_ids), set(message_ids.values())) == (MANY, {1}), "the sent and the arrived are not the same"
    outcomes = Counter(outcome["outcome"] for line in made.logged("delivery-attempt") for outcome in line["outcomes"])
    assert outcomes == {"delivered": MANY}


def test_connections_to_the_next_hop_are_bounded_reused_and_let_go(server):
    with NextHop() as hop:
        made = server(MAILMOAT_WORKERS="1", **to(hop, connections=2, idle_time=1))
        with made.client() as client:
            for number in range(60):
                client.submit(f"m{number}", ALICE)
        wait_for(lambda: len(hop.messages) == 60, what="60 messages")
        assert hop.accepted <= 2
        wait_for(lambda: not hop.open, what="end of the kept connections")
        before = hop.accepted
        with made.client() as client:
            client.submit("later", ALICE)
        wait_for(lambda: hop.ids()["later"], what="a message on a new connection")
        assert hop.accepted == before + 1
        wait_for(made.empty, what="empty spool")
    assert set(hop.ids().values()) == {1}


# --- next hops with a fault ---


def test_a_next_hop_that_was_down_gets_everything_soon_after_it_is_up(server):
    hop = NextHop(free_port(), start=False)
    made = server(MAILMOAT_WORKERS="2", **to(hop, retry="1h"))
    names = [f"m{number:03}" for number in range(100)]
    for part in range(4):  # several connections: both workers have some
        with made.client() as client:
            for name in names[part::4]:
                client.submit(name, ALICE)
    # More than are in memory at once: some were tried, some wait untouched.
    wait_for(lambda: len(made.logged("delivery-attempt")) >= 4, what="attempts")
    queue = made.queue()
    assert len(queue) == 100
    assert any("Connection refused" in entry["recipients"][0]["reply"] for entry in queue)
    with hop.start():
        wait_for(made.empty, what="empty spool: the retry time of one hour was waited for")
        assert hop.ids() == dict.fromkeys(names, 1)


def test_a_next_hop_that_comes_back_when_nothing_is_due_gets_everything_all_the_same(server):
    """Each message has been tried, and waits for an hour: nobody asks but the worker itself."""
    hop = NextHop(free_port(), start=False)
    made = server(MAILMOAT_WORKERS="1", **to(hop, retry="1h"))
    with made.client() as client:
        for number in range(2):
            client.submit(f"m{number}", ALICE)
    wait_for(
        lambda: len({line["queue_id"] for line in made.logged("delivery-attempt")}) == 2, 40, "an attempt for each"
    )
    with hop.start():
        wait_for(made.empty, 60, "empty spool: the retry time of one hour was waited for")
    assert hop.ids() == {f"m{number}": 1 for number in range(2)}
    assert len(made.logged("delivery-attempt")) == 4, "asking counts as no attempt"


def test_after_a_restart_in_an_outage_its_end_brings_everything_back(server):
    """What is adopted waits for an hour, and nothing else makes the new worker notice that the next hop is back."""
    hop = NextHop(free_port(), start=False)
    made = server(MAILMOAT_WORKERS="1", **to(hop, retry="1h"))
    with made.client() as client:
        client.submit("m0", ALICE)
    wait_for(lambda: made.logged("delivery-attempt"), 40, "an attempt")
    made.stop()
    made.start()
    made.until(lambda: made.metric("queue_messages") == 1, what="the message, adopted")
    with hop.start():
        wait_for(made.empty, 60, "empty spool: the retry time of one hour was waited for")
    assert hop.ids() == {"m0": 1}


def test_a_next_hop_that_dies_in_the_midst_and_comes_back(server):
    """Before it dies some messages are taken and acknowledged, some taken only: these may come twice (RFC 5321 6.1)."""
    with NextHop() as hop:
        made = server(MAILMOAT_WORKERS="1", **to(hop))
        with made.client() as client:
            for number in range(100):
                client.submit(f"m{number}", ALICE)
                if number == 50:
                    hop.stop()
        hop.start()
        wait_for(made.empty, what="empty spool")
        ids = hop.ids()
        assert set(ids) == {f"m{number}" for number in range(100)}
        assert sum(ids.values()) - 100 <= 20, "more came twice than were on their way over 20 connections"


EARLY = {
    "no greeting": ({"greeting": [None, "220 hop"]}, "421 4.4.2 Timed out"),
    "no reply to EHLO": ({"EHLO": [None, "250 hop"]}, "421 4.4.2 Timed out"),
    "greeting dropped": ({"greeting": ["", "220 hop"]}, "421 4.4.2"),
    "a greeting that is none": ({"greeting": ["HTTP/1.1 400 Bad Request", "220 hop"]}, "4"),
    "busy": ({"greeting": ["421 4.3.2 too busy", "220 hop"]}, "421 4.3.2 too busy"),
    "EHLO 4xx": ({"EHLO": ["450 4.3.2 not now", "250 hop"]}, "450 4.3.2 not now"),
}
LATE = [
    ("MAIL", None, "421 4.4.2 Timed out"),
    ("RCPT", None, "421 4.4.2 Timed out"),
    ("DATA", None, "421 4.4.2 Timed out"),
    ("end", None, "421 4.4.2 Timed out"),
    ("MAIL", "", "421 4.4.2"),
    ("RCPT", "", "421 4.4.2"),
    ("DATA", "", "421 4.4.2"),
    ("end", "", "421 4.4.2"),
    ("MAIL", "\x00\xff garbage", "4"),
    ("RCPT", "250-never ends\r\n251 ends otherwise", "4"),
    ("DATA", "250 ok", "4"),
    ("end", "99", "4"),
    ("MAIL", "451 4.7.1 greylisted", "451 4.7.1 greylisted"),
    ("RCPT", "450 4.2.1 mailbox busy", "450 4.2.1 mailbox busy"),
    ("DATA", "452 4.3.1 disk full", "452 4.3.1 disk full"),
    ("end", "451 4.6.0 scanner down", "451 4.6.0 scanner down"),
]
IMPATIENT = dict.fromkeys(("greeting_time", "mail_time", "rcpt_time", "data_time", "end_of_data_time"), 0.4)


def deferred_then_delivered(made, queue_id, reason):
    first, second = (line for line in made.logged("delivery-attempt") if line["queue_id"] == queue_id)
    ((outcome, reply),) = ((entry["outcome"], entry["reply"]) for entry in first["outcomes"])
    assert (outcome, first["attempt"]) == ("deferred", 1)
    assert reply.startswith(reason)
    assert (second["outcomes"][0]["outcome"], second["attempt"]) == ("delivered", 2)


def test_a_fault_before_the_transaction_defers_and_the_next_attempt_delivers_once(server):
    with NextHop() as hop:
        made = server(MAILMOAT_WORKERS="1", **to(hop, idle_time=0.1, **IMPATIENT))
        well = dict(hop.rules)
        for fault, (replies, reason) in EARLY.items():
            wait_for(lambda: not hop.open, what="end of the kept connection")
            hop.rules = well | {verb: list(turns) for verb, turns in replies.items()}
            with made.client() as client:
                queue_id = client.submit("one", ALICE).split()[2]
            wait_for(made.empty, what=f"empty spool after {fault}")
            assert hop.ids() == {"one": 1}, fault
            hop.contents.clear()
            deferred_then_delivered(made, queue_id, reason)
    assert made.logged("bounce-made") == []


def test_a_fault_in_a_transaction_defers_and_the_next_attempt_delivers_once(server):
    owed = {(verb, f"m{number}"): reply for number, (verb, reply, _) in enumerate(LATE)}

    def once(verb, well):
        """The fault of this message, the first time."""
        return lambda line: owed.pop((verb, line.partition("<")[2].partition("@")[0]), well)

    replies = {
        verb: once(verb, "354 go on" if verb == "DATA" else "250 ok") for verb in ("MAIL", "RCPT", "DATA", "end")
    }
    with NextHop(**replies) as hop:
        made = server(MAILMOAT_WORKERS="1", **to(hop, **IMPATIENT))
        queue_ids = []
        with made.client() as client:
            for number in range(len(LATE)):
                reply = client.submit(f"m{number}", f"m{number}@all.example.test", sender=f"m{number}@remote.test")
                queue_ids.append(reply.split()[2])
        wait_for(made.empty, what="empty spool")
        assert owed == {}
        assert hop.ids() == {f"m{number}": 1 for number in range(len(LATE))}
    for queue_id, (_, _, reason) in zip(queue_ids, LATE, strict=True):
        deferred_then_delivered(made, queue_id, reason)
    assert made.logged("bounce-made") == []


def test_only_the_recipients_that_were_deferred_are_tried_again(server):
    busy = ["450 4.2.1 busy", "250 ok"]
    with NextHop(RCPT=lambda line: busy.pop(0) if BOB in line else "250 ok") as hop:
        made = server(MAILMOAT_WORKERS="1", **to(hop))
        with made.client() as client:
            client.submit("one", ALICE, BOB)
        wait_for(made.empty, what="empty spool")
        assert [message.recipients for message in hop.messages] == [[ALICE], [BOB]]
        assert hop.messages[0].content == hop.messages[1].content


# --- LMTP, Maildir, nowhere ---


def test_lmtp_answers_for_each_recipient(server):
    def end(recipient):
        return "550 5.2.2 mailbox full for ever" if recipient == BOB else "250 2.0.0 stored"

    with NextHop(lmtp=True, EHLO="500 this is LMTP", LHLO="250-hop\r\n250 PIPELINING", end=end) as hop:
        made = server(MAILMOAT_WORKERS="1", **to(hop, kind="lmtp"))
        with made.client() as client:
            client.submit("one", ALICE, BOB)
        wait_for(lambda: len(hop.messages) == 2, what="message and report")
        wait_for(made.empty, what="empty spool")
    assert hop.to(ALICE)[0].sender == "sender@remote.test"
    (report,) = hop.to("sender@remote.test")
    assert report.sender == ""
    assert b"Final-Recipient: rfc822; bob@example.test\r\n" in report.content
    assert b"alice" not in report.content.partition(b"message/delivery-status")[2].partition(b"text/rfc822-headers")[0]


def test_a_message_for_a_maildir_lies_there_whole(server):
    made = server()
    with made.client() as client:
        reply = client.submit("one", ALICE, body=b".leading dot\r\n\r\n..two\r\nlast\r\n")
    wait_for(made.empty, what="empty spool")
    (path,) = made.delivered()
    octets = path.read_bytes()
    queue_id = reply.split()[2]
    assert f"id {queue_id}".encode() in octets
    assert octets.endswith(b"Subject: one\n\n.leading dot\n\n..two\nlast\n")


def test_discard_takes_everything_and_delivers_nowhere(server):
    made = server(MAILMOAT_DELIVERY__NEXT_HOP="discard:")
    with made.client() as client:
        for number in range(20):
            client.submit(f"m{number}", ALICE)
    wait_for(made.empty, what="empty spool")
    wait_for(lambda: len(made.logged("delivery-attempt")) == 20, what="20 attempts")
    assert {line["next_hop"] for line in made.logged("delivery-attempt")} == {"discard"}


def test_without_a_next_hop_messages_are_kept_and_the_operator_is_told(server):
    made = server(MAILMOAT_DELIVERY__NEXT_HOP="", MAILMOAT_DELIVERY__RETRY="1")
    with made.client() as client:
        for number in range(5):
            client.submit(f"m{number}", ALICE)
    checked = made.cli("check-config")
    assert checked.returncode == 0
    assert "delivery.next_hop is not set" in checked.stdout
    assert len(made.queue()) == 5
    made.stop()
    assert len(made.queue()) == 5
    with NextHop() as hop:
        made.environment["MAILMOAT_DELIVERY__NEXT_HOP"] = f"smtp://127.0.0.1:{hop.port}"
        made.start()
        wait_for(made.empty, what="empty spool")
        assert hop.ids() == {f"m{number}": 1 for number in range(5)}


# --- a real Postfix ---

MAIN_CF = """
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
maillog_file = {log}
maillog_file_prefixes = {directory}
mydestination =
myhostname = hub.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
virtual_mailbox_domains = example.test
virtual_mailbox_base = {boxes}
virtual_mailbox_maps = inline:{{ alice@example.test=alice/ }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = reject_unlisted_recipient
"""
MASTER_CF = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
virtual unix - n n - - virtual
smtp unix - - n - - smtp
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@pytest.fixture
def postfix(peer):
    """A Postfix of its own, on a port of its own: its port and alice's Maildir."""
    program = peer("postfix")
    if os.geteuid() != 0:
        missing("run as root, who alone can start Postfix")
    # Not below pytest's directory: that is closed to Postfix's own account.
    temporary = tempfile.TemporaryDirectory(prefix="postfix-")
    directory = Path(temporary.name)
    directory.chmod(0o755)
    port, account = free_port(), pwd.getpwnam("postfix")
    config, queue, data, boxes = (directory / name for name in ("etc", "queue", "data", "boxes"))
    for made in (config, queue, data, boxes):
        made.mkdir()
    for owned in (data, boxes):
        os.chown(owned, account.pw_uid, account.pw_gid)
    names = {"queue": queue, "data": data, "boxes": boxes, "log": directory / "log", "directory": directory}
    (config / "main.cf").write_text(MAIN_CF.format(**names, uid=account.pw_uid, gid=account.pw_gid))
    (config / "master.cf").write_text(MASTER_CF.format(port=port))
    for table in ("dynamicmaps.cf", "postfix-files"):
        if os.path.exists(f"/etc/postfix/{table}"):
            shutil.copy(f"/etc/postfix/{table}", config)
    command = [program, "-c", config, "start-fg"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: process.poll() is not None or answers(port), what="Postfix")
    log = directory / "log"
    assert process.poll() is None, log.read_text() if log.exists() else "Postfix ended at once"
    yield port, boxes / "alice"
    # The program is a script around the server, which survives it.
    master = int((queue / "pid" / "master.pid").read_text())
    os.kill(master, signal.SIGTERM)
    process.wait(20)
    temporary.cleanup()


def test_a_real_postfix_takes_all_and_its_refusal_makes_a_report(server, postfix):
    port, box = postfix
    # bob exists here and not there: the report about him goes to alice.
    made = server(**to(port))
    # Postfix's own limit, less the room for what we add.
    assert {"SIZE 10231808", "8BITMIME"} <= offered(made.port)
    sent = [f"m{number}" for number in range(40)]
    with made.client() as client:
        for name in sent:
            client.submit(name, ALICE, body=b"caf\xc3\xa9\r\n.dot\r\n")
        client.submit("refused", BOB, sender=ALICE)
    wait_for(made.empty, what="empty spool")
    found = wait_for(lambda: len(files := list((box / "new").glob("*"))) == 41 and files, what="41 messages")
    contents = [path.read_bytes() for path in found]
    reports = [content for content in contents if b"report-type=delivery-status" in content]
    assert len(reports) == 1
    assert b"Final-Recipient: rfc822; bob@example.test\n" in reports[0]
    assert b"Status: 5.1.1\n" in reports[0]
    assert Counter(
        re.search(rb"Message-ID: <(m\d+)@", content)[1] for content in contents if content not in reports
    ) == {name.encode(): 1 for name in sent}
    assert all(content.endswith(b"\n\ncaf\xc3\xa9\n.dot\n") for content in contents if content not in reports)
    assert all(b"by mx.example.test" in content for content in contents if content not in reports)


def test_a_real_postfix_takes_contents_by_bdat(server, postfix):
    port, box = postfix
    made = server(**to(port))
    body = b".dot\r\n" * 400_000
    with made.client() as client:
        for octets in (b"small\r\n.\r\n", body):
            client.envelope(ALICE)
            content = b"Subject: x\r\n\r\n" + octets
            client.raw(b"BDAT 14\r\n" + content[:14] + b"BDAT %d LAST\r\n" % (len(content) - 14) + content[14:])
            assert client.codes(2) == [250, 250]
    found = wait_for(lambda: len(files := list((box / "new").glob("*"))) == 2 and files, what="two messages")
    small, large = sorted((path.read_bytes() for path in found), key=len)
    assert small.endswith(b"\nsmall\n.\n")
    assert large.endswith(b"\n\n" + body.replace(b"\r\n", b"\n"))
    log = box.parent.parent / "log"

    # Three chunks of the large one, and one of the small one; each message may have a connection of its own.
    def chunks():
        return sum(int(count) for count in re.findall(r"disconnect from .* bdat=(\d+)", log.read_text()))

    wait_for(lambda: chunks() >= 3, what="end of the connections")
    assert chunks() in (3, 4)
    assert " data=" not in log.read_text()


def test_a_real_postfix_reports_what_the_sender_has_asked_for(server, postfix):
    port, box = postfix
    made = server(**to(port))
    with made.client() as client:
        client.expect(f"MAIL FROM:<{ALICE}> RET=HDRS ENVID=QQ+2B1", 250)
        client.expect(f"RCPT TO:<{ALICE}> NOTIFY=SUCCESS ORCPT=rfc822;Alice+2Btag@Example.Test", 250)
        assert client.content(b"Subject: asked\r\n\r\nthe body\r\n").code == 250
    found = wait_for(lambda: len(files := list((box / "new").glob("*"))) == 2 and files, what="message and report")
    [report] = [octets for path in found if b"report-type=delivery-status" in (octets := path.read_bytes())]
    for field in (
        b"Original-Envelope-Id: QQ+1",
        b"Original-Recipient: rfc822;Alice+tag@Example.Test",
        b"Action: delivered",
    ):
        assert re.search(field.replace(b"+", rb"\+"), report, re.IGNORECASE), field
    assert b"the body" not in report, "RET=HDRS"


# --- what the next hop takes ---

OFFERS = "250-hop.test\r\n250-PIPELINING\r\n"


def offered(port):
    with Client(port) as client:
        return set(client.ask("EHLO client.test").lines[1:])


def test_only_what_the_next_hop_takes_is_offered(server):
    with NextHop(EHLO=OFFERS + "250 SIZE 100000") as hop:
        made = server(MAILMOAT_WORKERS="1", **to(hop))
        assert {"PIPELINING", "SIZE 91808"} <= offered(made.port)
        assert not {"8BITMIME", "SMTPUTF8", "BINARYMIME"} & offered(made.port)
        with made.client() as client:
            client.expect("MAIL FROM:<forged@remote.test> SMTPUTF8", 555)
            client.expect("MAIL FROM:<forged@remote.test> BODY=8BITMIME", 555)
            client.expect("MAIL FROM:<forged@remote.test> SIZE=91809", 552)
            for line, code in (
                ("MAIL FROM:<forged@remote.test>", 250),
                (f"RCPT TO:<{ALICE}>", 250),
                ("DATA", 354),
            ):
                client.expect(line, code)
            refused = client.expect("Subject: a\r\n\r\nKäse\r\n.", 554)
            assert refused.enhanced == "5.6.3"
            assert "8BITMIME" in refused
            before = made.client()
            # The session that began before keeps what it was told; each new connection to the next hop teaches anew.
            hop.rules["EHLO"] = OFFERS + "250-8BITMIME\r\n250 SMTPUTF8"
            wait_for(lambda: not hop.open, what="end of the kept connection")
            client.submit("one", ALICE)
        wait_for(lambda: "SMTPUTF8" in offered(made.port), what="SMTPUTF8")
        assert {"PIPELINING", "SIZE 37748736", "8BITMIME", "SMTPUTF8"} <= offered(made.port)
        before.expect("MAIL FROM:<forged@remote.test> SMTPUTF8", 555)
        before.close()
        wait_for(made.empty, what="empty spool")
        made.stop()
        assert made.logged("bounce-made") == []
        assert {line["eight_bit"] for line in made.logged("next-hop-offers")} == {True, False}


def test_what_a_real_server_does_not_offer_is_not_offered(server, sinking):
    made = server(MAILMOAT_WORKERS="1", **to(sinking("-8")))
    with made.client() as client:
        assert "8BITMIME" not in client.expect("EHLO client.test", 250)
        client.submit("seven", ALICE)
        for line, code in (("MAIL FROM:<a@remote.test>", 250), (f"RCPT TO:<{ALICE}>", 250), ("DATA", 354)):
            client.expect(line, code)
        assert client.expect("Subject: a\r\n\r\nKäse\r\n.", 554).enhanced == "5.6.3"
    wait_for(made.empty, what="empty spool")


def test_while_the_next_hop_is_away_what_it_offered_last_counts(server):
    with NextHop(EHLO=OFFERS + "250 SMTPUTF8") as hop:
        made = server(MAILMOAT_WORKERS="1", **to(hop))
        assert "8BITMIME" not in offered(made.port)
        made.stop()
    made.start()
    assert "8BITMIME" not in offered(made.port)


def test_a_transaction_that_was_offered_an_extension_keeps_it(server):
    """The next hop no longer takes it: the sender is told, once, and with the header alone."""
    with NextHop(EHLO=OFFERS + "250-8BITMIME\r\n250 SMTPUTF8") as hop:
        made = server(MAILMOAT_WORKERS="1", **to(hop))
        with made.client() as client:
            client.expect("MAIL FROM:<sender@remote.test> BODY=8BITMIME", 250)
            hop.rules["EHLO"] = OFFERS + "250 SIZE"
            wait_for(lambda: not hop.open, what="end of the kept connection")
            with made.client() as other:
                other.submit("one", ALICE)
            wait_for(lambda: "8BITMIME" not in offered(made.port), what="less")
            client.expect(f"RCPT TO:<{ALICE}>", 250)
            client.expect("DATA", 354)
            client.expect("Subject: a\r\n\r\nKäse\r\n.", 250)
        wait_for(lambda: len(hop.messages) == 2, what="report")
        wait_for(made.empty, what="empty spool")
        assert b"text/rfc822-headers" in hop.to("sender@remote.test")[0].content


def test_postmaster_is_read_by_whom_the_settings_name(server):
    with NextHop() as hop:
        made = server(MAILMOAT_WORKERS="1", MAILMOAT_RECIPIENTS__POSTMASTER="ann@elsewhere.test", **to(hop))
        with made.client() as client:
            client.expect("MAIL FROM:<sender@remote.test>", 250)
            assert "PostMaster@example.test" in client.expect("RCPT TO:<PostMaster@example.test>", 250)
            for line, code in (("RCPT TO:<postmaster>", 250), (f"RCPT TO:<{ALICE}>", 250), ("DATA", 354)):
                client.expect(line, code)
            client.expect("Subject: a\r\n\r\nb\r\n.", 250)
        wait_for(lambda: hop.messages, what="message")
        assert hop.messages[0].recipients == ["ann@elsewhere.test", ALICE]
        assert [line["to"] for line in made.logged("recipient-redirected")] == [["ann@elsewhere.test"]] * 2


# --- a next hop that was changed, or is ourselves ---


def test_a_changed_next_hop_gets_at_once_what_waits(server):
    with NextHop(RCPT="451 4.3.0 not today") as hop, NextHop() as other:
        made = server(
            start=False, MAILMOAT_WORKERS="1", MAILMOAT_DELIVERY__NEXT_HOP=None, MAILMOAT_DELIVERY__RETRY="1h"
        )
        made.config.write_text(f'[delivery]\nnext_hop = "smtp://127.0.0.1:{hop.port}"\n')
        made.start()
        with made.client() as client:
            client.submit("one", ALICE)
        wait_for(lambda: made.logged("delivery-attempt"), what="attempt")
        made.config.write_text(f'[delivery]\nnext_hop = "smtp://127.0.0.1:{other.port}"\n')
        made.kill(signal.SIGHUP)
        wait_for(lambda: other.ids()["one"], 40, "the message at the other next hop")
        wait_for(made.empty, what="empty spool")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_next_hop_that_is_this_server_is_refused(server, host):
    made = server(start=False)
    made.environment["MAILMOAT_DELIVERY__NEXT_HOP"] = f"smtp://{host}:{made.port}"
    made.start(wait=False)
    assert made.process.wait(20) == 1
    (line,) = made.logged("start-refused")
    assert "delivery.next_hop" in line["detail"]
    assert "this server itself" in line["detail"]
    checked = made.cli("check-config")
    assert checked.returncode == 1
    assert "this server itself" in checked.stderr + checked.stdout
