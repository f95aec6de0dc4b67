"""A real name server on 127.0.0.1 (or `host=`), UDP and TCP on one port, in a thread of its own; it can misbehave in every way we know.

    with NameServer('''
        example.test            TXT   "v=spf1 mx -all"
        example.test      60    MX    10 mx.example.test
        mx.example.test         A     192.0.2.1
        alias.example.test      CNAME example.test
    ''') as server:
        server.add("big.test", "TXT", b"x" * 64_000, ttl=0)     # strings of 255 octets are made of it
        server.set("dead.test", fault="drop")                   # the name and all below it
        server.set("", delay=0.02)                              # all names
        server.sign("secure.test")                              # AD is set where all records are at such names or below them
        ... server.address == "127.0.0.1:port"
        assert server.questions == [("example.test", "TXT")]    # lower case, in order of arrival, UDP and TCP

As a dict: `{"example.test": {"TXT": ["v=spf1 -all"], "MX": [(10, "mx.example.test")], "A": ["192.0.2.1"]}}`. A TXT value that is a tuple
is one record with these strings. Names are in presentation form (`\\DDD`, `\\.`). A name that is neither there nor above one that is gets
NXDOMAIN, others NODATA, with an SOA whose minimum is `negative_ttl` (None: without). CNAMEs are followed, a loop is given once round.
Settings of names may be changed while it runs; those of the longest matching name count.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Iterable, Mapping
from typing import Literal, Self

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Value = str | bytes | tuple
Fault = Literal[
    "drop", "servfail", "refused", "formerr", "bogus", "garbage", "malformed", "wrong-id", "wrong-question", "truncate", "lame",
    "short-tcp",
]  # fmt: skip
"""garbage: octets that are no message; malformed: id and question are right, the rest is cut; truncate: TC over UDP, whole over TCP;
lame: a referral; short-tcp: as truncate, and over TCP the connection ends amid the answer."""

RCODES = {
    "servfail": dns.rcode.SERVFAIL,
    "bogus": dns.rcode.SERVFAIL,
    "refused": dns.rcode.REFUSED,
    "formerr": dns.rcode.FORMERR,
}
WHOLE = 65_535


def records(kind: str, value: Value) -> str:
    """One record's value as zone text."""
    match value:
        case str() | bytes() if kind == "TXT":
            octets = value.encode() if isinstance(value, str) else value
            return records(kind, tuple(octets[at : at + 255] for at in range(0, len(octets), 255)) or (b"",))
        case tuple() if kind == "TXT":
            strings = (text.encode() if isinstance(text, str) else text for text in value)
            return " ".join('"' + "".join(f"\\{octet:03d}" for octet in text) + '"' for text in strings)
        case (int(preference), str(host)):
            return f"{preference} {host.rstrip('.')}."
        case (int(usage), int(selector), int(matching), bytes(octets)):
            return f"{usage} {selector} {matching} {octets.hex()}"
        case str() if kind in {"PTR", "CNAME"}:
            return f"{value.rstrip('.')}."
    return str(value)


class NameServer:
    def __init__(
        self,
        zones: str | Mapping[str, Mapping[str, Iterable[Value]]] = "",
        *,
        tcp: bool = True,
        negative_ttl: int | None = 60,
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self.questions: list[tuple[str, str]] = []
        self.tcp_questions: list[tuple[str, str]] = []
        self.negative_ttl = negative_ttl
        self.port = 0
        self._tcp = tcp
        self._names: dict[dns.name.Name, dict[str, dns.rrset.RRset]] = {}
        self._faults: dict[dns.name.Name, Fault | None] = {}
        self._timers: dict[dns.name.Name, float] = {}
        self._answers: dict[bytes, tuple[tuple[str, str], float, bytes | None]] = {}
        self._signed: dict[dns.name.Name, bool] = {}
        if isinstance(zones, str):
            self._read(zones)
        else:
            for name, kinds in zones.items():
                for kind, values in kinds.items():
                    self.add(name, kind, *values)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def add(self, name: str, kind: str, *values: Value, ttl: int = 300) -> None:
        """These records, with those of the kind that are there; without values the name alone."""
        owner = dns.name.from_text(name).canonicalize()
        kinds = self._names.setdefault(owner, {})
        for value in values:
            self._add(owner, kinds, kind, ttl, records(kind, value))
        self._answers.clear()

    def clear(self, name: str) -> None:
        """Forget the name's records."""
        self._names.pop(dns.name.from_text(name).canonicalize(), None)
        self._answers.clear()

    def sign(self, *zones: str) -> None:
        """Answer as a validating resolver would for these zones, without any signatures."""
        self._signed.update((dns.name.from_text(zone).canonicalize(), True) for zone in zones)
        self._answers.clear()

    def set(self, name: str, *, fault: Fault | None = None, delay: float = 0.0) -> None:
        """How questions for this name, and for those below it, are treated from now on; "" is all."""
        owner = dns.name.from_text(name).canonicalize()
        self._faults[owner] = fault
        self._timers[owner] = delay
        self._answers.clear()

    def _read(self, text: str) -> None:
        for line in filter(str.strip, text.splitlines()):
            name, *rest = line.split(None, 1)
            ttl, _, after = rest[0].partition(" ")
            kind, _, value = (after.strip() if ttl.isdecimal() else rest[0]).partition(" ")
            owner = dns.name.from_text(name).canonicalize()
            kinds = self._names.setdefault(owner, {})
            self._add(owner, kinds, kind, int(ttl) if ttl.isdecimal() else 300, value.strip())

    @staticmethod
    def _add(owner: dns.name.Name, kinds: dict[str, dns.rrset.RRset], kind: str, ttl: int, value: str) -> None:
        rdata = dns.rdata.from_text(dns.rdataclass.IN, kind, value, origin=dns.name.root, relativize=False)
        kinds.setdefault(kind, dns.rrset.RRset(owner, dns.rdataclass.IN, rdata.rdtype)).add(rdata, ttl)

    # --- running ---

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="name server", daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        while True:
            udp, self.datagrams = await self._loop.create_datagram_endpoint(
                lambda: Datagrams(self), local_addr=(self.host, 0)
            )
            self.port = udp.get_extra_info("sockname")[1]
            if not self._tcp:
                break
            try:
                tcp = await asyncio.start_server(self._conversation, self.host, self.port)
                break
            except OSError:
                udp.close()
        self._ready.set()
        await self._stop.wait()
        udp.close()
        if self._tcp:
            tcp.close()
            for writer in self._writers:
                writer.transport.abort()

    async def _conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                delay, answer = self.treat(await reader.readexactly(length), tcp=True)
                await asyncio.sleep(delay)
                if answer is None:
                    continue
                writer.write(answer)
                if len(answer) != 2 + struct.unpack("!H", answer[:2])[0]:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    # --- answering ---

    def treat(self, query: bytes, *, tcp: bool) -> tuple[float, bytes | None]:
        """(delay, what to send if anything) for the octets of a question; the same question is worked out once."""
        key = bytes([tcp]) + query[2:]
        known = self._answers.get(key)
        if known is None:
            known = self._answers[key] = self._work_out(query, tcp=tcp)
        question, delay, answer = known
        self.questions.append(question)
        if tcp:
            self.tcp_questions.append(question)
        if answer is None:
            return delay, None
        if self._fault(dns.name.from_text(question[0])) == "wrong-id":
            query = bytes([query[0] ^ 0x55, query[1]])
        answer = query[:2] + answer[2:]
        if not tcp:
            return delay, answer
        short = self._fault(dns.name.from_text(question[0])) == "short-tcp"
        return delay, struct.pack("!H", len(answer)) + (answer[: len(answer) // 2] if short else answer)

    def _of(self, table: dict, name: dns.name.Name, default: object) -> object:
        while True:
            if name in table:
                return table[name]
            if name == dns.name.root:
                return default
            name = name.parent()

    def _fault(self, name: dns.name.Name) -> Fault | None:
        return self._of(self._faults, name.canonicalize(), None)

    def _work_out(self, octets: bytes, *, tcp: bool) -> tuple[tuple[str, str], float, bytes | None]:
        query = dns.message.from_wire(octets)
        (asked,) = query.question
        name = asked.name.canonicalize()
        question = (
            name.to_text(omit_final_dot=True) if name != dns.name.root else "",
            dns.rdatatype.to_text(asked.rdtype),
        )
        delay = self._of(self._timers, name, 0.0)
        fault = self._fault(name)
        if fault == "drop":
            return question, delay, None
        response = dns.message.make_response(query, recursion_available=fault != "lame")
        if fault in RCODES:
            response.set_rcode(RCODES[fault])
        elif fault == "lame":
            response.authority.append(dns.rrset.from_text(name, 300, "IN", "NS", "elsewhere.test."))
        else:
            self._answer(response, name, question[1])
            owners = [name, *(found.name for found in response.answer)]
            if all(self._of(self._signed, owner, False) for owner in owners):
                response.flags |= dns.flags.AD
        if fault == "bogus":
            response.use_edns(0, options=[dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS, "no good")])
        if fault == "wrong-question":
            response.question[0].name = dns.name.from_text("other.test")
        wire = response.to_wire(max_size=WHOLE, want_shuffle=False)
        if fault == "garbage":
            wire = wire[:2] + b"\xff" * 30
        elif fault == "malformed":
            wire = wire[:-3] if response.answer else wire[:6] + b"\x00\x07" + wire[8:]
        if not tcp and (fault in {"truncate", "short-tcp"} or len(wire) > (query.payload or 512)):
            response.answer.clear()
            response.authority.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        return question, delay, wire

    def _answer(self, response: dns.message.Message, name: dns.name.Name, kind: str) -> None:
        seen = set()
        while name not in seen:
            seen.add(name)
            kinds = self._names.get(name)
            if kinds is None and not any(other.is_subdomain(name) for other in self._names):
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            if kinds and kind in kinds:
                response.answer.append(kinds[kind])
                return
            if not kinds or "CNAME" not in kinds:
                break
            response.answer.append(kinds["CNAME"])
            name = kinds["CNAME"][0].target.canonicalize()
        else:
            return
        if self.negative_ttl is not None:
            zone = name if name == dns.name.root else dns.name.Name(name.labels[-2:])
            soa = f"ns.test. root.test. 1 3600 600 86400 {self.negative_ttl}"
            response.authority.append(dns.rrset.from_text(zone, 3600, "IN", "SOA", soa))


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, query: bytes, address: tuple[str, int]) -> None:
        self.asker = address
        try:
            delay, answer = self.server.treat(query, tcp=False)
        except (dns.exception.DNSException, ValueError):
            return
        if answer is None:
            return
        if delay:
            self.server._loop.call_later(delay, self.transport.sendto, answer, address)
        else:
            self.transport.sendto(answer, address)
