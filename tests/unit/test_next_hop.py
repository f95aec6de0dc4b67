"""The notation of next hops: servers in ranks and with weights, sockets, and what is no next hop."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.settings.next_hop import MOST_SERVERS, NextHop, Server, parse_next_hop


@pytest.mark.parametrize(
    ("written", "server"),
    [
        ("smtp://hub.test:2525", Server("smtp", "hub.test", 2525)),
        ("smtp://Hub.Test.", Server("smtp", "hub.test", 25)),
        ("smtp://192.0.2.1", Server("smtp", "192.0.2.1", 25)),
        ("smtps://hub.test/", Server("smtps", "hub.test", 465)),
        ("lmtp://[2001:DB8::1]", Server("lmtp", "2001:db8::1", 24)),
        ("lmtp:///run/dovecot/lmtp", Server("lmtp", "", 0, Path("/run/dovecot/lmtp"))),
        ("smtp://hub.test*3", Server("smtp", "hub.test", 25, None, 3)),
        ("lmtp:///run/a b/lmtp * 2", None),
    ],
)
def test_one_server(written, server):
    if server is None:
        with pytest.raises(ValueError, match=r"not a next hop"):
            parse_next_hop(written)
        return
    assert parse_next_hop(written).ranks == ((server,),)


def test_ranks_and_weights():
    hop = parse_next_hop("smtp://a.test*3 | smtp://b.test,smtps://backup.test, lmtp:///run/lmtp")
    a, b = Server("smtp", "a.test", 25, None, 3), Server("smtp", "b.test", 25)
    backup, local = Server("smtps", "backup.test", 465), Server("lmtp", "", 0, Path("/run/lmtp"))
    assert hop.ranks == ((a, b), (backup,), (local,))
    assert hop.servers == (a, b, backup, local)
    assert str(hop) == "smtp://a.test:25*3 | smtp://b.test:25, smtps://backup.test:465, lmtp:///run/lmtp"
    assert parse_next_hop(str(hop)) == hop


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("smtp://a.test, smtp://a.test:25", "smtp://a.test:25 is listed twice; a weight such as [*]2"),
        ("smtp://a.test*0", "0 is not a weight from 1 to 1000"),
        ("smtp://a.test*1001", "1001 is not a weight"),
        ("smtp://a.test,", "not a next hop"),
        ("smtp://a.test, mx", "not a next hop"),
        ("smtp:///run/smtp", "only lmtp:// has a Unix socket"),
        ("lmtp:///", "only lmtp:// has a Unix socket"),
        ("lmtp://run/lmtp", "not"),
        ("mx:", "not a next hop"),
        ("discard", "not a next hop"),
        ("smtp:hub.test", "not a next hop"),
        ("smtp://hub.test:0", "0 is not a port"),
        ("smtp://1.2.3", "neither an address nor a name"),
        (", ".join(f"smtp://h{number}.test" for number in range(MOST_SERVERS + 1)), "101 servers, more than 100"),
    ],
)
def test_what_is_no_next_hop(written, wrong):
    with pytest.raises(ValueError, match=wrong):
        parse_next_hop(written)


@pytest.mark.parametrize(
    ("written", "is_local"),
    [
        ("maildir:/var/mail/{local}", True),
        ("discard:", True),
        ("mx", False),
        ("smtp://a.test", False),
        ("lmtp://a.test | lmtp:///run/lmtp", False),
    ],
)
def test_where_messages_end(written, is_local):
    assert parse_next_hop(written).is_local == is_local


HOSTS = st.sampled_from(["a.test", "b.test", "192.0.2.1", "[2001:db8::1]", "hub_1.test"])
SERVERS = st.builds(
    "{}://{}:{}*{}".format,
    st.sampled_from(["smtp", "smtps", "lmtp"]),
    HOSTS,
    st.integers(1, 65535),
    st.integers(1, 1000),
)


@given(st.lists(st.lists(SERVERS, min_size=1, max_size=3), min_size=1, max_size=3))
def test_a_list_survives_being_shown(ranks):
    try:
        hop = parse_next_hop(",".join("|".join(rank) for rank in ranks))
    except ValueError:
        return  # one of them twice
    assert isinstance(hop, NextHop)
    assert parse_next_hop(str(hop)) == hop
