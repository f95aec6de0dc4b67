"""The pool against scripted next hops that speak TLS, well and badly."""

import asyncio
import contextlib
import socket
import ssl
import time
from functools import partial

import pytest
from tests.certificates import KINDS, Authority, openssl
from tests.doubles.next_hop import NextHop
from tests.integration.test_pool import (
    DEFERRED,
    DELIVERED,
    EHLO,
    FAILED,
    QUEUED,
    Sent,
    beside,
    message,
    run,
    settings,
    timers,
    until,
)
from tests.routes import pool_of

from mailmoat._native import Message, TlsIdentity
from mailmoat.delivery import security as securities
from mailmoat.delivery.account import Account
from mailmoat.delivery.security import CONNECTIONS, UNUSABLE_CERTIFICATE, Insecurity, Security, TlsOutcome
from mailmoat.delivery.tls_policy import TlsLevel, TlsPolicy

NONE, MAY, ENCRYPT, VERIFY, _ = TlsLevel
NAME = "hub.test"
EVERY = [b"\x15\x03\x01\x00\x02\x02\x28", b"HTTP/1.0 400 Bad\r\n\r\n", b""]
"""What a server that speaks no TLS may say to a ClientHello: an alert, something else, nothing."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def signed(authority):
    """Makes TLS servers: `signed(names, ...)` is the function that a next hop needs."""

    def make(*names: str, **more):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = authority.sign(*(names or (NAME,)), **more)
        context.load_cert_chain(files.chain, files.key)
        return serving(context)

    return make


@pytest.fixture
def logged(monkeypatch):
    """What the security of a destination logs: event and fields."""
    lines = []
    monkeypatch.setattr(securities.maillog, "event", lambda event, **fields: lines.append((event.value, fields)))
    return lines


def serving(context):
    return partial(context.wrap_socket, server_side=True, suppress_ragged_eofs=True)


def saying(octets: bytes):
    """A server that reads a ClientHello and says this."""

    def accept(connection: socket.socket) -> socket.socket:
        connection.recv(65536)
        connection.sendall(octets)
        raise EOFError

    return accept


def hop_with(tls, **rules):
    return beside(NextHop(tls=tls, **{"EHLO": EHLO, "end": QUEUED} | rules))


def policy(level, authority=None, *, names=(NAME,), **more):
    return TlsPolicy(level, names=names, ca=authority and authority.certificate, **more)


class Counted:
    """Metrics of which the families asked for are counted."""

    def __init__(self):
        self.counts = dict.fromkeys(TlsOutcome, 0)

    def add(self, index, value=1):
        for outcome in TlsOutcome:
            if CONNECTIONS[outcome] == index:
                self.counts[outcome] += value

    def said(self):
        return {outcome.value: count for outcome, count in self.counts.items() if count}


@contextlib.asynccontextmanager
async def pool_to(hop, asked, account=None, **times):
    counted = Counted()
    security = Security("smtp://hub.test:25", account=account, metrics=counted)
    pool = pool_of(
        asyncio.get_running_loop(), hop, settings(**times), "me.example", timers(), policy=asked, security=security
    )
    pool.counted = counted.said
    yield pool
    pool.abort()
    await until(lambda: not pool.connections)


async def send(pool, given=None):
    sent = Sent(given or message())
    pool.submit(sent)
    ((state, reply),) = await asyncio.wait_for(sent.result, 20)
    return state, reply, sent.record


# --- each level with a server that does all well ---


@pytest.mark.parametrize("level", [NONE, MAY, ENCRYPT, VERIFY])
@run
async def test_each_level_with_a_server_that_is_right(signed, authority, level, logged):
    async with hop_with(signed()) as hop, pool_to(hop, policy(level, authority)) as pool:
        state, reply, record = await send(pool)
        assert (state, reply) == (DELIVERED, QUEUED)
        hellos = [line for line in hop.commands if line.startswith("EHLO")]
        if level is NONE:
            assert (record.tls, hop.handshakes, len(hellos)) == (None, [], 1)
        else:
            assert record.tls.version == "TLSv1.3"
            assert record.tls.verified is (level is VERIFY)
            assert len(hellos) == 2
            assert hop.commands.index("STARTTLS") == 1
        expected = {NONE: "clear", VERIFY: "verified"}.get(level, "encrypted")
        assert pool.counted() == {expected: 1}
    assert logged == []


@pytest.mark.parametrize("level", [MAY, ENCRYPT, VERIFY])
@run
async def test_implicit_tls(signed, authority, level):
    async with (
        hop_with(signed(), implicit=True) as hop,
        pool_to(hop, policy(level, authority, implicit=True)) as pool,
    ):
        state, _, record = await send(pool)
        assert (state, record.tls.verified) == (DELIVERED, level is VERIFY)
        assert record.next_hop == f"smtps://127.0.0.1:{hop.port}"
        assert "STARTTLS" not in hop.commands


@run
async def test_the_second_connection_resumes(signed, authority):
    async with hop_with(signed()) as hop, pool_to(hop, policy(VERIFY, authority)) as pool:
        for resumed in (False, True):
            state, _, record = await send(pool)
            assert (state, record.tls.resumed, record.tls.verified) == (DELIVERED, resumed, True)
            pool._idle[0].quit()
            await until(lambda: not pool.connections)


@run
async def test_one_of_several_names_is_enough(signed, authority):
    for names, state in ((("other.test", "hub.test"), DELIVERED), (("other.test", "third.test"), DEFERRED)):
        async with hop_with(signed()) as hop, pool_to(hop, policy(VERIFY, authority, names=names)) as pool:
            assert (await send(pool))[0] == state


@pytest.mark.parametrize("says_it_is_a_ca", [False, True])
@run
async def test_a_self_signed_certificate_is_verified_by_itself(tmp_path, says_it_is_a_ca):
    """As ours are made, and as `openssl req -x509` makes them."""
    chain, key = (tmp_path / name for name in ("chain.pem", "key.pem"))
    if says_it_is_a_ca:
        subject = ("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}")
        openssl("req", "-x509", "-nodes", *KINDS["p256"], "-days", "30", *subject, "-keyout", key, "-out", chain)
    else:
        for file, octets in zip((chain, key), TlsIdentity.self_signed([NAME], 30, int(time.time())), strict=True):
            file.write_bytes(octets)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    for name, expected in ((NAME, DELIVERED), ("other.test", DEFERRED)):
        asked = TlsPolicy(VERIFY, names=(name,), ca=chain)
        async with hop_with(serving(context)) as hop, pool_to(hop, asked) as pool:
            state, _, record = await send(pool)
            assert state == expected
            assert (record.tls is not None and record.tls.verified) is (expected == DELIVERED)


@run
async def test_a_self_signed_certificate_that_is_over_is_not_verified(tmp_path):
    chain, key = (tmp_path / name for name in ("chain.pem", "key.pem"))
    made = TlsIdentity.self_signed([NAME], 1, int(time.time()) - 10 * 86_400)
    for file, octets in zip((chain, key), made, strict=True):
        file.write_bytes(octets)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    async with hop_with(serving(context)) as hop, pool_to(hop, TlsPolicy(VERIFY, names=(NAME,), ca=chain)) as pool:
        state, reply, _ = await send(pool)
        assert (state, reply[-8:]) == (DEFERRED, " expired")


@run
async def test_our_certificate_is_shown_to_a_server_that_asks_for_one(authority, signed):
    ours, theirs = authority.sign("edge.test"), authority.sign(NAME)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.chain, theirs.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    shown = policy(ENCRYPT, certificate=ours.chain, key=ours.key)
    async with hop_with(serving(context)) as hop, pool_to(hop, shown) as pool:
        assert (await send(pool))[0] == DELIVERED
        assert dict(hop.handshakes[0].getpeercert()["subjectAltName"]) == {"DNS": "edge.test"}
    async with hop_with(serving(context)) as hop, pool_to(hop, policy(ENCRYPT)) as pool:
        state, _, _ = await send(pool)
        assert state == DEFERRED


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@run
async def test_where_tls_may_be_a_server_that_wants_a_certificate_of_ours_gets_clear_text(authority, version, logged):
    """In TLS 1.3 the client is done before the server says so."""
    theirs = authority.sign(NAME)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.load_cert_chain(theirs.chain, theirs.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    async with hop_with(serving(context)) as hop, pool_to(hop, policy(MAY)) as pool:
        state, _, record = await send(pool)
        assert (state, record.tls, hop.accepted) == (DELIVERED, None, 2)
        assert pool.counted() == {"failed": 1, "clear": 1}
    assert [event for event, _ in logged] == ["next-hop-in-clear"]


@run
async def test_what_is_said_wrongly_in_tls_is_not_asked_for_again_in_clear(signed):
    async with hop_with(signed(), EHLO=[EHLO, f"250-{'x' * 3000}"]) as hop, pool_to(hop, policy(MAY)) as pool:
        state, reply, _ = await send(pool)
        assert (state, hop.accepted) == (DEFERRED, 1)
        assert reply.endswith("reply line too long")


@run
async def test_a_server_that_closes_its_side_of_tls_alone_is_gone(signed):
    """Some wait for ours before they close the socket."""
    async with hop_with(signed()) as hop, pool_to(hop, policy(ENCRYPT)) as pool:
        assert (await send(pool))[0] == DELIVERED
        (connection,) = hop.handshakes
        with contextlib.suppress(OSError):  # it reads our answer to that, or meets the thread that serves
            await asyncio.to_thread(connection.unwrap)
        await until(lambda: not pool.connections)


# --- servers that are not right ---


@pytest.mark.parametrize(
    ("level", "names", "days", "wrong"),
    [
        (VERIFY, ("other.test",), 90, "not for this name"),
        (VERIFY, (NAME,), -1, "expired"),
        (ENCRYPT, ("other.test",), -1, None),
        (MAY, ("other.test",), -1, None),
    ],
)
@run
async def test_certificates_that_are_not_right(signed, authority, level, names, days, wrong, logged):
    async with hop_with(signed(*names, days=days, file="wrong")) as hop, pool_to(hop, policy(level, authority)) as pool:
        for _ in range(2):
            state, reply, record = await send(pool)
            if wrong is None:
                assert (state, record.tls.verified) == (DELIVERED, False)
            else:
                assert (state, reply) == (
                    DEFERRED,
                    f"451 4.7.5 The TLS handshake failed: certificate not verified: {wrong}",
                )
                assert not [line for line in hop.commands if line.startswith("MAIL")]
    if wrong is not None:
        ((event, fields),) = logged
        assert (event, fields["reason"]) == ("next-hop-not-secure", Insecurity.TLS)
        assert wrong in fields["detail"]


@run
async def test_a_certificate_of_an_unknown_authority(signed, tmp_path):
    other = Authority(tmp_path / "other", "Other CA")
    async with hop_with(signed()) as hop, pool_to(hop, policy(VERIFY, other)) as pool:
        state, reply, _ = await send(pool)
        assert (state, reply) == (
            DEFERRED,
            "451 4.7.5 The TLS handshake failed: certificate not verified: unknown issuer",
        )


@pytest.mark.parametrize(("level", "code"), [(ENCRYPT, "451 4.7.0 "), (VERIFY, "451 4.7.5 ")])
@pytest.mark.parametrize("said", ["", "454 4.7.0 not now"])
@run
async def test_where_tls_is_required_nothing_goes_without_it(authority, level, code, said, logged):
    tls = (lambda _: None) if said else None
    async with hop_with(tls, **{"STAR": said} if said else {}) as hop, pool_to(hop, policy(level, authority)) as pool:
        for _ in range(2):
            state, reply, _ = await send(pool)
            assert (state, reply[:10]) == (DEFERRED, code)
        assert not [line for line in hop.commands if line.startswith("MAIL")]
    assert len(logged) == 1, "once"


@run
async def test_where_tls_may_be_a_refused_starttls_goes_on_in_clear():
    async with hop_with(lambda _: None, STAR="454 4.7.0 not now") as hop, pool_to(hop, policy(MAY)) as pool:
        state, _, record = await send(pool)
        assert (state, record.tls, hop.accepted) == (DELIVERED, None, 1)
        assert pool.counted() == {"clear": 1}


@run
async def test_a_host_that_is_not_there_says_nothing_of_tls(authority, logged):
    async with hop_with(None) as hop, pool_to(hop, policy(VERIFY, authority)) as pool:
        assert (await send(pool))[0] == DEFERRED
        hop.stop()
        state, reply, _ = await send(pool)
        assert (state, reply[:19]) == (DEFERRED, "421 4.4.1 No connec")
        hop.start()
        assert (await send(pool))[0] == DEFERRED
        assert pool.counted() == {}
    assert len(logged) == 1, "the state has not ended in between"


@pytest.mark.parametrize("said", EVERY)
@run
async def test_where_tls_may_be_a_failed_handshake_is_repeated_in_clear_at_once(said, logged):
    async with hop_with(saying(said)) as hop, pool_to(hop, policy(MAY)) as pool:
        state, _, record = await send(pool)
        assert (state, record.tls, hop.accepted) == (DELIVERED, None, 2)
        assert pool.counted() == {"failed": 1, "clear": 1}
        # For an hour nothing else is tried.
        pool._idle[0].quit()
        await until(lambda: not pool.connections)
        assert (await send(pool))[0] == DELIVERED
        assert (hop.accepted, hop.commands.count("STARTTLS")) == (3, 1)
    ((event, fields),) = logged
    assert (event, fields["peer"]) == ("next-hop-in-clear", f"127.0.0.1:{hop.port}")


def hanging(connection: socket.socket) -> socket.socket:
    """Reads a ClientHello and says nothing."""
    while connection.recv(65536):
        pass
    raise EOFError


@pytest.mark.parametrize("level", [MAY, ENCRYPT])
@run
async def test_a_handshake_that_does_not_end_has_a_time_of_its_own(level):
    async with hop_with(hanging) as hop, pool_to(hop, policy(level), handshake_time=0.2) as pool:
        state, reply, record = await send(pool)
        if level is MAY:
            assert (state, record.tls, hop.accepted) == (DELIVERED, None, 2)
        else:
            assert (state, reply) == (DEFERRED, "421 4.4.2 Timed out during the TLS handshake")


@run
async def test_after_the_hour_tls_is_tried_again(monkeypatch):
    monkeypatch.setattr(securities, "IN_CLEAR", 0.0)
    async with hop_with(saying(b"")) as hop, pool_to(hop, policy(MAY)) as pool:
        sent = Sent(message())
        pool.submit(sent)
        await until(lambda: hop.commands.count("STARTTLS") >= 3)


@pytest.mark.parametrize("level", [ENCRYPT, VERIFY])
@pytest.mark.parametrize("said", EVERY)
@run
async def test_where_tls_is_required_a_failed_handshake_defers(authority, level, said):
    async with hop_with(saying(said)) as hop, pool_to(hop, policy(level, authority)) as pool:
        state, _, _ = await send(pool)
        assert (state, hop.accepted) == (DEFERRED, 1)
        assert not [line for line in hop.commands if line.startswith("MAIL")]


@pytest.mark.parametrize("level", [MAY, ENCRYPT])
@run
async def test_replies_behind_the_220_are_never_taken_for_the_servers(signed, level):
    """CVE-2011-0411 in the other direction: whoever is between could write them."""
    injected = "220 go\r\n250-hop\r\n250 AUTH LOGIN"
    async with hop_with(signed(), STAR=injected) as hop, pool_to(hop, policy(level)) as pool:
        state, reply, record = await send(pool)
        if level is MAY:
            assert (state, record.tls) == (DELIVERED, None)
        else:
            assert (state, reply) == (
                DEFERRED,
                "451 4.5.0 The next hop broke the protocol: octets behind the reply to STARTTLS",
            )
        assert not [one for one in hop.handshakes if one.version()]


ACCEPTANCE = b"250-hop\r\n250 AUTH LOGIN\r\n250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n221 bye\r\n"


@pytest.mark.parametrize("level", [MAY, ENCRYPT])
@pytest.mark.parametrize("injected", [ACCEPTANCE, b"2", b"\r\n", b"\x15\x03\x03\x00\x02\x02\x28"])
@pytest.mark.parametrize("after_the_hello", [False, True])
@run
async def test_what_is_put_in_clear_between_220_and_the_handshake_takes_no_message(
    signed, level, injected, after_the_hello
):
    """In a segment of its own: a message is delivered once, where it may go in clear, else it waits."""
    wrap = signed()

    def injecting(connection: socket.socket) -> socket.socket:
        if after_the_hello:
            connection.recv(1, socket.MSG_PEEK)
        connection.sendall(injected)
        return wrap(connection)

    async with hop_with(injecting) as hop, pool_to(hop, policy(level)) as pool:
        state, reply, record = await send(pool)
        assert record.tls is None
        if level is MAY:
            assert (state, reply) == (DELIVERED, QUEUED)
            assert [content.taken for content in hop.contents] == [True]
        else:
            assert (state, reply[:3], hop.contents) == (DEFERRED, "451", [])


@run
async def test_a_file_that_is_missing_or_wrong_defers_and_one_that_becomes_wrong_changes_nothing(
    signed, authority, tmp_path, logged
):
    ca = tmp_path / "ca.pem"
    asked = TlsPolicy(VERIFY, names=(NAME,), ca=ca)
    async with hop_with(signed()) as hop, pool_to(hop, asked) as pool:
        state, reply, _ = await send(pool)
        assert (state, reply) == (DEFERRED, UNUSABLE_CERTIFICATE)
        assert hop.accepted == 0
        ca.write_bytes(authority.certificate.read_bytes())
        assert (await send(pool))[0] == DELIVERED
        pool._idle[0].quit()
        await until(lambda: not pool.connections)
        ca.write_text("nonsense")
        for _ in range(2):
            assert (await send(pool))[0] == DELIVERED
            pool._idle[0].quit()
            await until(lambda: not pool.connections)
    assert [fields["reason"] for _, fields in logged] == [Insecurity.CERTIFICATE] * 2


# --- REQUIRETLS (RFC 8689) ---

SUPPORTED = EHLO.replace("250 8BITMIME", "250-8BITMIME\r\n250 REQUIRETLS")


def requiring(sender="s@a.test"):
    return Message(
        queue_id="a1",
        arrival=0,
        reverse_path=sender,
        recipients=["x@b.example"],
        content=b"Subject: a\r\n\r\nb\r\n",
        parameters={"REQUIRETLS": None},
    )


@pytest.mark.parametrize(
    ("level", "offers", "status"),
    [
        (VERIFY, SUPPORTED, ""),
        (VERIFY, EHLO, "550 5.7.30 REQUIRETLS support required"),
        (ENCRYPT, SUPPORTED, "550 5.7.10 Encryption needed"),
        (MAY, SUPPORTED, "550 5.7.10 Encryption needed"),
        (NONE, SUPPORTED, "550 5.7.10 Encryption needed"),
    ],
)
@run
async def test_a_message_that_requires_tls_goes_over_verified_tls_to_a_hop_that_promises_the_same(
    signed, authority, level, offers, status
):
    async with hop_with(signed(), EHLO=offers) as hop, pool_to(hop, policy(level, authority)) as pool:
        state, reply, _ = await send(pool, requiring())
        mails = [line for line in hop.commands if line.startswith("MAIL")]
        if status:
            assert (state, mails) == (FAILED, [])
            assert reply.startswith(status)
        else:
            assert (state, mails) == (DELIVERED, ["MAIL FROM:<s@a.test> REQUIRETLS"])
        # Any other message goes on, over the same connection.
        assert (await send(pool))[0] == DELIVERED
        assert len(hop.handshakes) <= 1


@pytest.mark.parametrize("offers", [SUPPORTED, EHLO])
@run
async def test_a_report_about_such_a_message_is_not_lost_for_it(signed, authority, offers):
    """RFC 8689 5."""
    async with hop_with(signed(), EHLO=offers) as hop, pool_to(hop, policy(VERIFY, authority)) as pool:
        assert (await send(pool, requiring("")))[0] == DELIVERED
        (mail,) = [line for line in hop.commands if line.startswith("MAIL")]
        assert mail.endswith(" REQUIRETLS") is (offers is SUPPORTED)


# --- authentication ---


@pytest.fixture
def account(tmp_path):
    (tmp_path / "password").write_text("pencil\n")
    return Account("user", tmp_path / "password")


@run
async def test_the_password_goes_to_a_verified_server(signed, authority, account):
    offers = f"{EHLO}\r\n250 AUTH PLAIN LOGIN".replace("250 8BIT", "250-8BIT")
    async with (
        hop_with(signed(), EHLO=offers, AUTH="235 2.7.0 in") as hop,
        pool_to(hop, policy(VERIFY, authority), account) as pool,
    ):
        assert (await send(pool))[0] == DELIVERED
        assert hop.commands[3] == "AUTH PLAIN AHVzZXIAcGVuY2ls"


@pytest.mark.parametrize("level", [NONE, MAY, ENCRYPT])
@run
async def test_the_password_goes_to_no_other(signed, authority, account, level):
    """Nor where the certificate happens to be right: nothing has shown that the server has its key."""
    offers = f"{EHLO}\r\n250 AUTH PLAIN LOGIN".replace("250 8BIT", "250-8BIT")
    async with (
        hop_with(signed(), EHLO=offers, AUTH="235 2.7.0 in") as hop,
        pool_to(hop, policy(level, authority), account) as pool,
    ):
        state, reply, _ = await send(pool)
        assert (state, reply[:28]) == (DEFERRED, "454 4.7.8 Not authenticated:")
        assert not [line for line in hop.commands if line.startswith(("AUTH", "MAIL"))]
