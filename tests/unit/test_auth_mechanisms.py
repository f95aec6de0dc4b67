"""PLAIN, LOGIN and SCRAM without a server: the examples of the standards, every way to be wrong, and scramp as another client."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doubles.scram import Client

from mailmoat.auth import scram
from mailmoat.auth.authenticator import Cause, Challenge, Channel, Failure, Identity, Success
from mailmoat.auth.passwords import Verified
from mailmoat.auth.plain import LoginExchange, PlainExchange
from mailmoat.auth.prepare import account_key
from mailmoat.auth.scram import ScramExchange, bindings
from mailmoat.auth.verifiers import ScramCost, ScramKeys

SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
EXPORTER, END_POINT = b"e" * 32, b"p" * 32
BOTH = bindings(Channel("192.0.2.1", "192.0.2.25", True, EXPORTER, END_POINT))


class OneAccount:
    """Knows the account `user` with the password `pencil`; `calls` are the checks it made."""

    def __init__(self, name="user", password="pencil"):
        self.name, self.password, self.calls = name, password, []
        self.keys = ScramKeys.make(password.encode(), SALT, ScramCost(4096))

    async def check(self, name, password):
        self.calls.append((name, password))
        known = account_key(name) == account_key(self.name) and password == self.password
        return Verified(self.name, may_relay=False) if known else Cause.CREDENTIALS

    def scram_keys(self, name):
        known = account_key(name) == account_key(self.name)
        return (Verified(self.name, may_relay=False) if known else None), self.keys


def answer(exchange, *responses):
    """What the exchange says to the last of these."""

    async def last():
        found = None
        for response in responses:
            found = exchange.respond(response)
            found = found if isinstance(found, Challenge | Success | Failure) else await found
        return found

    return asyncio.run(last())


def plain(*responses, source=None):
    return answer(PlainExchange(source or OneAccount()), *responses)


# --- PLAIN ---


def test_the_examples_of_rfc_4616_4():
    tim = OneAccount("tim", "tanstaaftanstaaf")
    assert plain(b"\0tim\0tanstaaftanstaaf", source=tim) == Success(Identity("tim", "PLAIN", may_relay=False))
    kurt = OneAccount("Kurt", "xipj3plmq")
    assert plain(b"Ursel\0Kurt\0xipj3plmq", source=kurt) == Failure(Cause.REFUSED, "Kurt")


def test_plain_asks_if_nothing_was_said():
    assert plain(None) == Challenge(b"")
    assert plain(None, b"\0user\0pencil") == Success(Identity("user", "PLAIN", may_relay=False))


@pytest.mark.parametrize("acts_as", [b"", b"user", b"USER"])
def test_who_acts_as_itself_may(acts_as):
    assert isinstance(plain(acts_as + b"\0User\0pencil"), Success)


def test_to_act_as_another_shows_nothing_without_the_password():
    assert plain(b"other\0user\0wrong") == Failure(Cause.CREDENTIALS, "user")


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\0", b"\0\0", b"\0user", b"user\0pencil", b"\0user\0pencil\0", b"\0user\0pen\0cil", b"\0\0pencil", b"\0user\0",
        b"\0us\x07er\0pencil", b"\0user\0pen\ncil", b"\0\xff\0pencil", b"\0user\0\xff", b"\0user\0" + b"x" * 1025,
    ],
)  # fmt: skip
def test_what_is_not_plain_is_never_checked(message):
    source = OneAccount()
    found = plain(message, source=source)
    assert isinstance(found, Failure)
    assert found.cause is Cause.MALFORMED
    assert source.calls == []


def test_255_octets_of_each_part_are_taken():
    name, password = "n" * 255, "p" * 255
    source = OneAccount(name, password)
    assert isinstance(plain(f"{name}\0{name}\0{password}".encode(), source=source), Success)


def test_names_and_passwords_are_prepared():
    source = OneAccount("j\u00fcrgen", "\u00fcber IX")
    assert isinstance(plain("\0Ju\u0308rgen\0u\u0308ber\u00a0\u2168".encode(), source=source), Success)


# --- LOGIN ---


def login(*responses, source=None):
    return answer(LoginExchange(source or OneAccount()), *responses)


def test_login():
    assert login(None) == Challenge(b"Username:")
    assert login(None, b"user") == login(b"user") == Challenge(b"Password:")
    assert (
        login(None, b"user", b"pencil")
        == login(b"user", b"pencil")
        == Success(Identity("user", "LOGIN", may_relay=False))
    )
    assert login(b"user", b"wrong") == Failure(Cause.CREDENTIALS, "user")


@pytest.mark.parametrize(
    ("name", "password"), [(b"", b"x"), (b"user", b""), (b"us\0er", b"x"), (b"user", b"x\0"), (b"\xff", b"x")]
)
def test_what_is_not_login_is_never_checked(name, password):
    source = OneAccount()
    found = login(name, password, source=source)
    assert isinstance(found, Failure)
    assert found.cause is Cause.MALFORMED
    assert source.calls == []


# --- SCRAM ---


def test_the_example_of_rfc_7677_3(monkeypatch):
    monkeypatch.setattr(scram.secrets, "token_urlsafe", lambda _: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    exchange = ScramExchange(OneAccount(), {}, plus=False)
    assert answer(exchange, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == Challenge(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    final = (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert answer(exchange, final) == Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert answer(exchange, b"") == Success(Identity("user", "SCRAM-SHA-256", may_relay=False))


def exchanged(client, *, plus=False, bound=None, source=None, **changes):
    """The whole dialogue; the answer it ends with."""
    exchange = ScramExchange(source or OneAccount(), bound or {}, plus=plus)
    challenge = answer(exchange, client.first)
    if not isinstance(challenge, Challenge):
        return challenge
    signed = answer(exchange, client.final(challenge.octets, **changes))
    if isinstance(signed, Challenge):
        assert signed.octets == b"v=" + b64encode(client.server_signature)
        return answer(exchange, b"")
    return signed


def test_scram_with_and_without_a_channel_binding():
    assert exchanged(Client()) == Success(Identity("user", "SCRAM-SHA-256", may_relay=False))
    for name, octets in (("tls-exporter", EXPORTER), ("tls-server-end-point", END_POINT)):
        found = exchanged(Client(header=f"p={name},,", data=octets), plus=True, bound=BOTH)
        assert found == Success(Identity("user", "SCRAM-SHA-256-PLUS", may_relay=False))


@pytest.mark.parametrize(
    ("header", "data", "plus", "bound", "cause"),
    [
        ("y,,", b"", False, {}, None),  # no -PLUS was offered, and it saw none
        ("y,,", b"", False, BOTH, Cause.CHANNEL),  # it was offered, and somebody removed it from the list
        ("n,,", b"", False, BOTH, None),
        ("n,,", b"", True, BOTH, Cause.CHANNEL),
        ("y,,", b"", True, BOTH, Cause.CHANNEL),
        ("p=tls-unique,,", b"u" * 12, True, BOTH, Cause.CHANNEL),
        ("p=tls-exporter,,", EXPORTER, False, BOTH, Cause.CHANNEL),
        ("p=tls-exporter,,", b"", True, BOTH, Cause.CHANNEL),
        ("p=tls-exporter,,", END_POINT, True, BOTH, Cause.CHANNEL),
        ("p=tls-exporter,,", EXPORTER, True, {"tls-server-end-point": END_POINT}, Cause.CHANNEL),
        ("p=tls-exporter,,", b"x" * 32, True, BOTH, Cause.CHANNEL),  # it speaks to another server
    ],
)
def test_channel_bindings(header, data, plus, bound, cause):
    found = exchanged(Client(header=header, data=data), plus=plus, bound=bound)
    assert isinstance(found, Success) if cause is None else found == Failure(cause, "user")


def test_a_wrong_password_an_unknown_name_and_the_name_of_another():
    assert exchanged(Client(password="wrong")) == Failure(Cause.CREDENTIALS, "user")
    assert exchanged(Client(name="nobody")) == Failure(Cause.CREDENTIALS, "nobody")
    assert isinstance(exchanged(Client(header="n,a=User,")), Success)
    assert exchanged(Client(header="n,a=other,")) == Failure(Cause.REFUSED, "user")
    assert exchanged(Client(header="n,a=other,", password="wrong")) == Failure(Cause.CREDENTIALS, "user")


def test_a_name_with_a_comma_and_an_equals_sign():
    source = OneAccount("a,b=c")
    assert exchanged(Client(name="a=2Cb=3Dc"), source=source) == Success(
        Identity("a,b=c", "SCRAM-SHA-256", may_relay=False)
    )


def test_extensions_are_ignored_and_signed():
    assert isinstance(exchanged(Client(extension=",x=1"), extension=",y=2,z=3"), Success)


@pytest.mark.parametrize(
    "first",
    [
        b"", b"n", b"n,,", b"n,,n=user", b"n,,r=x,n=user", b"n,,n=,r=x", b"n,,n=user,r=", b"n,,n=user,r=x y", b"n,,m=x,n=user,r=x",
        b"n,,n=user,r=x,m=1", b"n,,n=u=ser,r=x", b"n,,n=u=2cser,r=x", b"n,,n=us\0er,r=x", b"n,,n=\xff,r=x", b"z,,n=user,r=x",
        b"p=,,n=user,r=x", b"n,b=x,n=user,r=x", b"n,a=,n=user,r=x", b"n,,n=user,r=x,", b"n,,n=\x07,r=x", b"n,,n=user,r=x\r\n",
        b"N,,n=user,r=x", b"n,,N=user,r=x", b"n,,n=user,r=x,x=",
    ],
)  # fmt: skip
def test_first_messages_that_are_none(first):
    found = answer(ScramExchange(OneAccount(), {}, plus=False), first)
    assert isinstance(found, Failure)
    assert found.cause is Cause.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "fyko+d2lbbFgONRv9qkxdawL"},
        {"extension": ",m=1"},
        {"proof": b"x"},
        {"proof": b"x" * 33},
        {"proof": b""},
    ],
)
def test_final_messages_that_are_none(changes):
    assert exchanged(Client(), **changes) == Failure(Cause.MALFORMED, "user")


def test_a_proof_of_zeros_proves_nothing():
    assert exchanged(Client(), proof=bytes(32)) == Failure(Cause.CREDENTIALS, "user")


def test_the_signature_is_answered_with_nothing():
    exchange = ScramExchange(OneAccount(), {}, plus=False)
    client = Client()
    challenge = answer(exchange, client.first)
    assert isinstance(answer(exchange, client.final(challenge.octets)), Challenge)
    assert answer(exchange, b"x") == Failure(Cause.MALFORMED)


def test_a_client_of_another_hand():
    """scramp is a client that was written by somebody else."""
    from scramp import ScramClient

    for mechanism, binding in (("SCRAM-SHA-256", None), ("SCRAM-SHA-256-PLUS", ("tls-server-end-point", END_POINT))):
        client = ScramClient([mechanism], "user", "pencil", channel_binding=binding)
        exchange = ScramExchange(OneAccount(), BOTH if binding else {}, plus=binding is not None)
        client.set_server_first(answer(exchange, client.get_client_first().encode()).octets.decode())
        client.set_server_final(answer(exchange, client.get_client_final().encode()).octets.decode())
        assert answer(exchange, b"") == Success(Identity("user", mechanism, may_relay=False))


def test_no_answer_shows_a_secret():
    assert "pencil" not in repr(Challenge(b"pencil"))
    exchange = ScramExchange(OneAccount(), BOTH, plus=False)
    answer(exchange, Client().first)
    assert "W22ZaJ0SNY7soEsUEjb6gQ" not in repr(exchange._begun)


MESSAGES = st.lists(
    st.none() | st.binary(max_size=60) | st.text("np=,nraxcv\0 \u00fc", max_size=40).map(str.encode),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(MESSAGES)
def test_no_octets_break_an_exchange(messages):
    """Whatever comes, in whatever order, the exchange answers, and nobody gets in."""
    for exchange in (
        PlainExchange(OneAccount()),
        LoginExchange(OneAccount()),
        ScramExchange(OneAccount(), BOTH, plus=False),
        ScramExchange(OneAccount(), BOTH, plus=True),
    ):
        for message in messages:
            found = answer(exchange, message)
            assert isinstance(found, Challenge | Failure)
            if isinstance(found, Failure):
                break
