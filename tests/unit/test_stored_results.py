"""Authentication results in the spool: what is written is read, and what cannot be read vouches for nobody."""

from __future__ import annotations

import pytest

from mailmoat.mailauth.results import AuthResult, Method, Status
from mailmoat.mailauth.stored_results import decode, encode

RESULTS = tuple(
    AuthResult(method, status, identity, 'a"b\\.test', "Not\tPermitted")
    for method in Method
    for status in Status
    for identity in ("smtp.mailfrom", "")
)


def test_what_is_written_is_read():
    assert decode(encode(RESULTS)) == RESULTS
    assert encode(()) == ""
    assert decode("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "null",
        '[{"method":"spf"}]',
        encode(RESULTS).replace("Pass", "Certain"),
        "spf=pass",
        "\x00",
        '[{"later":' + "[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_no_result(text):
    assert decode(text) == ()


@pytest.mark.parametrize(
    "parts",
    [("dkim", Status.FAIL, "", ""), (Method.SPF, "Certain", "", ""), (Method.SPF, Status.FAIL, "", "\udc80.test")],
)
def test_what_could_not_be_read_again_is_no_result_to_begin_with(parts):
    with pytest.raises((TypeError, ValueError)):
        AuthResult(*parts)
