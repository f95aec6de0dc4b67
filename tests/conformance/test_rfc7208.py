"""The openspf test suite for RFC 7208, release 2014.04, asked of a real name server over UDP.

The suite lies in the source distribution of pyspf 2.0.14: `MAILMOAT_TEST_SPF_SUITE` names that archive, or `rfc7208-tests.yml`
unpacked; else it is looked for in `.venv/spf`. Where a case allows several results any of them will do: a real answer holds equal
records once and its records in any order, so that the preferred one cannot always be had.
"""

from __future__ import annotations

import asyncio
import os
import tarfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from tests.doubles.name_server import NameServer
from tests.needs import missing

from mailmoat.mailauth.spf.checker import Checker, CheckRequest, Scope, Status
from mailmoat.resolver import Budget
from mailmoat.resolver.resolver import DnsResolver
from mailmoat.settings.sections.dns import DnsSettings

ARCHIVE = "pyspf-2.0.14.tar.gz"
MEMBER = "pyspf-2.0.14/test/rfc7208-tests.yml"
CASES = 203

row = pytest.mark.row


def suite() -> Path:
    """Where the suite is, or should be."""
    named = os.environ.get("MAILMOAT_TEST_SPF_SUITE")
    return Path(named) if named else Path(__file__).parents[2] / ".venv" / "spf" / ARCHIVE


@cache
def scenarios() -> list[dict]:
    """Its scenarios: zones and cases; none when it, or what reads it, is not here."""
    path = suite()
    try:
        import yaml
    except ImportError:
        return []
    if not path.is_file():
        return []
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            text = archive.extractfile(MEMBER).read()
    else:
        text = path.read_bytes()
    return list(yaml.safe_load_all(text))


def cases() -> dict[str, dict]:
    return {name: case for scenario in scenarios() for name, case in scenario["tests"].items()}


def name_server(zones: dict[str, list]) -> NameServer:
    """Answers as a scenario says; TXT records are made of SPF records where a name has no others, as the suite asks."""
    server = NameServer()
    for name, entries in zones.items():
        records = [record for entry in entries if entry != "TIMEOUT" for record in entry.items()]
        silent = "TIMEOUT" in entries
        kinds = {kind for kind, _ in records}
        server.add(name, "TXT")
        for kind, value in records:
            if kind == "SPF" and "TXT" not in kinds:
                server.add(name, "TXT", tuple(value or [""]) if isinstance(value, list) else value)
            elif kind != "SPF" and value != "NONE":
                server.add(name, kind, tuple(value) if isinstance(value, list) else value)
                silent = silent and kind != "TXT"
        server.set(name, fault="drop" if silent else None)
    return server


async def judge(scenario: dict, port: int) -> dict[str, object]:
    """All cases of a scenario at once, each with nothing in the cache."""
    settings = DnsSettings(servers=f"127.0.0.1:{port}", timeout=2, lifetime=4, failures=1000)

    async def one(case: dict) -> object:
        resolver = DnsResolver(settings)
        mailbox = case["mailfrom"] or f"postmaster@{case['helo']}"
        request = CheckRequest(str(case["host"]), Scope.MFROM, mailbox, case["helo"], "receiver.test")
        outcome = Checker(resolver).check(request, Budget(40, 20))
        try:
            return outcome if hasattr(outcome, "status") else await outcome
        finally:
            await resolver.close()

    results = await asyncio.gather(*map(one, scenario["tests"].values()))
    return dict(zip(scenario["tests"], results, strict=True))


@pytest.fixture(scope="module")
def results() -> dict[str, object]:
    """The result of every case, all scenarios at once: some have to wait for answers that never come."""
    with ExitStack() as stack:
        ports = [stack.enter_context(name_server(scenario["zonedata"])).port for scenario in scenarios()]

        async def judge_all() -> list[dict[str, object]]:
            return await asyncio.gather(*map(judge, scenarios(), ports))

        return {name: result for found in asyncio.run(judge_all()) for name, result in found.items()}


def test_the_suite_is_whole():
    if not scenarios():
        missing(
            f"fetch the SPF suite to {suite()}: pip download --no-deps --no-binary pyspf -d .venv/spf pyspf==2.0.14"
        )
    assert len(cases()) == CASES


@row("spf-01", "spf-02", "spf-03", "spf-04", "spf-05", "spf-06")
@pytest.mark.parametrize("name", sorted(cases()))
def test_spf_01_02_03_04_05_06_suite(name, results):
    case, result = cases()[name], results[name]
    wanted = case["result"]
    assert result.status.result in (wanted if isinstance(wanted, list) else [wanted]), result
    if "explanation" in case and result.status is Status.FAIL:
        assert (result.explanation or "DEFAULT") == case["explanation"]
