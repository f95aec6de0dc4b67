"""LDAP in octets: BER, framing, filters, requests and answers. Expected octets are written out, or are OpenLDAP's own."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.ldap import ber, filters, message
from mailmoat.ldap.ber import GarbledError, Reader
from mailmoat.ldap.framing import LARGEST, Framer
from mailmoat.ldap.message import (
    Control,
    Done,
    Intermediate,
    Message,
    Reference,
    Scope,
    SearchEntry,
    SearchRequest,
)


def answer(number, tag, *parts, controls=b""):
    return ber.sequence(ber.integer(number), ber.element(tag, *parts), controls)


def attribute(name, *values):
    return ber.sequence(ber.text(name), ber.element(ber.SET, *map(ber.octets, values)))


ENTRY = answer(
    7,
    0x64,
    ber.text("cn=a"),
    ber.sequence(attribute("Mail", b"a@x", b"b@x"), attribute("mail", b"c@x"), attribute("cn")),
)


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_are_read_as_they_were_written(value):
    assert Reader(ber.integer(value)).integer() == value


@pytest.mark.parametrize(
    ("value", "octets"), [(0, b"\0"), (127, b"\x7f"), (128, b"\0\x80"), (-1, b"\xff"), (-129, b"\xff\x7f")]
)
def test_numbers_have_the_fewest_octets(value, octets):
    assert ber.integer(value) == bytes((2, len(octets))) + octets


@pytest.mark.parametrize("length", [0, 127, 128, 255, 256, 70000])
def test_lengths_are_read_as_they_were_written(length):
    assert Reader(ber.octets(bytes(length))).octets() == bytes(length)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x04",
        b"\x04\x05abc",
        b"\x04\x80",
        b"\x04\x85\1\1\1\1\1",
        b"\x04\x82\1",
        b"\x02\x00",
        b"\x02\x09" + bytes(9),
    ],
)
def test_what_is_cut_short_is_garbled(octets):
    with pytest.raises(GarbledError):
        Reader(octets).octets() if octets[:1] != b"\2" else Reader(octets).integer()


@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_a_stream_is_cut_into_its_messages_however_it_arrives(contents, size):
    messages = [ber.sequence(content) for content in contents]
    stream, framer, found = b"".join(messages), Framer(), []
    for at in range(0, len(stream), size):
        found += framer.feed(stream[at : at + size])
    assert found == messages
    assert framer.empty


@pytest.mark.parametrize(
    "stream", [b"HTTP/1.1 400", b"\x30\x80", b"\x30\x85\1\0\0\0\0", b"\x30\x84" + (LARGEST + 1).to_bytes(4)]
)
def test_a_stream_that_is_not_ldap_is_garbled_at_its_beginning(stream):
    with pytest.raises(GarbledError):
        list(Framer().feed(stream))


def test_an_entry_has_its_values_by_names_in_lower_case():
    found = message.decode(ENTRY)
    assert found == Message(7, SearchEntry("cn=a", {"mail": [b"a@x", b"b@x", b"c@x"], "cn": []}, ()))


def test_a_result_may_have_referrals_a_name_and_controls():
    controls = ber.element(
        0xA0, ber.sequence(ber.text("1.2"), ber.boolean(True), ber.octets(b"v")), ber.sequence(ber.text("1.3"))
    )
    referral = ber.element(0xA3, ber.text("ldap://other"))
    octets = answer(
        1,
        0x78,
        ber.enumerated(10),
        ber.text("dc=x"),
        ber.text("elsewhere"),
        referral,
        ber.text("1.9", 0x8A),
        controls=controls,
    )
    expected = Done(10, "dc=x", "elsewhere", "1.9", (Control("1.2", critical=True, value=b"v"), Control("1.3")))
    assert message.decode(octets) == Message(1, expected)


def test_an_intermediate_answer_needs_neither_name_nor_value():
    assert message.decode(answer(1, 0x79)).answer == Intermediate("", b"")
    assert message.decode(answer(1, 0x79, ber.text("1.2", 0x80), ber.octets(b"v", 0x81))).answer == Intermediate(
        "1.2", b"v"
    )


def test_references_are_read():
    assert message.decode(answer(1, 0x73, ber.text("ldap://a"), ber.text("ldap://b"))).answer == Reference(
        ("ldap://a", "ldap://b")
    )


@given(st.binary(max_size=60))
def test_octets_are_a_message_or_garbled(octets):
    for candidate in (octets, ber.sequence(octets), ber.sequence(ber.integer(1), octets)):
        with suppress(GarbledError):
            message.decode(candidate)


@given(st.integers(0, len(ENTRY) - 1), st.integers(0, 255))
def test_an_entry_with_a_wrong_octet_is_an_answer_or_garbled(at, octet):
    changed = bytearray(ENTRY)
    changed[at] = octet
    with suppress(GarbledError):
        message.decode(bytes(changed))


def test_an_empty_password_is_never_sent():
    with pytest.raises(ValueError, match="empty password"):
        message.simple_bind(1, "cn=a", b"")


def test_requests_are_what_openldap_sends():
    assert message.simple_bind(1, "cn=a", b"pw") == bytes.fromhex(
        "3012020101600d020103 0404636e3d61 80027077".replace(" ", "")
    )
    assert message.start_tls(1) == bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
    assert message.unbind(3) == bytes.fromhex("30050201034200")
    assert message.abandon(4, 2) == bytes.fromhex("3006020104500102")
    base = SearchRequest("", filters.parse("(objectClass=*)"), ("+",), Scope.BASE)
    expected = "302802010263230400 0a0100 0a0100 020100 020100 010100 870b" + b"objectClass".hex() + "3003 0401 2b"
    assert message.search(2, base) == bytes.fromhex(expected.replace(" ", ""))


def test_a_control_follows_the_request():
    request = SearchRequest("", filters.parse("(a=b)"))
    octets = message.search(2, request, [Control("1.2", critical=True, value=b"v"), Control("1.3")])
    assert octets.endswith(
        ber.element(
            0xA0, ber.sequence(ber.text("1.2"), ber.boolean(True), ber.octets(b"v")), ber.sequence(ber.text("1.3"))
        )
    )
