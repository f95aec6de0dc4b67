"""The PROXY header on whatever comes: never an exception, the same at every cut, bounded in memory, true to what was written.

`FUZZ_SECONDS` (set by `make fuzz`) makes it go on for so long; the ordinary run tries a few hundred headers.
"""

import os
import random
import time
from ipaddress import ip_address

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailmoat.net.proxy import BadProxyHeader, ProxyHeader, ProxyResult

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
V2 = b"\r\n\r\n\0\r\nQUIT\n"
SEEDS = [
    b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 25\r\nEHLO c\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.9 51234 25\r\n",
    b"PROXY UNKNOWN anything\r\nEHLO",
    V2 + b"\x21\x11\0\x0c" + bytes(range(12)) + b"EHLO",
    V2 + b"\x21\x21\0\x28" + bytes(range(40)) + b"EHLO",
    V2 + b"\x20\0\0\0",
    V2 + b"\x21\x31\0\xd8" + b"/" * 216,
]
KEPT = 2064


def feed(pieces: list[bytes]) -> ProxyResult | BadProxyHeader | None:
    header, result = ProxyHeader(), None
    for at, piece in enumerate(pieces):
        result = header.feed(piece)
        if isinstance(result, ProxyResult):
            return ProxyResult(result.source, result.rest + b"".join(pieces[at + 1 :]))
        if isinstance(result, BadProxyHeader):
            return result
        assert len(header._octets) <= KEPT
    return result


def check(stream: bytes, cuts: list[int]) -> None:
    whole = feed([stream])
    if isinstance(whole, ProxyResult):
        assert stream.endswith(whole.rest)
        if whole.source is not None:
            address, port = whole.source
            assert str(ip_address(address)) == address
            assert 0 <= port <= 65535
    places = sorted({min(cut, len(stream)) for cut in cuts})
    pieces = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
    for cut in ([bytes([octet]) for octet in stream], pieces):
        result = feed(cut) if cut else feed([stream])
        # Which fault is found first may depend on what has come; that there is one must not.
        assert type(result) is type(whole)
        assert isinstance(result, BadProxyHeader) or result == whole


@given(st.one_of(st.binary(max_size=300), st.sampled_from(SEEDS)), st.lists(st.integers(0, 300), max_size=5))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_octets(stream: bytes, cuts: list[int]) -> None:
    check(stream, cuts)


def test_neighbours_of_headers() -> None:
    seed = time.time_ns()
    chance = random.Random(seed)
    end, tried = time.monotonic() + SECONDS, 0
    while tried < 500 or time.monotonic() < end:
        stream = bytearray(chance.choice(SEEDS))
        for _ in range(chance.randrange(5)):
            at = chance.randrange(len(stream) + 1)
            match chance.randrange(4):
                case 0:
                    stream[at:at] = chance.choice([b" ", b"\r", b"\n", b"\r\n", b"0", b"%", b":", b"\xff"])
                case 1:
                    del stream[at : at + chance.randrange(4)]
                case 2 if at < len(stream):
                    stream[at] = chance.randrange(256)
                case _:
                    stream += chance.choice(SEEDS)[: chance.randrange(60)]
        cuts = [chance.randrange(len(stream) + 1) for _ in range(3)]
        try:
            check(bytes(stream), cuts)
        except Exception as error:
            raise AssertionError(f"{bytes(stream)!r} cut at {cuts}, seed {seed}") from error
        tried += 1


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 65535), st.binary(max_size=40))
def test_what_is_written_is_read(source, target, port, rest) -> None:
    line = f"PROXY TCP4 {source} {target} {port} 25\r\n".encode() + rest
    assert feed([line]) == ProxyResult((str(source), port), rest)
    block = source.packed + target.packed + port.to_bytes(2, "big") + b"\0\x19"
    assert feed([V2 + b"\x21\x11\0\x0c" + block + rest]) == ProxyResult((str(source), port), rest)
