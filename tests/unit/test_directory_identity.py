"""Which settings of a source decide what it has: with others its table is read anew, and only with others."""

import pytest

from mailmoat.directory.identity import IRRELEVANT, Identity, live_digest
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import SourceSettings, merged


def digest(**given):
    tree = Settings(hostname="mx.test", directories=[{"name": "a", "url": "ldaps://h.test", **given}])
    row = merged(tree.directory, tree.directories[0])
    return Identity.of(tree, row).digest


def test_every_name_is_one_of_a_setting():
    assert SourceSettings.model_fields.keys() >= IRRELEVANT


@pytest.mark.parametrize("given", [{"name": "b"}, {"tls_ca": "/ca"}, {"interval": "1m"}])
def test_what_changes_no_entry_changes_no_identity(given):
    assert digest(**given) == digest()


@pytest.mark.parametrize(
    "given",
    [
        *[{"url": "ldaps://i.test"}, {"base": "o=x"}, {"filter": "(a=b)"}, {"attributes": "m"}],
        *[{"domains": "a.test"}, {"target_domains": "a.test"}, {"target_domains": "*"}, {"whole_domains": True}],
    ],
)
def test_what_decides_about_entries_is_the_identity(given):
    assert digest(**given) != digest()


def test_the_domains_of_the_server_are_a_part_of_it():
    def of(**relay):
        tree = Settings(hostname="mx.test", relay=relay, directories=[{"name": "a", "url": "ldaps://h.test"}])
        row = merged(tree.directory, tree.directories[0])
        return Identity.of(tree, row).digest

    assert of(local_domains="a.test,b.test", default_domain="a.test") == of(
        local_domains="b.test,a.test", default_domain="a.test"
    )
    assert len({of(), of(local_domains="a.test"), of(local_domains="a.test,b.test")}) == 3


def test_another_mailbox_by_its_case_is_read_anew_where_targets_are_compared():
    def of(url, *domains):
        query = {"query": "SELECT 1"} if url.startswith("sqlite") else {}
        rows = [{"name": "office", "url": url, **query}]
        tree = Settings(hostname="mx.test", directories=rows, recipient_domains=domains)
        return Identity.of(tree, merged(tree.directory, tree.directories[0])).digest

    keep = {"domains": "a.test", "case": "keep"}
    assert of("sqlite:///a") != of("sqlite:///a", keep)
    assert of("ldaps://h.test") == of("ldaps://h.test", keep)


def live(*rows, **settings):
    given = [{"name": f"l{number}", "mode": "live", **row} for number, row in enumerate(rows)]
    return live_digest(Settings(hostname="mx.test", directories=given, **settings))


LDAP, HOP = {"url": "ldaps://h.test"}, {"url": "next_hop:"}


@pytest.mark.parametrize(
    "digest",
    [
        live(LDAP, LDAP),
        live({**LDAP, "domains": "a.test"}),
        live({**LDAP, "when_stale": "accept"}),
        live(LDAP, recipients={"delimiter": "-"}),
        live(LDAP, recipient_domains=[{"domains": "a.test", "delimiter": "-"}]),
        live(LDAP, directory={"cache_time": "1m"}),
    ],
)
def test_all_that_decides_what_live_sources_say_is_in_their_digest(digest):
    assert digest != live(LDAP)


def test_the_routes_are_in_the_digest_where_the_next_hop_is_asked():
    first, second = ({"delivery": {"next_hop": f"smtp://{name}.test"}} for name in ("a", "b"))
    assert live(LDAP, **first) == live(LDAP, **second)
    assert live(HOP, **first) != live(HOP, **second)
    assert live(HOP, **first) == live(HOP, **first)
