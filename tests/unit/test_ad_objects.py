"""From objects of Active Directory to entries: kinds, disabled accounts, kinds of addresses, and text that means something in the recipient file."""

import pytest

from mailmoat.directory.ad.objects import Mapping
from mailmoat.directory.ad.place import Place
from mailmoat.directory.source import Listed
from mailmoat.ldap import filters
from mailmoat.ldap.message import SearchEntry
from mailmoat.settings.sections.directory_ad import Disabled, Kind, Secondary


def found(*classes, **attributes):
    """An object as a search gives it."""
    listed = {name.lower(): value if isinstance(value, list) else [value] for name, value in attributes.items()}
    octets = {
        name: [one if isinstance(one, bytes) else one.encode() for one in value] for name, value in listed.items()
    }
    classes = classes or ("top", "person", "organizationalPerson", "user")
    return SearchEntry(
        "CN=x,DC=example,DC=test",
        {"objectguid": [b"0123456789abcdef"], "objectclass": [one.encode() for one in classes], **octets},
    )


def texts(entry):
    return [listed.text for listed in entry.addresses]


EXCHANGE = [
    "smtp:second@example.test",
    "X400:C=US;A= ;P=Org;O=Exchange;S=Alice;",
    "SMTP:Alice@Example.TEST",
    "sip:alice@example.test",
    "EUM:1234;phone-context=office.example.test",
    "x500:/o=Org/ou=First/cn=Recipients/cn=alice",
    "MS:ORG/POST/ALICE",
]


def test_smtp_addresses_count_the_primary_one_first_and_no_other_kind():
    entry, wrong = Mapping().entry(found(proxyAddresses=EXCHANGE, mail="Alice@example.test"))
    assert texts(entry) == ["alice@example.test", "second@example.test"]
    assert wrong is None
    assert entry.id == b"0123456789abcdef"
    assert entry.name == "CN=x,DC=example,DC=test"


def test_mail_alone_is_an_address():
    assert texts(Mapping().entry(found(mail="bob@example.test"))[0]) == ["bob@example.test"]


def test_the_logon_name_counts_where_the_settings_say_so():
    bob = found(mail="bob@example.test", userPrincipalName="b.bob@example.test")
    assert texts(Mapping().entry(bob)[0]) == ["bob@example.test"]
    assert texts(Mapping(("mail", "userPrincipalName")).entry(bob)[0]) == ["bob@example.test", "b.bob@example.test"]


def test_secondary_addresses_are_rewritten_where_the_settings_say_so():
    entry, _ = Mapping(secondary=Secondary.REWRITE).entry(found(proxyAddresses=EXCHANGE))
    assert entry.addresses == (
        Listed("alice@example.test"),
        Listed("second@example.test", ("Alice@example.test",)),
    )


def test_without_a_primary_one_the_first_address_stands_for_it():
    several = found(proxyAddresses=["smtp:a@example.test", "smtp:b@example.test"])
    entry, _ = Mapping(secondary=Secondary.REWRITE).entry(several)
    assert entry.addresses == (Listed("a@example.test"), Listed("b@example.test", ("a@example.test",)))


def test_mail_is_the_primary_one_where_no_other_is_marked():
    """A domain without Exchange has its main address in `mail`; its other values come in any order."""
    bob = found(proxyAddresses=["smtp:bobby@example.test", "smtp:robert@example.test"], mail="bob@example.test")
    entry, _ = Mapping(secondary=Secondary.REWRITE).entry(bob)
    to_bob = ("bob@example.test",)
    assert [listed.targets for listed in entry.addresses] == [(), to_bob, to_bob]
    assert texts(entry)[0] == "bob@example.test"


def test_other_attributes_may_say_who_gets_the_mail():
    mapping = Mapping(targets=("targetAddress",))
    away = found(mail="x@example.test", targetAddress="SMTP:x@other.example")
    assert mapping.entry(away)[0].addresses == (Listed("x@example.test", ("x@other.example",)),)
    assert mapping.entry(found(mail="x@example.test"))[0].addresses == (Listed("x@example.test"),)
    assert "targetAddress" in mapping.needed


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        (("top", "person", "organizationalPerson", "user"), Kind.USERS),
        (("top", "person", "organizationalPerson", "user", "inetOrgPerson"), Kind.USERS),
        (("top", "group"), Kind.GROUPS),
        (("top", "msExchBaseClass", "msExchDynamicDistributionList"), Kind.GROUPS),
        (("top", "person", "organizationalPerson", "contact"), Kind.CONTACTS),
        (("top", "publicFolder"), Kind.PUBLIC_FOLDERS),
    ],
)
def test_kinds_count_that_the_settings_name(classes, kind):
    one = found(*classes, mail="x@example.test")
    assert texts(Mapping().entry(one)[0]) == ["x@example.test"]
    assert texts(Mapping(kinds=frozenset({kind})).entry(one)[0]) == ["x@example.test"]
    assert texts(Mapping(kinds=frozenset(Kind) - {kind}).entry(one)[0]) == []


@pytest.mark.parametrize("classes", [("top", "organizationalUnit"), ("top", "user", "computer")])
def test_no_other_kind_counts(classes):
    assert texts(Mapping().entry(found(*classes, mail="x@example.test"))[0]) == []


@pytest.mark.parametrize(
    ("control", "details", "accept", "shared", "refuse"),
    [
        ("512", "1", True, True, True),  # enabled
        ("514", None, True, False, False),
        ("514", "1", True, False, False),  # a mailbox of a person who left
        ("514", "2", True, True, False),  # linked
        ("66050", "4", True, True, False),  # shared
        ("514", "16", True, True, False),  # room
        ("514", "32", True, True, False),  # equipment
        ("514", "2147483648", True, False, False),  # remote, of a person
        ("514", "34359738368", True, True, False),  # remote, shared
    ],
)
def test_what_follows_for_a_disabled_account(control, details, accept, shared, refuse):
    more = {"msExchRecipientTypeDetails": details} if details else {}
    one = found(mail="x@example.test", userAccountControl=control, **more)
    expected = {Disabled.ACCEPT: accept, Disabled.SHARED: shared, Disabled.REFUSE: refuse}
    for disabled, receives in expected.items():
        assert bool(Mapping(disabled=disabled).entry(one)[0].addresses) is receives


def test_an_object_that_is_hidden_from_address_lists_receives_mail():
    hidden = found(mail="x@example.test", msExchHideFromAddressLists="TRUE")
    assert texts(Mapping().entry(hidden)[0]) == ["x@example.test"]


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        ("!bob@example.test", '"!bob"@example.test'),
        ("a=b@example.test", '"a=b"@example.test'),
        ("#bob@example.test", '"#bob"@example.test'),
        ("o'brien@example.test", "o'brien@example.test"),
        ('"two words"@example.test', '"two words"@example.test'),
        ("b.ö@bücher.example", "b.ö@xn--bcher-kva.example"),
    ],
)
def test_no_address_means_something_else_in_a_recipient_file(written, listed):
    assert texts(Mapping().entry(found(proxyAddresses=f"smtp:{written}"))[0]) == [listed]


@pytest.mark.parametrize(
    "written", ["@example.test", "*@example.test,", "bob", "", "bob@", "a@b@c", b"\xff@example.test\n"]
)
def test_what_is_no_address_is_left_out_and_reported(written):
    value = b"smtp:" + written if isinstance(written, bytes) else f"smtp:{written}"
    entry, wrong = Mapping().entry(found(proxyAddresses=[value, "SMTP:good@example.test"]))
    assert texts(entry) == ["good@example.test"]
    assert wrong is not None
    assert wrong.startswith("CN=x,DC=example,DC=test: ")
    assert "\n" not in wrong


def test_the_filter_has_the_kinds_and_the_attributes():
    mapping = Mapping(("mail",), frozenset({Kind.USERS, Kind.CONTACTS}))
    assert mapping.filter == "(&(|(objectClass=user)(objectClass=contact))(|(mail=*)))"
    assert filters.parse(Place(mapping, condition="(department=sales)").filter)


def test_attributes_of_the_condition_are_watched():
    place = Place(condition="(&(!(extensionAttribute1=external))(memberOf:1.2.840.113556.1.4.1941:=CN=x)(mail>=a))")
    assert place.watched[-2:] == ("extensionAttribute1", "memberOf")
    assert "proxyAddresses" in place.watched
    assert "objectGUID" not in place.watched
    assert place.watched.count("mail") == 1
