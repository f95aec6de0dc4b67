"""What a firewall gets: exactly the addresses that are blocked in the end, in a form that nft(8) takes."""

import json
import subprocess
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.needs import find_peer

from mailmoat.lists import export
from mailmoat.lists.ranges import blocked_ranges


def entry(prefix, until=0, allows=False, reason=""):
    return SimpleNamespace(prefix=prefix, until=until, since=0, allows=allows, reason=reason, source="block")


def ranges(blocked, allowed=()):
    return blocked_ranges(
        [entry(*given) if isinstance(given, tuple) else entry(given) for given in blocked],
        [entry(prefix, allows=True) for prefix in allowed],
    )


def shown(found):
    return [(f"{one.first}-{one.last}", one.until) for one in found]


def test_longer_prefixes_that_are_allowed_are_left_out():
    found = ranges(["10.0.0.0/24", "10.0.0.128/25", "10.0.0.9", "2001:db8::/32"], ["10.0.0.8/29", "2001:db8::1"])
    assert shown(found) == [
        ("10.0.0.0-10.0.0.7", 0),
        ("10.0.0.9-10.0.0.9", 0),
        ("10.0.0.16-10.0.0.255", 0),
        ("2001:db8::-2001:db8::", 0),
        ("2001:db8::2-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 0),
    ]
    assert shown(ranges(["10.0.0.1"], ["10.0.0.1"])) == shown(ranges([], ["10.0.0.1"])) == []


def test_a_range_ends_with_the_last_entry_that_covers_it():
    found = ranges([("10.0.0.0/30", 100), ("10.0.0.0/32", 50), ("10.0.0.3/32", 200), ("10.0.0.4/30", 100)])
    assert shown(found) == [("10.0.0.0-10.0.0.2", 100), ("10.0.0.3-10.0.0.3", 200), ("10.0.0.4-10.0.0.7", 100)]
    assert shown(ranges([("10.0.0.0/30", 100), ("10.0.0.0/31", 0)])) == [
        ("10.0.0.0-10.0.0.1", 0),
        ("10.0.0.2-10.0.0.3", 100),
    ]


PREFIXES = st.builds(
    lambda bits, length: str(ip_network((0x0A000000 | bits >> (32 - length) << (32 - length), length))),
    st.integers(0, 63),
    st.integers(26, 32),
)


@given(st.lists(PREFIXES, max_size=12), st.lists(PREFIXES, max_size=12))
def test_the_ranges_are_the_addresses_whose_longest_prefix_is_blocked(blocked, allowed):
    def longest(prefixes, address):
        return max((ip_network(each).prefixlen for each in prefixes if address in ip_network(each)), default=-1)

    found = ranges(blocked, allowed)
    for n in range(-2, 66):
        address = ip_address(0x0A000000 + n)
        expected = longest(blocked, address) > longest(allowed, address)
        assert sum(one.first <= address <= one.last for one in found) == expected, address
    prefixes = [network for one in found for network in one.prefixes()]
    assert sum(network.num_addresses for network in prefixes) == sum(
        int(one.last) - int(one.first) + 1 for one in found
    )


def test_forms():
    entries = [entry("192.0.2.0/24", 86_400, reason="guesses"), entry("2001:db8::/32")]
    assert "".join(export.text(entries)) == "192.0.2.0/24 until=1970-01-02T00:00:00Z # guesses\n2001:db8::/32\n"
    assert "".join(export.cidr(blocked_ranges(entries, []))) == "192.0.2.0/24\n2001:db8::/32\n"
    (first, second) = json.loads("".join(export.as_json(entries)))
    assert first == {
        "list": "block",
        "prefix": "192.0.2.0/24",
        "since": None,
        "until": "1970-01-02T00:00:00Z",
        "reason": "guesses",
        "source": "block",
    }
    assert second["until"] is None


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    "blocked", [[], ["10.0.0.0/24", ("10.0.1.0/24", 5000), "2001:db8::/32", ("2001:db9::1", 5000)]]
)
def test_nft_takes_the_export_twice(blocked, tmp_path):
    nft = find_peer("nft")
    (tmp_path / "rules").write_text("".join(export.nft(ranges(blocked, ["10.0.0.8"]), [25, 587, 25], 1000)))
    load = f"{nft} -f {tmp_path / 'rules'}"
    commands = f"{nft} -c -f {tmp_path / 'rules'} && {load} && {load} && {nft} -j list table inet mailmoat"
    done = subprocess.run(["unshare", "--net", "sh", "-c", commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sets = [one["set"] for one in json.loads(done.stdout)["nftables"] if "set" in one]
    assert [len(each.get("elem", [])) for each in sets] == ([3, 2] if blocked else [0, 0])
    assert "25, 587" in (tmp_path / "rules").read_text()
