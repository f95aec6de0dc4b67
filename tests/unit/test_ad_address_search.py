"""How Active Directory is asked for one address, and what the objects it finds say."""

import pytest
from tests.unit.test_ad_objects import EXCHANGE, found

from mailmoat._native import Address
from mailmoat.directory.ad.address_search import AdAddressSearch
from mailmoat.directory.ad.objects import Mapping
from mailmoat.directory.ad.place import Place
from mailmoat.directory.directory import Presence
from mailmoat.directory.source import LiveAnswer
from mailmoat.ldap import filters
from mailmoat.settings.sections.directory_ad import Disabled, Kind, Secondary

SECOND = Address.parse("Second@example.test")
NAME = "CN=x,DC=example,DC=test"
ABSENT = LiveAnswer(Presence.ABSENT)


def search(written=None, **mapping):
    condition = written if written and "{" not in written else ""
    return AdAddressSearch(Place(Mapping(**mapping), condition=condition), written)


def test_the_filter_has_each_attribute_with_each_form_of_the_address():
    search_filter = search("(department=sales)", kinds=frozenset({Kind.CONTACTS})).filter(SECOND)
    texts = ("Second@example.test", "second@example.test")
    forms = [f"{kind}{text}{dot}" for kind in ("", "smtp:") for text in texts for dot in ("", ".")]
    asked = "".join(f"({name}={form})" for name in ("proxyAddresses", "mail") for form in forms)
    assert search_filter == f"(&(|(objectClass=contact))(|{asked})(department=sales))"
    assert filters.parse(search_filter)


@pytest.mark.parametrize("local", ["*", "a)(cn=*", "a\\2a", "\xfc"])
def test_no_address_is_a_filter(local):
    address = Address.parse('"{}"@example.test'.format(local.replace("\\", "\\\\")))
    search_filter = search().filter(address)
    encoded = filters.parse(search_filter)
    assert search_filter.count("=*") == 0
    assert search_filter.isascii()
    assert f"mail={filters.escape(str(address))})" in search_filter
    assert str(address).encode() in encoded


def test_the_written_filter_alone_is_asked_where_it_has_a_place_for_the_address():
    one = search("(extensionAttribute1={local})", disabled=Disabled.REFUSE)
    assert one.filter(SECOND) == "(extensionAttribute1=Second)"
    assert one.answer(SECOND, [found(mail="other@example.test")]) == LiveAnswer(Presence.EXISTS, (), NAME)
    assert one.answer(SECOND, [found(mail="other@example.test", userAccountControl="514")]) == ABSENT


def test_an_object_exists_by_each_of_its_addresses():
    alice = found(proxyAddresses=EXCHANGE)
    assert search().answer(SECOND, [alice]) == LiveAnswer(Presence.EXISTS, (), NAME)
    rewritten = search(secondary=Secondary.REWRITE)
    assert rewritten.answer(SECOND, [alice]) == LiveAnswer(Presence.EXISTS, ("Alice@example.test",), NAME)
    assert rewritten.answer(Address.parse("alice@example.test"), [alice]) == LiveAnswer(Presence.EXISTS, (), NAME)


def test_what_the_server_takes_for_equal_and_is_not_does_not_count():
    assert search().answer(SECOND, []) == ABSENT
    assert search().answer(SECOND, [found(mail="sec\u00f6nd@example.test")]) == ABSENT
    assert (
        search(disabled=Disabled.REFUSE).answer(SECOND, [found(mail="second@example.test", userAccountControl="514")])
        == ABSENT
    )


def test_two_objects_with_one_address_both_get_its_mail():
    away = found(mail="second@example.test", targetAddress="SMTP:x@other.example")
    here = found(mail="second@example.test")
    answer = search(targets=("targetAddress",)).answer(SECOND, [away, here])
    assert answer == LiveAnswer(Presence.EXISTS, ("x@other.example", "Second@example.test"), NAME)
