"""OpenLDAP's slapd asked for one address at a time: what exists, where its mail goes, and outages, which are never "absent"."""

import asyncio

import pytest
import uvloop
from tests.certificates import Authority
from tests.doubles.directory_source import row
from tests.doubles.slapd import BASE, PASSWORD, PEOPLE, READER, Slapd, people, person

from mailmoat._native import Address
from mailmoat.directory.directory import Presence
from mailmoat.directory.ldap import lookup
from mailmoat.directory.ldap.live import LdapLive
from mailmoat.directory.source import LiveAnswer
from mailmoat.errors import LookupFailedError, SourceError

ABSENT = LiveAnswer(Presence.ABSENT)


def exists(uid, *targets):
    return LiveAnswer(Presence.EXISTS, targets, f"uid={uid},{PEOPLE}")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory, authority):
    with Slapd(tmp_path_factory.mktemp("slapd"), authority, people(50)) as running:
        forward = "description: away@example.net\ndescription: u1@example.com\n"
        running.add(person(60, "team@example.com").rstrip("\n") + f"\n{forward}\n")
        running.add(person(61, "twice@example.com").rstrip("\n") + "\ndescription: away@example.net\n")
        running.add(person(62, "twice@example.com"))
        running.add(person(63, "Dotted@EXAMPLE.com."))
        running.add(person(64, "smtp:Kind@example.com"))
        running.add(person(65, "none65@example.com").rstrip("\n") + "\nlabeledURI: exact@example.com\n")
        for number in range(100, 121):
            running.add(person(number, "many@example.com").rstrip("\n") + f"\ndescription: t{number}@example.com\n")
        for number in range(200, 221):
            running.add(person(number, "@whole.example"))
        yield running


@pytest.fixture
def start(tmp_path, authority):
    running = []

    def started(name):
        running.append(Slapd(tmp_path / name, authority, people(50)))
        running[-1].start()
        return running[-1]

    yield started
    for server in running:
        server.kill()


@pytest.fixture
def asked(tmp_path, authority):
    (tmp_path / "password").write_text(PASSWORD)

    def made(*servers, **settings):
        url = ", ".join(f"ldap://127.0.0.1:{server.port}" for server in servers)
        account = {"account": READER, "password_file": tmp_path / "password", "tls_ca": authority.certificate}
        return LdapLive(row(url, mode="live", **{**account, **settings}))

    return made


def ask(source, *addresses):
    async def main():
        try:
            return [await source.lookup(Address.parse(address)) for address in addresses]
        finally:
            await source.close()

    return uvloop.run(main())


def test_an_address_exists_or_not(shared, asked):
    assert ask(asked(shared), "u7@example.com", "U7@EXAMPLE.com", "u7@example.org", "*@example.com") == [
        exists("u7"), exists("u7"), ABSENT, ABSENT,
    ]  # fmt: skip


def test_a_filter_may_say_where_the_address_goes(shared, asked):
    source = asked(shared, filter="(&(uid={local})(objectClass=inetOrgPerson))")
    assert ask(source, "u7@anywhere.example", "u99@anywhere.example") == [exists("u7"), ABSENT]


def test_targets_of_all_entries_with_the_address_are_united(shared, asked):
    source = asked(shared, target_attributes="description")
    found = ask(source, "team@example.com", "twice@example.com", "u7@example.com")
    assert found[0] == exists("u60", "away@example.net", "u1@example.com")
    assert set(found[1].targets) == {"away@example.net", "twice@example.com"}
    assert found[2] == exists("u7")


def test_an_address_is_found_as_it_is_read_in_whatever_form_it_is_written(shared, asked):
    assert ask(asked(shared), "dotted@example.com", "kind@example.com") == [exists("u63"), exists("u64")]
    exact = asked(shared, attributes="labeledURI")
    assert ask(exact, "exact@example.com", "Exact@EXAMPLE.com") == [exists("u65"), exists("u65")]


def test_targets_of_more_than_twenty_entries_are_united(shared, asked):
    [found] = ask(asked(shared, target_attributes="description"), "many@example.com")
    assert set(found.targets) == {f"t{number}@example.com" for number in range(100, 121)}


def test_entries_that_are_not_all_given_say_nothing_but_that_the_address_exists(shared, asked, monkeypatch):
    [found] = ask(asked(shared), "many@example.com")
    assert (found.presence, found.targets) == (Presence.EXISTS, ())
    with pytest.raises(LookupFailedError, match="more than 20 entries have many"):
        ask(asked(shared, condition="uid=nobody"), "many@example.com")
    whole = asked(shared, filter="(|(mail={address})(mail=@{domain}))")
    with pytest.raises(LookupFailedError, match="more than 20 entries have ann@whole"):
        ask(whole, "ann@whole.example")
    monkeypatch.setattr(lookup, "MOST_TARGETS", 20)
    with pytest.raises(LookupFailedError, match="more than 20 entries have many"):
        ask(asked(shared, target_attributes="description"), "many@example.com")


def test_a_condition_must_hold(shared, asked):
    assert ask(asked(shared, condition="uid=U7"), "u7@example.com", "u8@example.com") == [exists("u7"), ABSENT]


def test_many_lookups_at_once_use_one_connection(shared, asked):
    source = asked(shared)

    async def main():
        addresses = [Address.parse(f"u{number}@example.com") for number in range(100)]
        found = await asyncio.gather(*map(source.lookup, addresses))
        await source.close()
        return [answer.presence for answer in found]

    assert uvloop.run(main()) == [Presence.EXISTS] * 50 + [Presence.ABSENT] * 10 + [Presence.ABSENT] * 40


@pytest.mark.parametrize("settings", [{"base": f"ou=nowhere,{BASE}"}, {"account": f"cn=nobody,{BASE}"}])
def test_what_the_server_refuses_is_an_outage(shared, asked, settings):
    with pytest.raises(SourceError, match=r"noSuchObject|invalidCredentials"):
        ask(asked(shared, **settings), "u7@example.com")


def test_a_connection_that_was_lost_is_made_again_within_a_lookup(start, asked):
    slapd = start("slapd")
    source = asked(slapd)

    async def main():
        found = [await source.lookup(Address.parse("u7@example.com"))]
        slapd.kill()
        with pytest.raises(SourceError, match="no connection"):
            await source.lookup(Address.parse("u7@example.com"))
        slapd.start()
        found.append(await source.lookup(Address.parse("u8@example.com")))
        await source.close()
        return found

    assert uvloop.run(main()) == [exists("u7"), exists("u8")]


def test_a_connection_that_was_silent_for_long_is_made_anew(shared, asked, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("mailmoat.clock.monotonic", lambda: now)
    source = asked(shared)

    async def main():
        nonlocal now
        used = []
        for silence in (0.0, 100.0, 130.0):
            now += silence
            await source.lookup(Address.parse("u7@example.com"))
            used.append(source._connection)
        await source.close()
        return used

    first, second, third = uvloop.run(main())
    assert first is second
    assert second is not third
    assert not second.usable


@pytest.mark.parametrize("fault", ["kill", "hang"])
def test_the_next_server_answers_within_the_same_lookup_and_the_first_again_later(start, asked, monkeypatch, fault):
    monkeypatch.setattr("mailmoat.directory.preference.FIRST_PAUSE", 0.0)
    first, second = start("first"), start("second")
    source = asked(first, second, timeout="2")
    address = Address.parse("u7@example.com")

    async def main():
        await source.lookup(address)
        getattr(first, fault)()
        found = [await source.lookup(address)]
        {"kill": first.start, "hang": first.go_on}[fault]()
        while source._connection is None or source._connection.server.port != first.port:
            found.append(await source.lookup(address))
        found.append(await source.lookup(address))
        await source.close()
        return found

    assert set(uvloop.run(main())) == {exists("u7")}


def test_a_server_that_hangs_is_an_outage(start, asked):
    slapd = start("slapd")
    source = asked(slapd, timeout="0.5")

    async def main():
        await source.lookup(Address.parse("u7@example.com"))
        slapd.hang()
        try:
            await source.lookup(Address.parse("nobody@example.com"))
        finally:
            slapd.go_on()
            await source.close()

    with pytest.raises(SourceError, match=r"no answer|no connection"):
        uvloop.run(main())


def test_a_probe_names_what_is_there(shared, asked):
    probed = uvloop.run(asked(shared, filter="(uid={local})").probe())
    assert (probed.server, probed.place, probed.entries) == (f"ldap://127.0.0.1:{shared.port}", BASE, 98)
    assert [entry.addresses[0].text for entry in probed.sample] == [f"u{number}@example.com" for number in range(3)]
    assert probed.remarks == ()
