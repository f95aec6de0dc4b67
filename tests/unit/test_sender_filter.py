"""The sender filter and the checks of HELO as single parts: entries, domains, who is judged, what is found."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles import policy
from tests.doubles.resolver import FakeResolver, Zones

from mailmoat._native import Address, compile_senders, sender_entry
from mailmoat.errors import ConfigError
from mailmoat.net.address import parse
from mailmoat.net.own import is_own
from mailmoat.policy.agents.helo_checks import HeloChecks, HeloRule
from mailmoat.policy.agents.sender_filter import SenderFilter, SenderFilterRule
from mailmoat.policy.blocked_senders import BlockedSenders
from mailmoat.policy.client import STRANGER, Trust
from mailmoat.policy.domain_lookups import MOST_AHEAD, DomainLookups, Standing
from mailmoat.policy.objection import Filter, Objection
from mailmoat.policy.reserved_domains import is_reserved
from mailmoat.policy.sender_file import SenderFile, examine
from mailmoat.policy.verdict import PASS, Discard, Pass, Reject, Tempfail
from mailmoat.reputation.once import OncePerSession
from mailmoat.resolver import Failure
from mailmoat.settings import Settings
from mailmoat.settings.sections.sender_filter import SenderFilterSettings

LABEL = st.sampled_from(["a", "b", "evil", "notevil", "org", "xn--bcher-kva"])
DOMAIN = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
LOCAL = st.sampled_from(["x", "y", "x+tag", '"x y"', "X"])


def blocked(*entries, file=None):
    return BlockedSenders(SenderFilterSettings(blocked=entries), "+", file)


def by_file(directory, text):
    source, snapshot = directory / "blocked.txt", directory / "senders.snapshot"
    source.write_text(text)
    _, problems, _ = compile_senders(str(source), str(snapshot))
    assert problems == []
    return SenderFile(source, snapshot)


def below(domain, parent):
    """What is meant by it: the last labels are equal."""
    labels, wanted = domain.split("."), parent.split(".")
    return labels[-len(wanted) :] == wanted


@given(domain=DOMAIN, listed=DOMAIN)
def test_a_domain_and_all_below_it_by_whole_labels(domain, listed):
    sender = Address.parse(f"x@{domain}")
    assert bool(blocked(f".{listed}").entry(sender)) is below(domain, listed)
    assert bool(blocked(listed).entry(sender)) is (domain == listed)
    assert bool(blocked(f"@{listed}").entry(sender)) is (domain == listed)


@given(
    entries=st.lists(st.one_of(DOMAIN, DOMAIN.map(".{}".format), st.builds("{}@{}".format, LOCAL, DOMAIN)), max_size=6),
    local=LOCAL,
    domain=DOMAIN,
    excluded=st.booleans(),
)
def test_settings_and_file_say_the_same(entries, local, domain, excluded, tmp_path_factory):
    sender = Address.parse(f"{local}@{domain}")
    if excluded and sender.key not in {Address.parse(e).key for e in entries if "@" in e}:
        entries = [*entries, f"!{local}@{domain}"]
    file = by_file(tmp_path_factory.mktemp("list"), "\n".join(entries) + "\n")
    assert bool(blocked(*entries).entry(sender)) is bool(blocked(file=file).entry(sender))


@pytest.mark.parametrize(
    ("entry", "sender", "is_blocked"),
    [
        ("spam@example.org", "SPAM@Example.ORG.", True),
        ("spam@example.org", "spam+anything@example.org", True),
        ("spam+this@example.org", "spam@example.org", False),
        ("spam+this@example.org", "spam+this@example.org", True),
        ('"od d"@example.org', '"OD D"@example.org', True),
        ('"spam"@example.org', "spam@example.org", True),
        ("bücher.example", "a@xn--bcher-kva.example", True),
        ("xn--bcher-kva.example", "a@BÜCHER.example", True),
        (".example.org", "a@evilexample.org", False),
        (".example.org", "a@example.org.evil.net", False),
        (".org", "a@example.org", True),
        ("[192.0.2.1]", "a@[192.0.2.1]", True),
        ("[IPv6:2001:db8::1]", "a@[ipv6:2001:DB8:0::1]", True),
        (".example.org", "a@[192.0.2.1]", False),
    ],
)
def test_one_spelling_is_as_good_as_another(entry, sender, is_blocked, tmp_path):
    address = Address.parse(sender)
    assert bool(blocked(entry).entry(address)) is is_blocked
    assert bool(blocked(file=by_file(tmp_path, entry)).entry(address)) is is_blocked


def test_the_nearest_entry_decides_and_is_named(tmp_path):
    list_ = blocked(
        ".example.org", "!friend@example.org", file=by_file(tmp_path, "# a\nfriend@example.org\nb.example.org\n")
    )
    assert list_.entry(Address.parse("friend@example.org")) == "", "the settings come first"
    assert list_.entry(Address.parse("a@b.example.org")) == ".example.org in sender_filter.blocked"
    assert blocked(file=by_file(tmp_path, "# a\n.net\n")).entry(Address.parse("a@b.net")) == "line 2 of blocked.txt"
    assert not blocked()
    assert list_


def test_a_mistake_says_what_to_write():
    with pytest.raises(ValueError, match=r"Write \.example\.org for example\.org and all domains below it"):
        sender_entry("*.example.org")
    assert sender_entry(" !A@B.test ") == "!a@b.test"


def test_the_file_is_mapped_anew_and_a_bad_one_is_not(tmp_path):
    file = by_file(tmp_path, "a@b.test\n")
    assert file.entries == 1
    senders = blocked(file=file)
    assert senders.entry(Address.parse("a@b.test")) == "line 1 of blocked.txt"
    assert senders.entry(Address.parse("x@c.test")) == ""
    (tmp_path / "damaged").write_bytes(b"damaged")
    (tmp_path / "damaged").rename(tmp_path / "senders.snapshot")
    file.refresh()
    assert file.lookup("a@b.test", "") == (1, 1), "what is in force stays"
    by_file(tmp_path, "b.test\nc.test\n")
    file.refresh()
    assert (file.entries, file.lookup("", "b.test")) == (2, (2, 1))
    assert senders.entry(Address.parse("x@c.test")) == "line 2 of blocked.txt", "what was said before is forgotten"
    assert SenderFile(tmp_path / "x", tmp_path / "none").lookup("a@b.test", "b.test") == (0, 0), "nobody is blocked"


def test_a_mistake_in_the_file_is_named_by_file_and_line(tmp_path):
    source = tmp_path / "blocked.txt"
    source.write_text("a@b.test\n*.c.test\n")
    settings = Settings(hostname="mx.a.test", sender_filter={"blocked_file": str(source)})
    with pytest.raises(ConfigError) as raised:
        examine(settings)
    (mistake,) = raised.value.mistakes
    assert mistake.startswith(f'sender_filter.blocked_file: {source}: line 2: "*.c.test": * means nothing here')
    source.write_text("")
    assert examine(settings).entries == 0


@pytest.mark.parametrize(
    ("domain", "reserved"),
    [
        ("test", True), ("a.b.test", True), ("example", True), ("x.invalid", True), ("localhost", True), ("a.localhost", True),
        ("example.com", True), ("a.example.net", True), ("example.org", True),
        ("contest", False), ("myexample.com", False), ("example.de", False), ("invalid.net", False), ("a.com", False),
    ],
)  # fmt: skip
def test_reserved_domains(domain, reserved):
    assert is_reserved(domain) is reserved


KINDS = ("MX", "A", "AAAA")


@pytest.mark.parametrize(
    ("zone", "standing"),
    [
        ({"MX": [(10, "mx.a.test")]}, Standing.EXISTS),
        ({"MX": [(0, "")]}, Standing.NO_MAIL),
        ({"MX": [(0, ""), (10, "mx.a.test")]}, Standing.EXISTS),
        ({"A": ["192.0.2.1"]}, Standing.EXISTS),
        ({"AAAA": ["2001:db8::1"]}, Standing.EXISTS),
        ({"TXT": [b"x"]}, Standing.NO_RECORDS),
        ({}, Standing.ABSENT),
    ],
)
def test_what_the_dns_says_of_a_domain(zone, standing):
    zones = Zones()
    for kind, records in zone.items():
        zones.put("a.test", kind, *records)
    assert DomainLookups(zones, KINDS, 5).standing("a.test", "192.0.2.1") is standing


@pytest.mark.parametrize("failing", [("MX",), ("A",), ("AAAA",), KINDS])
@pytest.mark.parametrize("reason", [Failure.TIMEOUT, Failure.SERVFAIL, Failure.BROKEN, Failure.BUDGET, Failure.BOGUS])
def test_without_an_answer_nothing_is_known(failing, reason):
    zones = Zones().put("a.test", "TXT", b"x")
    for kind in failing:
        zones.fail("a.test", kind, reason)
    assert DomainLookups(zones, KINDS, 5).standing("a.test", "192.0.2.1") is Standing.UNKNOWN


def test_one_address_is_enough_whatever_fails():
    zones = Zones().fail("a.test", "MX").fail("a.test", "A").put("a.test", "AAAA", "2001:db8::1")
    assert DomainLookups(zones, KINDS, 5).standing("a.test", "192.0.2.1") is Standing.EXISTS


def test_a_name_that_no_dns_can_have_is_absent():
    assert DomainLookups(Zones(), KINDS, 5).standing(".".join(["a" * 60] * 5), "192.0.2.1") is Standing.ABSENT


def test_what_runs_ahead_is_joined_and_bounded():
    async def act():
        resolver = FakeResolver()
        resolver.set("slow.test", delay=0.01)
        lookups = DomainLookups(resolver, KINDS, 5)
        for _ in range(3):
            lookups.begin("slow.test", "192.0.2.1")
        assert await lookups.standing("slow.test", "192.0.2.1") is Standing.ABSENT
        assert resolver.questions == [("slow.test", "MX")], "asked once, and NXDOMAIN is said of all kinds"
        lookups.begin("slow.test", "192.0.2.1")
        for number in range(2 * MOST_AHEAD):
            lookups.begin(f"d{number}.slow.test", "192.0.2.1")
        assert len(lookups._ahead) == MOST_AHEAD
        waits = [lookups.standing(f"d{number}.slow.test", "192.0.2.1") for number in (0, 2 * MOST_AHEAD - 1)]
        assert await asyncio.gather(*waits) == [Standing.ABSENT] * 2
        await resolver.close()

    asyncio.run(act())


def test_the_time_counts_from_the_beginning():
    async def act():
        resolver = FakeResolver()
        resolver.set("slow.test", delay=30)
        lookups = DomainLookups(resolver, KINDS, 0.01)
        lookups.begin("slow.test", "192.0.2.1")
        assert await lookups.standing("slow.test", "192.0.2.1") is Standing.UNKNOWN
        await resolver.close()

    asyncio.run(act())


def settings(**sections):
    return Settings(hostname="mx.a.test", relay={"local_domains": "a.test"}, **sections)


def view(sender="x@evil.net", trust=STRANGER, helo="client.net", **other):
    parsed = Address.parse(sender) if sender else None
    client = SimpleNamespace(trust=trust, address=other.pop("address", "192.0.2.1"))
    return policy.view(
        reverse_path=parsed, helo_name=helo, recipient=Address.parse("alice@a.test"), **(other | {"client": client})
    )


@pytest.mark.parametrize("trust", [Trust(internal=True), Trust(authenticated=True), Trust(front_server=True)])
def test_who_is_trusted_is_not_judged(trust):
    agent = SenderFilter(policy.services(settings(sender_filter={"blocked": "evil.net", "blank": "reject"})))
    for sender in ("x@evil.net", ""):
        assert isinstance(agent.on_rcpt(view(sender)), Reject)
        assert agent.on_rcpt(view(sender, trust)) is PASS
        assert agent.on_end_of_headers(view(sender, trust)) is PASS


@pytest.mark.parametrize("name", ["blocked", "blank", "reserved_domains", "unresolvable", "blocked_file"])
def test_nothing_is_asked_that_is_off(name):
    assert not SenderFilter.is_on(settings())
    assert not HeloChecks.is_on(settings())
    value = {"blocked": "a.net", "blocked_file": "x"}.get(name, "stamp")
    assert SenderFilter.is_on(settings(sender_filter={name: value}))


@pytest.mark.parametrize(
    ("helo", "rule"),
    [
        ("mx.a.test", HeloRule.OWN_NAME),
        ("MX.A.Test.", HeloRule.OWN_NAME),
        ("a.test", HeloRule.OWN_NAME),
        ("sub.a.test", None),
        ("outside.net", HeloRule.OWN_NAME),
        ("[198.51.100.9]", HeloRule.OWN_NAME),
        ("[127.0.0.1]", HeloRule.OWN_NAME),
        ("127.0.0.1", HeloRule.OWN_NAME),
        ("[203.0.113.1]", None),
        ("[::ffff:203.0.113.1]", None),
        ("203.0.113.1", HeloRule.MALFORMED),
        ("host.123", HeloRule.MALFORMED),
        ("123", HeloRule.MALFORMED),
        ("localhost", HeloRule.UNQUALIFIED),
        ("[203.0.113.2]", HeloRule.LITERAL),
        ("[IPv6:2001:db8::2]", HeloRule.LITERAL),
        ("my_host.client.net", None),
        ("-odd-.client.net", None),
        ("xn--bcher-kva.client.net", None),
    ],
)
def test_what_is_wrong_with_a_name(helo, rule):
    checks = dict.fromkeys(("own_name", "malformed", "unqualified", "literal"), "reject")
    agent = HeloChecks(policy.services(settings(helo={**checks, "own_names": "outside.net, [198.51.100.9]"})))
    found = agent.objections(view(helo=helo, address="203.0.113.1"))
    assert [each.rule for each in found] == ([rule] if rule else [])
    refused = agent.on_rcpt(view(helo=helo, address="203.0.113.1"))
    assert refused is PASS if rule is None else refused.reply.text.startswith(f"HELO {helo} ")


def test_a_check_that_is_off_finds_nothing_and_hides_nothing():
    agent = HeloChecks(policy.services(settings(helo={"unqualified": "stamp"})))
    assert agent.objections(view(helo="203.0.113.9", address="203.0.113.1")) == ()
    assert [each.rule for each in agent.objections(view(helo="localhost"))] == [HeloRule.UNQUALIFIED]
    assert agent.on_rcpt(view(helo="localhost")) is PASS


def test_our_own_addresses():
    assert is_own(parse("127.0.0.1"))
    assert is_own(parse("127.9.9.9"))
    assert is_own(parse("::1"))
    assert not is_own(parse("203.0.113.77"))
    assert not is_own(parse("2001:db8:ffff::77"))


def test_a_stamp_names_whatever_a_stranger_wrote_in_one_line():
    agent = SenderFilter(policy.services(settings(sender_filter={"blocked": "evil.net", "action": "stamp"})))
    found = view("ünï@evil.net", recipients=(Address.parse("alice@a.test"),))
    conclusion = agent.on_end_of_headers(found)
    assert isinstance(conclusion, Pass)
    assert conclusion.stamps == (
        b"X-Mailmoat-Filter: blocked-sender; ?n?@evil.net: evil.net in sender_filter.blocked\r\n",
    )


@pytest.mark.parametrize(
    ("sender", "actions", "rules", "refusal"),
    [
        ("a@gone.test", {"reserved_domains": "stamp", "unresolvable": "reject"}, ["RESERVED", "ABSENT"], "550 5.1.8"),
        ("a@broken.test", {"reserved_domains": "stamp", "unresolvable": "reject", "dns_failure": "defer"}, ["RESERVED", "UNKNOWN"], "451 4.4.3"),
        ("a@here.test", {"reserved_domains": "stamp", "unresolvable": "reject"}, ["RESERVED"], ""),
        ("a@workstation", {"reserved_domains": "stamp", "unresolvable": "reject"}, ["UNQUALIFIED", "ABSENT"], "550 5.1.8"),
        ("a@gone.test", {"reserved_domains": "reject", "unresolvable": "reject"}, ["RESERVED"], "550 5.1.8"),
        ("a@gone.test", {"reserved_domains": "stamp", "unresolvable": "stamp"}, ["RESERVED"], ""),
        ("bad@gone.test", {"action": "stamp", "unresolvable": "reject"}, ["BLOCKED", "ABSENT"], "550 5.1.8"),
        ("bad@gone.test", {"action": "stamp", "reserved_domains": "reject", "unresolvable": "reject"}, ["BLOCKED", "RESERVED"], "550 5.1.8"),
        ("bad@gone.test", {"action": "drop", "unresolvable": "reject"}, ["BLOCKED"], ""),
        ("bad@a.test", {"action": "stamp", "reserved_domains": "reject", "unresolvable": "reject"}, ["BLOCKED"], ""),
    ],
)  # fmt: skip
def test_a_stamp_keeps_no_other_check_from_refusing(sender, actions, rules, refusal):
    zones = Zones().put("here.test", "A", "192.0.2.1")
    for kind in KINDS:
        zones.fail("broken.test", kind)
    wanted = settings(sender_filter={"blocked": "bad@gone.test, bad@a.test", **actions})
    services = policy.services(wanted)
    services.resolver = zones
    agent = SenderFilter(services)
    assert [each.rule for each in agent.objections(view(sender))] == [SenderFilterRule[rule] for rule in rules]
    verdict = agent.on_rcpt(view(sender))
    assert str(verdict.reply).startswith(refusal) if refusal else verdict is PASS


@pytest.mark.parametrize(
    "field",
    [
        "<a@spam.example", "a@spam.example>", "a@spam.example;", ";a@spam.example", "<<a@spam.example>>", "[a@spam.example]",
        "x <ok@ok.example> <a@spam.example>", '"x <a@spam.example>', "(x <a@spam.example>", "ok@ok.example, (x, a@spam.example",
        "Public, Ann <a@spam.example>", "a\\@spam.example", "a@@spam.example", "a @ spam . example <", "\xfc@spam.example <",
    ],
)  # fmt: skip
def test_a_blocked_sender_is_found_in_a_from_that_no_grammar_reads(field):
    agent = SenderFilter(policy.services(settings(sender_filter={"blocked": "spam.example"})))
    header = f"Subject: x\r\nFrom: {field}\r\n\r\n".encode("latin-1")
    seen = view("x@good.net", received_header=header, recipients=(Address.parse("alice@a.test"),))
    refused = agent.on_end_of_headers(seen)
    assert isinstance(refused, Reject)
    assert refused.rule is SenderFilterRule.BLOCKED_FROM


@pytest.mark.parametrize(
    "field", ["[a@spam.example.net", '"a@spam.example" <ok@ok.example>', "[1] <ok@ok.example> (a@spam.example)"]
)
def test_an_address_that_is_shown_by_nobody_blocks_nobody(field):
    agent = SenderFilter(policy.services(settings(sender_filter={"blocked": "spam.example"})))
    header = f"From: {field}\r\n\r\n".encode()
    assert agent.on_end_of_headers(view("x@good.net", received_header=header)) is PASS


def test_an_answer_that_did_not_come_is_451_and_no_stamp():
    class Deferring(Filter):
        name = "deferring"

        def objections(self, _view):
            from mailmoat.policy.verdict import Reply

            return (Objection(SenderFilterRule.UNKNOWN, "reject", Reply(451, "4.4.3", "later")),)

    agent = Deferring(policy.services(settings()))
    assert isinstance(agent.on_rcpt(view()), Tempfail)
    assert agent.on_end_of_headers(view(recipients=(Address.parse("alice@a.test"),))) is PASS


def test_dropped_for_all_is_a_discard():
    agent = SenderFilter(policy.services(settings(sender_filter={"blocked": "evil.net", "action": "drop"})))
    alice, postmaster = Address.parse("alice@a.test"), Address.parse("Postmaster@a.test")
    assert isinstance(agent.on_end_of_headers(view(recipients=(alice,))), Discard)
    assert agent.on_end_of_headers(view(recipients=(alice, postmaster))).dropped == (alice,)
    assert agent.on_end_of_headers(view(recipients=(postmaster,))).dropped == ()


class Noting:
    def __init__(self):
        self.noted = []

    def note(self, address, evidence, count=1):
        self.noted += [(address, evidence.value)] * count


def test_evidence_is_noted_once_a_session_for_each_thing():
    services = policy.services(
        settings(sender_filter={"blocked": "evil.net", "action": "stamp"}, helo={"own_name": "stamp"})
    )
    senders, names = SenderFilter(services), HeloChecks(services)
    noting = Noting()
    senders._evidence, names._evidence = OncePerSession(noting), OncePerSession(noting)
    for session in ("s-1", "s-1", "s-2"):
        asked = view("x@evil.net", helo="mx.a.test", session_id=session)
        assert senders.on_rcpt(asked) is names.on_rcpt(asked) is PASS
    assert noting.noted == [("192.0.2.1", "blocked-sender"), ("192.0.2.1", "helo-mismatch")] * 2
    senders.on_rcpt(view("x@evil.net", Trust(internal=True)))
    assert len(noting.noted) == 4


def test_who_is_known_to_be_good_is_not_judged():
    services = policy.services(settings(sender_filter={"blocked": "evil.net"}))
    services.known_good = {"192.0.2.1"}.__contains__
    agent = SenderFilter(services)
    assert agent.on_rcpt(view("x@evil.net")) is PASS
    assert isinstance(agent.on_rcpt(view("x@evil.net", address="192.0.2.2")), Reject)
