"""The normaliser as Python sees it: configuration tables and wire addresses become one value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat._native import Address, address_key, normalise_address, normalise_domain


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("User@EXAMPLE.com.", "User@example.com"),
        ('"User"@example.com', "User@example.com"),
        ("@a.example,@b.example:User@example.com", "User@example.com"),
        ('"someone@remote.tld"@local.tld', '"someone@remote.tld"@local.tld'),
        ("someone%remote.tld", "someone%remote.tld"),
        ("jose\u0301@Bücher.example", "josé@xn--bcher-kva.example"),
        ("user@[ipv6:2001:DB8:0::1]", "user@[IPv6:2001:db8::1]"),
    ],
)
def test_normalise_address(text: str, normalised: str) -> None:
    assert normalise_address(text) == normalised
    assert str(Address.parse(text)) == normalised
    assert Address.parse(text) == Address.parse(normalised)
    assert hash(Address.parse(text)) == hash(Address.parse(normalised))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The address is empty"),
        ("a@local.tld@remote.tld", "The domain has a character that is not allowed in it"),
        ("<a@b>", "The local part has a character that is not allowed outside quotes"),
        ("..@c", "The local part is nothing but dots"),
        ("a" * 257 + "@b", "The local part is too long"),
        ("a@xn--a", "The domain is not a valid internationalised name"),
    ],
)
def test_bad_address_is_told_in_a_sentence(text: str, sentence: str) -> None:
    for function in (normalise_address, address_key, Address.parse):
        with pytest.raises(ValueError) as caught:
            function(text)
        assert str(caught.value) == sentence


def test_surrogates_are_a_value_error() -> None:
    with pytest.raises(ValueError):
        normalise_address("a\udce9@b")


def test_address_key() -> None:
    assert address_key("John.DOE@Example.COM") == "john.doe@example.com"
    assert address_key('"A@B"@[IPv6:::1]') == '"a@b"@[IPv6:::1]'
    assert address_key("Postmaster") == "postmaster"


def test_address_parts() -> None:
    address = Address.parse('"A b"@BÜCHER.example')
    assert (address.local, address.domain) == ("A b", "xn--bcher-kva.example")
    assert address.key == '"a b"@xn--bcher-kva.example'
    assert address != Address.parse('"a b"@BÜCHER.example')
    assert address != str(address)
    with pytest.raises(AttributeError):
        address.local = "x"  # type: ignore[misc]


def test_normalise_domain() -> None:
    assert normalise_domain("Bücher。EXAMPLE.") == normalise_domain("xn--BCHER-kva.example") == "xn--bcher-kva.example"
    assert normalise_domain("[IPv6:::ffff:192.0.2.1]") == "[192.0.2.1]"
    for text in ("", ".", "a..b", "a b", "@a", "a/b", "-a"):
        with pytest.raises(ValueError):
            normalise_domain(text)


@given(st.text(max_size=20) | st.text(alphabet='a@."\\<>[]: ü\u0301\uff20\u3002\x00', max_size=20))
def test_normalising_again_changes_nothing(text: str) -> None:
    try:
        normalised = normalise_address(text)
    except ValueError:
        return
    assert normalise_address(normalised) == normalised
    assert address_key(address_key(text)) == address_key(normalised)
