"""Whatever records, names, addresses and answers there are: one result, nothing raised."""

from __future__ import annotations

import asyncio
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doubles.resolver import Zones

from mailmoat import maillog
from mailmoat.mailauth.spf.checker import Checker, CheckRequest, Result, Scope
from mailmoat.resolver import Answer, Budget, Failed, Failure, Found, NoData, NoName

NAMES = ["a.test", "b.test", "c.test", "x.a.test", "1.2.0.192.in-addr.arpa"]
KINDS = ("TXT", "A", "AAAA", "MX", "PTR")
FRAGMENTS = [*NAMES, ".", "%", "%%", "%_", "%-", "%{", "}", "/", "//", "/24", "/33", "//64", ":", "=", "\\", "\\000", "*", "_", "-",
             "x" * 64, ".test", "é", "\0", "\r\n", "\t", "1.2.3.4", "::1", "::", "'", " ", "\ud800", "٣", "@", '"']  # fmt: skip
TERMS = [
    "a",
    "mx",
    "ptr",
    "ip4",
    "ip6",
    "include",
    "exists",
    "all",
    "redirect",
    "exp",
    "x",
    "A",
    "Exp",
    "",
    "moo",
    "ip",
]
VERSIONS = ["v=spf1 "] * 5 + ["spf2.0/pra ", "spf2.0/mfrom,pra ", "spf2./x ", "v=spf1"]
DIGITS = ["", "0", "1", "2", "99", "9" * 30, "٣"]


class Stranger(Random):
    """Makes up whatever may come from outside."""

    def some(self, make, most: int) -> list:
        return [make() for _ in range(self.randrange(most + 1))]

    def fragment(self) -> str:
        if self.random() < 0.5:
            return self.choice(FRAGMENTS)
        letter, digits = self.choice("slodiphcrtvSLODPHCRTVxz"), self.choice(DIGITS)
        reverse, delimiters = self.choice(["", "r", "R"]), self.choice(["", ".", "-+", "/_=,", "x", "\\", "]", "^-"])
        return f"%{{{letter}{digits}{reverse}{delimiters}}}"

    def text(self) -> str:
        return "".join(self.some(self.fragment, 5))

    def term(self) -> str:
        if self.random() < 0.3:
            return self.choice(
                ["a", "mx", "ptr", "include:b.test", "exists:%{p}.test", "redirect=c.test", "exp=c.test", "-all"]
            )
        sign = self.choice(["", "", "+", "-", "~", "?", "!"])
        return f"{sign}{self.choice(TERMS)}{self.choice(['', ':', '=', '/', ':='])}{self.text()}"

    def octets(self) -> bytes:
        text = self.choice(VERSIONS) + " ".join(self.some(self.term, 4))
        octets = text.encode("utf-8", "surrogatepass") if self.random() < 0.9 else self.randbytes(30)
        return self.choice([octets, octets, b""])

    def name(self) -> str:
        return self.choice([*NAMES, "", "\\046.test", "x" * 70, "é.test", "*.a.test", self.text()])

    def record(self, kind: str) -> object:
        match kind:
            case "TXT":
                return self.octets()
            case "A":
                return self.choice(["192.0.2.1", "192.0.2.9"])
            case "AAAA":
                return self.choice(["2001:db8::1", "::ffff:192.0.2.1"])
            case "MX":
                return self.randrange(65_536), self.name()
        return self.name()

    def answer(self, kind: str) -> Answer:
        if self.random() < 0.2:
            return self.choice([NoName(1.0), NoData(1.0), *(Failed(reason) for reason in Failure)])
        count = 1 if kind == "TXT" and self.random() < 0.8 else self.randrange(1, 13)
        return Found(tuple(self.record(kind) for _ in range(count)), 1.0)

    def zones(self) -> dict[tuple[str, str], Answer]:
        return {(name, kind): self.answer(kind) for name in NAMES for kind in KINDS if self.random() < 0.8}

    def request(self) -> CheckRequest:
        ip = self.choice(["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "::ffff:192.0.2.1", "%", "list", "", self.text()])
        domain = self.choice(["a.test", "a.test", "A.TEST.", "x.a.test", "[192.0.2.1]", self.text()])
        mailbox = self.choice([f"{self.text()}@{domain}", f"someone@{domain}", domain])
        return CheckRequest(ip, self.choice(list(Scope)), mailbox, self.text(), self.text())


def evaluate(answered, request: CheckRequest, waiting: bool) -> Result:
    known = Zones()
    known.answers = answered

    class Waiting(Zones):
        def cached(self, name, kind):
            return None

        async def query(self, name, kind, budget):
            return known.cached(name, kind)

    async def judge() -> Result:
        outcome = Checker(Waiting() if waiting else known).check(request, Budget(100, 20), [])
        return outcome if isinstance(outcome, Result) else await outcome

    return asyncio.run(judge())


@settings(max_examples=1000, deadline=2000)
@given(st.integers(0, 2**64))
def test_anything_is_one_result(seed):
    stranger = Stranger(seed)
    answered, request = stranger.zones(), stranger.request()
    raised = []
    event, maillog.event = maillog.event, lambda name, **fields: raised.append(fields)
    try:
        known, awaited = (evaluate(answered, request, waiting) for waiting in (False, True))
    finally:
        maillog.event = event
    assert raised == []
    assert (known.status, known.mechanism, known.problem) == (awaited.status, awaited.mechanism, awaited.problem)
    for words in (known.reason, known.explanation, known.domain, known.mechanism, known.problem):
        assert words.isascii()
        assert words == "" or words.isprintable()
        assert len(words) <= 1000
