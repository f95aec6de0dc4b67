"""Prefixes: addresses as far as they are judged together."""

from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat._native import Prefix


def test_an_address_counts_in_nested_prefixes():
    assert list(map(str, Prefix.nested(inet_pton(AF_INET, "192.0.2.77")))) == ["192.0.2.77/32", "192.0.2.0/24"]
    six = Prefix.nested(inet_pton(AF_INET6, "2001:db8:1:203::4"))
    assert list(map(str, six)) == ["2001:db8:1:203::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]
    assert Prefix.nested(inet_pton(AF_INET6, "::ffff:192.0.2.77")) == Prefix.nested(inet_pton(AF_INET, "192.0.2.77"))
    with pytest.raises(ValueError, match="4 or 16"):
        Prefix.nested(b"12345")


@pytest.mark.parametrize(
    ("text", "why"),
    [("mail.example", "not an address"), ("192.0.2.0/33", "from 0 to 32"), ("192.0.2.1/24", "Write 192.0.2.0/24")],
)
def test_what_is_none_says_why(text, why):
    with pytest.raises(ValueError, match=why):
        Prefix(text)


networks = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
    # What is IPv4-mapped is IPv4 here.
    st.tuples(st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None), st.integers(0, 128)),
).map(lambda parts: ip_network(parts, strict=False))


@given(networks, networks)
def test_it_agrees_with_the_networks_of_python(one, other):
    left, right = Prefix(str(one)), Prefix(str(other))
    assert (left.length, left.is_ipv4) == (one.prefixlen, one.version == 4)
    assert Prefix(str(left)) == left
    assert ip_network(str(left)) == one
    assert ip_network(left.short) == one
    assert ("/" in left.short) == (one.num_addresses > 1)
    assert left.covers(right) == (one.version == other.version and one.supernet_of(other))
    assert hash(left) == hash(Prefix(str(one)))
