"""What depends on how ciphertext is cut, on what a client can do in TLS, and on what was withheld before."""

import ssl
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
import script
import virtual
from tests.doubles.loop import START_MS

from mailmoat._native import TlsIdentity
from mailmoat.auth.mechanism import AUTHENTICATED, Mechanism
from mailmoat.limits.limiter import LimitClass
from mailmoat.metrics import FAMILIES
from mailmoat.policy.client import Client, Trust
from mailmoat.receive import guessers as guessers_module
from mailmoat.receive.handshakes import HANDSHAKES_OPEN, HandshakeEnd
from mailmoat.settings.listener import parse_listener

CLEAR = b"EHLO c.test\r\nSTARTTLS\r\n"
EVIL = b"MAIL FROM:<evil@c.test>\r\nRCPT TO:<alice@example.test>\r\n"
SMTPS = parse_listener("smtps://192.0.2.25:465")


@pytest.fixture
def make(tmp_path):
    worlds = []

    def made(listener=virtual.LISTENER, **settings):
        pairs = {
            **script.DEFAULTS,
            "tls.offer": "on",
            **{key.replace("__", "."): value for key, value in settings.items()},
        }
        loaded = script.load_settings(tuple(sorted(pairs.items())))
        world = virtual.World(loaded, tmp_path, known=script.KNOWN, listener=listener)
        worlds.append(world)
        return world

    yield made
    for world in worlds:
        with world.running():
            world.end()
        assert world.shared.sum(HANDSHAKES_OPEN) == 0


def lines(world):
    return [line for _, line in world.said]


def count(world, end):
    return world.shared.sum(FAMILIES["mailmoat_tls_handshakes_total"][end])


def test_what_stands_behind_starttls_in_its_segment_is_dropped(make):
    world = make()
    with world.running():
        world.send(CLEAR + EVIL)
        assert lines(world)[-1] == "220 2.0.0 Ready to start TLS"
        world.start_tls()
        world.send(b"RCPT TO:<alice@example.test>\r\n")
    assert lines(world)[-2:] == ["(TLSv1.3)", "503 5.5.1 Need MAIL command first"]
    with world.running():
        world.transport.vanish()
    assert dict(world.log)["session-ended"]["injected"] == len(EVIL)


@pytest.mark.parametrize("rest", [EVIL, b"\r\n", b"x", bytes(range(256))])
def test_clear_text_in_place_of_a_handshake_ends_the_connection(make, rest):
    world = make()
    with world.running():
        world.send(CLEAR)
        world.tls = Sink()
        world.transport.send(rest)
        if rest == b"x":
            world.loop.advance(world.loop.now_ms + 31_000)
    assert lines(world)[-1] in {"(closes)", "(aborts)"}
    assert count(world, HandshakeEnd.FAILED) + count(world, HandshakeEnd.TIMEOUT) == 1
    assert not any(line.startswith("(keeps") for line in lines(world))


class Sink:
    """A client that ignores what it gets."""

    def receive(self, octets):
        pass


def test_a_whole_session_in_ciphertext_by_octets(make):
    world = make(SMTPS)
    send = world.transport.send
    with world.running():
        world.transport.send = lambda octets: [send(octets[at : at + 1]) for at in range(len(octets))]
        world.start_tls()
        world.send(b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        world.send(b"Subject: x\r\n\r\nHello\r\n.\r\nQUIT\r\n")
    assert [line[:3] for line in lines(world) if line[:3] in {"354", "221"}] == ["354", "221"]
    assert any("ESMTPS id" in line for line in lines(world))
    assert count(world, HandshakeEnd.DONE) == 1


def test_a_client_with_nothing_in_common_gets_no_offer_for_a_while(make):
    """Its message arrives at the second try, in clear."""
    world = make(tls__minimum="1.3", tls__withhold="1h")
    with world.running():
        world.send(CLEAR)
        world.start_tls(version=ssl.TLSVersion.TLSv1_2)
        assert count(world, HandshakeEnd.NOTHING_IN_COMMON) == 1
        failed = next(fields for name, fields in world.log if name == "tls-failed")
        assert failed["reason"] == "nothing-in-common"
        assert failed["withheld"] == 3600
        world.transport.vanish()
        again, heard = world.connect("192.0.2.1")
        again.send(b"EHLO c.test\r\nSTARTTLS\r\n")
        assert not any("STARTTLS" in line for line in heard)
        assert heard[-1].startswith("502 5.5.1")
        again.vanish()
        other, heard = world.connect("192.0.2.9")
        other.send(b"EHLO c.test\r\n")
        assert any("STARTTLS" in line for line in heard)
        other.vanish()
        world.loop.advance(world.loop.now_ms + 3_601_000)
        later, heard = world.connect("192.0.2.1")
        later.send(b"EHLO c.test\r\n")
        assert any("STARTTLS" in line for line in heard)
        later.vanish()


def test_a_client_that_can_speak_tls_is_offered_it_after_a_failure(make):
    """A scan of the versions is no old sender."""
    world = make(tls__minimum="1.3", tls__withhold="1h")
    with world.running():
        world.send(CLEAR)
        world.start_tls()
        world.transport.vanish()
        for wants in ({"version": ssl.TLSVersion.TLSv1_2}, {}):
            world.transport, heard = world.connect("192.0.2.1")
            world.tls = None
            world.send(CLEAR)
            assert heard[-1] == "220 2.0.0 Ready to start TLS"
            world.transport._heard = world._heard
            world.start_tls(**wants)
            world.transport.vanish()
        assert count(world, HandshakeEnd.NOTHING_IN_COMMON) == 1
        assert count(world, HandshakeEnd.DONE) == 2


def test_a_source_that_guesses_uses_up_its_tls(make):
    world = make()
    guesser = Client("192.0.2.1", virtual.LISTENER, Trust())
    with world.running():
        world.transport.vanish()
        rates, guessers = world.receiver.rates, world.receiver.guessers
        for _ in range(guessers_module.IDLE_TLS):
            guessers.left(guesser, 0)
        assert offers(world, guesser), "it has not guessed"
        rate = world.receiver.settings.limits.auth_failure_rate
        rates.charge(LimitClass.AUTH_FAILURES, guesser.address, rate.burst)
        for _ in range(guessers_module.IDLE_TLS):
            assert offers(world, guesser)
            guessers.left(guesser, 1)
            guessers.left(guesser, 0)
        assert not offers(world, guesser)
        world.loop.advance(world.loop.now_ms + 601_000)
        assert offers(world, guesser)


def offers(world, client):
    transport, heard = world.connect(client.address)
    transport.send(b"EHLO c.test\r\n")
    transport.vanish()
    return any("STARTTLS" in line for line in heard)


def test_nothing_is_withheld_after_any_other_fault(make):
    world = make()
    with world.running():
        world.send(CLEAR)
        world.tls = Sink()
        world.transport.send(b"EHLO again\r\n")
        world.transport.vanish()
        again, heard = world.connect("192.0.2.1")
        again.send(b"EHLO c.test\r\n")
        assert any("STARTTLS" in line for line in heard)
        again.vanish()


@pytest.mark.parametrize("listener", [SMTPS, parse_listener("submission://192.0.2.25:587")], ids=str)
def test_nothing_is_withheld_for_an_old_client_at_another_port(make, listener):
    """A scan of port 465, or an old telephone, does not send the mail of its whole network in clear."""
    world = make(listener, tls__minimum="1.3", tls__withhold="1h")
    with world.running():
        if not listener.implicit_tls:
            world.send(CLEAR)
        world.start_tls(version=ssl.TLSVersion.TLSv1_2)
        assert count(world, HandshakeEnd.NOTHING_IN_COMMON) == 1
        failed = next(fields for name, fields in world.log if name == "tls-failed")
        assert failed["withheld"] == 0
        world.transport.vanish()


def test_handshakes_are_bounded_for_the_worker_and_for_a_source(make):
    world = make(tls__handshakes="3", tls__handshakes_per_source="2")
    with world.running():
        clients = [world.connect(peer) for peer in ("192.0.2.5", "192.0.2.5", "192.0.2.5", "192.0.2.6", "192.0.2.7")]
        for client, _ in clients:
            client.send(CLEAR)
        replies = [heard[-1][:9] for _, heard in clients]
        assert replies == ["220 2.0.0", "220 2.0.0", "454 4.7.0", "220 2.0.0", "454 4.7.0"]
        clients[2][0].send(b"MAIL FROM:<a@c.test>\r\n")
        assert clients[2][1][-1].startswith("250 2.1.0")
        assert count(world, HandshakeEnd.TOO_MANY) == 2
        for client, _ in clients:
            client.vanish()


@pytest.mark.parametrize("rule", [{"tls__required_networks": "192.0.2.0/24"}, {"tls__required_domains": "c.test"}])
def test_mail_that_must_not_come_in_clear_waits_while_this_side_refuses_tls(make, rule):
    """Refused for good, a sender would return it for our lack of room."""
    world = make(tls__handshakes="1", **rule)
    with world.running():
        world.send(CLEAR)
        other, heard = world.connect("192.0.2.5")
        other.send(b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n")
        assert heard[-1][:3] in {"530", "550"}, "it has not tried"
        other.send(b"STARTTLS\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@example.test>\r\n")
        assert [line[:3] for line in heard[-3:]] == ["454", "451", "451" if "tls__required_networks" in rule else "503"]
        world.transport.vanish()
        other.send(b"STARTTLS\r\n")
        assert heard[-1].startswith("220 2.0.0"), "there is room again"
        other.vanish()


def test_mail_that_must_not_come_in_clear_waits_while_starttls_is_withheld(make):
    world = make(tls__minimum="1.3", tls__required_domains="c.test")
    with world.running():
        world.send(CLEAR)
        world.start_tls(version=ssl.TLSVersion.TLSv1_2)
        again, heard = world.connect("192.0.2.1")
        again.send(b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n")
        assert heard[-1].startswith("451 4.7.0 Mail from c.test is accepted only with TLS")
        again.vanish()


def test_close_notify_ends_the_session_like_the_end_of_input(make):
    world = make()
    with world.running():
        world.send(CLEAR)
        world.start_tls()
        world.send(b"EHLO c.test\r\n")
        world.tls.close()
        world.loop.settle()
    assert lines(world)[-1] == "(closes)"


def certificate(tmp_path):
    """A client's certificate, and its fingerprint."""
    chain, key = TlsIdentity.self_signed(["client.test"], 30, START_MS // 1000)
    (tmp_path / "client.pem").write_bytes(chain + key)
    return (str(tmp_path / "client.pem"),), TlsIdentity(chain, key).chain[0].fingerprint


@pytest.mark.parametrize("listed", [True, False])
def test_a_listed_certificate_authenticates_its_client(make, tmp_path, listed):
    """It may relay and is never held; one that is not listed is a stranger's."""
    shown, fingerprint = certificate(tmp_path)
    listed_one = fingerprint if listed else "0" * 64
    world = make(tls__client_certificates="record", tls__client_fingerprints=listed_one, tarpit__time="5")
    with world.running():
        world.send(CLEAR)
        world.start_tls(certificate=shown)
        world.send(b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<someone@remote.tld>\r\n")
        world.loop.advance(world.loop.now_ms + 5_100)
        expected = "250 2.1.5" if listed else "550 5.7.1"
        assert lines(world)[-1].startswith(expected)
        assert world.connection._driver.session.holds == (0 if listed else 1)
        assert world.connection._driver.view.client.tls.peer_fingerprint == fingerprint
        client = world.connection._driver.view.client
        known = client.identity and (client.identity.name, client.identity.mechanism)
        assert known == (("client.test", "EXTERNAL") if listed else None)
        assert world.shared.sum(AUTHENTICATED[Mechanism.EXTERNAL]) == listed
