"""What a backend promises, held against our file of accounts and against a real Dovecot."""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64encode

import pytest
import uvloop
from scramp import ScramClient
from tests import dovecot

from mailmoat import maillog
from mailmoat.auth.accounts import Account
from mailmoat.auth.authenticator import Cause, Challenge, Channel, Failure, Identity, Success
from mailmoat.auth.composition import open_backend
from mailmoat.auth.verifiers import Argon2Cost, Argon2Hash, ScramCost, ScramKeys
from mailmoat.settings import Settings

CLEAR = Channel("192.0.2.1", "192.0.2.25", secured=False)
SECURED = Channel("2001:db8::1", "2001:db8::25", secured=True)
ALICE, PASSWORD = "alice@a.test", "p\u00e4ss word"
BOTH = ("SCRAM-SHA-256", "PLAIN", "LOGIN")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(maillog, "event", lambda *_, **__: None)


@pytest.fixture(scope="module")
def server():
    with dovecot.running(
        f"{ALICE}:{{PLAIN}}{PASSWORD}\nformer:{{PLAIN}}x::::::nologin=y\nelsewhere:{{PLAIN}}x::::::proxy=y host=127.0.0.1\n"
    ) as it:
        yield it


@pytest.fixture(params=["file", "dovecot"])
def settings(request, tmp_path):
    if request.param == "dovecot":
        return Settings(spool_dir=str(tmp_path), auth={"dovecot": str(request.getfixturevalue("server").socket)})
    octets, cost = PASSWORD.encode(), Argon2Cost(8, 1)
    accounts = (
        Account(
            ALICE,
            Argon2Hash(cost, b"s" * 16, cost.hash(octets, b"s" * 16)),
            ScramKeys.make(octets, None, ScramCost(4096)),
        ),
        Account("former", None, ScramKeys.make(b"x", None, ScramCost(4096)), enabled=False),
    )
    file = tmp_path / "accounts"
    file.write_text("".join(f"{account.line()}\n" for account in accounts))
    file.chmod(0o600)
    return Settings(spool_dir=str(tmp_path), auth={"file": str(file)})


class Session:
    """What clients say to one backend."""

    def __init__(self, backend):
        self.backend = backend

    async def say(self, exchange, *responses):
        answer = None
        for response in responses:
            answer = exchange.respond(response)
            answer = answer if isinstance(answer, Challenge | Success | Failure) else await answer
        return answer

    def begin(self, mechanism, channel=SECURED):
        return self.backend.begin(mechanism, channel)

    async def plain(self, name, password, acts_as=""):
        return await self.say(self.begin("PLAIN"), f"{acts_as}\0{name}\0{password}".encode())

    async def scram(self, name, password):
        exchange, client = self.begin("SCRAM-SHA-256"), ScramClient(["SCRAM-SHA-256"], name, password)
        challenge = await self.say(exchange, client.get_client_first().encode())
        if isinstance(challenge, Failure):
            return challenge
        client.set_server_first(challenge.octets.decode())
        signed = await self.say(exchange, client.get_client_final().encode())
        if isinstance(signed, Failure):
            return signed
        client.set_server_final(signed.octets.decode())
        return await self.say(exchange, b"")


def kit(settings, case):
    """Run a case as a worker does, once a backend is usable."""

    async def whole():
        loop = asyncio.get_running_loop()
        backend = open_backend(settings)
        try:
            for _ in range(500):
                backend.tick(loop)
                if backend.usable:
                    break
                await asyncio.sleep(0.02)
            return await case(Session(backend))
        finally:
            backend.close()

    return uvloop.run(asyncio.wait_for(whole(), 60))


def test_mechanisms_are_offered_over_tls_only_the_strongest_first(settings):
    async def case(session):
        offered = session.backend.mechanisms(SECURED)
        assert tuple(name for name in offered if name in BOTH) == BOTH
        assert offered[-2:] == BOTH[-2:]
        assert "EXTERNAL" not in offered
        assert "ANONYMOUS" not in offered
        assert session.backend.mechanisms(CLEAR) == ()
        for mechanism in (*BOTH, "ANONYMOUS", "EXTERNAL", "NOPE", "plain", "PLAIN\tx"):
            assert session.begin(mechanism, CLEAR) is None
            assert (session.begin(mechanism) is None) == (mechanism not in BOTH)

    kit(settings, case)


def test_the_settings_choose_mechanisms(settings):
    chosen = settings.model_copy(update={"auth": settings.auth.model_copy(update={"mechanisms": ("LOGIN", "NOPE")})})

    async def case(session):
        assert session.backend.mechanisms(SECURED) == ("LOGIN",)
        assert session.begin("PLAIN") is None

    kit(chosen, case)


def test_plain(settings):
    async def case(session):
        assert await session.plain(ALICE, PASSWORD) == Success(Identity(ALICE, "PLAIN"))
        assert await session.plain(ALICE.upper(), PASSWORD) == Success(Identity(ALICE, "PLAIN"))
        message = f"\0{ALICE}\0{PASSWORD}".encode()
        assert await session.say(session.begin("PLAIN"), None) == Challenge(b"")
        assert await session.say(session.begin("PLAIN"), None, message) == Success(Identity(ALICE, "PLAIN"))

    kit(settings, case)


def test_login(settings):
    async def case(session):
        name, password = ALICE.encode(), PASSWORD.encode()
        for said in ((None, name, password), (name, password)):
            exchange = session.begin("LOGIN")
            for response in said[:-1]:
                assert isinstance(await session.say(exchange, response), Challenge)
            assert await session.say(exchange, said[-1]) == Success(Identity(ALICE, "LOGIN"))
        wrong = await session.say(session.begin("LOGIN"), None, name, b"wrong")
        assert isinstance(wrong, Failure)
        assert wrong.cause is Cause.CREDENTIALS

    kit(settings, case)


def test_scram(settings):
    async def case(session):
        assert await session.scram(ALICE, PASSWORD) == Success(Identity(ALICE, "SCRAM-SHA-256"))
        assert (await session.scram(ALICE, "wrong")).cause is Cause.CREDENTIALS

    kit(settings, case)


def test_an_unknown_name_and_a_wrong_password_are_one_answer(settings):
    async def case(session):
        wrong, unknown = await session.plain(ALICE, "wrong"), await session.plain("nobody", "wrong")
        assert (wrong.cause, unknown.cause) == (Cause.CREDENTIALS, Cause.CREDENTIALS)
        assert unknown.name == "nobody"

    kit(settings, case)


def test_who_is_not_let_in_is_not_authenticated(settings):
    """A disabled account of ours; one that Dovecot verifies and yet denies, or wants to be sent to another server."""

    async def case(session):
        for name in ("former", "elsewhere"):
            assert isinstance(await session.plain(name, "x"), Failure)

    kit(settings, case)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        b"\0\0",
        b"\0\0\0",
        b"x",
        b"\0a\0b\0c\0d",
        b"\0" + b"n" * 6000 + b"\0" + b"p" * 3000,
        b"\xff\xfe\0\xff\0\xff",
        b"\t\n\0\tOK\t1\tuser=x\0\n",
    ],
)
def test_octets_that_are_no_credentials(settings, message):
    async def case(session):
        found = await session.say(session.begin("PLAIN"), message)
        assert isinstance(found, Failure)
        assert not found.cause.temporary
        assert await session.plain(ALICE, PASSWORD) == Success(Identity(ALICE, "PLAIN"))

    kit(settings, case)


def test_many_at_once_each_get_their_own_answer(settings):
    async def case(session):
        asked = [
            session.plain(ALICE, PASSWORD) if number % 3 else session.plain(f"n{number}", "x") for number in range(60)
        ]
        found = await asyncio.gather(*asked)
        for number, answer in enumerate(found):
            if number % 3:
                assert answer == Success(Identity(ALICE, "PLAIN"))
            else:
                assert answer == Failure(Cause.CREDENTIALS, f"n{number}")

    kit(settings, case)


def test_who_leaves_in_the_middle_costs_the_others_nothing(settings):
    async def case(session):
        for _ in range(600):  # more than there may be at once
            exchange = session.begin("LOGIN")
            assert isinstance(await session.say(exchange, ALICE.encode()), Challenge)
            del exchange
        leaving = [asyncio.ensure_future(session.plain(ALICE, PASSWORD)) for _ in range(20)]
        await asyncio.sleep(0)
        for each in leaving:
            each.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        assert await session.plain(ALICE, PASSWORD) == Success(Identity(ALICE, "PLAIN"))

    kit(settings, case)


def test_relay_is_what_the_settings_say(settings):
    strict = settings.model_copy(update={"auth": settings.auth.model_copy(update={"relay": False})})

    async def case(session):
        assert await session.plain(ALICE, PASSWORD) == Success(Identity(ALICE, "PLAIN", may_relay=False))

    kit(strict, case)


def test_what_is_not_there_is_temporary(settings, tmp_path):
    paths = {name: tmp_path / "none" for name in ("file", "dovecot") if getattr(settings.auth, name) is not None}
    gone = settings.model_copy(update={"auth": settings.auth.model_copy(update=paths)})

    async def case():
        backend = open_backend(gone)
        backend.tick(asyncio.get_running_loop())
        await asyncio.sleep(0.05)
        assert not backend.usable
        exchange = backend.begin("PLAIN", SECURED)
        if exchange is not None:
            found = await Session(backend).say(exchange, b"\0a\0b")
            assert found.cause is Cause.UNAVAILABLE
        backend.close()

    uvloop.run(case())


# --- Dovecot's own ---


@pytest.fixture
def of_dovecot(server, tmp_path):
    return Settings(spool_dir=str(tmp_path), auth={"dovecot": str(server.socket)})


def test_tokens_pass_through(of_dovecot):
    """OAUTHBEARER (RFC 7628) and XOAUTH2: a good token, and one that is over."""

    async def case(session):
        for mechanism, message in (
            ("OAUTHBEARER", "n,a={name},\x01auth=Bearer {token}\x01\x01"),
            ("XOAUTH2", "user={name}\x01auth=Bearer {token}\x01\x01"),
        ):
            good = message.format(name=ALICE, token=dovecot.token(ALICE)).encode()
            assert await session.say(session.begin(mechanism), good) == Success(Identity(ALICE, mechanism))
            over = message.format(name=ALICE, token=dovecot.token(ALICE, -60)).encode()
            exchange = session.begin(mechanism)
            refused = await session.say(exchange, over)
            if isinstance(refused, Challenge):  # RFC 7628 3.2.3: it says why, and the client says nothing more
                refused = await session.say(exchange, b"\x01")
            assert refused.cause is Cause.CREDENTIALS

    kit(of_dovecot, case)


def test_cram_md5_passes_through(of_dovecot):
    async def case(session):
        exchange = session.begin("CRAM-MD5")
        challenge = await session.say(exchange, None)
        digest = hmac.new(PASSWORD.encode(), challenge.octets, "md5").hexdigest()
        assert await session.say(exchange, f"{ALICE} {digest}".encode()) == Success(Identity(ALICE, "CRAM-MD5"))

    kit(of_dovecot, case)


def test_a_dovecot_that_was_restarted_is_found_again(of_dovecot, server):
    async def case(session):
        assert isinstance(await session.plain(ALICE, PASSWORD), Success)
        loop, half = asyncio.get_running_loop(), session.begin("LOGIN")
        await session.say(half, None)
        await loop.run_in_executor(None, server.stop)
        assert session.backend.mechanisms(SECURED)[-1] == "LOGIN"
        assert (await session.plain(ALICE, PASSWORD)).cause is Cause.UNAVAILABLE
        assert (await session.say(half, ALICE.encode())).cause is Cause.UNAVAILABLE
        await loop.run_in_executor(None, server.start)
        # At once, without a tick.
        assert isinstance(await session.plain(ALICE, PASSWORD), Success)

    kit(of_dovecot, case)


def test_a_secret_of_a_client_is_in_no_log_of_dovecot(of_dovecot, server):
    async def case(session):
        await session.plain(ALICE, "a-secret-nobody-has")

    kit(of_dovecot, case)
    log = server.log.read_text()
    assert "a-secret" not in log
    assert b64encode(b"a-secret").decode() not in log
