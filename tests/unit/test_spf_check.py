"""What becomes of a request, record by record; the openspf suite is tests/conformance/test_rfc7208.py."""

from __future__ import annotations

import asyncio
import gc
import inspect
from time import process_time

import pytest
from tests.doubles.resolver import Zones

from mailmoat import maillog
from mailmoat.mailauth.spf import checker, lookups
from mailmoat.mailauth.spf.checker import Checker, CheckRequest, Result, Scope, Status, Step
from mailmoat.resolver import Budget, Failed, Failure, Found, NoData

CLIENT = "192.0.2.1"


def ask(resolver, mailbox="someone@a.test", ip=CLIENT, scope=Scope.MFROM, trace=None, **settings) -> Result:
    request = CheckRequest(ip, scope, mailbox, "mail.client.test", "mx.receiver.test")
    result = Checker(resolver, **settings).check(request, Budget(40, 20), trace)
    assert isinstance(result, Result)
    return result


def record(*terms: str, **more) -> Result:
    return ask(Zones().txt("a.test", "v=spf1 " + " ".join(terms)), **more)


@pytest.mark.parametrize(
    ("terms", "status", "reason", "mechanism"),
    [
        ("ip4:192.0.2.0/24 -all", Status.PASS, "Permitted", "ip4:192.0.2.0/24"),
        ("ip4:192.0.3.0/24 -all", Status.FAIL, "Not Permitted", "-all"),
        ("~all", Status.SOFT_FAIL, "Probably Not Permitted", "~all"),
        ("?all", Status.NEUTRAL, "Neither Permitted Nor Denied", "?all"),
        ("", Status.NEUTRAL, "Neither Permitted Nor Denied", ""),
        ("moo", Status.PERM_ERROR, "Invalid Record", ""),
    ],
)
def test_every_status_has_its_words(terms, status, reason, mechanism):
    result = record(terms)
    assert (result.status, result.reason, result.mechanism, result.domain) == (status, reason, mechanism, "a.test")


def test_what_was_wrong_is_told():
    assert record("ip4:1.2.3.4", "moo").problem == "Unknown mechanism found: moo"
    failing = Zones().fail("a.test", "TXT", Failure.SERVFAIL)
    assert ask(failing) == Result(
        Status.TEMP_ERROR, "Temporary DNS Error", domain="a.test", problem="TXT of a.test: servfail"
    )


def test_words_of_the_rfc():
    assert [status.result for status in Status] == [
        "pass", "neutral", "softfail", "fail", "none", "temperror", "permerror",
    ]  # fmt: skip


# --- whose domain


def test_a_domain_that_does_not_exist():
    """RFC 4406 4.3: a PRA there fails, which nothing says of a MAIL FROM."""
    zones = Zones()
    assert ask(zones, scope=Scope.PRA) == Result(Status.FAIL, "Domain Does Not Exist", domain="a.test")
    assert ask(zones, scope=Scope.MFROM) == Result(Status.NONE, "Domain Does Not Exist", domain="a.test")


def test_a_domain_without_a_record_or_whose_name_runs_in_a_circle():
    zones = Zones().put("a.test", "A", "192.0.2.9")
    for scope in Scope:
        assert ask(zones, scope=scope).status is Status.NONE


def test_an_included_domain_that_does_not_exist_is_no_fail():
    zones = Zones().txt("a.test", "v=spf1 include:gone.test -all")
    assert ask(zones, scope=Scope.PRA).status is Status.PERM_ERROR


@pytest.mark.parametrize(
    "domain", ["localhost", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a..test", f"{'x' * 64}.test", "", ".", "a.test.."]
)
def test_what_is_no_domain_is_not_asked_about(domain):
    zones = Zones()
    for scope in Scope:
        result = ask(zones, f"someone@{domain}", scope=scope)
        assert (result.status, result.reason) == (Status.NONE, "Malformed Domain")
    assert zones.asked == []


def test_the_domain_is_after_the_last_at():
    zones = Zones().txt("a.test", "v=spf1 exists:%{l}.%{o}.x.test -all")
    ask(zones, '"a@b"@A.test.')
    assert zones.asked[-1] == ('"a@b".a.test.x.test', "A")


def test_the_null_path_speaks_as_postmaster():
    zones = Zones().txt("a.test", "v=spf1 exists:%{l}.x.test -all")
    ask(zones, "postmaster@a.test")
    assert zones.asked[-1] == ("postmaster.x.test", "A")


def test_scopes_hold_through_include_and_redirect():
    zones = Zones().txt("a.test", "v=spf1 -all", "spf2.0/pra include:b.test redirect=c.test")
    zones.txt("b.test", "v=spf1 ip4:192.0.2.1", "spf2.0/pra -all")
    zones.txt("c.test", "v=spf1 -all", "spf2.0/pra,mfrom ~all")
    assert ask(zones, scope=Scope.PRA).status is Status.SOFT_FAIL
    assert ask(zones, scope=Scope.MFROM).status is Status.FAIL


def test_two_records():
    result = ask(Zones().txt("a.test", "v=spf1 -all", "v=spf1 ~all"))
    assert result.status is Status.PERM_ERROR
    assert result.problem == "2 records where one is allowed: v=spf1, v=spf1: a.test"


# --- addresses


@pytest.mark.parametrize(
    ("ip", "term", "matches"),
    [
        ("192.0.2.1", "ip4:192.0.2.1", True),
        ("192.0.2.1", "ip4:192.0.2.3/30", True),
        ("192.0.2.1", "ip4:192.0.2.4/30", False),
        ("192.0.2.1", "ip4:0.0.0.0/0", True),
        ("192.0.2.1", "ip6:::ffff:192.0.2.1", False),
        ("::ffff:192.0.2.1", "ip4:192.0.2.1", True),
        ("2001:db8::1", "ip6:2001:DB8::/32", True),
        ("2001:db8::1", "ip6:2001:db8::2", False),
        ("2001:db8::1", "ip6:::/0", True),
        ("fe80::1%eth0", "ip6:fe80::/10", True),
        ("fe80::1%a@b", "ip4:0.0.0.0/0", False),
    ],
)
def test_addresses(ip, term, matches):
    assert (record(term, "-all", ip=ip).status is Status.PASS) == matches


@pytest.mark.parametrize(
    "term",
    ["ip4:192.0.2.1/33", "ip4:192.0.2", "ip4:", "ip4", "ip4:192.0.02.1", "ip4:1.2.3.4/", "ip4:1.2.3.4//8", "ip6:2001:db8",
     "ip6:::/129", "ip6:::g", "ip4:192.0.2.1/" + "9" * 5000, "a/" + "9" * 5000, "a//" + "9" * 4000],
)  # fmt: skip
def test_addresses_that_are_none(term):
    """Even where another mechanism would have matched before (RFC 7208 4.6)."""
    for ip in ("192.0.2.1", "2001:db8::1"):
        assert record("ip4:0.0.0.0/0", "ip6:::/0", term, ip=ip).status is Status.PERM_ERROR


def test_a_client_without_an_address():
    for ip in ("", "nowhere", "192.0.2.256", "list"):
        assert record("+all", ip=ip).reason == "Unknown Client Address"


def test_kinds_follow_the_client():
    zones = Zones().txt("a.test", "v=spf1 a/24//64 mx -all")
    zones.put("a.test", "A", "192.0.2.200").put("a.test", "AAAA", "2001:db8::ffff")
    assert ask(zones).status is Status.PASS
    assert ask(zones, ip="2001:db8::1").status is Status.PASS
    assert {kind for _, kind in zones.asked} == {"TXT", "A", "AAAA"}


# --- what is asked, and what is not


def test_nothing_is_asked_after_a_match():
    zones = Zones().txt("a.test", "v=spf1 mx exists:%{p}.x.test a:late.test -all")
    zones.put("a.test", "MX", (20, "late.a.test"), (10, "first.a.test")).put("first.a.test", "A", CLIENT)
    assert ask(zones).status is Status.PASS
    assert zones.asked == [("a.test", "TXT"), ("a.test", "MX"), ("first.a.test", "A")]


def test_nothing_is_asked_for_a_record_with_a_mistake():
    zones = Zones().txt("a.test", "v=spf1 a exists:%{p}.x.test redirect=%{p}.x.test exp=%{p}.x.test x=%{p} moo")
    assert ask(zones).status is Status.PERM_ERROR
    assert zones.asked == [("a.test", "TXT")]


def test_an_answer_is_asked_for_once():
    zones = Zones().txt("a.test", "v=spf1 a a a mx:a.test exists:a.test -all").put("a.test", "A", "192.0.2.9")
    zones.put("a.test", "MX", (1, "a.test"))
    ask(zones)
    assert sorted(zones.asked) == [("a.test", "A"), ("a.test", "MX"), ("a.test", "TXT")]


def test_pointers_are_asked_for_in_their_turn():
    zones = (
        Zones().txt("a.test", "v=spf1 exists:%{P1}.x.test -all").put("1.2.0.192.in-addr.arpa", "PTR", "one.client.test")
    )
    zones.put("one.client.test", "A", CLIENT).put("test.x.test", "A", "127.0.0.2")
    assert ask(zones).status is Status.PASS
    assert zones.asked[-1] == ("test.x.test", "A")


# --- explanations


def explained(text: str | bytes, record: str = "v=spf1 -all exp=exp.a.test", **more) -> str:
    zones = Zones().txt("a.test", record).txt("exp.a.test", text)
    return ask(zones, **more).explanation


def test_the_explanation_is_expanded():
    text = "%{i} %{c} is not for %{s} of %{d}; ask %{r}%_about %{h}%%"
    assert (
        explained(text)
        == "192.0.2.1 192.0.2.1 is not for someone@a.test of a.test; ask mx.receiver.test about mail.client.test%"
    )
    assert explained("%{c}", ip="2001:DB8::1") == "2001:db8::1"
    assert explained("since %{t}").removeprefix("since ").isdecimal()


def test_a_long_explanation_keeps_its_beginning():
    assert explained("First. " + "and so on " * 60).startswith("First. and")
    assert len(explained("x" * 5000)) == 1000


@pytest.mark.parametrize(
    "text",
    ["%{x}", "100% no", "%", "%{d", "not ASCII: é", "two\r\nlines", "\x1b[2J", b"\xff", "x" * 64_000, "%{" * 5000],
)
def test_an_explanation_that_cannot_be_used_is_none(text):
    assert explained(text) == ""


def test_explanations_of_which_there_are_none_or_several_or_not_known():
    zones = Zones().txt("a.test", "v=spf1 -all exp=exp.a.test")
    assert ask(zones) == Result(Status.FAIL, "Not Permitted", "", "a.test", "-all")
    assert ask(zones.txt("exp.a.test", "one", "two")).explanation == ""
    assert ask(zones.fail("exp.a.test", "TXT")).status is Status.FAIL


def test_an_explanation_is_fetched_after_a_fail_only():
    for term in ("+all", "~all", "?all"):
        zones = Zones().txt("a.test", f"v=spf1 {term} exp=exp.a.test").txt("exp.a.test", "why")
        assert ask(zones).explanation == ""
        assert zones.asked == [("a.test", "TXT")]


def test_explanations_of_included_domains_do_not_speak_and_those_redirected_to_do():
    zones = Zones().txt("a.test", "v=spf1 include:b.test exp=a.exp.test redirect=c.test")
    zones.txt("b.test", "v=spf1 -all exp=b.exp.test").txt("c.test", "v=spf1 -all exp=c.exp.test")
    for name in "abc":
        zones.txt(f"{name}.exp.test", f"{name} speaks for %{{d}}")
    assert ask(zones).explanation == "c speaks for c.test"
    zones.txt("c.test", "v=spf1 -all")
    assert ask(zones).explanation == ""


# --- modifiers and macros


def test_modifiers_in_any_case_and_unknown_ones_as_often_as_they_like():
    zones = Zones().txt("a.test", "v=spf1 x=1 x=%{c} X-y.z=%{p} REDIRECT=b.test").txt("b.test", "v=spf1 -all")
    assert ask(zones).status is Status.FAIL
    assert ("1.2.0.192.in-addr.arpa", "PTR") not in zones.asked


@pytest.mark.parametrize(
    "terms",
    ["redirect=b.test Redirect=b.test", "exp=b.test EXP=b.test", "redirect=", "exp=", "redirect=b", "x=%", "x=%{z}", "x=%{d",
     "x=%(d)", "exists:%{d0}.b.test", "exists:%{d}.%", "exists:%{c}.test", "exists:%{r}.test", "a:%{t}.test", "a:b.123",
     "a:b.-c", "a:b.c-", "a:b", "exists:%{d" + "9" * 6000 + "}.test", "exists:%{d-x}.test", "exists:%{d1r2}.test"],
)  # fmt: skip
def test_modifiers_and_macros_that_are_mistakes(terms):
    assert record("+all", terms).status is Status.PERM_ERROR


@pytest.mark.parametrize(
    ("macro", "expansion"),
    [
        # RFC 7208 7.4
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        # more than its examples
        ("%{h-}.x", "mail.client.test.x"),
        ("%{d000001}", "com"),
        ("%{d999999999}", "email.example.com"),
        ("%{S}.x.test", "strong-bad%40email.example.com.x.test"),
        ("%{p}.x.test", "unknown.x.test"),
        ("%%.%_.%-.test", "%. .%20.test"),
    ],
)
def test_macros(macro, expansion):
    zones = Zones().txt("email.example.com", f"v=spf1 exists:{macro} -all")
    ask(zones, "strong-bad@email.example.com", "192.0.2.3")
    assert zones.asked[-1] == (expansion, "A")


def test_macros_of_an_ipv6_client():
    zones = Zones().txt("example.com", "v=spf1 exists:%{ir}.%{v}._spf.%{d} -all")
    ask(zones, "x@example.com", "2001:db8::cb01")
    nibbles = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
    assert zones.asked[-1] == (f"{nibbles}.ip6._spf.example.com", "A")


def test_a_long_name_loses_labels_from_the_left():
    zones = Zones().txt("a.test", "v=spf1 exists:%{l}.x.test -all")
    ask(zones, ".".join(["abcdefghi"] * 40) + "@a.test")
    name, _ = zones.asked[-1]
    assert len(name) <= 253
    assert len(name) > 243
    assert name.startswith("abcdefghi.")


def test_a_local_part_beyond_ascii_matches_nothing():
    """RFC 8616 4."""
    zones = Zones().txt("a.test", "v=spf1 exists:%{l}.x.test ?all")
    assert ask(zones, "jörg@a.test").status is Status.NEUTRAL
    assert zones.asked == [("a.test", "TXT")]


@pytest.mark.parametrize("macro", ["%{l}.x.test", "%{S}.x.test", "%{l1r-}._%{d2}", "%{L}.test"])
@pytest.mark.parametrize("term", ["include:{}", "a:{}", "mx:{}/24", "exists:{}", "ptr:{}", "redirect={}"])
def test_no_term_that_names_a_local_part_beyond_ascii_is_an_error(term, macro):
    """RFC 8616 4: such terms do not match anything; for another mailbox the same record may mean more."""
    zones = Zones().txt("a.test", f"v=spf1 {term.format(macro)} exp=%{{l}}.x.test")
    checker = Checker(zones)
    for mailbox in ("jörg@a.test", "jörg@a.test", "ann@a.test"):
        request = CheckRequest(CLIENT, Scope.MFROM, mailbox, "mail.client.test", "mx.receiver.test")
        result = checker.check(request, Budget(40, 20))
        errs = term[:2] in {"in", "re"} and mailbox.isascii()
        assert result.status is (Status.PERM_ERROR if errs else Status.NEUTRAL), mailbox
    assert all(name.isascii() for name, _ in zones.asked)


def test_a_term_after_one_that_matches_nothing_still_counts():
    zones = Zones().txt("a.test", "v=spf1 include:%{l}.x.test ip4:192.0.2.1 -all")
    assert ask(zones, "jörg@a.test").status is Status.PASS
    assert ask(zones, "jörg@a.test", ip="192.0.2.2").status is Status.FAIL


@pytest.mark.parametrize("local", ["a\\.b", "\\", "\\000", "a..b", ".", "x" * 64, "%{d}", "a b", '"\\""', "@@"])
def test_local_parts_that_make_odd_names(local):
    assert record("exists:%{l}.x.test", "include:%{l}.x.test", "?all", mailbox=f"{local}@a.test").status in {
        Status.PERM_ERROR, Status.NEUTRAL,
    }  # fmt: skip


# --- ptr


def pointing(*names: str) -> Zones:
    return Zones().txt("a.test", "v=spf1 ptr -all").put("1.2.0.192.in-addr.arpa", "PTR", *names)


def test_pointers():
    zones = pointing("other.test", "mail.a.test").put("mail.a.test", "A", CLIENT)
    assert ask(zones).status is Status.PASS
    assert ask(pointing("mail.a.test").put("mail.a.test", "A", "192.0.2.77")).status is Status.FAIL


def test_an_error_under_ptr_passes_over_that_name():
    """RFC 7208 5.5."""
    zones = (
        pointing("one.a.test", "two.a.test").fail("one.a.test", "A", Failure.SERVFAIL).put("two.a.test", "A", CLIENT)
    )
    assert ask(zones).status is Status.PASS
    assert ask(Zones().txt("a.test", "v=spf1 ptr -all").fail("1.2.0.192.in-addr.arpa", "PTR")).status is Status.FAIL


def test_the_clients_own_zone_cannot_turn_a_fail_into_an_error():
    zones = pointing(*(f"{number}.client.test" for number in range(10)))
    assert ask(zones).status is Status.FAIL
    slow = pointing(*(f"{number}.client.test" for number in range(10))).fail("0.client.test", "A")
    assert ask(slow).status is Status.FAIL
    assert slow.asked[-1] == ("0.client.test", "A")


def test_the_domain_itself_is_preferred_as_the_clients_name():
    zones = Zones().txt("a.test", "v=spf1 exists:%{p}.x.test -all")
    zones.put("1.2.0.192.in-addr.arpa", "PTR", "z.test", "sub.a.test", "a.test")
    for name in ("z.test", "sub.a.test", "a.test"):
        zones.put(name, "A", CLIENT)
    ask(zones)
    assert zones.asked[-1] == ("a.test.x.test", "A")


# --- limits


def test_ten_lookups_are_allowed_and_a_redirect_counts_when_it_is_followed():
    zones = Zones().txt("a.test", "v=spf1 " + "a:h.test " * 10 + "-all redirect=b.test").put("h.test", "A", "192.0.2.9")
    assert ask(zones).status is Status.FAIL
    zones.txt("a.test", "v=spf1 " + "a:h.test " * 10 + "redirect=b.test").txt("b.test", "v=spf1 -all")
    assert ask(zones).problem == "Too many DNS lookups"


@pytest.mark.parametrize(
    ("limit", "status"), [(0, Status.PERM_ERROR), (2, Status.PERM_ERROR), (3, Status.FAIL), (10, Status.FAIL)]
)
def test_void_lookups(limit, status):
    zones = Zones().txt("a.test", "v=spf1 a:x.test exists:y.test mx:z.test -all")
    assert ask(zones, void_lookups=limit).status is status


def test_hosts_of_one_mx_without_address_count_once():
    """A client of IPv6 at a domain whose five MX hosts have IPv4 only."""
    zones = Zones().txt("a.test", "v=spf1 mx -all")
    zones.put("a.test", "MX", *((1, f"{host}.a.test") for host in range(5)))
    assert ask(zones, ip="2001:db8::1").status is Status.FAIL


# --- hostile records: a clear result, in bounded time


def nested(depth: int) -> Zones:
    zones = Zones().txt("a.test", "v=spf1 include:1.test -all")
    for number in range(1, depth):
        zones.txt(f"{number}.test", f"v=spf1 include:{number + 1}.test")
    return zones.txt(f"{depth}.test", "v=spf1 ip4:192.0.2.1")


def in_a_circle() -> Zones:
    return Zones().txt("a.test", "v=spf1 include:b.test -all").txt("b.test", "v=spf1 redirect=a.test")


def of_terms(*terms: str) -> Zones:
    zones = Zones().txt("a.test", "v=spf1 " + " ".join(terms))
    return zones.put("many.test", "MX", *((1, f"{host}.many.test") for host in range(100)))


LONG = "." + "a" * 9000
HOSTILE = {
    "10 nested includes": (nested(10), Status.PASS, ""),
    "11 nested includes": (nested(11), Status.PERM_ERROR, "Too many DNS lookups"),
    "an include loop": (in_a_circle(), Status.PERM_ERROR, "Too many DNS lookups"),
    "includes itself": (of_terms("include:a.test"), Status.PERM_ERROR, "include has trivial recursion: include:a.test"),
    "redirects to itself": (of_terms("redirect=a.test"), Status.PERM_ERROR, "Too many DNS lookups"),
    "64 KiB": (of_terms("a" * 65_000), Status.PERM_ERROR, "Record of 65000 octets, more than 10000: a.test"),
    "100 MX": (of_terms("mx:many.test"), Status.PERM_ERROR, "More than 10 MX records returned: many.test"),
    "5,000 terms": (of_terms(*["a"] * 5000), Status.PERM_ERROR, "More than 2000 terms"),
    "2,000 terms": (of_terms(*["?all"] * 2000), Status.NEUTRAL, ""),
    "11 lookups": (
        of_terms(*["a:many.test"] * 11, "-all"),
        Status.PERM_ERROR,
        "Void lookup limit of 2 exceeded: many.test",
    ),
    "many percent signs": (of_terms("exists:" + "%{" * 4000), Status.PERM_ERROR, None),
    "many macros": (of_terms("exists:" + "%{s1r.-+,/_=}" * 700), Status.NEUTRAL, ""),
    "one long label": (of_terms("a:b" + LONG), Status.NEUTRAL, ""),
    "one long bad label": (of_terms("a:b" + LONG + "_"), Status.PERM_ERROR, None),
    "many labels": (of_terms("exists:" + ".a" * 4000 + "%{d}"), Status.NEUTRAL, ""),
    "long digits": (of_terms("a:b.test/" + "1" * 4000), Status.PERM_ERROR, None),
    "many slashes": (of_terms("a:b.test" + "/1" * 4000), Status.PERM_ERROR, None),
    "many colons": (of_terms("ip6" + ":" * 9000), Status.PERM_ERROR, None),
    "a long number": (of_terms("ip4:" + "1." * 4000), Status.PERM_ERROR, None),
    "NUL": (of_terms("\0"), Status.PERM_ERROR, "Record with octets that are no printable ASCII: a.test"),
}


def cost(zones: Zones) -> float:
    """Processor time of a check, the least of three."""

    def once() -> float:
        begun = process_time()
        ask(zones)
        return process_time() - begun

    return min(once() for _ in range(3))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_costs_little_and_ends_clearly(name):
    zones, status, problem = HOSTILE[name]
    result = ask(zones)
    assert cost(zones) < 500 * cost(of_terms("ip4:192.0.2.1", "-all")), "beside a plain record"
    assert result.status is status
    assert problem is None or result.problem == problem
    assert len(result.problem) <= 1000


def test_many_large_records_together_are_bounded():
    zones = of_terms(*(f"include:{number}.test" for number in range(10)))
    for number in range(10):
        zones.txt(f"{number}.test", "v=spf1 " + "?all " * 1900)
    assert ask(zones).problem == "More than 2000 terms"


# --- answers that have to be waited for


class Waiting:
    """Knows nothing at once."""

    def __init__(self, zones: Zones, seconds: float = 0.0) -> None:
        self.zones, self.seconds = zones, seconds

    def cached(self, name, kind):
        return None

    async def query(self, name, kind, budget):
        await asyncio.sleep(self.seconds)
        return self.zones.cached(name, kind) if budget.spend() else Failed(Failure.BUDGET)


async def wait(resolver, budget: Budget | None = None, trace=None) -> Result:
    request = CheckRequest(CLIENT, Scope.PRA, "someone@a.test", "mail.client.test", "mx.receiver.test")
    outcome = Checker(resolver).check(request, budget or Budget(40, 20), trace)
    assert inspect.isawaitable(outcome)
    return await outcome


def test_what_is_not_known_is_awaited():
    assert asyncio.run(wait(Waiting(nested(10)))).status is Status.PASS


def test_many_at_once_keep_apart():
    async def all_of_them():
        zones = [nested(depth) for depth in range(1, 12)]
        return await asyncio.gather(*(wait(Waiting(each, 0.001)) for each in zones))

    results = asyncio.run(all_of_them())
    assert [result.status for result in results] == [Status.PASS] * 10 + [Status.PERM_ERROR]


def test_a_spent_budget_is_a_temporary_error():
    result = asyncio.run(wait(Waiting(nested(10)), Budget(5, 20)))
    assert (result.status, result.problem) == (Status.TEMP_ERROR, "TXT of 5.test: budget")


def running() -> int:
    gc.collect()
    return sum(isinstance(one, lookups.Lookups) for one in gc.get_objects())


def test_time_is_bounded_and_nothing_is_left_standing(monkeypatch):
    monkeypatch.setattr(checker, "MAX_TIME", 0.02)
    before = running()
    trace: list[Step] = []
    result = asyncio.run(wait(Waiting(nested(1), 30), trace=trace))
    assert (result.status, result.reason) == (Status.TEMP_ERROR, "Time Is Up")
    assert trace[-1].kind == "result"
    assert running() == before


def test_who_is_cancelled_leaves_nothing_standing():
    async def cancelled() -> None:
        task = asyncio.create_task(wait(Waiting(nested(3), 30)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = running()
    asyncio.run(cancelled())
    assert running() == before


def test_what_escapes_is_a_result_and_logged(monkeypatch):
    class Broken(Zones):
        def cached(self, name, kind):
            raise OverflowError("no\r\nsuch thing")

    lines = []
    monkeypatch.setattr(maillog, "event", lambda name, **fields: lines.append((name, fields)))
    trace: list[Step] = []
    assert ask(Broken(), trace=trace) == Result(Status.PERM_ERROR, "Invalid Record", domain="a.test")
    assert [name for name, _ in lines] == ["spf-check-failed"]
    assert "OverflowError" in lines[0][1]["error"]
    assert trace[-1].kind == "result"


def test_pyspf_itself_never_asks(monkeypatch):
    import spf

    monkeypatch.setattr(spf, "DNSLookup", lambda *_: pytest.fail("asked"))
    zones = pointing("mail.a.test").txt(
        "a.test", "v=spf1 mx ptr exists:%{p}.x.test include:b.test -all exp=%{p}.x.test"
    )
    assert ask(zones.txt("b.test", "v=spf1 a -all")).status is Status.PERM_ERROR


# --- traces


def test_a_trace_tells_each_record_and_each_mechanism_by_depth():
    zones = Zones().txt("a.test", "v=spf1 ip4:192.0.3.0/24 include:b.test a redirect=c.test")
    zones.txt("b.test", "v=spf1 ?mx -all").txt("c.test", "v=spf1 -all").put("b.test", "MX", (10, ""))
    trace: list[Step] = []
    ask(zones, trace=trace)
    assert [(step.depth, step.kind, step.text, step.outcome) for step in trace] == [
        (0, "lookup", "TXT a.test", "1 found"),
        (0, "record", "a.test", "v=spf1 ip4:192.0.3.0/24 include:b.test a redirect=c.test"),
        (0, "mechanism", "ip4:192.0.3.0/24", "no match"),
        (0, "mechanism", "include:b.test", "no match"),
        (1, "lookup", "TXT b.test", "1 found"),
        (1, "record", "b.test", "v=spf1 ?mx -all"),
        (1, "mechanism", "?mx", "no match"),
        (2, "lookup", "MX b.test", "1 found"),
        (1, "mechanism", "-all", "fail"),
        (0, "mechanism", "a", "no match"),
        (1, "lookup", "A a.test", "no such record"),
        (0, "modifier", "redirect=c.test", "goes on with c.test"),
        (0, "lookup", "TXT c.test", "1 found"),
        (0, "record", "c.test", "v=spf1 -all"),
        (0, "mechanism", "-all", "fail"),
        (0, "result", "a.test", "Fail: Not Permitted"),
    ]


def test_a_trace_tells_where_it_ended():
    trace: list[Step] = []
    ask(Zones().txt("a.test", "v=spf1 a:\u00e9 -all"), trace=trace)
    ask(Zones().txt("a.test", "v=spf1 include:b.test").fail("b.test", "TXT"), trace=trace)
    assert trace[1] == Step(0, "record", "a.test", "v=spf1 a:?? -all")
    assert trace[-3:] == [
        Step(0, "mechanism", "include:b.test", "error"),
        Step(1, "lookup", "TXT b.test", "failed: timeout"),
        Step(0, "result", "a.test", "TempError: TXT of b.test: timeout"),
    ]


def test_answers_of_every_kind_are_read():
    found = Found((b"v=spf1 -all",), 1.0)
    zones = Zones()
    zones.publish("a.test", "TXT", found)
    assert ask(zones).status is Status.FAIL
    zones.publish("a.test", "TXT", NoData(1.0))
    assert ask(zones).reason == "No Record"
    zones.publish("a.test", "TXT", Found((b"",), 1.0))
    assert ask(zones).status is Status.NONE
