"""Answers of a name server that wants its reader to work: well-formed, up to 64 KiB, each kind in any size.

    for name, make in HOSTILE.items():
        octets = make(65_535)       # a message of about that many octets, a response to QUESTION or its like

`python -m tests.hostileanswers` prints what reading them costs, in milliseconds of CPU by size, beside a plain answer.
"""

from __future__ import annotations

import struct
import time

from mailmoat.resolver import wire

WHOLE = 65_535
TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "OPT": 41}
ASKED = b"\xc0\x0c"
"""The name that was asked for, by pointer."""
LONG = b"\x01x" * 120 + b"\0"


def question(kind: str) -> bytes:
    return b"\x07example\x04test\0" + struct.pack("!HH", TYPES[kind], 1)


def message(kind: str, answers=(), authorities=(), others=()) -> bytes:
    sections = [list(section) for section in (answers, authorities, others)]
    counts = map(len, sections)
    header = struct.pack("!HHHHHH", 0, 0x8180, 1, *counts)
    return header + question(kind) + b"".join(record for section in sections for record in section)


def record(kind: str, octets: bytes, owner: bytes = ASKED) -> bytes:
    return owner + struct.pack("!HHIH", TYPES[kind], 1, 300, len(octets)) + octets


def many(size: int, *made: bytes) -> list[bytes]:
    """So many records that they fill a message of this size."""
    return [made[number % len(made)] for number in range(max(1, (size - 40) // (sum(map(len, made)) // len(made))))]


def plain(_: int = 0) -> bytes:
    """What mail brings: one record of a hundred octets."""
    text = b"v=spf1 ip4:192.0.2.0/24 include:_spf.example.test include:_spf.other.test ip4:198.51.100.0/24 mx -all"
    return message("TXT", [record("TXT", bytes([len(text)]) + text)])


def long_names(size: int) -> bytes:
    return message(
        "MX", (record("MX", struct.pack("!H", n % 65_536) + LONG) for n in range(max(1, (size - 40) // 255)))
    )


def distinct_names(size: int) -> bytes:
    """Names of 120 labels by pointer, each with a first label of its own."""
    first = record("MX", struct.pack("!H", 0) + LONG)
    at = len(message("MX")) + 14 + 4
    hosts = (struct.pack("!HB4sH", 1, 4, b"%04x" % n, 0xC000 | at) for n in range(max(1, (size - 300) // 21)))
    return message("MX", [first, *(record("MX", host) for host in hosts)])


def unasked_records(size: int) -> bytes:
    return message("A", [record("A", bytes(4)), *many(size, record("MX", b"\0\1" + LONG))])


def tiny_unasked_records(size: int) -> bytes:
    return message("A", [record("A", bytes(4))], [], many(size, record("TXT", b"\0", b"\0")))


def tiny_strings(size: int) -> bytes:
    return message("TXT", [record("TXT", b"\x01x" * max(1, (size - 60) // 2))])


def many_texts(size: int) -> bytes:
    texts = (record("TXT", b"\x04%04x" % n) for n in range(max(1, (size - 40) // 17)))
    return message("TXT", texts)


def many_addresses(size: int) -> bytes:
    return message("A", (record("A", struct.pack("!I", n)) for n in range(max(1, (size - 40) // 16))))


def alias_chain(size: int) -> bytes:
    """CNAMEs that lead from one to the next, the last first."""
    count = max(1, (size - 40) // 26)
    name = lambda n: b"\x05%05x" % n + b"\0"  # noqa: E731
    links = [record("CNAME", name(n + 1), name(n)) for n in range(count)]
    return message("A", [*reversed(links), record("CNAME", name(0))])


def pointer_chain(size: int) -> bytes:
    """Owners that lead through thousands of pointers to the name that was asked for."""
    at = len(message("A")) + 12
    links = b"".join(
        struct.pack("!H", 0xC000 | (12 if n == 0 else at + 2 * (n - 1))) for n in range(min(8000, size // 4))
    )
    owner = struct.pack("!H", 0xC000 | min(0x3FFF, at + len(links) - 2))
    carrier = record("NS", links)
    return message("A", [carrier, *many(size - len(carrier), record("A", bytes(4), owner))])


def long_owners(size: int) -> bytes:
    """Names that are the asked one but for their last label."""
    return message("A", many(size, record("A", bytes(4), b"\x01x" * 120 + b"\x01y\0")))


def options(size: int) -> bytes:
    """An OPT record full of empty options, and more OPT records."""
    inner = struct.pack("!HH", 15, 2) + b"\0\0"
    opt = b"\0" + struct.pack("!HHIH", TYPES["OPT"], 1232, 0, 0)
    full = b"\0" + struct.pack("!HHIH", TYPES["OPT"], 1232, 0, len(inner) * (size // 12)) + inner * (size // 12)
    return message("A", [], [], [full, *many(size - len(full), opt)])


def soas(size: int) -> bytes:
    return message("A", [], many(size, record("SOA", LONG + ASKED + bytes(20), LONG)))


HOSTILE = {
    make.__name__: make
    for make in (
        long_names, distinct_names, unasked_records, tiny_unasked_records, tiny_strings, many_texts, many_addresses, alias_chain,
        pointer_chain, long_owners, options, soas,
    )
}  # fmt: skip


def seconds(octets: bytes, times: int = 3, repeat: int = 1) -> float:
    """CPU seconds of one reading, the least of some; each the mean of `repeat`."""

    def some() -> float:
        begun = time.process_time()
        for _ in range(repeat):
            wire.read(octets)
        return (time.process_time() - begun) / repeat

    return min(some() for _ in range(times))


def curve() -> None:
    print(f"plain answer: {1e6 * seconds(plain(), repeat=3000):.1f} us")
    sizes = (512, 2048, 6144, 16_384, WHOLE)
    print(f"{'ms by octets':24}" + "".join(f"{size:>10}" for size in sizes))
    for name, make in HOSTILE.items():
        print(f"{name:24}" + "".join(f"{1e3 * seconds(make(size)[:WHOLE]):10.3f}" for size in sizes))


if __name__ == "__main__":
    curve()
