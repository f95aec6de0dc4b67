"""What an entry of an LDAP server says about recipients, and the filters by which entries are found."""

import pytest
from tests.doubles.directory_source import row

from mailmoat._native import Address
from mailmoat.directory.ldap import row_filters
from mailmoat.directory.ldap.live import LdapLive
from mailmoat.directory.ldap.objects import EntryReader, Mapping, id_of
from mailmoat.directory.ldap.sync import LdapSync
from mailmoat.directory.source import Listed
from mailmoat.errors import ConfigError
from mailmoat.ldap import filters
from mailmoat.ldap.message import SearchEntry


def read(mapping=None, **attributes):
    reader = EntryReader(mapping or Mapping())
    found = SearchEntry("uid=a,dc=x", {name: list(values) for name, values in attributes.items()})
    return reader.entry(found, b"id").addresses, reader.left_out()


def test_values_of_several_attributes_are_addresses_once_each():
    mapping = Mapping(("mail", "proxyAddresses"))
    addresses, _ = read(mapping, mail=[b"A@Example.com"], proxyaddresses=[b"SMTP:A@example.com", b"smtp:b@example.com"])
    assert addresses == (Listed("A@example.com"), Listed("b@example.com"))


def test_values_with_options_are_values_of_the_attribute():
    """As a filter has it, which finds the entry by them."""
    mapping = Mapping(("mail",), ("forward",), ("enabled", "yes"))
    attributes = {
        "mail": [b"a@example.com"],
        "mail;lang-de": [b"b@example.com", b"a@example.com"],
        "mailbox": [b"no@example.com"],
        "forward;x-old": [b"x@example.net"],
        "enabled;x-new": [b"yes"],
    }
    targets = ("x@example.net",)
    assert read(mapping, **attributes)[0] == (Listed("a@example.com", targets), Listed("b@example.com", targets))


def test_a_whole_domain_can_be_a_value():
    assert read(mail=[b"@Example.COM"])[0] == (Listed("@example.com"),)


@pytest.mark.parametrize(
    "value", [b"!b@example.com", b"X400:c=US;a= ;p=Org", b"a@b@c", b"", b"\xff@example.com", b"@", b"a b@example.com"]
)
def test_what_is_no_address_is_left_out_and_counted(value):
    addresses, left_out = read(mail=[value, b"a@example.com"])
    assert addresses == (Listed("a@example.com"),)
    assert left_out.entries == 1
    assert "uid=a,dc=x" in left_out.example
    assert left_out.example.isprintable()


@pytest.mark.parametrize("value", [b'"!boss"@example.com', b'smtp:"!Boss"@example.com'])
def test_quotes_do_not_make_an_address_that_excludes_another(value):
    [one] = read(mail=[value])[0]
    assert one.text.lower() == '"!boss"@example.com'
    assert read(mail=[b'"!boss"'])[0] == (Listed('"!boss"'),)


def test_an_entry_without_an_address_is_no_recipient():
    assert read() == ((), None)


def test_targets_get_the_mail_of_all_addresses_of_an_entry():
    mapping = Mapping(("mail",), ("forward",))
    targets = ("x@example.net", "y@example.net")
    assert read(mapping, mail=[b"a@example.com", b"b@example.com"], forward=[b"x@example.net", b"y@example.net"])[
        0
    ] == (
        Listed("a@example.com", targets),
        Listed("b@example.com", targets),
    )
    assert read(mapping, mail=[b"a@example.com"])[0] == (Listed("a@example.com"),)


def test_targets_that_are_no_addresses_are_handed_on_for_the_bounds_to_judge():
    written = [b"nobody", b"SMTP: b@example.com ", b"\xff@example.com"]
    addresses, left_out = read(Mapping(("mail",), ("forward",)), mail=[b"a@example.com"], forward=written)
    assert addresses == (Listed("a@example.com", ("nobody", "b@example.com", r"\xff@example.com")),)
    assert left_out is None


@pytest.mark.parametrize(
    ("values", "counts"),
    [([b"true"], True), ([b"TRUE"], True), ([b"FALSE"], False), ([], False), ([b"x", b"TRUE "], True)],
)
def test_a_condition_must_hold(values, counts):
    addresses, _ = read(Mapping(condition=("mailEnabled", "TRUE")), mail=[b"a@example.com"], mailenabled=values)
    assert (addresses != ()) is counts


def test_an_entry_is_known_by_its_uuid_or_its_name():
    uuid = "597ae2f6-16a6-1027-98f4-d28b5365dc14"
    assert id_of(SearchEntry("uid=A", {"entryuuid": [uuid.encode()]})) == bytes.fromhex(uuid.replace("-", ""))
    assert id_of(SearchEntry("uid=A", {"entryuuid": [b"x"]})) == id_of(SearchEntry("UID=a", {})) == b"uid=a"


def test_all_attributes_are_asked_for_once():
    assert Mapping(("mail", "a"), ("a", "b"), ("c", "TRUE")).needed == ("mail", "a", "b", "c", "entryUUID")


@pytest.mark.parametrize(
    ("written", "attributes", "expected"),
    [
        (None, ("mail",), "(mail=*)"),
        (None, ("mail", "alias"), "(|(mail=*)(alias=*))"),
        ("objectClass=person", ("mail",), "(&(objectClass=person)(mail=*))"),
        ("(a=b)", ("mail",), "(&(a=b)(mail=*))"),
    ],
)
def test_entries_are_found_by_what_is_written_and_their_attributes(written, attributes, expected):
    assert row_filters.all_with_an_address(written, attributes) == expected


FORMS = "".join(
    f"({attribute}={prefix}a\\2a@example.com{dot})"
    for attribute in ("mail", "alias")
    for prefix in ("", "smtp:")
    for dot in ("", ".")
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (None, f"(|{FORMS})"),
        ("(a=b)", f"(&(a=b)(|{FORMS}))"),
        ("(&(uid={local})(o={domain})(x={address}))", "(&(uid=a\\2a)(o=example.com)(x=a\\2a@example.com))"),
    ],
)
def test_an_address_is_asked_for_in_each_attribute_or_where_the_filter_has_its_place(written, expected):
    assert row_filters.with_the_address(written, ("mail", "alias"), Address.parse("a*@example.com")) == expected


@pytest.mark.parametrize("local", ["{domain}", "*", '")(uid=*"', '"a\\\\b"', "ü"])
def test_no_local_part_changes_the_filter_it_is_put_into(local):
    address = Address.parse(f"{local}@example.com")
    written = row_filters.with_the_address("(&(a={local})(b={domain}))", (), address)
    assert filters.parse(written).startswith(b"\xa0")
    assert written == f"(&(a={filters.escape(address.local)})(b=example.com))"


@pytest.mark.parametrize(("mode", "source"), [("sync", LdapSync), ("live", LdapLive)])
def test_a_filter_that_is_none_names_its_row(mode, source):
    with pytest.raises(ConfigError, match=r"office: filter: a \) is missing before the end"):
        source(row("ldap://a", mode=mode, filter="(a=b"))
