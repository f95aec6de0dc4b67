"""The keeper of a source, in virtual time: every way in which a source can fail, and what is in force after it."""

import sqlite3

import pytest
from tests.doubles.kept_source import entries, entry, worlds

from mailmoat.directory.freshness import SyncState
from mailmoat.directory.source import Begin, Current, Delta, Entry, Kept, LeftOut, Listed, Part, Remark, Using, Whole
from mailmoat.directory.table_reading import entries_of
from mailmoat.directory_process.keeper import SILENCE
from mailmoat.errors import SourceError

OUTAGE = SourceError("the server is away")


@pytest.fixture
def world(tmp_path):
    with worlds(tmp_path) as make:
        yield make


FULL = (Using("s1"), Begin(), entries(100), Whole(b"1"))


def test_a_full_read_is_in_force_and_the_next_comes_after_the_interval(world):
    w = world(FULL, (Current(b"2"),))
    assert w.seen == (SyncState.CURRENT, 100)
    assert (w.changes, w.keeper.freshness.server, w.source.cookies) == (1, "s1", [None])
    synced = w.keeper.freshness.synced_ms
    w.advance(59)
    assert w.source.cookies == [None]
    w.advance(2)
    assert w.source.cookies == [None, b"1"]
    assert (w.changes, w.keeper.freshness.synced_ms) == (1, synced + 60_000)
    assert w.events == ["directory-read"]


def test_a_read_in_which_entries_have_one_id_is_not_used(world):
    apart = (Begin(), entries(3), entries(2), Whole(b"1", 5))
    w = world(apart, (Begin(), entries(3), Whole(b"1", 3)))
    assert w.seen == (SyncState.FAILED, 0)
    assert w.keeper.freshness.reason.startswith("5 entries have 3 different ids")
    w.advance(60)
    assert w.seen == (SyncState.CURRENT, 3)


def test_a_delta_is_in_force_at_once(world):
    w = world((*FULL, 5.0, Delta((entry(200),), (b"3",), b"2"), 5.0, Delta((entry(200),), (), b"3")))
    w.advance(6)
    assert (w.seen, w.changes, w.table.cookie) == ((SyncState.CURRENT, 100), 2, b"2")
    w.advance(5)
    assert (w.changes, w.table.cookie) == (2, b"3"), "it says what is known"


@pytest.mark.parametrize(
    "fault",
    [
        (OUTAGE,),
        (Begin(), OUTAGE),
        (Begin(), entries(50), OUTAGE),
        (Begin(), entries(50)),
        (Begin(), Whole(b"x")),
        (Begin(), entries(50), Whole(b"x")),
        (Begin(), entries(79), Whole(b"x")),
        (ValueError("garbled"),),
        (Begin(), entries(10), ZeroDivisionError()),
        (Delta((), tuple(b"%d" % number for number in range(50)), b"x"),),
        (Delta(tuple(entry(n)._replace(addresses=()) for n in range(50)), (), b"x"),),
        (Begin(), entries(50), 1e6),
        (1e6,),
        (),
    ],
    ids=str,
)
def test_whatever_a_source_does_what_is_known_stays(world, fault):
    w = world(FULL, fault)
    w.advance(20_000)
    assert w.table.entries == 100
    assert [each.id for each in entries_of(w.table.path)] == [b"%d" % number for number in range(100)]
    assert w.changes == 1
    assert w.keeper.freshness.synced_ms == 1_000_000, "its age counts from when the source said so"


def test_a_failure_is_logged_once_and_tried_again_soon_then_later(world):
    w = world((OUTAGE,), interval="10m")
    times = []
    for _ in range(300):
        before = len(w.source.cookies)
        w.advance(1)
        times += [w.loop.now_ms // 1000 - 1000] * (len(w.source.cookies) > before)
    assert times == [1, 3, 7, 15, 31, 63, 123, 183, 243]
    assert w.events == ["directory-source-failed"]
    assert w.log[0][1] == {"source": "a", "reason": SyncState.FAILED, "detail": "the server is away", "age": None}


def test_an_outage_of_days_is_tried_no_more_often_than_one_of_an_hour(world):
    w = world((OUTAGE,))
    w.advance(2 * 86_400)
    tries, failures = len(w.source.cookies), w.keeper.freshness.failures
    assert failures == tries > 2_000
    w.advance(3_600)
    assert len(w.source.cookies) - tries == 60


def test_it_says_when_the_source_is_back(world):
    w = world(FULL, (OUTAGE,), (Using("s2"), Current(b"1")))
    w.advance(60.5)
    assert w.seen == (SyncState.FAILED, 100)
    assert w.keeper.freshness.reason == "the server is away"
    w.advance(2)
    assert w.seen == (SyncState.CURRENT, 100)
    assert w.keeper.freshness.reason == ""
    assert w.events == ["directory-read", "directory-source-failed", "directory-source-back"]


def test_a_source_that_is_silent_too_long_is_asked_anew(world):
    w = world(FULL, (1e6,), (Current(b"1"),))
    w.advance(60 + SILENCE + 3 * 60 - 1)
    assert w.seen == (SyncState.CURRENT, 100)
    w.advance(1.5)
    assert w.seen[0] is SyncState.FAILED
    w.advance(2)
    assert w.seen[0] is SyncState.CURRENT


def test_half_of_the_entries_are_refused_until_they_are_accepted(world):
    half = (Begin(), entries(50), Whole(b"2"))
    w = world(FULL, half)
    w.advance(60)
    assert w.seen == (SyncState.SHRUNK, 100)
    assert (
        w.keeper.freshness.reason
        == "it has 50 entries with 50 addresses, and had 100 with 100: more than 20 % are gone; the full read is not used; "
        "if that is right, run: mailmoat directory sync a --accept-shrink"
    )
    w.keeper.sync()
    w.advance(1)
    assert w.seen == (SyncState.SHRUNK, 100)
    w.keeper.sync(accept_shrink=True)
    w.advance(1)
    assert w.seen == (SyncState.CURRENT, 50)
    assert w.events[-1] == "directory-source-back"


def test_what_is_accepted_is_the_read_that_was_asked_for_alone(world):
    """That read failed; a later one that lost half by a fault is refused, as nobody has seen it."""
    w = world(FULL, (OUTAGE,), (Begin(), entries(50), Whole(b"2")))
    w.advance(1)
    w.keeper.sync(accept_shrink=True)
    w.advance(0.5)
    assert w.seen == (SyncState.FAILED, 100)
    w.advance(60)
    assert w.seen == (SyncState.SHRUNK, 100)


def test_an_empty_read_is_refused_even_then(world):
    w = world((Begin(), Whole(b"2")))
    w.keeper.sync(accept_shrink=True)
    w.advance(1)
    assert w.seen == (SyncState.SHRUNK, 0)
    assert w.keeper.freshness.table == "", "nothing is in force"


def test_a_fifth_less_is_no_shrinking_and_few_may_always_go(world):
    w = world(FULL, (Begin(), entries(80), Whole(b"2")))
    w.advance(61)
    assert w.seen == (SyncState.CURRENT, 80)
    few = world(
        (Begin(), entries(12), Whole(b"3")), (Delta((), tuple(b"%d" % n for n in range(10)), b"4"),), name="few"
    )
    few.advance(61)
    assert few.seen == (SyncState.CURRENT, 2)


def read(most):
    return Begin(), entries(most), Whole(None)


def test_what_full_reads_lack_adds_up(world):
    """A filter that matches less at each look, or pages that get lost: without that, 19 % at a time would take all away."""
    w = world(FULL, read(90), read(81), read(70), (1e6,))
    w.advance(125)
    assert w.seen == (SyncState.CURRENT, 81), "19 % are gone"
    w.advance(60)
    assert w.seen == (SyncState.SHRUNK, 81)
    assert w.keeper.freshness.reason.startswith(
        "it has 70 entries with 70 addresses, and had 100 with 100 within a day: more than 20 % are gone "
        "(19 entries and 19 addresses were removed before the limit was reached); the full read is not used"
    )


def test_changes_and_full_reads_have_one_sum_that_a_restart_keeps(world):
    w = world(FULL, read(85), (1e6,))
    w.advance(60)
    assert w.seen == (SyncState.CURRENT, 85)
    again = world(*removals(12), (1e6,))
    again.keeper.sync()
    again.advance(1)
    assert again.seen == (SyncState.SHRUNK, 85)


def test_what_full_reads_lack_is_forgotten_within_a_day(world):
    w = world(*[read(100 - n) for n in range(31)], (1e6,), interval="48m")
    w.advance(86_500)
    assert w.seen == (SyncState.CURRENT, 70)
    assert w.events.count("directory-source-failed") == 0


@pytest.mark.parametrize(("first", "second", "third"), [(5, 4, 3), (3, 1, 1), (9, 7, 7)])
def test_of_a_small_directory_two_may_be_missing(world, first, second, third):
    """Somebody who left, in a directory of five, is no fault that needs an administrator."""
    w = world(read(first), read(second), read(third))
    w.advance(125)
    assert w.seen == (SyncState.CURRENT, third)


@pytest.mark.parametrize("reads", [(5, 2), (5, 4, 2), (5, 4, 3, 2), (4, 1), (2, 0)])
def test_but_not_three(world, reads):
    w = world(*map(read, reads))
    w.advance(60 * len(reads))
    assert w.seen == (SyncState.SHRUNK, reads[-2])


@pytest.mark.parametrize("more", [False, True])
def test_a_change_never_takes_all_away_however_few_there_are(world, more):
    gone = Delta((), tuple(b"%d" % n for n in range(4)), b"1" if more else b"2", more=more)
    rest = Delta((), tuple(b"%d" % n for n in range(4, 8)), b"2")
    w = world(
        (Begin(), entries(8), Whole(b"1")),
        (gone, rest) if more else (gone._replace(removed=gone.removed + rest.removed),),
    )
    w.advance(60)
    assert w.seen == (SyncState.SHRUNK, 8)
    assert w.keeper.freshness.reason == "all 8 entries are gone at once; they are not removed"
    assert w.table.cookie == b"1"


def removals(*sizes, first=0):
    """A read for each, that removes so many of the first entries."""
    reads = []
    for size in sizes:
        reads.append((Delta((), tuple(b"%d" % n for n in range(first, first + size)), b"%d" % first),))
        first += size
    return reads


def test_removals_add_up(world):
    w = world(FULL, *removals(9, 9, 9, 9))
    w.advance(190)
    assert w.seen == (SyncState.SHRUNK, 82), "two of them are 18 %"
    assert (
        w.keeper.freshness.reason == "27 of 100 entries and 27 of 100 addresses are gone within a day: more than 20 % "
        "(18 entries and 18 addresses were removed before the limit was reached); 9 entries and 9 addresses are held back; "
        "if that is right, run: mailmoat directory sync a --accept-shrink"
    )
    w.advance(12 * 3600)
    assert w.table.entries < 82


def test_a_full_read_takes_no_more_away_than_changes_may(world):
    w = world(FULL, *removals(9, 9, 9), (Begin(), entries(100, 27), Whole(b"2")))
    w.advance(190)
    w.keeper.sync()
    w.advance(1)
    assert w.seen == (SyncState.SHRUNK, 82)
    assert (
        "it has 73 entries with 73 addresses, and had 100 with 100 within a day: more than 20 % are gone "
        "(18 entries and 18 addresses were removed before the limit was reached); the full read is not used"
    ) in w.keeper.freshness.reason
    w.keeper.sync(accept_shrink=True)
    w.advance(1)
    assert w.seen == (SyncState.CURRENT, 73)


@pytest.mark.parametrize("between", [(), ((OUTAGE,),)], ids=["at once", "after an outage"])
@pytest.mark.parametrize("nothing", [Current(b"9"), Delta((), (), b"9")], ids=str)
def test_a_source_that_skips_what_was_held_back_does_not_end_the_alarm(world, nothing, between):
    w = world(FULL, *removals(30), *between, (nothing,))
    w.advance(300)
    assert w.seen == (SyncState.SHRUNK, 100)
    assert "30 of 100 entries" in w.keeper.freshness.reason
    assert w.table.cookie == b"1"
    assert set(w.source.cookies[2:]) == {None}, "only a full read says what there is"
    assert "directory-source-back" not in w.events


@pytest.mark.parametrize("nothing", [Current(b"9"), Delta((), (), b"9")], ids=str)
def test_what_was_held_back_is_remembered_over_a_restart(world, nothing):
    """Without that, a source that skips what it said once would be believed, and its entries would stay for ever."""
    w = world(FULL, *removals(30))
    w.advance(60)
    reason = w.keeper.freshness.reason
    w = world((nothing,))
    assert (w.seen, w.keeper.freshness.reason) == ((SyncState.SHRUNK, 100), reason)
    assert (w.source.cookies, w.table.cookie) == ([None], b"1")
    w = world((1e6,))
    assert (w.seen, w.keeper.freshness.reason) == ((SyncState.SHRUNK, 100), reason), "the alarm goes on meanwhile"
    w = world((Begin(), entries(100, 5), Whole(b"2")), (Current(b"3"),))
    assert (w.seen, w.events) == ((SyncState.CURRENT, 95), ["directory-read", "directory-source-back"])
    w = world((Current(b"3"),))
    assert (w.seen, w.source.cookies) == ((SyncState.CURRENT, 95), [b"2"])


def test_on_a_full_disk_it_is_remembered_until_a_restart(world):
    w = world(FULL, *removals(30), (Current(b"2"),))
    write = w.table._set

    def full(**values):
        if values.get("held"):
            raise sqlite3.OperationalError("database or disk is full")
        write(**values)

    w.table._set = full
    w.advance(300)
    assert w.seen == (SyncState.SHRUNK, 100)
    assert len(w.source.cookies) > 2


def test_a_full_read_that_is_large_enough_ends_the_alarm(world):
    w = world(FULL, *removals(30), (Begin(), entries(100, 5), Whole(b"2")), (Current(b"3"),))
    w.advance(62)
    assert w.seen == (SyncState.CURRENT, 95)
    w.advance(60)
    assert (w.seen, w.source.cookies[2:]) == ((SyncState.CURRENT, 95), [None, b"2"])


def test_a_restart_forgives_nothing(world, tmp_path):
    w = world(FULL, *removals(18), (1e6,))
    w.advance(60)
    assert w.seen == (SyncState.CURRENT, 82)
    again = world(*removals(9, first=18))
    assert again.seen == (SyncState.SHRUNK, 82)


def test_three_in_ten_that_go_over_a_day_need_nobody(world):
    """A large removal by hand: one entry in 48 minutes, so that never a fifth is gone within the time that counts."""
    w = world(FULL, *removals(*[1] * 30), (1e6,), interval="48m")
    w.advance(86_500)
    assert w.seen == (SyncState.CURRENT, 70)
    assert w.events.count("directory-source-failed") == 0


def test_what_is_accepted_may_be_followed_by_as_much_again(world):
    w = world(FULL, *removals(30), (Begin(), entries(100, 30), Whole(b"2")), *removals(12, first=30), (1e6,))
    w.advance(60)
    assert w.seen == (SyncState.SHRUNK, 100)
    w.keeper.sync(accept_shrink=True)
    w.advance(1)
    assert w.seen == (SyncState.CURRENT, 70)
    w.advance(60)
    assert w.seen == (SyncState.CURRENT, 58)


def several(first, most, addresses):
    """Entries with so many addresses each, of which the first stays."""
    return tuple(
        Entry(b"%d" % n, f"n{n}", tuple(Listed(f"a{n}.{each}@a.test") for each in range(addresses)))
        for n in range(first, most)
    )


MANY = (Begin(), Part(several(0, 100, 3)), Whole(b"1"))


@pytest.mark.parametrize(
    "fault", [(Begin(), Part(several(0, 100, 1)), Whole(b"2")), (Delta(several(0, 100, 1), (), b"2"),)], ids=type
)
def test_rights_that_hide_all_addresses_but_one_of_each_entry_take_none_away(world, fault):
    w = world(MANY, fault)
    w.advance(60)
    assert w.keeper.freshness.state is SyncState.SHRUNK
    assert w.table.stock == (100, 300)
    assert "addresses" in w.keeper.freshness.reason
    assert "300" in w.keeper.freshness.reason


def test_entries_that_get_other_addresses_lose_none(world):
    renamed = tuple(Entry(b"%d" % n, f"n{n}", (Listed(f"b{n}@a.test"), Listed(f"!a{n}@a.test"))) for n in range(100))
    w = world(FULL, (Delta(renamed, (), b"2"),))
    w.advance(60)
    assert (w.keeper.freshness.state, w.table.stock) == (SyncState.CURRENT, (100, 100))


def test_a_change_in_parts_is_judged_as_a_whole(world):
    """A source gives a thousand entries at a time: without that, a fifth would be gone before the rest is refused."""
    parts = [Delta((), tuple(b"%d" % n for n in range(at, at + 12)), b"1", more=True) for at in range(0, 60, 12)]
    w = world(FULL, (*parts, Current(b"2")))
    w.advance(60)
    assert w.seen == (SyncState.SHRUNK, 100)
    assert "60 of 100 entries" in w.keeper.freshness.reason
    assert w.table.cookie == b"1"


def test_parts_are_in_force_when_the_last_one_is_there(world):
    added = [Delta((entry(n),), (), b"1", more=True) for n in range(100, 110)]
    w = world(FULL, (*added, OUTAGE), (*added, 10.0, Delta((), (b"3",), b"2")), (1e6,))
    w.advance(60)
    assert w.seen == (SyncState.FAILED, 100), "an outage in the middle: none of them"
    w.advance(1)
    assert (w.changes, w.keeper.freshness.entries) == (1, 100)
    w.advance(10)
    assert (w.seen, w.changes) == ((SyncState.CURRENT, 109), 2)
    assert w.log[-2] == ("directory-changed", {"source": "a", "changed": 10, "removed": 1, "entries": 109})


def test_a_command_reads_at_once_and_whole(world):
    w = world(FULL, (3000.0,))
    w.advance(70)
    w.keeper.sync()
    w.advance(1)
    assert w.source.cookies == [None, b"1", None]
    assert w.source.open == 1, "the read before was ended"


def test_what_is_left_out_is_counted_and_logged(world):
    w = world((Begin(), entries(5), LeftOut(2, "line 3: no address"), Whole(b"1")))
    assert (w.keeper.freshness.left_out, w.seen) == (2, (SyncState.CURRENT, 5))
    assert w.log[0] == ("directory-left-out", {"source": "a", "entries": 2, "detail": "line 3: no address"})


def test_what_was_left_out_is_known_after_a_restart(world):
    """The entries of that full read are in force, too, until the next one, which may be a day away."""
    before = world((Begin(), entries(5), LeftOut(2, "line 3: no address"), Whole(b"1"))).keeper.freshness
    later = world((Current(b"1"),), (Begin(), entries(5), Whole(b"1")), before=before)
    assert (later.keeper.freshness.left_out, later.keeper.freshness.left_out_examples) == (2, ("line 3: no address",))
    later.keeper.sync()
    later.advance(60)
    assert later.keeper.freshness.left_out == 0


def test_that_a_preferred_server_is_passed_over_is_shown_and_logged_once(world):
    reason = "s1: no connection"
    instead = Using("s2", (reason,))
    w = world(FULL, (instead, Current(b"1")), (instead, Current(b"1")), (Using("s1"), Current(b"1")))
    w.advance(120)
    assert (w.keeper.freshness.server, w.keeper.freshness.passed_over) == ("s2", (reason,))
    said = {"source": "a", "detail": "s1: no connection; s2 is read in its place"}
    assert w.log[1:] == [("directory-remark", said)]
    w.advance(60)
    assert w.keeper.freshness.passed_over == ()
    assert w.log[2:] == [("directory-source-back", {"source": "a", "server": "s1"})]


def test_a_remark_is_logged_once(world):
    remark = Remark("dc1 is a domain controller of Active Directory: write ad://")
    w = world((remark, *FULL), (remark, Current(b"2")))
    w.advance(70)
    remarks = [fields for name, fields in w.log if name == "directory-remark"]
    assert remarks == [{"source": "a", "detail": remark.sentence}]


def test_what_is_kept_that_the_server_lacks_is_shown_until_it_is_kept_no_more(world):
    first, fewer, none = Kept(7, "dc2 may be behind: 7 entries"), Kept(2, "dc2 may be behind: 2 entries"), Kept(0, "")
    w = world((*FULL, first, Current(b"1"), 5.0, fewer, 5.0, none, 5.0, first, Current(b"1"), 1e6), (OUTAGE,))
    seen = []
    for seconds in (1, 5, 5, 5):
        w.advance(seconds)
        seen.append((w.keeper.freshness.kept, w.keeper.freshness.kept_why))
    assert seen == [first, fewer, none, first]
    remarks = [fields["detail"] for name, fields in w.log if name == "directory-remark"]
    assert remarks == [first.why, first.why], "once each time it begins"
    w.keeper.sync()
    w.advance(1)
    assert (w.seen[0], w.keeper.freshness.kept) == (SyncState.FAILED, 7), "they are in force still"


def test_the_source_can_ask_what_is_known(world):
    w = world(FULL)
    assert (b"3" in w.source.known, len(w.source.known), len(list(w.source.known))) == (True, 100, 100)
