"""What a directory in disorder does: whatever a server sends, it is an outage. No address is absent for it, and nothing that is known is removed."""

import asyncio
import os
import socket
from contextlib import suppress

import pytest
import uvloop
from tests.certificates import Authority
from tests.doubles.directory_source import Replica, row
from tests.doubles.hostile_ldap import CLOSE, HostileLdap, entry, message, result
from tests.doubles.slapd import PASSWORD, READER, Slapd, people

from mailmoat._native import Address
from mailmoat.directory.directory import Presence
from mailmoat.directory.ldap import sync
from mailmoat.directory.ldap.live import LdapLive
from mailmoat.directory.ldap.sync import LdapSync
from mailmoat.directory.source import Delta, Entry, Listed, Whole
from mailmoat.errors import LookupFailedError, SourceError
from mailmoat.ldap import ber, filters
from mailmoat.ldap.framing import LARGEST
from mailmoat.ldap.message import SearchRequest
from mailmoat.ldap.opening import Access, Login, Tls, open_connection
from mailmoat.ldap.outcome import ServerError
from mailmoat.ldap.server import Server, Transport

ALICE = Address.parse("alice@example.com")
KNOWN = {
    bytes([number]) * 16: Entry(bytes([number]) * 16, f"uid={number}", (Listed(f"u{number}@example.com"),))
    for number in range(20)
}
COOKIE = b"Srid=000,csn=x"
INFO = ber.text("1.3.6.1.4.1.4203.1.9.1.4", 0x80)
NOTICE = message(0, 0x78, ber.enumerated(52), ber.text(""), ber.text("bye"), ber.text("1.3.6.1.4.1.1466.20036", 0x8A))
SEED = int(os.environ.get("MAILMOAT_TEST_SEED", "4533"))

FAULTS = {
    "silent": lambda number: [],
    "closes": lambda number: [CLOSE],
    "closes after half a result": lambda number: [entry(number, b"a@example.com"), CLOSE],
    "closes within an entry": lambda number: [entry(number, b"a@example.com")[:-4], CLOSE],
    "silent within an entry": lambda number: [entry(number, b"a@example.com")[:-4]],
    "silent after half a result": lambda number: [entry(number, b"a@example.com")],
    "half a result and an error": lambda number: [entry(number, b"a@example.com"), result(number, 80, text="oops")],
    "busy": lambda number: [result(number, 51)],
    "unavailable": lambda number: [result(number, 52)],
    "time limit": lambda number: [result(number, 3)],
    "no such object": lambda number: [result(number, 32)],
    "insufficient rights": lambda number: [result(number, 50)],
    "referral": lambda number: [result(number, 10)],
    "unknown result": lambda number: [result(number, 12345, text="\0\x1b[2J" + "x" * 9999)],
    "not LDAP": lambda number: [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "random octets": lambda number: [bytes((SEED * step * step) % 251 for step in range(500))],
    "an endless message": lambda number: [b"\x30\x84" + (LARGEST + 1).to_bytes(4)],
    "an element longer than its message": lambda number: [b"\x30\x0c\x02\x01\x02\x64\x82\xff\xffabc"],
    "an indefinite length": lambda number: [b"\x30\x80\x02\x01\x02\x65\x00\x00\x00"],
    "an unknown answer": lambda number: [message(number, 0x7F)],
    "a result without its parts": lambda number: [message(number, 0x65)],
    "an entry without its parts": lambda number: [message(number, 0x64)],
    "an entry that is no entry": lambda number: [message(number, 0x64, ber.text("dn"), ber.sequence(ber.text("mail")))],
    "an attribute without values": lambda number: [
        message(number, 0x64, ber.text("dn"), ber.sequence(ber.sequence(ber.text("mail"))))
    ],
    "an answer to another": lambda number: [entry(number + 7, b"a@example.com"), result(number + 7)],
    "an intermediate answer without a name": lambda number: [message(number, 0x79)],
    "the end of the session": lambda number: [NOTICE],
    "a control without its name": lambda number: [
        message(number, 0x65, ber.enumerated(0), ber.text(""), ber.text(""), controls=b"\xa0\x02\x30\x00")
    ],
}
"""What a server does with a search. In each case an address may exist or not: nobody knows."""
ANSWERS = {
    "half a result and an error",
    "time limit",
    "no such object",
    "insufficient rights",
    "referral",
    "unknown result",
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(sync, "REFRESH_PATIENCE", 0.15)
    monkeypatch.setattr("mailmoat.ldap.root_dse.PING_TIME", 0.15)


def replica():
    made = Replica()
    made.known.update(KNOWN)
    made.cookie = COOKIE
    return made


def plain(server, **settings):
    return row(f"ldap://127.0.0.1:{server.port}", tls="none", base="dc=x", **settings)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_no_fault_makes_an_address_absent(fault):
    async def main():
        async with HostileLdap(fault) as server:
            source = LdapLive(plain(server, mode="live", timeout="0.2"))
            try:
                return await source.lookup(ALICE)
            finally:
                await source.close()

    with pytest.raises(SourceError) as caught:
        uvloop.run(main())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_an_error_in_answer_to_one_question_is_no_outage(fault):
    """Any other answer is one, and a server that says that it is busy."""

    async def main():
        async with HostileLdap(FAULTS[fault]) as server:
            source = LdapLive(plain(server, mode="live", timeout="0.2"))
            try:
                await source.lookup(ALICE)
            finally:
                await source.close()

    with pytest.raises(SourceError) as caught:
        uvloop.run(main())
    assert isinstance(caught.value, LookupFailedError) == (fault in ANSWERS)


@pytest.mark.parametrize("cookie", [COOKIE, None], ids=["changes", "all"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_no_fault_removes_what_is_known(fault, cookie):
    copy = replica()
    copy.cookie = cookie

    async def main():
        async with HostileLdap(fault) as server:
            await copy.run(LdapSync(plain(server)), lambda: False)

    with pytest.raises(SourceError) as caught:
        uvloop.run(main())
    assert str(caught.value).isprintable()
    assert not [step for step in copy.steps if isinstance(step, Whole | Delta)]
    assert copy.known == KNOWN


@pytest.mark.parametrize("octet", range(0, 60, 3))
def test_no_wrong_octet_makes_an_address_absent(octet):
    """Of an entry and its result; where the octet does not matter the address exists."""

    def answers(number):
        octets = bytearray(entry(number, b"alice@example.com") + result(number))
        octets[octet % len(octets)] ^= 0x5A
        return [bytes(octets)]

    async def main():
        async with HostileLdap(answers) as server:
            source = LdapLive(plain(server, mode="live", timeout="0.3"))
            try:
                return await source.lookup(ALICE)
            finally:
                await source.close()

    with suppress(SourceError):
        assert uvloop.run(main()).presence is Presence.EXISTS


def test_an_entry_that_comes_octet_by_octet_is_read():
    async def main():
        async with HostileLdap(
            lambda number: [bytes([octet]) for octet in entry(number, b"alice@example.com") + result(number)]
        ) as server:
            source = LdapLive(plain(server, mode="live"))
            try:
                return await source.lookup(ALICE)
            finally:
                await source.close()

    assert uvloop.run(main()).presence is Presence.EXISTS


def test_pages_that_do_not_end_are_an_outage():
    page = ber.element(
        0xA0,
        ber.sequence(ber.text("1.2.840.113556.1.4.319"), ber.octets(ber.sequence(ber.integer(0), ber.octets(b"more")))),
    )
    answers = [
        lambda number: [result(number, 12)],
        lambda number: [message(number, 0x65, ber.enumerated(0), ber.text(""), ber.text(""), controls=page)],
    ]
    searches = iter([answers[0]])

    def in_turn(number):
        return next(searches, answers[1])(number)

    async def main():
        async with HostileLdap(in_turn) as server:
            await replica().run(LdapSync(plain(server)), lambda: False)

    with pytest.raises(SourceError, match="without end"):
        uvloop.run(main())


def test_what_nobody_takes_is_not_read_without_end():
    sent = []

    def answers(number):
        for _ in range(200_000):
            sent.append(number)
            yield entry(number, b"a@example.com" + b"x" * 500)

    async def main():
        async with HostileLdap(answers) as server:
            connection = await open_connection(clear(server), Access())
            async with connection.search(SearchRequest("", filters.parse("(a=*)"))) as found:
                await anext(found)
                before = 0
                while before != len(sent):
                    before = len(sent)
                    await asyncio.sleep(0.2)
                waiting = len(found._operation.answers)
            connection.close()
            return before, waiting

    sent_before, waiting = uvloop.run(main())
    assert sent_before < 100_000
    assert waiting < 5000


def clear(server):
    return Server("clear", Transport.CLEAR, "127.0.0.1", server.port)


@pytest.mark.parametrize("more", [result(7), b"\x30", entry(2, b"a@example.com")])
def test_what_is_put_in_behind_the_answer_to_start_tls_is_not_taken_for_the_servers(more):
    """RFC 4511 4.14.1: it could be anybody's."""

    class StartTls(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(result(1, tag=0x78) + more)

    async def main():
        listening = await asyncio.get_running_loop().create_server(StartTls, "127.0.0.1", 0)
        server = Server("tls", Transport.START_TLS, "127.0.0.1", listening.sockets[0].getsockname()[1])
        try:
            await open_connection(server, Access())
        finally:
            listening.close()

    with pytest.raises(ServerError, match="garbled: more than one answer before TLS"):
        uvloop.run(main())


@pytest.mark.parametrize(
    "bind",
    [
        lambda number: result(number, 53, 0x61),
        lambda number: NOTICE,
        lambda number: b"?",
        lambda number: result(number + 1, 0, 0x61),
    ],
)
def test_a_bind_that_does_not_succeed_lets_nobody_in(bind, monkeypatch):
    async def main():
        async with HostileLdap(lambda number: [], bind=bind) as server:
            await open_connection(clear(server), Access(Login("cn=a", lambda: "secret word"), connect_time=0.5))

    with pytest.raises(ServerError) as caught:
        uvloop.run(main())
    assert "secret" not in str(caught.value)


def test_a_server_that_takes_no_connection_costs_its_time_and_no_more():
    """Its queue of connections is full."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        server = Server("full", Transport.CLEAR, "127.0.0.1", port)
        with pytest.raises(ServerError, match=r"no connection in 0\.3 s|timed out|no answer"):
            uvloop.run(open_connection(server, Access(Login("cn=a", lambda: "b"), connect_time=0.3)))
        for each in waiting:
            each.close()


@pytest.mark.parametrize(
    ("days", "names", "reason"), [(-1, ("127.0.0.1",), "expired"), (90, ("192.0.2.1",), "IP address mismatch")]
)
@pytest.mark.parametrize("kind", [Transport.TLS, Transport.START_TLS])
def test_a_certificate_that_is_over_or_of_another_is_an_outage(tmp_path, days, names, reason, kind):
    authority = Authority(tmp_path / "ca")
    with Slapd(tmp_path / "slapd", authority, people(1), days=days, names=names) as slapd:
        port = slapd.tls_port if kind is Transport.TLS else slapd.port
        server = Server("slapd", kind, "127.0.0.1", port)
        access = Access(Login(READER, lambda: PASSWORD), Tls(ca=authority.certificate))
        with pytest.raises(ServerError, match=f"its certificate is refused: .*{reason}"):
            uvloop.run(open_connection(server, access))
