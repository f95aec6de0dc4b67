"""Which agents a session asks. One whose agents are asked only for what speaks against a client or a message says what one says that asks all."""

import sys
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.doubles.authenticator import FakeAuthenticator

sys.path.insert(0, str(Path(__file__).parent))

import script
import virtual

from mailmoat import _native
from mailmoat._native import Stage
from mailmoat.policy.agent import Agent
from mailmoat.policy.pipeline import ALL
from mailmoat.policy.verdict import PASS

EVERYTHING = {
    "limits.message_rate": "5/min", "limits.recipient_rate": "6/min", "limits.unknown_recipient_rate": "3/min", "limits.null_sender_rate": "2/min",
    "limits.byte_rate": "2000/min", "limits.connection_rate": "100/min", "reputation.action": "reject", "reputation.harvest": "3", "tarpit.escalate": "true",
    "tarpit.time": "1", "tarpit.escalate_max": "8", "tarpit.escalate_after": "1", "helo.own_name": "reject", "helo.malformed": "reject", "helo.unqualified": "stamp",
    "helo.literal": "reject", "sender_filter.blank": "stamp", "sender_filter.reserved_domains": "stamp", "recipients.blocked": "bob@example.test",
    "sender_filter.blocked": "spam@bad.tld, .worse.tld, bad.org, !good@bad.org",
}  # fmt: skip
GOOD = b"EHLO mail.client.tld\r\nMAIL FROM:<a@client.tld>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nFrom: a@client.tld, b@other.tld\r\n\r\nx\r\n.\r\n"


def make(tmp_path, pairs, **options):
    values = script.DEFAULTS | pairs
    return virtual.World(script.load_settings(tuple(sorted(values.items()))), tmp_path, known=script.KNOWN, **options)


def watch(world):
    """Stage and agents of each question from now on."""
    asked, pipeline = [], world.receiver.pipeline
    run = pipeline.run

    def watched(stage, view, places=ALL):
        names = [method.name for place, method in enumerate(pipeline.stages[stage]) if places >> place & 1]
        asked.append((stage.name, *names))
        return run(stage, view, places)

    pipeline.run = watched
    return asked


def test_nobody_is_asked_about_a_good_message(tmp_path):
    world = make(tmp_path, EVERYTHING | {"limits.byte_rate": "1MiB/min"})
    with world.running():
        asked = watch(world)
        for _ in range(2):
            world.send(GOOD)
        assert asked == []
        assert [line for _, line in world.said if line.startswith("250 2.6.0")] != []
        world.end()


def test_only_those_are_asked_that_have_something_to_say(tmp_path):
    world = make(tmp_path, EVERYTHING | {"helo.own_name": "off", "sender_filter.blank": "off"})
    with world.running():
        asked = watch(world)
        world.send(b"HELO mx.example.test\r\nMAIL FROM:<spam+1@bad.tld>\r\nRCPT TO:<alice@example.test>\r\n")
        world.loop.advance(world.loop.now_ms + 9000)  # the refusal is held
        world.send(b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster@example.test>\r\n")
        assert asked == [
            (
                "RCPT",
                "helo_checks",
                "sender_filter",
                "relay",
                "recipient_filter",
            ),  # each may have put another in its place
            ("RCPT", "helo_checks", "relay", "recipient_filter"),
        ]
        world.end()


def test_who_authenticates_is_another_client(tmp_path):
    world = make(tmp_path, EVERYTHING | {"auth.relay": "true"}, authenticator=FakeAuthenticator(in_clear=True))
    with world.running():
        asked = watch(world)
        plain = b64encode(b"\0alice\0secret")
        world.send(b"EHLO c\r\nAUTH PLAIN " + plain + b"\r\n")
        world.send(b"MAIL FROM:<a@client.tld>\r\nRCPT TO:<x@remote.tld>\r\n")
        assert asked == [("RCPT", "recipient_filter")], "rates, filters and relay control do not concern it"
        assert world.said[-1][1].startswith("250 2.1.5")
        world.end()


class Late(Agent):
    """An agent of an administrator."""

    name = "late"
    seen = 0

    def __init__(self):
        """Take nothing."""

    def on_mail(self, view):
        """Pass."""
        Late.seen += 1
        return PASS


def test_an_agent_without_conditions_is_always_asked(tmp_path):
    world = make(tmp_path, EVERYTHING, agents=[Late()])
    with world.running():
        asked = watch(world)
        world.send(b"EHLO c.tld\r\nMAIL FROM:<a@client.tld>\r\n")
        assert asked == [("MAIL", "late")]
        world.end()


@pytest.mark.parametrize("kind", ["blocked", "allowed"])
def test_a_client_on_a_list(tmp_path, kind):
    script.compile_lists(tmp_path, [(kind.removesuffix("ed"), "192.0.2.0/24")])
    world = make(tmp_path, {"spool_dir": str(tmp_path)})
    with world.running():
        asked = watch(world)
        world.send(b"EHLO c.tld\r\nMAIL FROM:<a@client.tld>\r\nRCPT TO:<alice@example.test>\r\n")
        assert asked == ([("RCPT", "connection_filter", "relay", "recipient_filter")] if kind == "blocked" else [])
        world.end()


def test_all_agents_are_asked_where_the_address_is_not_known(tmp_path):
    world = make(tmp_path, EVERYTHING)
    with world.running():
        asked = watch(world)
        transport, _ = world.connect("")
        transport.send(b"EHLO c.tld\r\nMAIL FROM:<a@client.tld>\r\n")
        assert asked == [("MAIL", *(method.name for method in world.receiver.pipeline.stages[Stage.MAIL]))]
        transport.vanish()
        world.end()


HELOS = (
    "mail.client.tld",
    "MX.example.test",
    "localhost",
    "[192.0.2.1]",
    "[203.0.113.5]",
    "192.0.2.1",
    "a.xn--bcher-kva.tld",
    "under_score.tld",
)
SENDERS = (
    "a@client.tld",
    "spam@bad.tld",
    "Spam+x@bad.tld",
    "a@x.worse.tld",
    "a@worse.tld",
    "good@bad.org",
    "a@bad.org",
    "",
    "a@localhost",
    "a@b.example.com",
    "in@file.tld",
)
RECIPIENTS = (
    "alice@example.test",
    "ALICE@example.test",
    "alice+tag@example.test",
    "bob@example.test",
    "postmaster@example.test",
    "ghost@example.test",
    "x%y@example.test",
    "a@elsewhere.tld",
)
FROMS = (
    "From: a@client.tld",
    "From: spam@bad.tld",
    "From: a@client.tld, A <a@deep.worse.tld>",
    "Subject: none",
    "From: in@file.tld",
    "From: ,;<",
)
COMMANDS = st.one_of(
    st.sampled_from(HELOS).map("EHLO {}\r\n".format),
    st.tuples(st.sampled_from(SENDERS), st.lists(st.sampled_from(RECIPIENTS), min_size=1, max_size=3), st.sampled_from(FROMS)).map(
        lambda one: f"MAIL FROM:<{one[0]}>\r\n" + "".join(f"RCPT TO:<{to}>\r\n" for to in one[1]) + f"DATA\r\n{one[2]}\r\n\r\nx\r\n.\r\nRSET\r\n"
    ),
    st.just("wait"),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    commands=st.lists(COMMANDS, max_size=8),
    chosen=st.sets(st.sampled_from(sorted(EVERYTHING))),
    listed=st.sampled_from([(), (("block", "192.0.2.1"),), (("block", "192.0.2.0/24 until=1970-01-02"),)]),
    pressed=st.sampled_from([0, 0, 1, 2]),
)
def test_screened_sessions_say_what_others_say(tmp_path, commands, chosen, listed, pressed):
    said, logged, metrics = [], [], []
    pairs = {name: EVERYTHING[name] for name in chosen} | {"spool_dir": str(tmp_path)}
    pairs |= {"sender_filter.blocked_file": str(tmp_path / "senders"), "pressure.queue": "10, 20, 15, 5"}
    pairs |= dict.fromkeys(("pressure.disk", "pressure.memory", "pressure.lag"), "off")
    (tmp_path / "senders").write_text("in@file.tld\n.below.tld\n")
    _native.compile_senders(str(tmp_path / "senders"), str(tmp_path / "senders.snapshot"))
    script.compile_lists(tmp_path, listed)
    for screened in (False, True):
        world = make(tmp_path, pairs, screened=screened)
        with world.running():
            world.press(pressed)
            world.send(b"EHLO mail.client.tld\r\n")
            for command in commands:
                if command == "wait":
                    world.loop.advance(world.loop.now_ms + 20_000)
                else:
                    world.send(command.encode())
                    world.loop.advance(world.loop.now_ms + 60)
            world.end()
        said.append(world.said)
        logged.append(world.log)
        metrics.append(world.shared.row(0))
    assert said[0] == said[1]
    assert logged[0] == logged[1]
    assert metrics[0] == metrics[1]
