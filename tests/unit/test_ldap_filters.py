"""Filters as text and as octets (RFC 4515, RFC 4511 4.5.1.7)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.ldap import ber, filters
from mailmoat.ldap.ber import Reader


def ava(tag, kind, value):
    return ber.element(tag, ber.text(kind), ber.octets(value))


@pytest.mark.parametrize(
    ("written", "encoded"),
    [
        ("(cn=Babs Jensen)", ava(0xA3, "cn", b"Babs Jensen")),
        ("mail=a@example.com", ava(0xA3, "mail", b"a@example.com")),
        ("(mail=*)", ber.text("mail", 0x87)),
        ("(seeAlso=)", ava(0xA3, "seeAlso", b"")),
        ("(a>=1)", ava(0xA5, "a", b"1")),
        ("(a<=1)", ava(0xA6, "a", b"1")),
        ("(a~=1)", ava(0xA8, "a", b"1")),
        ("(o=Parens R Us \\28for all\\29)", ava(0xA3, "o", b"Parens R Us (for all)")),
        ("(cn=*\\2A*)", ber.element(0xA4, ber.text("cn"), ber.sequence(ber.octets(b"*", 0x81)))),
        ("(bin=\\00\\00\\00\\04)", ava(0xA3, "bin", b"\0\0\0\4")),
        ("(sn=Lu\\c4\\8di\\c4\\87)", ava(0xA3, "sn", "Lučić".encode())),
        ("(1.3.6.1.4.1.1466.0=\\04\\02Hi)", ava(0xA3, "1.3.6.1.4.1.1466.0", b"\4\2Hi")),
        ("(cn;lang-de=x)", ava(0xA3, "cn;lang-de", b"x")),
        ("(&)", b"\xa0\x00"),
        ("(!(a=b))", ber.element(0xA2, ava(0xA3, "a", b"b"))),
        (" ( & (a=b) ( | (c=d) ) ) ", ber.element(0xA0, ava(0xA3, "a", b"b"), ber.element(0xA1, ava(0xA3, "c", b"d")))),
        (
            "(cn=a*b*c)",
            ber.element(
                0xA4,
                ber.text("cn"),
                ber.sequence(ber.octets(b"a", 0x80), ber.octets(b"b", 0x81), ber.octets(b"c", 0x82)),
            ),
        ),
        ("(cn:=x)", ber.element(0xA9, ber.text("cn", 0x82), ber.octets(b"x", 0x83))),
        (
            "(userAccountControl:1.2.840.113556.1.4.803:=2)",
            ber.element(
                0xA9,
                ber.text("1.2.840.113556.1.4.803", 0x81),
                ber.text("userAccountControl", 0x82),
                ber.octets(b"2", 0x83),
            ),
        ),
        (
            "(o:dn:=x)",
            ber.element(0xA9, ber.text("o", 0x82), ber.octets(b"x", 0x83), ber.boolean(True, 0x84)),
        ),
    ],
)
def test_a_filter_is_encoded(written, encoded):
    assert filters.parse(written) == encoded


@pytest.mark.parametrize(
    "written",
    [
        "", "(", "()", "(a)", "(a=b", "(a=b))", "(&(a=b)", "(!)", "(!(a=b)(c=d))", "(=b)", "(a=\\zz)", "(a=\\2)",
        "(a>=*)", "(a=**)", "(a=(b))", "(a=b)(c=d)", "(:=x)", "(" + "&(" * 60 + "a=b" + ")" * 61, "&(a=b)(c=d)x",
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused(written):
    with pytest.raises(ValueError):
        filters.parse(written)


@given(st.binary(max_size=40))
def test_an_escaped_value_is_that_value_and_nothing_else(value):
    part = Reader(filters.parse(f"(a={filters.escape(value)})")).enter(0xA3)
    assert part.octets() == b"a"
    assert part.octets() == value


@given(st.text(alphabet="()&|!=<>~*\\:a1.- ", max_size=30))
def test_any_text_is_a_filter_or_a_value_error(written):
    with suppress(ValueError):
        filters.parse(written)
