"""The PROXY protocol header: what is accepted, what is not, and that cutting never matters."""

from __future__ import annotations

import ipaddress
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.net.proxy import BadProxyHeader, ProxyHeader, ProxyResult

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def binary(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(block) if length is None else length) + block


def four(source: str, port: int, fields: bytes = b"") -> bytes:
    block = ipaddress.IPv4Address(source).packed + bytes([127, 0, 0, 1]) + struct.pack("!HH", port, 25) + fields
    return binary(0x21, 0x11, block)


def six(source: str, port: int) -> bytes:
    block = ipaddress.IPv6Address(source).packed + bytes(16) + struct.pack("!HH", port, 25)
    return binary(0x21, 0x21, block)


GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 25\r\n", ("192.0.2.1", 56324)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 0 0\r\n", ("192.0.2.1", 0)),
    (b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", ("2001:db8::1", 1)),
    (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n", ("192.0.2.9", 1)),
    (b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n", ("ffff:" * 7 + "ffff", 65535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None),
    (four("192.0.2.1", 56324), ("192.0.2.1", 56324)),
    (four("192.0.2.1", 1, b"\x04\x00\x02ab"), ("192.0.2.1", 1)),
    (six("2001:db8::1", 65535), ("2001:db8::1", 65535)),
    (six("::ffff:192.0.2.9", 7), ("192.0.2.9", 7)),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0xEE, b"anything"), None),
    (binary(0x21, 0x00, b"fields"), None),
    (binary(0x21, 0x31, b"/" * 216), None),
    (binary(0x21, 0x12, bytes(12)), None),
    (binary(0x21, 0x11, bytes(2048)), ("0.0.0.0", 0)),
]

BAD = [
    b"EHLO client.example\r\n",
    b"proxy TCP4 192.0.2.1 198.51.100.7 56324 25\r\n",
    b"PROXY\r\n",
    b"PROXY  TCP4 192.0.2.1 198.51.100.7 56324 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 25 \r\n",
    b"PROXY TCP4 192.0.2.1  198.51.100.7 56324 25\r\n",
    b"PROXY TCP4 192.0.2.01 198.51.100.7 56324 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100 56324 25\r\n",
    b"PROXY TCP4 ::1 ::1 56324 25\r\n",
    b"PROXY TCP6 192.0.2.1 198.51.100.7 56324 25\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 1 99999\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 +1 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 01 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 1_0 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 -1 25\r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7 \u0661 25\r\n".encode(),
    b"PROXY TCP4 192.0.2.1 198.51.100.7 1 25\n",
    b"PROXY UNKNOWN a\nb\r\n",
    b"PROXY UNKNOWN a\rb\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.7 1 25\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY " + b"x" * 101,
    binary(0x11, 0x11, bytes(12)),
    binary(0x22, 0x11, bytes(12)),
    binary(0x21, 0x10, bytes(12)),
    binary(0x21, 0x41, bytes(12)),
    binary(0x21, 0x11, bytes(11)),
    binary(0x21, 0x21, bytes(35)),
    binary(0x21, 0x31, bytes(215)),
    binary(0x21, 0x11, b"", length=2049),
    binary(0x20, 0x00, b"", length=65535),
    b"\r\n\r\n\x00\r\nQUIX",
]


def feed(*parts: bytes) -> ProxyResult | BadProxyHeader | None:
    """The first answer that is one; what was not fed yet belongs to the rest."""
    header = ProxyHeader()
    for number, part in enumerate(parts):
        answer = header.feed(part)
        if isinstance(answer, ProxyResult):
            return ProxyResult(answer.source, answer.rest + b"".join(parts[number + 1 :]))
        if answer is not None:
            return answer
    return None


@pytest.mark.parametrize(("octets", "source"), GOOD)
def test_good_header_cut_anywhere(octets: bytes, source: tuple[str, int] | None) -> None:
    stream = octets + b"EHLO client.example\r\n"
    expected = ProxyResult(source, b"EHLO client.example\r\n")
    assert feed(octets) == ProxyResult(source, b"")
    for cut in range(len(stream)):
        assert feed(stream[:cut], stream[cut:]) == expected
    assert feed(*(stream[index : index + 1] for index in range(len(stream)))) == expected


@pytest.mark.parametrize("octets", [octets for octets, _ in GOOD])
def test_a_part_of_a_header_asks_for_more(octets: bytes) -> None:
    for cut in range(len(octets)):
        assert feed(octets[:cut]) is None


@pytest.mark.parametrize("octets", BAD)
def test_bad_header_cut_anywhere(octets: bytes) -> None:
    for cut in range(len(octets)):
        assert isinstance(feed(octets[:cut], octets[cut:]), BadProxyHeader)
    assert isinstance(feed(*(octets[index : index + 1] for index in range(len(octets)))), BadProxyHeader)


headers = st.sampled_from([octets for octets, _ in GOOD] + BAD)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A header with some octets changed, or noise behind a true beginning."""
    octets = bytearray(draw(headers))
    for _ in range(draw(st.integers(0, 3))):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    return bytes(octets) + draw(st.binary(max_size=40))


beginnings = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"])
noise = st.builds(bytes.__add__, beginnings, st.binary(max_size=200))


@given(streams() | noise, st.lists(st.integers(0, 300), max_size=6))
def test_chunking_never_changes_the_result(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parts = [stream[start:end] for start, end in pairwise(edges)]
    whole, cut = feed(stream), feed(*parts)
    if isinstance(whole, BadProxyHeader):
        assert isinstance(cut, BadProxyHeader)
    else:
        assert cut == whole


@given(st.binary(max_size=2100))
def test_what_is_kept_is_bounded(noise: bytes) -> None:
    assert feed(SIGNATURE + b"\x21\x11" + noise + bytes(2100 - len(noise))) is not None


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=30))
def test_text_and_binary_say_the_same(source, target, port, target_port, rest) -> None:
    four_octets = source.version == 4
    if target.version != source.version:
        target = source
    text = f"PROXY TCP{source.version} {source} {target} {port} {target_port}\r\n".encode()
    block = source.packed + target.packed + struct.pack("!HH", port, target_port)
    packed = binary(0x21, 0x11 if four_octets else 0x21, block)
    expected = str((None if four_octets else source.ipv4_mapped) or source)
    assert feed(text + rest) == feed(packed + rest) == ProxyResult((expected, port), rest)
