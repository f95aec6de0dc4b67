"""`[[directories]]`: rows, their URLs, and what they have of `[directory]`."""

import pytest
from pydantic import ValidationError

from mailmoat.settings import Settings
from mailmoat.settings.directory_lint import directory_warnings
from mailmoat.settings.lint import warnings
from mailmoat.settings.sections.directories import merged, sources, why_not_synchronised
from mailmoat.settings.source_url import parse_source_url


def settings(*rows, **directory):
    return Settings(hostname="mx.example.test", directory=directory, directories=list(rows))


def row(**given):
    return {"name": "office", "url": "ads://dc1.example.test", **given}


def test_a_row_has_what_it_does_not_set_of_the_section():
    tree = settings(row(max_age="2h"), interval="1m", shrink_limit="50%", when_stale="accept")
    source = merged(tree.directory, tree.directories[0])
    assert (source.interval, source.max_age, source.shrink_limit) == (60, 7200, 50)
    assert (source.when_stale, source.mode, source.domains) == ("accept", "sync", ())


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("ads://dc1.example.test", "ads://dc1.example.test:636"),
        (
            "ads://dc1.example.test,ads://dc2.example.test:3269",
            "ads://dc1.example.test:636, ads://dc2.example.test:3269",
        ),
        ("ldap://[2001:db8::1] , ldaps://h", "ldap://[2001:db8::1]:389, ldaps://h:636"),
        ("ldapi:///run/slapd/ldapi", "ldapi:///run/slapd/ldapi"),
        ("ldapi://%2Frun%2Fldapi", None),
        ("postgresql://db/mail", "postgresql://db:5432/mail"),
        ("postgresql:///mail", "postgresql:///mail"),
        ("mysql:///mail?socket=/srv/db.sock", "mysql:///mail?socket=/srv/db.sock"),
        ("sqlite:///var/lib/a%20b.db", "sqlite:///var/lib/a b.db"),
        ("script:///usr/local/bin/list", "script:///usr/local/bin/list"),
        ("next_hop:", "next_hop:"),
        ("ftp://h", None),
        ("ldaps://", None),
        ("ldap://a, postgresql://b/c", None),
        ("ldap://a, ldap://a:389", None),
        ("sqlite:///a, sqlite:///b", None),
        ("ldap://cn=admin:secret@h", None),
        ("postgresql://db/mail?password=secret", None),
        ("mysql://db/mail?x=1&PassWd=secret", None),
        ("file://host/path", None),
        ("script:", None),
    ],
)
def test_a_url_is_read_or_refused(written, shown):
    if shown is None:
        with pytest.raises(ValueError, match=r".+") as refused:
            parse_source_url(written)
        assert "secret" not in str(refused.value)
        return
    assert str(parse_source_url(written)) == shown
    assert parse_source_url(shown.replace(" b", "%20b")) == parse_source_url(written)


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("postgresql://db/mail?sslmode=require", 'the option sslmode in it; write tls = "verify", "encrypt" or "none"'),
        ("mysql:///mail?socket=/srv/db.sock&ssl-ca=/ca", "the option ssl-ca in it; write tls_ca instead"),
        ("postgresql://db/mail?user=reader", "write account instead"),
        ("mysql://db/mail?charset=utf8", "the option charset in it, which there is not; only socket=PATH can be"),
        ("postgresql://db/mail?socket=/srv/db.sock", "a socket beside a host"),
        ("mysql:///mail?socket=db.sock", "a socket that is no absolute path"),
        ("sqlite:///srv/mail.db?mode=ro", "write %3F if it belongs to the path"),
        ("ldaps://ldap1/dc=example,dc=com?mail", "write base, attributes and filter instead"),
        ("ads://dc1/DC=example", "write base, attributes and filter instead"),
    ],
)
def test_what_a_url_of_other_programs_has_is_refused_with_the_setting_for_it(written, instead):
    with pytest.raises(ValueError, match=r".+") as refused:
        parse_source_url(written)
    assert instead in str(refused.value)


@pytest.mark.parametrize(
    ("rows", "key", "reason"),
    [
        ([row(), row(name="Office")], "directories.0.name", "another source has this name"),
        ([row(password_file="/p")], "directories.0.password_file", "without an account"),
        ([row(tls_key="/p")], "directories.0.tls_key", "without tls_certificate"),
        ([row(url="ldap://a", account="cn=a")], "directories.0.account", "without password_file"),
        ([row(url="ad://a", account="a@example.com")], "directories.0.account", "without password_file"),
        ([row(url="ldap://a", filter="(mail={address})")], "directories.0.filter", "place for an address"),
        ([row(url="file:///a", base="dc=x")], "directories.0.base", "has no entries of LDAP"),
        ([row(url="next_hop:", mode="sync")], "directories.0.mode", "is always live"),
        ([row(url="file:///a", mode="live")], "directories.0.mode", "is always sync"),
    ],
)
def test_a_row_that_contradicts_is_refused(rows, key, reason):
    with pytest.raises(ValidationError) as refused:
        settings(*rows)
    [error] = refused.value.errors()
    assert error["ctx"]["key"] == key
    assert reason in error["msg"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "ldap://a", "tls": "none"}, "what it says of recipients crosses the network to a in clear"),
        ({"url": "ad://a", "tls": "none", "account": "b", "password_file": "/p"}, "the password of its account"),
        ({"url": "ldaps://a", "tls": "encrypt"}, "who can change packets on the way to a can pose as it"),
        ({"url": "ldap://127.0.0.1, ldaps://a", "tls": "none"}, "can pose as it"),
        ({"url": "ldap://localhost", "tls": "none"}, None),
        ({"url": "ldapi:///a", "tls": "none"}, None),
        ({"url": "ldap://a"}, None),
    ],
)
def test_what_gives_a_password_or_recipients_away_is_warned_of(given, words):
    found = [warning for warning in warnings(settings(row(**given))) if "directories, office" in warning]
    assert [words in warning for warning in found] == ([True] if words else [])


def test_what_can_only_be_asked_is_live_without_being_told():
    tree = settings(row(url="next_hop:"))
    assert merged(tree.directory, tree.directories[0]).mode == "live"


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 33, "ä"])
def test_a_name_names_a_file(name):
    with pytest.raises(ValidationError):
        settings(row(name=name))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"domains": "a.test"}, "relay.local_domains has b.test, and no source in directories has its recipients"),
        (
            {"domains": "a.test, b.test, c.test"},
            "directories, office: domains has c.test, which is not in relay.local_domains",
        ),
        ({"max_age": "5m"}, "directories, office: max_age is 5m, not above interval (5m)"),
        ({"mode": "live", "max_age": "5m"}, None),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(changes, said):
    tree = Settings(
        hostname="mx.example.test",
        relay={"local_domains": "a.test, b.test"},
        delivery={"next_hop": "discard:"},
        directories=[row(**changes)],
    )
    found = list(directory_warnings(tree))
    assert len(found) == bool(said)
    assert all(said in sentence for sentence in found)
    assert set(found) <= set(warnings(tree))


@pytest.mark.parametrize(
    ("modes", "name", "why"),
    [
        ({"hq": "live"}, "hq", "hq: the source is live: it is asked for each address, and is never read whole"),
        ({"hq": "live"}, "hk", "hk: no source of this name is synchronised; there is none; live are hq"),
        ({"a": "sync", "hq": "live"}, "b", "b: no source of this name is synchronised; those are a; live are hq"),
        ({"a": "sync", "c": "sync"}, "b", "b: no source of this name is synchronised; those are a, c"),
    ],
)
def test_it_says_why_a_source_is_not_synchronised(modes, name, why):
    tree = settings(*(row(name=each, url="ldap://h.test", mode=mode) for each, mode in modes.items()))
    assert why_not_synchronised(name, sources(tree.directory, tree.directories)) == why
