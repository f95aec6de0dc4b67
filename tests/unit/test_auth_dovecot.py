"""Dovecot's protocol: what is said, what is understood, and a service that breaks it in every way; the real one is in the kit."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat import maillog
from mailmoat.auth import dovecot_connection
from mailmoat.auth import dovecot_wire as wire
from mailmoat.auth.authenticator import Cause, Challenge, Channel, Failure, Identity, Success
from mailmoat.auth.dovecot import DovecotAuthenticator
from mailmoat.auth.dovecot_wire import Accepted, Continued, Refused
from mailmoat.events import Event
from mailmoat.settings.sections.auth import AuthSettings

SECURED = Channel("2001:db8::1", "192.0.2.25", secured=True)
OPENING = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tabc\nDONE\n"


@pytest.fixture(autouse=True)
def log(monkeypatch):
    written = []
    monkeypatch.setattr(maillog, "event", lambda event, **fields: written.append((event, fields)))
    return written


# --- lines ---


def test_requests():
    assert wire.opening(7) == b"VERSION\t1\t2\nCPID\t7\n"
    assert wire.auth(3, "PLAIN", SECURED, b"\0a\0b") == (
        b"AUTH\t3\tPLAIN\tservice=smtp\tnologin\tsecured=tls\trip=2001:db8::1\tlip=192.0.2.25\tresp=AGEAYg==\n"
    )
    assert wire.auth(4, "LOGIN", Channel("", "", secured=False), None) == b"AUTH\t4\tLOGIN\tservice=smtp\tnologin\n"
    assert wire.auth(4, "LOGIN", SECURED, b"").endswith(b"\tresp=\n")
    assert wire.continuation(5, b"x") == b"CONT\t5\teA==\n"
    assert wire.cancel(6) == b"CANCEL\t6\n"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"CONT\t1\tVXNlcm5hbWU6", Continued(b"Username:")),
        (b"CONT\t1\t", Continued(b"")),
        (b"CONT\t1", Continued(b"")),
        (b"OK\t1\tuser=a@b.test\toriginal_user=A@b.test", Accepted("a@b.test", denied=False)),
        (b"OK\t1\tuser=a\tnologin", Accepted("a", denied=True)),
        (b"OK\t1\tuser=a\tnologin=", Accepted("a", denied=True)),
        (b"OK\t1\tproxy=y\tuser=a\thost=h", Accepted("a", denied=True)),
        (b"OK\t1\tuser=a\x01tnologin\x01l", Accepted("a\tnologin\n", denied=False)),
        (b"OK\t1", Accepted("", denied=False)),
        (b"FAIL\t1\tuser=a\tcode=temp_fail\treason=x", Refused("a", "temp_fail")),
        (b"FAIL\t1\tuser=a\ttemp", Refused("a", "temp")),
        (b"FAIL\t1\tauthz", Refused("", "authz")),
        (b"FAIL\t1\tuser=\xff", Refused("\ufffd", "")),
        (b"FAIL\t1\tuser=" + b"x" * 9000, Refused("x" * 255, "")),
    ],
)
def test_replies(line, reply):
    assert wire.reply(wire.words_of(line)) == (1, reply)


@pytest.mark.parametrize("line", [b"OK\tx", b"CONT\t1\t!", b"WHAT\t1", b"FAIL"])
def test_lines_that_are_no_reply(line):
    with pytest.raises(ValueError):
        wire.reply(wire.words_of(line))


@given(st.binary())
def test_no_octets_break_a_line(octets):
    try:
        wire.reply(wire.words_of(octets))
    except ValueError:
        return


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"MECH\tPLAIN\tplaintext", "PLAIN"),
        (b"MECH\tANONYMOUS\tanonymous", None),
        (b"MECH\tANONYMOUS", None),
        (b"MECH\tEXTERNAL", None),
        (b"MECH\tAPOP\tprivate\tdictionary", None),
        (b"MECH\tSCRAM-SHA-256-PLUS\tmutual-auth\tchannel-binding", None),
        (b"MECH\tpl ain", None),
        (b"MECH", None),
    ],
)
def test_mechanisms_that_clients_can_use(line, name):
    assert wire.mechanism_of(wire.words_of(line)) == name


def test_the_strongest_is_first():
    names = ["LOGIN", "PLAIN", "XOAUTH2", "CRAM-MD5", "SCRAM-SHA-1", "PLAIN", "OAUTHBEARER", "SCRAM-SHA-256", "GSSAPI"]
    assert wire.by_strength(names) == (
        "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "GSSAPI", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN",
    )  # fmt: skip


# --- a service that does what it is told ---


class Service:
    """Says `opening` to each connection, and then for each line what `answer` gives for its words; None: nothing."""

    def __init__(self, path, opening=OPENING, answer=lambda _: None):
        self.path, self.opening, self.answer = path, opening, answer
        self.lines, self.connections = [], 0

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._serve, str(self.path), limit=1 << 20)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader, writer):
        self.connections += 1
        writer.write(self.opening)
        while line := await reader.readline():
            words = line.decode().rstrip("\n").split("\t")
            self.lines.append(words)
            said = self.answer(words)
            if said == b"":
                break
            writer.write(said or b"")
        writer.close()


def accepts(words):
    """Takes everybody."""
    return f"OK\t{words[1]}\tuser=a\n".encode() if words[0] == "AUTH" else None


@pytest.fixture
def socket():
    with tempfile.TemporaryDirectory(prefix="auth-") as directory:
        yield Path(directory) / "s"


def run(socket, case, opening=OPENING, answer=accepts, **auth):
    async def whole():
        async with Service(socket, opening, answer) as service:
            backend = DovecotAuthenticator(socket, AuthSettings(**auth))
            try:
                await ready(backend)
                return await case(backend, service)
            finally:
                backend.close()
                await asyncio.sleep(0)

    return asyncio.run(asyncio.wait_for(whole(), 30))


async def ready(backend, times=100):
    for _ in range(times):
        backend.tick(asyncio.get_running_loop())
        if backend.usable:
            return
        await asyncio.sleep(0.005)


async def plain(backend, message=b"\0a\0b"):
    return await backend.begin("PLAIN", SECURED).respond(message)


def test_one_connection_for_all(socket, log):
    async def case(backend, service):
        assert backend.mechanisms(SECURED) == ("PLAIN", "LOGIN")
        found = await asyncio.gather(*(plain(backend) for _ in range(50)))
        assert found == [Success(Identity("a", "PLAIN"))] * 50
        assert service.connections == 1
        assert len({words[1] for words in service.lines if words[0] == "AUTH"}) == 50

    run(socket, case)
    assert log == [(Event.AUTH_SERVICE_READY, {"path": str(socket), "mechanisms": ["PLAIN", "LOGIN"]})]


@pytest.mark.parametrize(
    ("parameters", "cause"),
    [
        ("", Cause.CREDENTIALS),
        ("\tuser=a\tcode=user_disabled", Cause.CREDENTIALS),
        ("\tcode=what", Cause.CREDENTIALS),
        ("\tcode=temp_fail", Cause.UNAVAILABLE),
        ("\ttemp", Cause.UNAVAILABLE),
        ("\tcode=authz_fail", Cause.REFUSED),
        ("\tcode=pass_expired", Cause.REFUSED),
        ("\tcode=invalid_base64\treason=x", Cause.MALFORMED),
    ],
)
def test_why_it_failed(socket, parameters, cause):
    async def case(backend, _):
        assert (await plain(backend)).cause is cause

    run(socket, case, answer=lambda words: f"FAIL\t{words[1]}{parameters}\n".encode() if words[0] == "AUTH" else None)


@pytest.mark.parametrize(
    "parameters", ["\tuser=a\tnologin", "\tuser=a\tproxy\thost=h", "", "\tuser=", "\tuser=a\x01lb", "\tuser=\xff"]
)
def test_ok_does_not_mean_that_access_is_granted(socket, parameters):
    async def case(backend, _):
        assert (await plain(backend)).cause is Cause.REFUSED

    run(
        socket,
        case,
        answer=lambda words: f"OK\t{words[1]}{parameters}\n".encode("latin-1") if words[0] == "AUTH" else None,
    )


@pytest.mark.parametrize(
    "opening",
    [
        b"VERSION\t2\t0\nDONE\n", b"VERSION\nDONE\n", b"DONE\n", b"220 mx ESMTP\r\n" + OPENING.replace(b"VERSION\t1", b"X\t1"), b"\0" * 70_000,
        b"",
    ],
)  # fmt: skip
def test_what_is_no_dovecot_is_not_used(socket, log, monkeypatch, opening):
    # Only silence is judged by time: on a busy machine whatever is said may come late.
    monkeypatch.setattr(dovecot_connection, "CONNECT_TIME", 60.0 if opening else 0.2)

    async def case(backend, _):
        assert not backend.usable
        assert backend.mechanisms(SECURED) == ()
        assert backend.begin("PLAIN", SECURED) is None

    run(socket, case, opening=opening)
    assert {event for event, _ in log} == {Event.AUTH_SERVICE_LOST}
    assert len({fields["detail"] for _, fields in log}) == len(log) == 1


def test_many_mechanisms_are_a_bounded_number(socket):
    many = b"".join(b"MECH\tM%d\n" % number for number in range(5000))

    async def case(backend, _):
        assert len(backend.mechanisms(SECURED)) == 64

    run(socket, case, opening=OPENING.replace(b"SPID", many + b"SPID"))


@pytest.mark.parametrize("garbage", [b"OK\tx\n", b"CONT\t1\t!\n", b"\0" * 70_000, b""])
def test_a_service_that_breaks_the_protocol_is_left(socket, garbage):
    """Who waited comes back later; the next connection is like the first."""

    async def case(backend, service):
        answers = [accepts, lambda words: garbage if words[0] == "AUTH" else None]
        service.answer = answers.pop()
        found = await asyncio.gather(*(plain(backend) for _ in range(5)))
        assert {answer.cause for answer in found if isinstance(answer, Failure)} == {Cause.UNAVAILABLE}
        service.answer = answers.pop()
        await ready(backend)
        assert isinstance(await plain(backend), Success)
        assert service.connections >= 2

    run(socket, case)


@pytest.mark.parametrize("kind", ["OK", "FAIL", "CONT"])
@pytest.mark.parametrize("is_known", [False, True])
def test_an_answer_to_no_request_fails_those_that_wait_at_once(socket, log, kind, is_known):
    """Not after `ANSWER_TIME`: the answer that they wait for has gone astray."""

    async def case(backend, service):
        assert isinstance(await plain(backend), Success)
        number = 1 if is_known else 4711
        service.answer = lambda words: f"{kind}\t{number}\n".encode() if words[0] == "AUTH" else None
        assert await plain(backend) == Failure(Cause.UNAVAILABLE)
        service.answer = accepts
        await ready(backend)
        assert isinstance(await plain(backend), Success)

    run(socket, case)
    lost = {"path": str(socket), "detail": "it does not keep to Dovecot's protocol 1"}
    assert [entry for entry in log if entry[0] is Event.AUTH_SERVICE_LOST] == [(Event.AUTH_SERVICE_LOST, lost)]


def test_an_answer_to_a_request_that_was_let_go_of_is_none_to_others(socket):
    async def case(backend, service):
        service.answer = lambda _: None
        left = asyncio.ensure_future(plain(backend))
        await asyncio.sleep(0.05)
        left.cancel()
        service.answer = lambda words: b"FAIL\t1\n" + (accepts(words) or b"")
        assert isinstance(await plain(backend), Success)
        assert service.connections == 1

    run(socket, case)


def test_a_silent_service_is_left_and_one_slow_answer_is_not(socket, monkeypatch):
    monkeypatch.setattr(dovecot_connection, "ANSWER_TIME", 1.2)

    async def case(backend, service):
        service.answer = lambda words: accepts(words) if words[-1] == "resp=Z29vZA==" else None
        slow = asyncio.ensure_future(plain(backend, b"slow"))
        for _ in range(8):
            await asyncio.sleep(0.2)
            assert isinstance(await plain(backend, b"good"), Success)
        assert await slow == Failure(Cause.UNAVAILABLE)
        assert backend.usable
        assert ["CANCEL", "1"] in service.lines
        assert await plain(backend, b"slow") == Failure(Cause.UNAVAILABLE)
        for _ in range(400):  # as the end of a connection comes by the loop
            if not backend.usable:
                break
            await asyncio.sleep(0.05)
        assert not backend.usable

    run(socket, case)


def test_there_is_a_bound_for_those_who_wait(socket, monkeypatch):
    monkeypatch.setattr(dovecot_connection, "MOST_OPEN", 5)

    async def case(backend, service):
        service.answer = lambda _: None
        waiting = [asyncio.ensure_future(plain(backend)) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert await plain(backend) == Failure(Cause.BUSY)
        waiting[0].cancel()
        await asyncio.sleep(0.05)
        service.answer = accepts
        assert isinstance(await plain(backend), Success)
        for each in waiting:
            each.cancel()

    run(socket, case)


def test_an_exchange_that_goes_on_no_more_is_cancelled(socket):
    prompt = b64encode(b"Password:").decode()

    async def case(backend, service):
        exchange = backend.begin("LOGIN", SECURED)
        assert await exchange.respond(b"a") == Challenge(b"Password:")
        number = service.lines[-1][1]
        del exchange
        gc.collect()
        for _ in range(400):  # as the line comes by the loop
            if service.lines[-1][0] == "CANCEL":
                break
            await asyncio.sleep(0.05)
        assert service.lines[-1] == ["CANCEL", number]

    run(socket, case, answer=lambda words: f"CONT\t{words[1]}\t{prompt}\n".encode() if words[0] == "AUTH" else None)


def test_a_request_that_dovecot_would_close_for_is_not_made(socket):
    async def case(backend, service):
        before = len(service.lines)
        assert await plain(backend, b"x" * 13_000) == Failure(Cause.MALFORMED)
        assert len(service.lines) == before

    run(socket, case)


def test_a_closed_backend_connects_no_more(socket):
    async def case(backend, service):
        backend.close()
        await asyncio.sleep(0.05)
        backend.tick(asyncio.get_running_loop())
        assert await plain(backend) == Failure(Cause.UNAVAILABLE)
        assert service.connections == 1

    run(socket, case)


def test_nothing_is_logged_again_until_it_changes(socket, log):
    backend = DovecotAuthenticator(socket, AuthSettings())

    async def case():
        for _ in range(5):
            await ready(backend, 2)

    asyncio.run(case())
    assert log == [(Event.AUTH_SERVICE_LOST, {"path": str(socket), "detail": "No such file or directory"})]
