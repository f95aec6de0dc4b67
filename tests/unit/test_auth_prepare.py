"""Names and passwords as they are compared (RFC 4013)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.auth.prepare import account_key, prepare


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("pass word", "pass word"),
        ("pass\u00a0word", "pass word"),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_the_examples_of_rfc_4013_3(text, prepared):
    assert prepare(text) == prepare(text, stored=True) == prepared


@pytest.mark.parametrize(
    "text",
    ["", "\u00ad", "\x07", "\x00", "a\x7f", "a\nb", "\u06271", "\ue000", "\ufffd", "\u200e", "a\u0627", "\U000e0001"],
)
def test_what_cannot_be_prepared(text):
    with pytest.raises(ValueError) as caught:
        prepare(text)
    assert not text.strip() or text not in str(caught.value)


def test_a_new_character_may_be_asked_for_and_not_stored():
    assert prepare("\U0001f511") == "\U0001f511"
    with pytest.raises(ValueError, match="too new"):
        prepare("\U0001f511", stored=True)


@given(st.text())
def test_what_is_prepared_is_as_it_is(text):
    try:
        once = prepare(text)
    except ValueError:
        return
    assert prepare(once) == once


@given(st.text(st.characters(max_codepoint=0x3FF)))
def test_spellings_of_a_name_have_one_key(text):
    try:
        key = account_key(text)
    except ValueError:
        return
    assert account_key(key) == key


def test_names_are_compared_without_case():
    assert account_key("Alice@Example.COM") == account_key("alice@example.com")
    assert account_key("J\u00dcRGEN") == account_key("ju\u0308rgen")
