"""Who gets copies of bounces, by status."""

from __future__ import annotations

import pytest

from mailmoat.settings.copies import address_for, parse, show

TABLE = {"5.1": "directory@example.test", "4.4.7": "network@example.test", "*": "post@example.test"}
WRITTEN = "5.1=directory@example.test, 4.4.7=network@example.test, *=post@example.test"


def test_one_address_is_for_every_status():
    copies = parse("post@example.test")
    assert {address_for(copies, status) for status in ("5.1.1", "4.4.7", "5.0.0")} == {"post@example.test"}
    assert show(copies) == "post@example.test"
    assert parse("") == parse(None) == ()
    assert address_for((), "5.1.1") is None


@pytest.mark.parametrize("written", [TABLE, WRITTEN, WRITTEN.split(", ")])
def test_the_longest_beginning_counts(written):
    copies = parse(written)
    assert show(copies) == WRITTEN
    assert parse(copies) is copies
    found = {status: address_for(copies, status) for status in ("5.1.1", "5.1.10", "5.7.1", "4.4.7", "4.4.1")}
    assert found == {
        "5.1.1": "directory@example.test",
        "5.1.10": "directory@example.test",
        "5.7.1": "post@example.test",
        "4.4.7": "network@example.test",
        "4.4.1": "post@example.test",
    }
    assert address_for(parse({"5": "a@b.test"}), "5.2.2") == "a@b.test"
    assert address_for(parse({"5": "a@b.test"}), "4.4.7") is None


def test_an_address_may_have_an_equals_sign():
    assert parse("a=b@example.test")[0].address == "a=b@example.test"


@pytest.mark.parametrize(
    "written", ["5.1=", "6.1=a@b.test", {"x": "a@b.test"}, {"5.1": 7}, "a@b.test, c@d.test", 7, {7: "a@b.test"}]
)
def test_what_is_none_is_refused(written):
    with pytest.raises(ValueError, match=r"\w"):
        parse(written)
