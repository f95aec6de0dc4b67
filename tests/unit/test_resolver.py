"""The parts of the resolver: octets, names, cache, circuits, and the system's servers."""

from __future__ import annotations

import struct
import tracemalloc

import dns.edns
import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hostileanswers import HOSTILE, WHOLE, plain, seconds

from mailmoat import clock, maillog
from mailmoat.net.endpoint import Endpoint
from mailmoat.resolver import Failed, Failure, Found, NoData, NoName, names, wire
from mailmoat.resolver.cache import Cache
from mailmoat.resolver.resolv_conf import ResolvConf
from mailmoat.settings import Settings, load
from mailmoat.settings.sections.dns import name_server
from mailmoat.upstream.circuit_breaker import MOST, CircuitBreakers

EXAMPLE = (b"example", b"test")
SOA = ("test.", 600, "IN", "SOA", "ns.test. root.test. 1 2 3 4 30")


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still; put it forward by adding to its one item."""
    time = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: time[0])
    return time


@pytest.fixture
def logged(monkeypatch):
    """(event, servers, reason) of each line about them."""
    lines = []
    monkeypatch.setattr(
        maillog, "event", lambda event, **fields: lines.append((event, fields["servers"], fields.get("detail")))
    )
    return lines


# --- octets ---


def test_a_question_is_what_dnspython_reads():
    asked = wire.query(EXAMPLE, "TXT")
    message = dns.message.from_wire(asked.octets)
    assert message.question[0].to_text() == "example.test. IN TXT"
    assert dns.flags.to_text(message.flags) == "RD AD"
    assert (message.edns, message.payload, message.ednsflags) == (0, 1232, dns.flags.DO)
    assert dns.message.from_wire(wire.query((), "SOA").octets).question[0].to_text() == ". IN SOA"


def test_ids_are_not_told_beforehand():
    ids = {wire.query(EXAMPLE, "A").octets[:2] for _ in range(200)}
    assert len(ids) > 190


def reply(kind, *answer, rcode=0, authority=(), flags=None, options=()):
    """(the question, octets of a response to it)."""
    asked = wire.query(EXAMPLE, kind)
    response = dns.message.make_response(dns.message.from_wire(asked.octets), recursion_available=True)
    response.answer = [dns.rrset.from_text(*item) for item in answer]
    response.authority = [dns.rrset.from_text(*item) for item in authority]
    response.set_rcode(rcode)
    if flags is not None:
        response.flags = flags
    if options:
        response.use_edns(0, options=options)
    return asked, response.to_wire(max_size=65535, want_shuffle=False)


@pytest.mark.parametrize(
    ("mangle", "is_answer"),
    [
        (lambda o: o, True),
        (lambda o: o[:12] + o[12:].upper(), True),
        (lambda o: bytes([o[0] ^ 1]) + o[1:], False),
        (lambda o: o[:2] + bytes([o[2] & 0x7F]) + o[3:], False),
        (lambda o: o[:2] + bytes([o[2] | 0x10]) + o[3:], False),
        (lambda o: o.replace(b"example", b"axample"), False),
        (lambda o: o.replace(b"test\x00\x00\x10", b"test\x00\x00\x01"), False),
        (lambda o: o[:5] + b"\x02" + o[6:], False),
        (lambda o: o[:4] + bytes(8), False),
        (lambda o: o[:3] + b"\x82" + bytes(8), True),
        (lambda o: o[:11], False),
        (lambda _: b"", False),
    ],
)
def test_only_an_answer_to_the_question_is_one(mangle, is_answer):
    asked, octets = reply("TXT", ("example.test.", 5, "IN", "TXT", '"x"'))
    assert asked.answered_by(mangle(octets)) is is_answer


def read(*args, **kwargs):
    return wire.read(reply(*args, **kwargs)[1])


def test_what_a_server_says_is_a_value():
    name = "example.test."
    assert read("TXT", (name, 5, "IN", "TXT", '"a" "\\255b"', '""')) == Found((b"a\xffb", b""), 5)
    assert read("MX", (name, 5, "IN", "MX", "10 Mx.\\.a\\255\\\\.test.")) == Found(
        ((10, "mx.\\046a\\255\\092.test"),), 5
    )
    assert read("A", authority=[SOA]) == NoData(30)
    assert read("A", rcode=3, authority=[SOA]) == NoName(30)
    assert read("A", rcode=3) == NoName(0)
    assert read("A") == NoData(0)
    assert read("SOA", (name, 5, "IN", "SOA", "a. b. 1 2 3 4 5")) == Found((), 5)
    assert read("A", (name, 5, "IN", "CNAME", "b."), ("b.", 3, "IN", "A", "192.0.2.1")) == Found(("192.0.2.1",), 3, "b")
    assert read("A", (name, 5, "IN", "CNAME", "b."), ("c.", 3, "IN", "A", "192.0.2.1")) == NoData(0)
    assert read("A", (name, 5, "IN", "CNAME", "b."), ("b.", 3, "IN", "CNAME", name)) == NoData(3)
    assert read("A", (name, 5, "IN", "CNAME", name)) == NoData(5)
    assert read("A", ("other.test.", 5, "IN", "A", "192.0.2.1")) == NoData(0)
    digest = "ab" * 32
    assert read("TLSA", (name, 5, "IN", "TLSA", f"3 1 1 {digest}")) == Found(((3, 1, 1, bytes.fromhex(digest)),), 5)


def test_what_a_server_says_of_authenticity_counts_when_it_is_trusted():
    _, octets = reply("A", ("example.test.", 5, "IN", "A", "192.0.2.1"), flags=dns.flags.QR | dns.flags.AD)
    assert wire.read(octets, trusted=True) == Found(("192.0.2.1",), 5, authentic=True)
    assert wire.read(octets) == Found(("192.0.2.1",), 5)
    _, octets = reply("A", ("example.test.", 5, "IN", "A", "192.0.2.1"))
    assert wire.read(octets, trusted=True) == Found(("192.0.2.1",), 5)


def test_what_is_no_answer_is_a_failure():
    name = "example.test."
    failed = Failed(Failure.SERVFAIL)
    for rcode in (1, 2, 4, 5, 9, 16, 23):
        assert read("A", rcode=rcode) == failed
    assert read("A", (name, 5, "IN", "A", "192.0.2.1"), rcode=3) == failed
    assert read("A", authority=[("test.", 5, "IN", "NS", "ns.test.")], flags=0x8000) == failed
    for code, reason in ((5, "servfail"), (6, "bogus"), (9, "bogus"), (12, "bogus"), (13, "servfail")):
        assert read("A", rcode=2, options=[dns.edns.EDEOption(code)]) == Failed(Failure(reason))
    assert read("A", (name, 5, "IN", "A", "192.0.2.1"), options=[dns.edns.EDEOption(6)]) == Found(("192.0.2.1",), 5)


def test_an_endless_time_is_none():
    """RFC 2181 8."""
    _, octets = reply("A", ("example.test.", 5, "IN", "A", "192.0.2.1"))
    octets = octets.replace(struct.pack("!I", 5), struct.pack("!I", 0xFFFF_FFFF))
    assert wire.read(octets) == Found(("192.0.2.1",), 0)


def test_what_takes_long_to_read_is_not_read():
    addresses = [f"10.0.{number >> 8}.{number & 255}" for number in range(501)]
    assert read("A", ("example.test.", 5, "IN", "A", *addresses)) == Failed(Failure.SERVFAIL)
    assert read("A", ("example.test.", 5, "IN", "A", *addresses[1:])) == Found(tuple(addresses[1:]), 5)
    hosts = [f"10 mx{number}.test." for number in range(300)]
    assert len(read("MX", ("example.test.", 5, "IN", "MX", *hosts)).records) == 50


def test_tiny_strings_are_joined():
    assert read("TXT", ("example.test.", 5, "IN", "TXT", '"x" ' * 20_000)) == Found((b"x" * 20_000,), 5)


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_the_worst_answer_costs_a_small_multiple_of_a_plain_one(make):
    """A plain one takes some microseconds. A ratio, since machines differ; the work itself is counted in `rust/machine/dns.rs`."""
    ordinary = seconds(plain(), times=200, repeat=20)
    for size in (512, 6144, WHOLE):
        assert seconds(make(size), times=50) < 1000 * ordinary, size


SEEDS = [
    reply("TXT", ("example.test.", 5, "IN", "TXT", '"a" "b"'), authority=[("test.", 5, "IN", "NS", "ns.test.")])[1],
    reply("MX", ("example.test.", 5, "IN", "CNAME", "b."), ("b.", 3, "IN", "MX", "10 mx.b."))[1],
    reply("PTR", authority=[SOA], rcode=3)[1],
    reply("A", rcode=2, options=[dns.edns.EDEOption(6, "no")])[1],
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6),
    st.integers(12, 130),
)
def test_any_octets_are_read(octets, changes, end):
    mangled = bytearray(octets[:end])
    for at, octet in changes:
        mangled[at % len(mangled)] = octet
    assert isinstance(wire.read(bytes(mangled)), Found | NoName | NoData | Failed)


# --- names ---


@given(st.text(max_size=40) | st.lists(st.sampled_from(["a" * 62, "b" * 63, "é", "\\"]), max_size=5).map(".".join))
def test_labels_of_any_text_fit_into_a_question_or_are_none(text):
    found = names.labels(names.normal(text))
    if found is None:
        return
    assert dns.message.from_wire(wire.query(found, "A").octets).question[0].name.labels == (*found, b"")
    assert b".".join(found) == names.normal(text).encode()


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("", ""),
        ("com", "com"),
        ("a.b.example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("a.b.example.com.br", "example.com.br"),
        ("a.b.example.de", "example.de"),
        ("a.t.co", "a.t.co"),
        ("4.3.2.1.in-addr.arpa", "2.1.in-addr.arpa"),
        ("1." * 24 + "8.b.d.0.1.0.0.2.ip6.arpa", "8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)
def test_a_zone_is_guessed(name, zone):
    assert names.zone(name) == zone


# --- the cache ---

ANSWER = Found(("192.0.2.1",), 300)
ENTRY = 600
"""Octets of memory of one answer in the cache, about."""


def test_the_least_recently_used_answer_goes_first():
    cache = Cache(2 * ENTRY)
    cache.put(("a", "A"), ANSWER, 10)
    cache.put(("b", "A"), ANSWER, 10)
    assert cache.get(("a", "A"), 0) == ANSWER
    cache.put(("c", "A"), ANSWER, 10)
    assert [cache.get((name, "A"), 0) for name in "abc"] == [ANSWER, None, ANSWER]
    assert cache.get(("c", "A"), 10) is None
    assert len(cache) == 1


def test_a_large_answer_takes_the_room_of_many():
    cache = Cache(70 * ENTRY)
    for number in range(10):
        cache.put((str(number), "A"), ANSWER, 10)
    big = Found((b"x" * 68 * ENTRY,), 300)
    cache.put(("big", "TXT"), big, 10)
    assert 1 < len(cache) < 5
    cache.put(("big", "TXT"), ANSWER, 10)
    cache.put(("huge", "TXT"), Found((b"x" * 80 * ENTRY,), 300), 10)
    assert len(cache) == 0
    for number in range(100):
        cache.put((str(number), "A"), ANSWER, 10)
    assert 60 < len(cache) < 100


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("n{}.example.test", "A", reply("A", rcode=3, authority=[SOA])),
        ("{}.test", "A", reply("A", ("example.test.", 500, "IN", "A", "192.0.2.1"))),
        ("a.long.name.below.{}.example.test", "TXT", reply("TXT", ("example.test.", 5, "IN", "TXT", "v=spf1 mx -all"))),
        ("{}.test", "TXT", reply("TXT", ("example.test.", 500, "IN", "TXT", '"x" ' * 3000))),
        ("{}.test", "MX", reply("MX", ("example.test.", 500, "IN", "MX", *(f"500 mx{n}.test." for n in range(50))))),
        ("{}.test", "TXT", reply("TXT", ("example.test.", 500, "IN", "TXT", *map(str, range(300))))),
    ],
    ids=["no name", "address", "record", "tiny strings", "many hosts", "many texts"],
)
def test_the_room_is_memory(name, kind, answer):
    """Filled with answers as they come from the wire, the cache takes what it was given and not much less."""
    room = 4 << 20
    cache = Cache(room)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        number = 0
        while len(cache) == number:
            cache.put((name.format(number), kind), wire.read(answer[1]), 10.5 + number)
            number += 1
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.7 * room < used < 1.05 * room


# --- circuits ---


def test_a_circuit_opens_lets_one_through_and_closes(now):
    circuits = CircuitBreakers(3, 30)
    for number in range(3):
        assert not circuits.refuses("z")
        circuits.asked("z")
        assert circuits.unanswered("z") is (number == 2)
    circuits.trip("z")
    assert circuits.refuses("z")
    assert not circuits.refuses("y")
    assert circuits.open == 1
    now[0] += 30
    assert not circuits.refuses("z")
    circuits.asked("z")
    assert circuits.refuses("z")
    assert circuits.unanswered("z")
    circuits.trip("z")
    assert circuits.refuses("z")
    now[0] += 30
    circuits.asked("z")
    circuits.abandoned("z")
    assert not circuits.refuses("z")
    circuits.asked("z")
    circuits.answered("z")
    assert not circuits.refuses("z")
    assert (circuits.open, len(circuits)) == (0, 0)


def test_an_answer_between_begins_the_count_anew(now):
    circuits = CircuitBreakers(2, 30)
    for _ in range(5):
        assert not circuits.unanswered("z")
        circuits.answered("z")
    assert not circuits.refuses("z")


def test_circuits_are_bounded(now):
    circuits = CircuitBreakers(1, 30)
    for number in range(MOST + 10):
        circuits.unanswered(str(number))
        circuits.trip(str(number))
    assert len(circuits) == circuits.open == MOST
    assert not circuits.refuses("9")
    assert circuits.refuses("10")


# --- servers ---


def test_the_systems_servers(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# nameserver 192.0.2.9\nsearch a.test\nnameserver 192.0.2.1\nnameserver\nnameserver nonsense\n"
        "  nameserver 2001:DB8::1 # x\nnameserver fe80::1%eth0\n"
    )
    expected = (Endpoint("192.0.2.1", 53), Endpoint("2001:db8::1", 53), Endpoint("fe80::1%eth0", 53))
    assert ResolvConf(path).servers == expected
    path.write_text("search a.test\n")
    assert ResolvConf(path).servers == ResolvConf(tmp_path / "none").servers == (Endpoint("127.0.0.1", 53),)


def test_the_systems_servers_are_read_again_when_their_file_changes(tmp_path, now, logged):
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")
    system = ResolvConf(path)
    path.write_text("nameserver 192.0.2.2\nnameserver 192.0.2.3\n")
    assert not system.changed()
    now[0] += 1
    assert system.changed()
    assert system.servers == (Endpoint("192.0.2.2", 53), Endpoint("192.0.2.3", 53))
    now[0] += 1
    assert not system.changed()
    assert logged == [("name-servers-changed", ["192.0.2.2:53", "192.0.2.3:53"], None)]


def test_a_file_that_names_no_server_changes_nothing_and_is_logged_once(tmp_path, now, logged):
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")
    system = ResolvConf(path)
    kept = ["192.0.2.1:53"]
    for spoil in (lambda: path.write_text("nameserver 192.0.2."), lambda: path.write_text(""), path.unlink, path.mkdir):
        spoil()
        for _ in range(3):
            now[0] += 1
            assert not system.changed()
    assert [(event, servers) for event, servers, _ in logged] == [("name-servers-kept", kept)] * 4
    assert [reason for *_, reason in logged] == [
        "it names no server", "it names no server", "No such file or directory", "Is a directory",
    ]  # fmt: skip
    path.rmdir()
    path.write_text("nameserver 192.0.2.1\n")
    now[0] += 1
    assert not system.changed()
    assert system.servers == (Endpoint("192.0.2.1", 53),)


def test_servers_are_written_with_a_port_or_without():
    settings = load(None, {"MAILMOAT_DNS__SERVERS": "192.0.2.1, 192.0.2.1:5353, ::1, [::1], [::1]:5353"})
    assert [str(server) for server in settings.dns.servers] == [
        "192.0.2.1:53", "192.0.2.1:5353", "[::1]:53", "[::1]:53", "[::1]:5353",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "written", ["dns.example.com", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "[::1", "", ":53", 53]
)
def test_what_is_no_server(written):
    with pytest.raises(ValueError):
        name_server(written)


def test_no_time_at_all_is_a_mistake():
    with pytest.raises(ValueError, match="must be above 0"):
        Settings(dns={"timeout": 0})
