"""Signed reverse-paths: what is signed, what a tag is worth, and the file of the keys."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.bounce_tags import key_file, tag
from mailmoat.bounce_tags.tag import Check, Key
from mailmoat.errors import ConfigError

KEYS = (Key(4, 20_000, b"n" * 32), Key(3, 19_900, b"o" * 32))
TODAY = 20_780


def tagged(local="alice", domain="example.test", key=KEYS[0], last_day=TODAY + 7):
    return tag.parse(tag.sign(local, domain, key, last_day))


def test_a_tag_has_the_usual_form():
    assert tag.sign("alice", "example.test", KEYS[0], TODAY + 7).startswith("prvs=4787")
    found = tagged()
    assert (found.number, found.day, found.local, len(found.signature)) == (4, 787, "alice", 6)


def test_a_tag_holds_to_the_end_of_its_last_day():
    found = tagged()
    worth = {day: tag.check(found, "example.test", KEYS, TODAY + day) for day in (0, 7, 8, 400)}
    assert worth == {0: Check.VALID, 7: Check.VALID, 8: Check.EXPIRED, 400: Check.EXPIRED}
    assert tag.check(tagged(last_day=1_003), "example.test", KEYS, 998) is Check.VALID, "the days begin anew"


def test_a_server_may_change_the_case_of_an_address():
    local = tag.sign("Alice", "example.test", KEYS[0], TODAY)
    assert tag.check(tag.parse(local.upper()), "example.test", KEYS, TODAY) is Check.VALID


def test_a_tag_is_of_one_address_one_key_and_one_day():
    found = tagged()
    assert tag.check(found, "example.org", KEYS, TODAY) is Check.FORGED
    for changed in (
        found._replace(local="bob"),
        found._replace(day=788),
        found._replace(number=3),
        found._replace(number=9),
    ):
        assert tag.check(changed, "example.test", KEYS, TODAY) is Check.FORGED
    assert tag.check(tagged(key=KEYS[1]), "example.test", KEYS, TODAY) is Check.VALID
    assert tag.check(tagged(key=KEYS[1]), "example.test", KEYS[:1], TODAY) is Check.FORGED


@pytest.mark.parametrize(
    "local", ["prvs=4787abcdef=alice", "SRS0=abcd=ef=remote.test=bob", "srs1+x", '"a b"', "a" * 49, "prvs=other"]
)
def test_what_has_a_mark_or_no_room_is_not_signed(local):
    assert not tag.is_signed(local)


@pytest.mark.parametrize("local", ["alice", "alice+tag", "bounce-17=bob=remote.test", "a" * 48])
def test_what_is_ours_is_signed(local):
    assert tag.is_signed(local)
    assert len(tag.sign(local, "example.test", KEYS[0], TODAY)) <= 64


@pytest.mark.parametrize(
    "local",
    ["alice", "prvs", "prvs=", "prvs=alice", "prvs=478abcdef=alice", "prvs=4787abcdeg=alice", "prvs=4787abcdef="],
)
def test_what_only_looks_like_a_tag_is_none(local):
    assert tag.parse(local) is None


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=48).filter(tag.is_signed),
    st.integers(0, 100),
)
def test_every_signature_is_found_valid(local, days):
    found = tag.parse(tag.sign(local, "example.test", KEYS[0], TODAY + days))
    assert found is not None
    assert found.local == local
    assert tag.check(found, "example.test", KEYS, TODAY) is Check.VALID


def test_the_secret_is_not_shown():
    assert "6e6e" not in repr(KEYS) and "nnnn" not in repr(KEYS)


def test_keys_are_made_once_and_a_new_one_when_the_old_is_old(tmp_path):
    (first,) = key_file.keys(tmp_path, 20_000, 90)
    assert key_file.keys(tmp_path, 20_089, 90) == (first,)
    assert stat.S_IMODE((tmp_path / key_file.NAME).stat().st_mode) == 0o600
    second, old = key_file.keys(tmp_path, 20_090, 90)
    assert (first.number, second.number, old) == (0, 1, first)
    found = key_file.keys(tmp_path, 20_180, 90)
    assert [key.number for key in found] == [2, 1, 0]
    found = key_file.keys(tmp_path, 20_270, 90)
    assert [key.number for key in found] == [3, 2, 1], "no tag of the oldest can hold any more"


@pytest.mark.parametrize(
    "text", ["", "x", "1 20000", "11 20000 " + "00" * 32, "1 20000 0011", "1 20000 " + "zz" * 32, "\xff"]
)
def test_a_damaged_file_is_not_replaced(tmp_path, text):
    (tmp_path / key_file.NAME).write_text(text, "latin-1")
    with pytest.raises(ConfigError, match="remove it"):
        key_file.keys(tmp_path, 20_000, 90)
