"""`mailmoat spf wizard`: what it proposes, what it warns of, what it asks; the DNS is a real server on loopback."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.doubles.name_server import NameServer
from tests.doubles.resolver import FakeResolver
from typer.testing import CliRunner

from mailmoat.cli import application
from mailmoat.mailauth.publish import wizard
from mailmoat.mailauth.publish.published import look_up, reach
from mailmoat.mailauth.publish.wizard import Choices
from mailmoat.mailauth.spf.checker import Checker, CheckRequest, Scope, Status
from mailmoat.resolver import Budget

# --- what is published


@pytest.mark.parametrize(
    ("terms", "choices"),
    [
        ("mx -all", Choices(mx=True, policy="-all")),
        ("", Choices(mx=False, policy="?all")),
        ("+A all", Choices(mx=False, a=True, policy="+all")),
        ("ip4:192.0.2.1 IP6:2001:DB8::/32 ip4:192.0.2.1 ~all",
         Choices(mx=False, networks=("192.0.2.1", "2001:db8::/32"))),
        ("a:Mail.Example.com include:_spf.example.net ?all",
         Choices(mx=False, hosts=("mail.example.com",), includes=("_spf.example.net",), policy="?all")),
        ("a/24 mx:b.example -ip4:10.0.0.1 exists:%{i}.x.example ptr include:%{d}.y exp=e.example ip4:x ~all",
         Choices(mx=False, others=("a/24", "mx:b.example", "-ip4:10.0.0.1", "exists:%{i}.x.example", "ptr", "include:%{d}.y",
                                   "exp=e.example", "ip4:x"))),
        ("redirect=_spf.example.com", Choices(mx=False, includes=("_spf.example.com",))),
        ("-all redirect=_spf.example.com", Choices(mx=False, policy="-all")),
    ],
)  # fmt: skip
def test_a_present_record_is_read(terms, choices):
    assert wizard.read(terms) == choices


def test_records_are_composed():
    chosen = Choices(
        mx=True, a=True, networks=("192.0.2.0/24", "2001:db8::1"), hosts=("h.example.com",), includes=("i.example.com",),
        others=("exp=e.example", "ptr"), policy="-all",
    )  # fmt: skip
    terms = "ip4:192.0.2.0/24 ip6:2001:db8::1 mx a a:h.example.com include:i.example.com ptr -all exp=e.example"
    assert wizard.compose(chosen, Scope.MFROM) == f"v=spf1 {terms}"
    assert wizard.compose(chosen, Scope.PRA) == f"spf2.0/pra {terms}"


def test_a_long_record_is_published_in_strings():
    record = wizard.compose(Choices(networks=tuple(f"192.0.{number}.0/24" for number in range(40))), Scope.MFROM)
    parts = wizard.strings(record)
    assert len(parts) == 3
    assert all(len(part) <= 255 for part in parts)
    assert "".join(parts) == record
    assert wizard.zone_line("a.test", record) == "a.test. IN TXT " + " ".join(f'"{part}"' for part in parts)
    assert wizard.zone_line("a.test", 'x="\\') == 'a.test. IN TXT "x=\\"\\\\"'


@pytest.mark.parametrize("text", ["192.0.2.256", "10.0.0.0/33", "host.example.com", "", "::g"])
def test_what_is_no_network(text):
    with pytest.raises(ValueError, match="no address or network"):
        wizard.network(text)


@pytest.mark.parametrize("text", ["x", "", "a b.test", "192.0.2.1", "[192.0.2.1]", "a..test", "x" * 64 + ".test"])
def test_what_is_no_domain(text):
    with pytest.raises(ValueError, match="is no domain"):
        wizard.domain_name(text)


def test_domains_and_networks_have_one_form():
    assert wizard.domain_name(" Bücher.Example. ") == "xn--bcher-kva.example"
    assert wizard.domain_name("_spf.Example.com") == "_spf.example.com"
    assert wizard.network("10.1.2.3/8") == "10.0.0.0/8"
    assert wizard.network("2001:DB8::1/128") == "2001:db8::1"


# --- what the DNS says


def lookups(record: str, zones: FakeResolver, scope: Scope = Scope.MFROM):
    return asyncio.run(reach(zones, "a.test", record, scope, Budget(300, 20)))


def chain(length: int) -> FakeResolver:
    zones = FakeResolver()
    for number in range(1, length + 1):
        following = f"include:{number + 1}.test" if number < length else "ip4:192.0.2.1"
        zones.add(f"{number}.test", "TXT", f"v=spf1 {following} -all")
    return zones


def test_lookups_are_counted_through_includes():
    assert lookups("v=spf1 ip4:192.0.2.1 -all", chain(0)).lookups == 0
    assert lookups("v=spf1 include:1.test -all", chain(9)).lookups == 9
    assert lookups("v=spf1 include:1.test include:1.test ptr exists:%{i}.x.test -all", chain(4)).lookups == 10


def test_the_count_is_that_of_a_check():
    """Ten are counted where a check passes, eleven where it ends in an error."""
    for depth, status in ((10, Status.FAIL), (11, Status.PERM_ERROR)):
        zones = chain(depth)
        zones.add("a.test", "TXT", "v=spf1 include:1.test -all")
        request = CheckRequest("203.0.113.1", Scope.MFROM, "x@a.test", "h.test", "r.test")

        async def check(zones=zones, request=request):
            return await Checker(zones).check(request, Budget(100, 20))

        assert asyncio.run(check()).status is status
        assert lookups("v=spf1 include:1.test -all", zones).lookups == depth


def test_a_redirect_counts_where_it_is_followed():
    assert lookups("v=spf1 redirect=1.test", chain(1)).lookups == 1
    assert lookups("v=spf1 -all redirect=1.test", chain(1)).lookups == 0


def test_the_scope_chooses_what_is_included():
    zones = chain(1)
    zones.add("1.test", "TXT", "spf2.0/pra a a a -all")
    zones.add("1.test", "A", "192.0.2.1")
    assert lookups("v=spf1 include:1.test", zones).lookups == 1
    assert lookups("spf2.0/pra include:1.test", zones, Scope.PRA).lookups == 4


def test_circles_and_floods_end():
    zones = FakeResolver()
    zones.add("b.test", "TXT", "v=spf1 include:a.test")
    zones.add("a.test", "TXT", "v=spf1 include:b.test")
    found = lookups("v=spf1 include:b.test", zones)
    assert found.cut
    assert found.problems == ["`include:a.test`: a.test -> b.test -> a.test goes round in a circle."]
    zones.add("wide.test", "TXT", "v=spf1 " + "exists:x.test " * 5000)
    assert lookups("v=spf1 include:wide.test", zones).lookups == 100


def test_what_is_wrong_along_the_way_is_told():
    zones = FakeResolver()
    zones.add("two.test", "TXT", "v=spf1 -all", "v=spf1 ~all")
    zones.add("many.test", "MX", *((1, f"{number}.many.test") for number in range(11)))
    zones.set("slow.test", fault="servfail")
    record = "v=spf1 include:two.test include:none.test include:slow.test mx:many.test a:none.test a mx -all"
    assert lookups(record, zones).problems == [
        "`include:two.test`: two.test has 2 records where one is allowed: v=spf1, v=spf1: checks end in PermError.",
        "`include:none.test`: none.test has no record: checks end in PermError.",
        "TXT of slow.test could not be looked up (the name server failed): the count may be too low.",
        "`mx:many.test`: many.test has 11 MX hosts, more than 10: checks end in PermError.",
        "`a:none.test`: none.test has no address.",
        "`a`: a.test has no address.",
        "3 terms find nothing, and only 2 may: checks may end in PermError.",
    ]


def test_a_domain_is_surveyed():
    zones = FakeResolver()
    zones.add("a.test", "A", "192.0.2.1")
    zones.add("a.test", "AAAA", "2001:db8::1")
    zones.add("a.test", "MX", (20, "two.a.test"), (10, "one.a.test"))
    zones.add("a.test", "TXT", "verification", "v=spf1 mx -all", "spf2.0/pra -all")
    found = asyncio.run(look_up(zones, "a.test", Budget(10, 10)))
    assert (found.missing, found.addresses, found.mx) == (
        False,
        ("192.0.2.1", "2001:db8::1"),
        ("one.a.test", "two.a.test"),
    )
    assert found.records == ("v=spf1 mx -all", "spf2.0/pra -all")
    zones.set("slow.test", fault="servfail")
    slow = asyncio.run(look_up(zones, "slow.test", Budget(10, 10)))
    assert len(slow.problems) == 4
    assert not slow.missing
    assert (slow.addresses, slow.mx, slow.texts, slow.records) == (None, None, None, None)


# --- the command

ZONE = """
    example.test    TXT "v=spf1 mx ip4:192.0.2.0/24 include:_spf.provider.test ~all"
    example.test    MX  10 mx.example.test
    example.test    A   192.0.2.1
    mx.example.test A   192.0.2.2
    _spf.provider.test TXT "v=spf1 ip4:198.51.100.0/24 -all"
    two.test        TXT "v=spf1 -all"
    two.test        TXT "v=spf1 mx -all"
    deep.test       TXT "v=spf1 mx mx mx mx mx mx mx mx mx mx mx -all"
    deep.test       MX  10 mx.example.test
"""


@pytest.fixture(scope="module")
def name_server():
    with NameServer(ZONE) as server:
        yield server


@pytest.fixture
def run(name_server, monkeypatch):
    def run(*arguments: str, answers: str = "") -> str:
        monkeypatch.setenv("MAILMOAT_DNS__SERVERS", name_server.address)
        done = CliRunner().invoke(application(), ["spf", "wizard", *arguments], input=answers)
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_without_questions_the_present_record_stays(run):
    said = run("example.test", "--no-input")
    assert 'example.test. IN TXT "v=spf1 ip4:192.0.2.0/24 mx include:_spf.provider.test ~all"' in said
    assert 'example.test. IN TXT "spf2.0/pra ip4:192.0.2.0/24 mx include:_spf.provider.test ~all"' in said
    assert said.count("at most 2 lookups") == 2
    assert "warning" not in said


def test_options_replace_what_is_there(run):
    said = json.loads(run(
        "example.test", "--json", "--no-mx", "--a", "--network", "10.0.0.0/8, ::1", "--network", "192.0.2.9",
        "--host", "h.example.test", "--include", "mx.example.test", "--policy", "-all",
    ))  # fmt: skip
    assert said["records"][0]["text"] == (
        "v=spf1 ip4:10.0.0.0/8 ip6:::1 ip4:192.0.2.9 a a:h.example.test include:mx.example.test -all"
    )
    assert said["records"][1]["version"] == "spf2.0/pra"
    assert said["records"][1]["lookups"] == 3
    assert said["present"] == ["v=spf1 mx ip4:192.0.2.0/24 include:_spf.provider.test ~all"]
    assert said["warnings"] == [
        "v=spf1, spf2.0/pra: `a:h.example.test`: h.example.test has no address.",
        "v=spf1, spf2.0/pra: `include:mx.example.test`: mx.example.test has no record: checks end in PermError.",
    ]


def test_step_by_step(run):
    answers = [
        "y",
        "n",
        "192.0.2.300",
        "192.0.2.7, 2001:db8::/32",
        "mail.example.test nowhere",
        "",
        "none",
        "maybe",
        "-all",
    ]
    said = run("example.test", answers="\n".join(answers) + "\n")
    assert "MX: mx.example.test" in said
    assert "'192.0.2.300' is no address or network" in said
    assert "'nowhere' is no domain" in said
    assert "'maybe' is no policy" in said
    assert '"v=spf1 ip4:192.0.2.7 ip6:2001:db8::/32 mx -all"' in said


def test_only_what_no_option_answers_is_asked(run):
    said = run(
        "example.test", "--mx", "--no-a", "--network", "::1", "--host", "mx.example.test", "--policy=fail", answers="\n"
    )
    assert said.count("?") == 1
    assert '"v=spf1 ip6:::1 mx a:mx.example.test include:_spf.provider.test -all"' in said


def test_a_fresh_start_takes_what_receives(run):
    said = json.loads(run("example.test", "--json", "--fresh"))
    assert [record["text"] for record in said["records"]] == ["v=spf1 mx ~all", "spf2.0/pra mx ~all"]


def warnings(run, *arguments: str) -> str:
    return "\n".join(json.loads(run(*arguments, "--json"))["warnings"])


def test_warnings(run):
    assert "gone.test does not exist" in warnings(run, "gone.test")
    assert "lets everybody send" in warnings(run, "example.test", "--policy", "+all")
    assert "There are 2 records now" in warnings(run, "two.test")
    many = [f"--network=192.0.{number}.0/24" for number in range(20)]
    said = warnings(run, "example.test", *many)
    assert "more than 255 octets" in said
    assert "more than 450 octets" not in said
    assert "more than 450 octets" in warnings(
        run, "example.test", *many, *(each.replace("192.0", "198.51") for each in many)
    )
    assert "has no MX records" in warnings(run, "two.test", "--mx", "--fresh")
    assert "has no address: `a`" in warnings(run, "two.test", "--a", "--fresh")


def test_more_than_ten_lookups(run):
    said = warnings(run, "example.test", "--no-mx", "--no-a", "--include", "deep.test")
    assert "v=spf1, spf2.0/pra: it takes 12 lookups, and only 10 are allowed" in said


@pytest.mark.parametrize(
    "arguments", [["x"], ["a.test", "--network", "x"], ["a.test", "--host", "x"], ["a.test", "--policy", "x"]]
)
def test_a_wrong_command_line(run, arguments):
    done = CliRunner().invoke(application(), ["spf", "wizard", "--no-input", *arguments])
    assert done.exit_code == 2
    assert " is no " in done.output


def test_no_answer_is_not_no_record(monkeypatch):
    """What nobody could tell is called so, warned of once, and never taken for something that is not there."""
    from tests.integration.conftest import free_port

    monkeypatch.setenv("MAILMOAT_DNS__SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("MAILMOAT_DNS__LIFETIME", "0.2")
    done = CliRunner().invoke(application(), ["spf", "wizard", "example.test", "--no-input"])
    assert done.exit_code == 1
    assert "MX of example.test could not be looked up (DNS did not answer)" in done.output
    assert 'IN TXT "v=spf1 mx ~all"' in done.output
    assert "no MX records" not in done.output
    assert "find nothing" not in done.output
    asked = CliRunner().invoke(application(), ["spf", "wizard", "example.test"], input="\n" * 6)
    assert asked.output.count("unknown, the DNS did not answer") == 3
    assert ": none\n" not in asked.output
    told = json.loads(CliRunner().invoke(application(), ["spf", "wizard", "example.test", "--json"]).output)
    assert (told["addresses"], told["mx"], told["present"]) == (None, None, None)


def test_terms_whose_names_get_no_answer_are_not_void():
    zones = FakeResolver()
    zones.set("dead.test", fault="drop")
    found = lookups("v=spf1 a:dead.test a:b.dead.test mx:dead.test mx:c.dead.test -all", zones)
    assert found.voids == 0
    assert len(found.problems) == 6
    assert all("DNS did not answer" in problem for problem in found.problems)
