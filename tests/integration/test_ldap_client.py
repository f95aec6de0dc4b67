"""The client against OpenLDAP: every way to connect and to authenticate, pages, limits, and what it says when it is not let in."""

import asyncio

import pytest
import uvloop
from tests.certificates import Authority
from tests.doubles.directory_source import row
from tests.doubles.slapd import BASE, PASSWORD, READER, Slapd, people

from mailmoat.directory.ldap.access import access_of
from mailmoat.directory.ldap.servers import Servers
from mailmoat.errors import SourceError
from mailmoat.ldap import filters, outcome
from mailmoat.ldap.message import Scope, SearchRequest
from mailmoat.ldap.opening import Access, Login, Tls, open_connection
from mailmoat.ldap.outcome import LdapError, ServerError
from mailmoat.ldap.paging import paged
from mailmoat.ldap.server import Server, Transport

ALL = SearchRequest(BASE, filters.parse("(mail=*)"), ("mail",))
SIZE_LIMIT = 120
PEOPLE = 250


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def slapd(tmp_path_factory, authority):
    with Slapd(tmp_path_factory.mktemp("slapd"), authority, people(PEOPLE), size_limit=SIZE_LIMIT) as running:
        yield running


@pytest.fixture(scope="module")
def login():
    return Login(READER, lambda: PASSWORD)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request):
    return request.param


def clear(slapd):
    return Server("clear", Transport.CLEAR, "127.0.0.1", slapd.port)


def servers(slapd):
    return {
        "clear": clear(slapd),
        "start_tls": Server("start_tls", Transport.START_TLS, "127.0.0.1", slapd.port),
        "tls": Server("tls", Transport.TLS, "127.0.0.1", slapd.tls_port),
        "unix": Server("unix", Transport.UNIX, socket=slapd.socket),
    }


async def count(server, access):
    connection = await open_connection(server, access)
    try:
        return sum([len(page) async for page in paged(connection, ALL, size=100)])
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["clear", "start_tls", "tls", "unix"])
def test_a_password_lets_in_over_each_transport(slapd, authority, login, run, kind):
    access = Access(login, Tls(ca=authority.certificate))
    assert run(count(servers(slapd)[kind], access)) == PEOPLE


@pytest.mark.parametrize("kind", ["start_tls", "tls"])
def test_a_client_certificate_lets_in(slapd, authority, run, kind):
    ours = authority.sign("reader.example.com")
    access = Access(Login(external=True), Tls(ca=authority.certificate, certificate=ours.chain, key=ours.key))
    assert run(count(servers(slapd)[kind], access)) == PEOPLE


def test_a_unix_socket_shows_who_we_are(slapd, run):
    assert run(count(servers(slapd)["unix"], Access(Login(external=True)))) == PEOPLE


@pytest.mark.parametrize("kind", ["start_tls", "tls"])
def test_a_server_that_nobody_vouches_for_gets_no_password(slapd, login, run, kind):
    with pytest.raises(
        ServerError, match=rf"^{kind}: its certificate is refused: .*self-signed.*; tls_ca must have the CA"
    ):
        run(count(servers(slapd)[kind], Access(login)))


@pytest.mark.parametrize("kind", ["start_tls", "tls"])
def test_a_server_of_another_name_gets_no_password(slapd, authority, login, run, kind):
    server = servers(slapd)[kind]._replace(host="localhost")
    with pytest.raises(ServerError, match=rf"^{kind}: its certificate is refused: .*localhost.*; url must have a name"):
        run(count(server, Access(login, Tls(ca=authority.certificate))))


def test_without_verification_any_certificate_will_do(slapd, login, run):
    assert run(count(servers(slapd)["tls"], Access(login, Tls(verify=False)))) == PEOPLE


def test_a_wrong_password_is_refused_with_its_reason_and_without_the_password(slapd, run):
    with pytest.raises(LdapError, match=r"^clear: invalidCredentials") as caught:
        run(count(clear(slapd), Access(Login(READER, lambda: "tr0ub4dor"))))
    assert caught.value.code == outcome.INVALID_CREDENTIALS
    assert "tr0ub4dor" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_password_is_not_sent(slapd, tmp_path, run, content):
    (tmp_path / "empty").write_text(content)
    access = access_of(row(f"ldap://127.0.0.1:{slapd.port}", account=READER, password_file=tmp_path / "empty"))
    with pytest.raises(SourceError, match="empty is empty"):
        run(count(clear(slapd), access))


def test_several_searches_at_once_get_their_own_answers(slapd, login, run):
    async def main():
        connection = await open_connection(clear(slapd), Access(login))

        async def find(number):
            request = SearchRequest(BASE, filters.parse(f"(uid=u{number})"), ("mail",))
            async with connection.search(request) as answers:
                return [entry.attributes["mail"] async for entry in answers]

        found = await asyncio.gather(*map(find, range(100)))
        connection.close()
        return found

    assert run(main()) == [[[b"u%d@example.com" % number]] for number in range(100)]


def test_a_result_that_is_too_large_is_an_error_after_what_fits(slapd, login, run):
    async def main():
        connection = await open_connection(clear(slapd), Access(login))
        entries = []
        try:
            async with connection.search(ALL) as answers:
                while True:
                    entries.append(await anext(answers))
        except LdapError as error:
            return len(entries), error.code
        finally:
            connection.close()

    assert run(main()) == (SIZE_LIMIT, outcome.SIZE_LIMIT_EXCEEDED)


def test_who_leaves_a_search_early_gets_no_answers_of_it(slapd, login, run):
    async def main():
        connection = await open_connection(clear(slapd), Access(login))
        async with connection.search(ALL) as answers:
            await anext(answers)
        base = SearchRequest(BASE, filters.parse("(o=*)"), ("o",), Scope.BASE)
        async with connection.search(base) as answers:
            found = [entry.dn async for entry in answers]
        connection.close()
        return found

    assert run(main()) == [BASE]


def test_a_closed_connection_says_so(slapd, login, run):
    async def main():
        connection = await open_connection(clear(slapd), Access(login))
        connection.close()
        async with connection.search(ALL) as answers:
            await anext(answers)

    with pytest.raises(ServerError, match="closed"):
        run(main())


def test_the_first_server_that_serves_is_used_and_the_preferred_one_again_later(slapd, login, run, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("mailmoat.clock.monotonic", lambda: now)
    first, second = clear(slapd)._replace(text="first"), clear(slapd)._replace(text="second")

    async def main():
        nonlocal now
        several = Servers([first, second], Access(login))
        used = [(await several.connect()).server.text]
        several.failed(first, "away")
        connection = await several.connect()
        used.append(connection.server.text)
        used.append(await several.preferred(connection.server))
        now += 16
        used.append((await several.preferred(connection.server)).server.text)
        several.failed(first, "away")
        now += 16
        used.append(await several.preferred(connection.server))
        several.served(first)
        used.append((await several.preferred(connection.server)).server.text)
        return used

    assert run(main()) == ["first", "second", None, "first", None, "first"]


def test_all_servers_that_do_not_serve_say_why(login, run, tmp_path):
    refused = Server("refused", Transport.CLEAR, "127.0.0.1", 1)
    missing = Server("missing", Transport.UNIX, socket=tmp_path / "none")
    with pytest.raises(ServerError, match=r"refused: no connection: .*; missing: no connection: No such file"):
        run(Servers([refused, missing], Access(login)).connect())


def test_why_there_is_no_connection_is_said_alike_in_both_loops(slapd, authority, login, run):
    access = Access(login, Tls(ca=authority.certificate))
    said = []
    for port in (1, slapd.port):  # nothing listens; it is no port for TLS
        with pytest.raises(ServerError) as refused:
            run(open_connection(Server("it", Transport.TLS, "127.0.0.1", port), access))
        said.append(str(refused.value))
    assert said[0] == "it: no connection: Connection refused"
    assert "no connection: the server closed it" in said[1] or "no connection: Connection reset by peer" in said[1]
