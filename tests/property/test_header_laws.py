"""Laws of header section, firewall and limit, through a whole session: what was sent is what is kept, and ours stays ours."""

from __future__ import annotations

import email
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.receiving import accept, config, kept, whole

from mailmoat import _native

FIREWALL = _native.HeaderFirewall("mx.example.test", ["X-MS-Exchange-Organization-"])
STAMP = b"Authentication-Results: mx.example.test; none\r\n"
NAMES = st.text(st.sampled_from("aXMS-eorg1"), min_size=1, max_size=20)
VALUES = st.text(st.sampled_from('ab;=.:"(\t\u00fc mx.example.test'), max_size=40)
FIELDS = st.builds("{}:{}\r\n{}".format, NAMES, VALUES, st.sampled_from(["", " folded\r\n", "\t\r\n", " broken\r\n"]))
BODIES = st.one_of(st.just(""), st.builds("\r\n{}\r\n".format, st.text(st.sampled_from("aX:\u00fc "), max_size=60)))
FORBIDDEN = [
    "X-MS-Exchange-Organization-SCL: -1\r\n",
    "x-ms-exchange-organization-a :\r\n b\r\n",
    "Authentication-Results: mx.example.test; spf=pass\r\n",
    "authentication-results:\r\n (c) MX.Example.Test. 1;\r\n\tspf=pass\r\n",
    'Authentication-Results: "other.test"; spf=pass\r\n',
    "Authentication-Results: \u00a0mx.example.test; spf=pass\r\n",
]
PIECES = st.sampled_from([
    "A: b\r\n", "Subject : c\r\n", "Received: from x\r\n", "\r\n", " ", "\t", "folded\r\n", "no field\r\n", "From x Thu Jan 1 00:00:00 1970\r\n",
    ">From y\r\n", "From", "A", ":", ": d\r\n", "\u00fc", "\u0085", "\x0b", "\x0c", "\x1c", "\x7f", "Authentication-Results: mx.example.test; spf=pass\r\n",
    "Authentication-Results\x0b: mx.example.test; spf=pass\r\n", "text ",
])  # fmt: skip
OURS = (
    ("Authentication-Results", "mx.example.test; none"),
    ("Received", "from c ([192.0.2.1])\r\n\tby mx.example.test with SMTP id q1"),
)


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    incoming_dir = tmp_path_factory.mktemp("incoming")
    return [config(incoming_dir), config(incoming_dir, memory_content=16)]


@settings(max_examples=100, deadline=None)
@given(fields=st.lists(FIELDS, max_size=6), body=BODIES, piece=st.integers(1, 40))
def test_a_header_section_without_fields_to_remove_is_unchanged(configs, fields, body, piece):
    content = ("".join(fields) + body).encode()
    for each in configs:
        assert kept(accept(each, content, firewall=FIREWALL, piece=piece)) == content


@settings(max_examples=100, deadline=None)
@given(
    fields=st.lists(st.one_of(FIELDS, st.sampled_from(FORBIDDEN)), max_size=8), body=BODIES, piece=st.integers(1, 40)
)
def test_only_forbidden_fields_go(configs, fields, body, piece):
    harmless = [field for field in fields if field not in FORBIDDEN]
    content, clean = ("".join(some) + body for some in (fields, harmless))
    for each in configs:
        assert kept(accept(each, content.encode(), firewall=FIREWALL, piece=piece)) == clean.encode()
        assert kept(accept(each, content.encode(), piece=piece)) == content.encode()


@settings(max_examples=100, deadline=None)
@given(
    fields=st.lists(FIELDS, min_size=1, max_size=6), body=BODIES, limit=st.integers(1, 120), piece=st.integers(1, 40)
)
def test_the_limit_is_the_header_section_s_alone(tmp_path_factory, fields, body, limit, piece):
    content = ("".join(fields) + body).encode()
    octets = len("".join(fields).encode()) + (2 if body else 0)
    limited = config(tmp_path_factory.getbasetemp(), header_size=limit, memory_content=16)
    taken = accept(limited, content, piece=piece)
    if octets > limit:
        assert taken == "552 5.3.4 Header section is too large\r\n"
    else:
        assert kept(taken) == content


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(PIECES, max_size=9), piece=st.integers(1, 40))
def test_a_reader_finds_our_fields_first_and_as_written_whatever_the_content(configs, pieces, piece):
    """Python's reader ends a header section at a line that is no field; others read on, which finds the same."""
    for each in configs:
        message = accept(each, f"{''.join(pieces)}\r\n".encode(), firewall=FIREWALL, piece=piece, stamps=STAMP)
        read = email.message_from_bytes(whole(message))
        assert [(name, value.partition("\r\n\tfor")[0]) for name, value in read.items()[:2]] == list(OURS)
        lines = whole(message).removeprefix(STAMP).partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert not [line for line in lines if line and not re.match(rb"[!-9;-~]+[ \t]*:|[ \t]", line)]
        assert not [line for line in lines if line.startswith(b"Authentication-Results")]
