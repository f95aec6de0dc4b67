"""Sender ID against a real name server: records by scope, results, and records that mean harm."""

from __future__ import annotations

import asyncio

import pytest
from tests.doubles.name_server import NameServer

from mailmoat.mailauth.spf.checker import Checker, CheckRequest, Result, Scope, Status
from mailmoat.resolver import Budget
from mailmoat.resolver.resolver import DnsResolver
from mailmoat.settings.sections.dns import DnsSettings

row = pytest.mark.row

CLIENT = "192.0.2.1"
ZONE = """
    plain.test      TXT "v=spf1 ip4:192.0.2.1 -all"
    both.test       TXT "v=spf1 -all"
    both.test       TXT "spf2.0/pra ip4:192.0.2.1 -all"
    envelope.test   TXT "spf2.0/mfrom ip4:192.0.2.1 -all"
    two.test        TXT "spf2.0/pra -all"
    two.test        TXT "spf2.0/mfrom,pra ~all"
    minor.test      TXT "spf2.7/pra,fubar ip4:192.0.2.1 -all"
    foreign.test    TXT "spf2.0/prattle -all"
    soft.test       TXT "spf2.0/pra ~all"
    unsaid.test     TXT "spf2.0/pra ?all"
    wrong.test      TXT "spf2.0/pra moo"
    nothing.test    A   192.0.2.9
    circle.test     CNAME round.test
    round.test      CNAME circle.test
    terms.test      TXT "v=spf1 a:circle.test mx:circle.test ip4:192.0.2.1 -all"
    silent.test     TXT "v=spf1 -all"
    bogus.test      TXT "v=spf1 -all"
    0.deep.test     TXT "v=spf1 ip4:192.0.2.1 -all"
"""


@pytest.fixture(scope="module")
def judge():
    """`judge(domain, scope)` -> result, with nothing in the cache."""
    with NameServer(ZONE) as server:
        for depth in range(1, 12):
            server.add(f"{depth}.deep.test", "TXT", f"v=spf1 include:{depth - 1}.deep.test -all")
        server.add("large.test", "TXT", b"v=spf1 " + b"a " * 32_000)
        server.add("verbose.test", "TXT", b"v=spf1 -all exp=why.verbose.test")
        server.add("why.verbose.test", "TXT", b"x" * 64_000)
        server.add(
            "crowded.test", "TXT", *(f"verification {number}" for number in range(200)), "v=spf1 ip4:192.0.2.1 -all"
        )
        server.set("silent.test", fault="drop")
        server.set("bogus.test", fault="bogus")
        settings = DnsSettings(servers=server.address, timeout=0.3, lifetime=0.5)

        async def check(domain: str, scope: Scope) -> Result:
            resolver = DnsResolver(settings)
            try:
                request = CheckRequest(CLIENT, scope, f"someone@{domain}", "client.test", "receiver.test")
                return await Checker(resolver).check(request, Budget(40, 20))
            finally:
                await resolver.close()

        def judge(domain: str, scope: Scope = Scope.PRA) -> Result:
            return asyncio.run(check(domain, scope))

        yield judge


@row("sid-03")
@pytest.mark.parametrize(
    ("domain", "pra", "mfrom"),
    [
        ("plain.test", Status.PASS, Status.PASS),
        ("both.test", Status.PASS, Status.FAIL),
        ("envelope.test", Status.NONE, Status.PASS),
        ("two.test", Status.PERM_ERROR, Status.SOFT_FAIL),
        ("minor.test", Status.PASS, Status.NONE),
        ("foreign.test", Status.NONE, Status.NONE),
    ],
)
def test_sid_03_records_by_scope(judge, domain, pra, mfrom):
    assert [judge(domain, scope).status for scope in (Scope.PRA, Scope.MFROM)] == [pra, mfrom]


@row("sid-04")
@pytest.mark.parametrize(
    ("domain", "status", "reason"),
    [
        ("plain.test", Status.PASS, "Permitted"),
        ("soft.test", Status.SOFT_FAIL, "Probably Not Permitted"),
        ("unsaid.test", Status.NEUTRAL, "Neither Permitted Nor Denied"),
        ("verbose.test", Status.FAIL, "Not Permitted"),
        ("gone.test", Status.FAIL, "Domain Does Not Exist"),
        ("nothing.test", Status.NONE, "No Record"),
        ("circle.test", Status.NONE, "No Record"),
        ("wrong.test", Status.PERM_ERROR, "Invalid Record"),
        ("silent.test", Status.TEMP_ERROR, "Temporary DNS Error"),
        ("bogus.test", Status.TEMP_ERROR, "Temporary DNS Error"),
    ],
)
def test_sid_04_results(judge, domain, status, reason):
    result = judge(domain)
    assert (result.status, result.reason, result.explanation) == (status, reason, "")


@row("spf-03")
@pytest.mark.parametrize(
    ("domain", "status", "problem"),
    [
        ("10.deep.test", Status.PASS, ""),
        ("11.deep.test", Status.PERM_ERROR, "Too many DNS lookups"),
        ("large.test", Status.PERM_ERROR, "Record of 64000 octets, more than 10000: large.test"),
        ("crowded.test", Status.PASS, ""),
        ("terms.test", Status.PASS, ""),
    ],
)
def test_spf_03_records_that_mean_harm(judge, domain, status, problem):
    result = judge(domain)
    assert (result.status, result.problem) == (status, problem)
