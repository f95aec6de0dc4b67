"""A connection to an LDAP server that sends whatever comes: its searches end with an answer or a ServerError, the same at every cut, bounded in memory.

`FUZZ_SECONDS` (set by `make fuzz`) makes it go on for so long; the ordinary run tries a few hundred streams.
"""

import asyncio
import os
import random
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.doubles.directory_source import Known
from tests.doubles.hostile_ldap import entry, message, result

from mailmoat.directory.ldap.objects import EntryReader, Mapping, id_of
from mailmoat.directory.ldap.refresh import Refresh, RefreshNeededError
from mailmoat.ldap import ber, filters
from mailmoat.ldap.ber import GarbledError
from mailmoat.ldap.connection import Connection
from mailmoat.ldap.message import SearchEntry, SearchRequest
from mailmoat.ldap.outcome import ServerError
from mailmoat.ldap.server import Server, Transport

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
REQUEST = SearchRequest("dc=x", filters.parse("(mail=*)"))
STATE = ber.sequence(ber.enumerated(1), ber.octets(bytes(16)), ber.octets(b"cookie"))
CONTROL = ber.element(0xA0, ber.sequence(ber.text("1.3.6.1.4.1.4203.1.9.1.2"), ber.octets(STATE)))
IDS = ber.element(0xA3, ber.octets(b"cookie"), ber.boolean(True), ber.element(ber.SET, ber.octets(bytes(16))))
INFO = ber.text("1.3.6.1.4.1.4203.1.9.1.4", 0x80)
SEEDS = [
    entry(1, b"a@example.com", controls=CONTROL),
    message(1, 0x79, INFO, ber.octets(IDS, 0x81)),
    message(1, 0x79, INFO, ber.octets(ber.element(0xA2, ber.octets(b"cookie")), 0x81)),
    message(1, 0x73, ber.text("ldap://elsewhere")),
    result(1),
    result(1, 4096, text="refresh"),
    message(0, 0x78, ber.enumerated(52), ber.text(""), ber.text("bye"), ber.text("1.3.6.1.4.1.1466.20036", 0x8A)),
]


class Nowhere:
    """Where a connection writes to."""

    def write(self, octets): ...
    def abort(self): ...
    def close(self): ...
    def pause_reading(self): ...
    def resume_reading(self): ...


async def answers(pieces):
    """What a search gets of a stream that comes in pieces, and how it ends."""
    connection = Connection(Server("fuzzed", Transport.CLEAR))
    connection.connection_made(Nowhere())
    got = []
    async with connection.search(REQUEST, patience=1.0) as found:
        for piece in pieces:
            connection.data_received(piece)
            assert len(connection._framer._kept) <= sum(map(len, pieces))
        connection.connection_lost(None)
        try:
            async for answer in found:
                got.append(answer)  # noqa: PERF401 - what came before an error counts
        except ServerError as error:
            return got, str(error)
    return got, ""


def read(got):
    """What a source makes of answers."""
    reader, refresh = EntryReader(Mapping()), Refresh(EntryReader(Mapping()), b"cookie", Known(), 20)
    for answer in got:
        if isinstance(answer, SearchEntry):
            reader.entry(answer, id_of(answer))
            assert reader.left_out() is None or answer.attributes
        try:
            list(refresh.take(answer))
        except (GarbledError, RefreshNeededError):
            return


def check(stream, cuts):
    whole = asyncio.run(answers([stream]))
    read(whole[0])
    places = sorted({min(cut, len(stream)) for cut in cuts})
    pieces = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
    assert asyncio.run(answers(pieces)) == whole
    assert whole[1].isprintable()


def damaged(seeds, damage):
    """Messages one after the other, and then octets replaced."""
    octets = bytearray(b"".join(seeds))
    for place, value in damage:
        if octets:
            octets[place % len(octets)] = value
    return bytes(octets)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            damaged,
            st.lists(st.sampled_from(SEEDS), max_size=6),
            st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4),
        ),
    ),
    st.lists(st.integers(0, 400), max_size=4),
)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_search_ends_whatever_comes(stream, cuts):
    check(stream, cuts)


def test_a_search_ends_whatever_comes_for_long():
    generator, end, tried = random.Random(4533), time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        seeds = generator.choices(SEEDS, k=generator.randrange(6))
        damage = [(generator.randrange(600), generator.randrange(256)) for _ in range(generator.randrange(5))]
        check(damaged(seeds, damage), [generator.randrange(400) for _ in range(3)])
        tried += 1
    assert tried or not SECONDS
