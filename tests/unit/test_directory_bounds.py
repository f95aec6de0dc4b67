"""What a row of `[[directories]]` may list: addresses at its domains, whole domains where it is allowed, targets where they may lead."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailmoat._native import Address
from mailmoat.directory.bounds import Bounds, Kind
from mailmoat.directory.directory import Presence
from mailmoat.directory.source import Begin, Delta, Entry, LeftOut, Listed, LiveAnswer, Part, Whole
from mailmoat.directory_process.bounded import BoundedLive, BoundedSync, open_bounded_live, open_bounded_sync
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import sources


def tree(url="file:///x", local="ours.test,b.test", **row):
    relay = {"local_domains": local, "unfiltered_domains": "backup.test"}
    return Settings(hostname="mx.test", relay=relay, directories=[{"name": "office", "url": url, **row}])


def bounds(**row):
    settings = tree(**row)
    return Bounds.of(settings, sources(settings.directory, settings.directories)[0])


def listed(text, *targets, **row):
    """What counts of one address of an entry, in the notation of the recipient file; and what kinds of things do not."""
    entry, refusals = bounds(**row).entry(Entry(b"1", "cn=one", (Listed(text, targets),)))
    kinds = [refusal.kind for refusal in refusals]
    return (entry.addresses[0].text, *entry.addresses[0].targets) if entry.addresses else None, kinds


@pytest.mark.parametrize(
    "text", ["ann@ours.test", "!ann@ours.test", "ann", "Ann@B.test.", '"a b"@ours.test', "!x%y@backup.test"]
)
def test_addresses_at_the_domains_count(text):
    assert listed(text) == ((text,), [])


@pytest.mark.parametrize(
    "text",
    ["ann@far.test", "!ann@far.test", '"x@ours.test"@far.test', "ann@sub.ours.test", "no address", "ann@ours.test\nx"],
)
def test_others_do_not(text):
    assert listed(text) == (None, [Kind.ADDRESS])


@pytest.mark.parametrize("text", ["victim%far.test@ours.test", '"victim@far.test"@ours.test', "far.test!x@ours.test"])
def test_an_address_that_another_server_may_read_as_one_elsewhere_needs_leave(text):
    assert listed(text) == (None, [Kind.ADDRESS])
    assert listed(text, target_domains="*") == ((text,), [])
    found = LiveAnswer(Presence.EXISTS)
    asked = Address.parse(text)
    refused, refusals = bounds().answer(asked, found)
    assert (refused.presence, [refusal.kind for refusal in refusals]) == (Presence.ABSENT, [Kind.ADDRESS])
    assert bounds(target_domains="*").answer(asked, found) == (found, [])


@pytest.mark.parametrize("addresses", [100, 101])
def test_one_entry_has_so_many_targets_over_all_its_addresses(addresses):
    """In a directory each address has all targets of its entry: who may edit one could make a hundred million of them."""
    targets = tuple(f"u{number}@ours.test" for number in range(1000))
    texts = [f"a{number}@ours.test" for number in range(addresses)]
    entry = Entry(b"1", "cn=one", tuple(Listed(text, targets) for text in texts))
    found, refusals = bounds().entry(entry)
    assert [one.text for one in found.addresses] == texts
    if addresses == 100:
        assert (found, refusals) == (entry, [])
        return
    assert not any(one.targets for one in found.addresses)
    [refusal] = refusals
    assert refusal.sentence == "101 addresses have 101000 targets, more than 100000, which are not used (cn=one)"


def test_a_row_with_domains_of_its_own_has_no_others():
    assert listed("ann@b.test", domains="b.test") == (("ann@b.test",), [])
    assert listed("ann@ours.test", domains="b.test") == (None, [Kind.ADDRESS])
    assert listed("ann", domains="b.test") == (None, [Kind.ADDRESS])


def test_a_whole_domain_counts_where_the_row_allows_it():
    assert listed("@ours.test") == (None, [Kind.WHOLE_DOMAIN])
    assert listed("@ours.test", whole_domains=True) == (("@ours.test",), [])
    assert listed("@far.test", whole_domains=True) == (None, [Kind.ADDRESS])
    assert listed("@ours.test", "boss@ours.test") == (None, [Kind.WHOLE_DOMAIN])
    assert listed("@ours.test", "boss@ours.test", whole_domains=True) == (("@ours.test", "boss@ours.test"), [])
    assert listed("@ours.test", "boss@far.test", whole_domains=True) == (("@ours.test",), [Kind.TARGET])


def test_another_name_of_a_domain_counts_where_whole_domains_do():
    """Another source may make the other domain a whole one: then it would be one without leave."""
    assert listed("@ours.test", "@b.test", whole_domains=True) == (("@ours.test", "@b.test"), [])
    assert listed("@ours.test", "@far.test", whole_domains=True) == (None, [Kind.TARGET])
    leave = {"whole_domains": True, "target_domains": "far.test"}
    assert listed("@ours.test", "@far.test", **leave) == (("@ours.test", "@far.test"), [])
    for others in [("@b.test",), ("@Ours.test",), ("@b.test", "ann@b.test"), ("@no domain",)]:
        assert listed("@ours.test", *others) == (None, [Kind.WHOLE_DOMAIN])


def test_an_address_takes_the_place_of_a_target_that_is_refused():
    assert listed("ann@ours.test", "bob@b.test") == (("ann@ours.test", "bob@b.test"), [])
    assert listed("ann@ours.test", "eve@far.test") == (("ann@ours.test",), [Kind.TARGET])
    assert listed("ann", "bob@b.test", "eve@far.test", "mal@far.test") == (
        ("ann", "bob@b.test", "ann@ours.test"),
        [Kind.TARGET, Kind.TARGET],
    )
    assert listed("ann@ours.test", "eve@far.test", target_domains="far.test")[1] == []
    assert listed("ann@ours.test", "eve@anywhere.test", target_domains="*")[1] == []
    assert listed("ann@ours.test", "bob@b.test\neve@far.test") == (("ann@ours.test",), [Kind.TARGET])
    assert listed("ann@ours.test", "bob@b.test\neve@far.test", target_domains="*") == (
        ("ann@ours.test",),
        [Kind.TARGET],
    )
    assert listed("ann@ours.test", "@far.test") == (("ann@ours.test",), [Kind.TARGET])


@pytest.mark.parametrize(
    "target", ["no address", "bob", "eve%far.test@b.test", "|/bin/sh@b.test", "smtp:bob@b.test", ":include:/x"]
)
def test_so_it_does_of_one_that_is_no_address_to_redirect_to(target):
    """As the snapshot would not use it, and then none of the others."""
    assert listed("ann@ours.test", "bob@b.test", target) == (
        ("ann@ours.test", "bob@b.test", "ann@ours.test"),
        [Kind.TARGET],
    )
    assert answered("bob@b.test", target) == (Presence.EXISTS, ("bob@b.test", "Ann@ours.test"))


def test_the_sentences_name_entry_and_setting():
    entry = Entry(
        b"1", "cn=one", (Listed("ann@far.test"), Listed("@ours.test"), Listed("bob@ours.test", ("e@far.test",)))
    )
    _, refusals = bounds().entry(entry)
    where = "far.test is neither a domain of this server nor in target_domains"
    assert [refusal.sentence for refusal in refusals] == [
        "ann@far.test: far.test is not in relay.local_domains (cn=one)",
        "@ours.test stands for a whole domain, which counts only with whole_domains = true (cn=one)",
        f"bob@ours.test has the target e@far.test, which is not used, as {where} (cn=one)",
    ]


@pytest.mark.parametrize("target", ["victim%far.test@ours.test", '"victim@far.test"@ours.test', "far.test!x@ours.test"])
def test_a_target_that_may_route_is_not_used_and_loses_no_address(target):
    for domains in ("", "*"):
        assert listed("ann@ours.test", target, target_domains=domains) == (("ann@ours.test",), [Kind.TARGET])
        assert answered(target, target_domains=domains) == (Presence.EXISTS, ())
        assert answered("bob@ours.test", target) == (Presence.EXISTS, ("bob@ours.test", "Ann@ours.test"))


def test_an_address_with_more_targets_than_are_used_is_delivered_to_itself():
    many = [f"a{number}@ours.test" for number in range(1001)]
    assert listed("ann@ours.test", *many) == (("ann@ours.test",), [Kind.TARGET])
    assert len(listed("ann@ours.test", *many[1:])[0]) == 1001
    assert answered(*many) == (Presence.EXISTS, ())


def answered(*targets, whole_domain=False, other_domain="", **row):
    answer = LiveAnswer(Presence.EXISTS, targets, "cn=one", whole_domain, other_domain)
    found, _ = bounds(**row).answer(Address.parse("Ann@ours.test"), answer)
    return found.presence, found.targets


def test_answers_are_bound_as_entries_are():
    exists = Presence.EXISTS
    assert answered() == (exists, ())
    assert answered("bob@b.test") == (exists, ("bob@b.test",))
    assert answered("eve@far.test") == (exists, ())
    assert answered("bob@b.test", "eve@far.test") == (exists, ("bob@b.test", "Ann@ours.test"))
    assert answered("eve@far.test", target_domains="*") == (exists, ("eve@far.test",))
    assert answered("bob@b.test", "eve@far.test\nbob@b.test", "no address") == (exists, ("bob@b.test", "Ann@ours.test"))
    assert answered("bob@b.test\neve@far.test") == (exists, ())
    assert answered(whole_domain=True) == (Presence.ABSENT, ())
    assert answered("bob@b.test", whole_domain=True) == (Presence.UNKNOWN, ())
    assert answered("bob@b.test", whole_domain=True, whole_domains=True) == (exists, ("bob@b.test",))
    assert answered(other_domain="b.test") == answered("bob@b.test", other_domain="b.test") == (Presence.ABSENT, ())
    assert answered(other_domain="b.test", whole_domains=True) == (exists, ())
    assert answered("bob@b.test", other_domain="b.test", whole_domains=True) == (exists, ("bob@b.test",))
    absent = LiveAnswer(Presence.ABSENT)
    assert bounds().answer(Address.parse("ann@ours.test"), absent) == (absent, [])


class Steps:
    """A source that gives these steps, and remembers how many entries it was told are known."""

    def __init__(self, *steps):
        self._steps, self.known = steps, []

    async def steps(self, _cookie, known):
        for step in self._steps:
            yield step
            self.known.append(len(known))


def run(source, known):
    async def read():
        return [step async for step in BoundedSync(source, bounds()).steps(None, known)]

    return asyncio.run(read())


def one(number, text, *targets):
    return Entry(b"%d" % number, f"cn={number}", (Listed(text, targets),))


def test_what_a_full_read_leaves_out_is_counted_and_said_once():
    ann = one(1, "ann@ours.test")
    source = Steps(
        Begin(), Part((ann, one(2, "x@far.test"))), Part((one(3, "y@far.test"), one(4, "@ours.test"))), Whole(b"c")
    )
    begin, first, second, *left_out, whole = run(source, {b"1": ann})
    assert (begin, whole) == (Begin(), Whole(b"c"))
    assert first.entries[0] is ann
    assert [entry.addresses for entry in (*first.entries[1:], *second.entries)] == [(), (), ()]
    assert [(one.entries, one.example.split()[0]) for one in left_out] == [(2, "x@far.test:"), (1, "@ours.test")]
    assert source.known[-1] == 4, "as many as the source gave"


def test_an_entry_that_comes_again_and_again_is_said_once():
    changed = Delta((one(1, "ann@ours.test", "eve@far.test"),), (b"2",), b"c")
    left_out, *deltas = run(Steps(changed, changed, changed), {})
    assert isinstance(left_out, LeftOut)
    assert deltas == [Delta((one(1, "ann@ours.test"),), (b"2",), b"c")] * 3


def test_a_part_of_a_change_stays_one():
    part = Delta((one(1, "ann@ours.test"),), (), b"c", more=True)
    assert run(Steps(part), {}) == [part]


def test_a_file_is_read_within_its_bounds(tmp_path):
    path = tmp_path / "list"
    path.write_text("ann@ours.test = eve@far.test\n@ours.test\nbob@far.test\n")
    settings = tree(url=f"file://{path}")
    source = open_bounded_sync(settings, sources(settings.directory, settings.directories)[0])

    async def read():
        found = []
        async for step in source.steps(None, {}):
            if isinstance(step, Whole):
                break
            found.append(step)
        return found

    _, part, *left_out = asyncio.run(read())
    assert [one.text for entry in part.entries for one in entry.addresses if not one.targets] == ["ann@ours.test"]
    assert len(left_out) == 3


def test_a_live_script_is_asked_within_its_bounds(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho eve@far.test\n")
    script.chmod(0o755)
    settings, said = tree(url=f"script://{script}", mode="live"), []
    source = open_bounded_live(settings, sources(settings.directory, settings.directories)[0], said.append)
    assert isinstance(source, BoundedLive)
    for _ in range(2):
        found = asyncio.run(source.lookup(Address.parse("ann@ours.test")))
        assert (found.presence, found.targets) == (Presence.EXISTS, ())
    assert [step.entries for step in said] == [1]
    (remark,) = source.remarks
    assert remark.startswith("2 left out, such as: ann@ours.test has the target eve@far.test")


def test_a_whole_domain_may_lead_to_an_address(tmp_path):
    path = tmp_path / "list"
    path.write_text("@ours.test = boss@b.test\n")
    settings = tree(url=f"file://{path}", whole_domains=True)
    source = open_bounded_sync(settings, sources(settings.directory, settings.directories)[0])

    async def read():
        async for step in source.steps(None, {}):
            if isinstance(step, Part):
                return step.entries
        return ()

    (entry,) = asyncio.run(read())
    assert entry.addresses == (Listed("@ours.test", ("boss@b.test",)),)


DOMAINS = st.frozensets(st.sampled_from(["a.test", "b.test", "c.test"]), max_size=3)
BOUNDS = st.builds(
    Bounds, DOMAINS, st.none() | DOMAINS, st.booleans(), st.sampled_from(["", "a.test", "b.test"]), st.just("")
)
TEXTS = st.sampled_from(
    ["ann@a.test", "Ann@B.test", "ann", "!ann@c.test", "@a.test", "@b.test", "x%y@a.test", "no address"]
)
TARGETS = st.lists(TEXTS | st.sampled_from(["bob@b.test", "eve@c.test", "@c.test"]), max_size=3).map(tuple)
ENTRIES = st.lists(st.builds(Listed, TEXTS, TARGETS), min_size=1, max_size=4).map(tuple)


@given(BOUNDS)
def test_bounds_are_read_as_they_were_written(bounds):
    assert Bounds.read(bounds.text) == bounds
    assert Bounds.read(bounds.text + " ") is None


@given(BOUNDS, BOUNDS, ENTRIES)
@settings(max_examples=1000, deadline=None)
def test_within_tighter_bounds_it_is_the_same_if_it_was_within_wider_ones_before(wider, bounds, addresses):
    """So a table that was read within the wider ones is, kept to these, what is read within these."""
    domains = bounds.domains & wider.domains or wider.domains or bounds.domains
    targets = {bounds.targets, wider.targets} - {None}
    tighter = wider._replace(
        domains=domains,
        targets=frozenset.intersection(*targets) if targets else None,
        whole_domains=bounds.whole_domains and wider.whole_domains,
    )
    assert tighter.within(wider)
    assert wider.within(tighter) == (wider == tighter)
    entry = Entry(b"1", "cn=one", addresses)
    assert tighter.entry(wider.entry(entry)[0])[0].addresses == tighter.entry(entry)[0].addresses


@pytest.mark.parametrize(
    ("row", "other"),
    [
        ({"domains": "b.test"}, {}),
        ({}, {"whole_domains": True}),
        ({}, {"target_domains": "far.test"}),
        ({"target_domains": "far.test"}, {"target_domains": "*"}),
    ],
)
def test_bounds_are_within_those_that_permit_more(row, other):
    assert bounds(**row).within(bounds(**other))
    assert not bounds(**other).within(bounds(**row))


def test_bounds_with_another_default_domain_permit_other_addresses():
    assert not bounds()._replace(default_domain="b.test").within(bounds())
