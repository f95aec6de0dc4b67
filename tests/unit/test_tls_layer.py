"""TLS as the drivers of both sides call it: a session and a client, back to back over octets alone."""

from __future__ import annotations

import ctypes
import hashlib

import pytest
from tests.receiving import config

from mailmoat import _native
from mailmoat._native import ClientStep, End, RecipientState, Step, TimeLimit

NOW = 1_800_000_000
HOST = "mx.example.test"
CHAIN, KEY = _native.TlsIdentity.self_signed([HOST], 30, NOW)


def clock():
    return _native.TlsClock(NOW)


def server(**changes):
    rules = {
        "clock": clock(),
        "minimum": "1.2",
        "client_certificates": "off",
        "client_ca": b"",
        "tickets": 2,
        "ticket_secret": bytes(32),
        "ticket_rotation": 3600,
        "ticket_epoch": NOW // 3600 - 1,
    }
    return _native.TlsServer([_native.TlsIdentity(CHAIN, KEY)], **(rules | changes))


def policy(**changes):
    asked = {"clock": clock(), "verify": True, "ca": CHAIN, "identity": None, "minimum": "1.2"}
    return _native.TlsClient(**(asked | changes))


def session(tmp_path):
    made = _native.Session(config(tmp_path, asked=0), "s1", "192.0.2.1", False)
    made.offer_tls(True)
    made.connect()
    return made


class Allocated(ctypes.Structure):
    """What mallinfo2(3) gives."""

    _fields_ = tuple((f"field_{number}", ctypes.c_size_t) for number in range(10))


def allocated():
    """Octets that malloc has given out: Rust takes all its memory there, Python only what is large."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = Allocated
    found = ask()
    return found.field_4 + found.field_7  # hblkhd and uordblks


def play(served, client, *, setup=None, asked=None, host=HOST):
    """Do what both sides ask for until nothing moves."""
    while True:
        if client.step is ClientStep.START_TLS:
            client.start_tls(asked or policy(), host)
        said = client.output()
        step = served.receive(said)
        answered = served.output()
        while step in {Step.START_TLS, Step.SECURED}:
            step = served.start_tls(setup or server()) if step is Step.START_TLS else served.proceed()
            answered += served.output()
        client.receive(answered)
        if not said and not answered:
            return


@pytest.mark.parametrize(("maximum", "exporter"), [("1.3", 32), ("1.2", 0)])
def test_both_sides_have_the_facts(tmp_path, maximum, exporter):
    served, client = session(tmp_path), _native.Client("c.test", tls="verify")
    assert (served.tls, client.tls, served.handshaking) == (None, None, False)
    play(served, client, asked=policy(maximum=maximum))
    assert client.step is ClientStep.READY, client.refusal
    ours, theirs = served.tls, client.tls
    assert ours.version == theirs.version == f"TLSv{maximum}"
    assert ours.cipher_suite == theirs.cipher_suite
    assert ours.cipher_suite.startswith("TLS_AES" if maximum == "1.3" else "TLS_ECDHE_ECDSA")
    assert (ours.server_name, theirs.group, ours.resumed) == (HOST, "X25519", False)
    assert ours.exporter == theirs.exporter
    assert len(ours.exporter) == exporter
    (leaf,) = theirs.peer_chain
    assert ours.end_point == theirs.end_point == hashlib.sha256(leaf).digest()
    assert theirs.peer_fingerprint == hashlib.sha256(leaf).hexdigest()
    assert (theirs.peer_names, theirs.verified, theirs.verdict) == ([HOST], True, "")
    assert (ours.peer_names, ours.peer_chain, ours.verified, ours.peer_subject) == ([], [], False, "")
    assert served.helo_name == "c.test"


def test_a_handshake_has_a_time_limit_of_its_own_and_is_progress(tmp_path):
    """As a whole: nothing that comes before its end is progress."""
    served, client = session(tmp_path), _native.Client("c.test", tls="verify")
    seen = []
    while client.step is not ClientStep.READY:
        if client.step is ClientStep.START_TLS:
            client.start_tls(policy(), HOST)
            seen.append((client.time_limit, client.replies))
        step = served.receive(client.output())
        answered = served.output()
        while step in {Step.START_TLS, Step.SECURED}:
            step = served.start_tls(server()) if step is Step.START_TLS else served.proceed()
            answered += served.output()
        client.receive(answered[:-1])
        client.receive(answered[-1:])
        seen.append((client.time_limit, client.replies))
    handshake = seen.index((TimeLimit.HANDSHAKE, 3))
    assert seen[handshake + 1] == (TimeLimit.GREETING, 4)
    assert {limit for limit, _ in seen} == {TimeLimit.GREETING, TimeLimit.HANDSHAKE, TimeLimit.IDLE}
    assert client.replies == 5, "greeting, EHLO, STARTTLS, the handshake, EHLO"


def test_the_last_word_in_clear_is_the_220(tmp_path):
    served = session(tmp_path)
    served.output()
    assert served.receive(b"STARTTLS\r\nNOOP\r\n") is Step.START_TLS
    assert served.output() == b""
    assert served.start_tls(server()) is Step.NEED_INPUT
    assert served.output() == b"220 2.0.0 Ready to start TLS\r\n"
    assert (served.handshaking, served.injected) == (True, 6)
    assert served.receive(b"MAIL FROM:<a@b.test>\r\n") is Step.CLOSE
    assert served.end is End.TLS_FAILED
    assert (served.handshaking, served.tls_fault, served.tls_nothing_in_common) == (False, "not TLS, or garbled", False)
    assert served.output()[:1] == b"\x15"  # an alert


def test_a_session_goes_on_without_tls(tmp_path):
    served = session(tmp_path)
    served.output()
    served.receive(b"STARTTLS\r\n")
    assert served.refuse_tls() is Step.NEED_INPUT
    assert served.output() == b"454 4.7.0 TLS not available due to temporary reason\r\n"
    assert served.start_tls(server()) is Step.WAIT
    served.require_tls()
    served.receive(b"EHLO c.test\r\nMAIL FROM:<>\r\n")
    assert served.output().endswith(b"\r\n451 4.7.0 TLS is needed and not available now; try again later\r\n")


def test_a_name_of_another_host_is_refused_where_it_is_verified(tmp_path):
    for asked, code, retry in [("may", "4.7.0", True), ("encrypt", "4.7.0", False), ("verify", "4.7.5", False)]:
        served, client = session(tmp_path), _native.Client("c.test", tls=asked)
        play(served, client, host="other.test.")
        assert client.step is ClientStep.CLOSED
        reply = f"451 {code} The TLS handshake failed: certificate not verified: not for this name"
        assert client.refusal == (RecipientState.PENDING, reply)
        assert (client.retry_in_clear, client.tls_fault) == (retry, "certificate not verified: not for this name")
        assert (served.tls_fault, served.end) == ("alert 42 bad_certificate", End.TLS_FAILED)
    served, client = session(tmp_path), _native.Client("c.test", tls="may")
    play(served, client, host="other.test", asked=policy(verify=False))
    assert (client.tls.verified, client.tls.verdict) == (False, "not for this name")


def test_two_workers_resume_the_sessions_of_each_other(tmp_path):
    """As after a fork: each has its own `TlsServer`, made from the same secret."""
    for maximum in ("1.2", "1.3"):
        asked = policy(maximum=maximum)
        resumed = []
        for epoch in (NOW // 3600 - 1, NOW // 3600 - 1, NOW // 3600 - 2):  # the last is of another secret
            served, client = session(tmp_path), _native.Client("c.test", tls="verify")
            play(served, client, setup=server(ticket_epoch=epoch), asked=asked)
            resumed.append((client.tls.resumed, served.tls.resumed))
        assert resumed == [(False, False), (True, True), (False, False)], maximum


def test_implicit_tls_begins_both_sides(tmp_path):
    served = _native.Session(config(tmp_path, asked=0), "s1", "192.0.2.1", False)
    client = _native.Client("c.test", tls="encrypt")
    assert served.start_tls(server()) is Step.NEED_INPUT
    assert client.start_tls(policy(), HOST) is ClientStep.WAIT
    while served.handshaking:
        step = served.receive(client.output())
        client.receive(served.output())
    assert step is Step.SECURED
    served.connect()
    play(served, client)
    assert client.step is ClientStep.READY
    client.quit()
    play(served, client)
    assert (client.step, served.end, served.tls_closed) == (ClientStep.CLOSED, End.QUIT, False)


def test_a_caller_s_mistake_is_a_value_error():
    with pytest.raises(ValueError, match=r"the TLS version is 1\.2 or 1\.3, not 1\.1"):
        server(minimum="1.1")
    with pytest.raises(ValueError, match="client certificates are off, record, verify or require, not some"):
        server(client_certificates="some")
    with pytest.raises(ValueError, match="there is no certificate of a CA"):
        server(client_certificates="verify")
    with pytest.raises(ValueError, match="there is no certificate of a CA"):
        policy(ca=b"")
    with pytest.raises(ValueError, match="tls is none, may, encrypt or verify"):
        _native.Client("c.test", tls="maybe")
    client = _native.Client("c.test", tls="may")
    with pytest.raises(ValueError, match="not the name of a host"):
        client.start_tls(policy(), "no host")
    client.receive(b"220 hi\r\n")
    with pytest.raises(ValueError, match="not ready for a TLS handshake"):
        client.start_tls(policy(), HOST)


@pytest.mark.parametrize(("asked", "room"), [("off", 20), ("record", 36)])
def test_a_hello_without_end_takes_little_memory(tmp_path, asked, room):
    """KiB each, also in pieces as large as a network has them: the buffers of rustls double when they grow."""
    served = [session(tmp_path) for _ in range(100)]
    setup = server(client_certificates=asked)
    for each in served:
        each.receive(b"EHLO c.test\r\nSTARTTLS\r\n")
        each.start_tls(setup)
        each.output()
    hello = b"\x16\x03\x01\x40\x00\x01\x00\xea\x60" + bytes(0x4000 - 4)
    hello += b"\x16\x03\x01\x40\x00" + bytes(0x4000)
    before = allocated()
    most = 0
    for piece in (hello[at : at + 1400] for at in range(0, len(hello), 1400)):
        for each in served:
            each.receive(piece)
        most = max(most, allocated() - before)
    assert {each.tls_fault for each in served} == {"too long"}
    assert most / len(served) <= room * 1024
