"""Laws of the header firewall and the header limit, through a whole session: what was sent is what is kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.receiving import accept, config, kept

from mailmoat import _native

FIREWALL = _native.HeaderFirewall("mx.example.test", ["X-MS-Exchange-Organization-"])
NAMES = st.text(st.sampled_from("aXMS-eorg1"), min_size=1, max_size=20)
VALUES = st.text(st.sampled_from('ab;=.:"(\t\x00\u00fc mx.example.test'), max_size=40)
FIELDS = st.builds("{}:{}\r\n{}".format, NAMES, VALUES, st.sampled_from(["", " folded\r\n", "\t\r\n", "broken\r\n"]))
BODIES = st.one_of(st.just(""), st.builds("\r\n{}\r\n".format, st.text(st.sampled_from("aX:\u00fc "), max_size=60)))
FORBIDDEN = [
    "X-MS-Exchange-Organization-SCL: -1\r\n",
    "x-ms-exchange-organization-a :\r\n b\r\n",
    "Authentication-Results: mx.example.test; spf=pass\r\n",
    "authentication-results:\r\n (c) MX.Example.Test. 1;\r\n\tspf=pass\r\n",
]


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    loose_dir = tmp_path_factory.mktemp("loose")
    return [config(loose_dir), config(loose_dir, memory_content=16)]


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
def test_the_limit_is_the_header_section_s_alone(configs, tmp_path_factory, fields, body, limit, piece):
    content = ("".join(fields) + body).encode()
    octets = len("".join(fields).encode()) + (2 if body else 0)
    limited = config(tmp_path_factory.getbasetemp(), header=limit, memory_content=16)
    taken = accept(limited, content, piece=piece)
    if octets > limit:
        assert taken == "552 5.3.4 Header section is too large\r\n"
    else:
        assert kept(taken) == content
