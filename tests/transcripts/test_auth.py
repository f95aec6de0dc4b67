"""What authentication leaves in log and metrics, and never: a secret."""

import sys
from base64 import b64encode
from pathlib import Path

import pytest
from tests.doubles.authenticator import FakeAuthenticator

sys.path.insert(0, str(Path(__file__).parent))

import script
import virtual

from mailmoat.auth.authenticator import Cause, Identity
from mailmoat.auth.mechanism import AUTH_FAILURES, AUTHENTICATED, Mechanism, label
from mailmoat.limits.limiter import CONNECTIONS_REFUSED, Limit
from mailmoat.metrics import CONNECTIONS
from mailmoat.policy.client import Trust
from mailmoat.settings.listener import parse_listener

HELLO = b"EHLO client.test\r\n"


def plain(name, password):
    return b"AUTH PLAIN " + b64encode(f"\0{name}\0{password}".encode()) + b"\r\n"


@pytest.fixture
def make(tmp_path):
    made = []

    def make(*, authenticator=None, **settings):
        pairs = {**script.DEFAULTS, "tarpit.auth_time": "0", "limits.auth_failures": "0", "limits.errors": "0"}
        pairs |= {key.replace("__", "."): value for key, value in settings.items()}
        world = virtual.World(
            script.load_settings(tuple(sorted(pairs.items()))), tmp_path, known=script.KNOWN,
            authenticator=authenticator or FakeAuthenticator(),
        )  # fmt: skip
        context = world.running()
        context.__enter__()
        made.append((world, context))
        return world

    yield make
    for world, context in made:
        world.end()
        context.__exit__(None, None, None)


def lines(world, event):
    return [fields for name, fields in world.log if name == event]


def test_each_failure_is_one_line_with_its_cause(make):
    world = make()
    world.transport.send(HELLO + plain("alice", "wrong") + plain("busy", "wrong") + plain("x" * 500, "wrong"))
    world.transport.send(b"AUTH PLAIN " + b64encode(b"nonsense") + b"\r\n")
    failed = lines(world, "auth-failed")
    assert [(one["login"], one["mechanism"], one["reason"], one["reply"][:3]) for one in failed] == [
        ("alice", "PLAIN", "credentials", "535"),
        ("busy", "PLAIN", "busy", "454"),
        ("x" * 64, "PLAIN", "credentials", "535"),
        ("", "PLAIN", "malformed", "501"),
    ]
    assert {one["client"] for one in failed} == {"192.0.2.1"}
    assert lines(world, "command-refused") == []
    counted = {cause: world.shared.sum(AUTH_FAILURES[Mechanism.PLAIN, cause]) for cause in Cause}
    assert {cause: count for cause, count in counted.items() if count} == {
        Cause.CREDENTIALS: 2, Cause.BUSY: 1, Cause.MALFORMED: 1,
    }  # fmt: skip


def test_message_and_session_say_who_it_was(make):
    world = make()
    world.transport.send(HELLO + plain("alice", "secret"))
    assert world.shared.sum(AUTHENTICATED[Mechanism.PLAIN]) == 1
    world.transport.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<x@remote.test>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n")
    world.transport.vanish()
    world.loop.settle()
    assert [one["authenticated"] for one in lines(world, "message-accepted")] == ["alice"]
    [ended] = lines(world, "session-ended")
    assert (ended["authenticated"], ended["mechanism"]) == ("alice", "PLAIN")


@pytest.mark.parametrize(("in_clear", "failed"), [(False, []), (True, ["RuntimeError", "RuntimeError"])])
def test_a_secret_is_in_no_line_of_the_log(make, in_clear, failed):
    world = make(authenticator=FakeAuthenticator(in_clear=in_clear))
    secret = "s3cr3t-of-alice"
    octets = b64encode(secret.encode())
    world.transport.send(HELLO + plain("alice", secret) + octets + b"\r\n" + b"AUTH " + octets + b"\r\n")
    world.transport.send(b"AUTH LOGIN\r\n" + b64encode(b"raises") + b"\r\n" + octets + b"\r\n" + octets + b"\r\n")
    world.transport.send(b"AUTH X " + octets + b" x\r\n" + octets * 1000 + b"\r\n" + plain("raises", secret))
    world.transport.vanish()
    world.loop.settle()
    said = repr(world.log) + repr(world.said)
    assert said.count("session-ended") == 1
    for form in (secret, octets.decode(), b64encode(f"\0alice\0{secret}".encode()).decode()):
        assert form not in said
    assert [one["error"] for one in lines(world, "auth-backend-failed")] == failed


def test_the_view_has_identity_and_trust_from_success_on(make):
    world = make()
    view = world.connection._driver.view
    world.transport.send(HELLO + plain("alice", "wrong"))
    assert (view.client.identity, view.client.trust) == (None, Trust())
    world.transport.send(plain("local", "secret"))
    assert view.client.identity == Identity("local", "PLAIN", may_relay=False)
    assert view.client.trust == Trust(authenticated=True)


def test_failures_count_for_the_source_over_connections(make):
    world = make(limits__auth_failure_rate="3/10min")
    backend = world.receiver.authenticator
    for _ in range(3):
        transport, heard = world.connect("198.51.100.7")
        transport.send(HELLO + plain("alice", "wrong") + plain("busy", "x"))
        assert heard[-2][:3] + heard[-1][:3] == "535454"
        transport.vanish()
    asked = len(backend.asked)
    transport, heard = world.connect("198.51.100.7")
    transport.send(HELLO + plain("alice", "secret"))
    assert not any("AUTH" in line for line in heard)
    assert heard[-1].startswith("538 5.7.11"), "as where nothing is offered in clear"
    assert len(backend.asked) == asked
    assert [line["client"] for line in lines(world, "auth-suspended")] == ["198.51.100.7"]
    other, heard_by_other = world.connect("198.51.100.8")
    other.send(HELLO + plain("alice", "secret"))
    assert heard_by_other[-1].startswith("235 ")
    transport.vanish()
    other.vanish()


@pytest.mark.parametrize("begins", [b"", b"AUTH X\r\n" + b64encode(b"slow") + b"\r\n"], ids=["at once", "half done"])
def test_guesses_at_once_learn_no_more_than_those_one_after_the_other(make, begins):
    world = make(limits__auth_failure_rate="3/10min")
    clients = [world.connect("198.51.100.7") for _ in range(8)]
    passwords = ["wrong"] * 6 + ["secret", "wrong"]
    for transport, _ in clients:
        transport.send(HELLO + begins)
    for (transport, _), password in zip(clients, passwords, strict=True):
        transport.send(b64encode(password.encode()) + b"\r\n" if begins else plain("slow", password))
    world.loop.advance(world.loop.now_ms + 1000)
    assert [heard[-1][:3] for _, heard in clients] == ["535"] * 3 + ["454"] * 5
    assert len({heard[-1] for _, heard in clients[3:]}) == 1, "who was right does not learn it"
    assert [one["reason"] for one in lines(world, "auth-failed")] == ["credentials"] * 3 + ["too-many-failures"] * 5
    for transport, _ in clients:
        transport.vanish()


def test_who_has_failed_too_often_is_refused_where_clients_must_authenticate(make):
    world = make(limits__auth_failure_rate="1/10min", tarpit__exempt_networks="198.51.100.9")
    for peer in ("198.51.100.7", "198.51.100.9"):
        transport, _ = world.connect(peer)
        transport.send(HELLO + plain("alice", "wrong"))
        transport.vanish()
    ended = len(lines(world, "session-ended"))
    for peer, where, said in (
        (
            "198.51.100.7",
            "submission",
            ["421 4.7.0 Too many failed authentications from your address; try again later", "closes"],
        ),
        ("198.51.100.7", "submissions", ["closes"]),
        ("198.51.100.7", "smtp", ["220 mx.example.test ESMTP mailmoat"]),
        ("198.51.100.8", "submission", ["220 mx.example.test ESMTP mailmoat"]),
        ("198.51.100.9", "submission", ["220 mx.example.test ESMTP mailmoat"]),
    ):
        transport, heard = world.connect(peer, listener=parse_listener(f"{where}://192.0.2.25:587"))
        assert heard == said, (peer, where)
        transport.vanish()
    assert world.shared.sum(CONNECTIONS_REFUSED[Limit.AUTH_FAILURES]) == 2
    assert len(lines(world, "session-ended")) == ended + 3, "a refused connection is no session"
    assert world.shared.sum(CONNECTIONS) == 1, "the first client of the world is there"


def test_what_was_offered_and_is_gone_is_a_failure_for_now(make):
    world = make()
    world.receiver.authenticator.begin = lambda mechanism, channel: None
    world.transport.send(HELLO + plain("alice", "secret"))
    assert world.said[-1][1].startswith("454 4.7.0 ")


def test_a_mechanism_without_a_label_of_its_own_is_another():
    assert [label(name) for name in ("PLAIN", "X", "")] == [Mechanism.PLAIN, Mechanism.OTHER, Mechanism.OTHER]
