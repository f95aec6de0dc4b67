"""The directory of a worker: what is found is found, and what is not found is absent only when every source is in force."""

import asyncio
from unittest import mock

import pytest

from mailmoat import clock
from mailmoat._native import Address, Normalisation
from mailmoat.directory import freshness, paths
from mailmoat.directory.composed import LONGEST_LAG, ComposedDirectory
from mailmoat.directory.directory import Presence, Redirection
from mailmoat.directory.freshness import Freshness, SourceFreshness, SyncState
from mailmoat.directory.identity import Identity
from mailmoat.directory.inputs import RecipientsCompiler
from mailmoat.directory.live.wire import LiveReply
from mailmoat.directory.snapshot import SNAPSHOT_NAME, SnapshotKeeper
from mailmoat.directory.snapshot_directory import SnapshotDirectory
from mailmoat.directory.source import Entry, Listed
from mailmoat.directory_process.table import Table
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import sources

NOW = 1_700_000_000_000
TARGETS = {
    "team": ("x@far.test", "y@a.test"),
    "route": ("victim%far.test@a.test",),
    "short": ("x",),
    "lines": ("x@far.test>\r\nRCPT TO:<y@far.test",),
}
EXISTS, ABSENT, UNKNOWN = Presence.EXISTS, Presence.ABSENT, Presence.UNKNOWN


class Live:
    """Answers by the local part."""

    def __init__(self):
        self.asked = []

    async def lookup(self, address, client=""):
        self.asked.append(str(address))
        if address.local in TARGETS:
            return LiveReply(EXISTS, TARGETS[address.local], "hop")
        return LiveReply({"liv": EXISTS, "err": UNKNOWN}.get(address.local, ABSENT), (), "hop")

    def close(self):
        self.asked = None


class World:
    def __init__(self, directory, *rows, text=None):
        self.directory, self.text = directory, text
        if text is not None:
            (directory / "recipients").write_text(text)
        recipients = {"file": str(directory / "recipients")} if text is not None else {}
        relay = {"local_domains": "a.test,b.test"}
        given = [{"url": "file:///x", **row} for row in rows]
        self.settings = Settings(
            hostname="mx.test", spool_dir=directory, recipients=recipients, relay=relay, directories=given
        )
        self.sources = {row["name"]: SourceFreshness(row["name"]) for row in rows}
        self.live = Live() if any("next_hop" in row.get("url", "") for row in rows) else None

    def row(self, name):
        return next(row for row in sources(self.settings.directory, self.settings.directories) if row.name == name)

    def read(self, name, *addresses, age=0):
        table = Table(paths.table_path(self.directory, name), Identity.of(self.settings, self.row(name)))
        table.begin()
        table.add([Entry(each.encode(), each, (Listed(each),)) for each in addresses])
        table.swap(None)
        self.sources[name] = SourceFreshness(
            name, SyncState.CURRENT, synced_ms=NOW - 1000 * age, changed_ms=NOW - 1000 * age, table=table.state
        )
        table.close()

    def compile(self):
        compiler = RecipientsCompiler.of(self.settings)
        report = SnapshotKeeper(compiler.source(self.settings), self.directory / SNAPSHOT_NAME, compiler).compile()
        assert report.problems == ()

    def opened(self):
        paths.directory_of(self.directory).mkdir(exist_ok=True)
        freshness.write(paths.freshness_path(self.directory), Freshness(tuple(self.sources.values())))
        snapshot = SnapshotDirectory(self.directory / SNAPSHOT_NAME, Normalisation("+"))
        return ComposedDirectory(self.settings, snapshot, self.live)

    def __call__(self, address):
        answer = self.opened().lookup(Address.parse(address))
        return answer if isinstance(answer, Presence | Redirection) else asyncio.run(awaited(answer))

    def why(self, address):
        answer = self.opened().explain(Address.parse(address))
        return answer if isinstance(answer, str) else asyncio.run(awaited(answer))


async def awaited(answer):
    return await answer


@pytest.fixture(autouse=True)
def _now():
    with mock.patch.object(clock, "wall_ms", return_value=NOW):
        yield


def test_nothing_is_absent_before_the_first_read(tmp_path):
    w = World(tmp_path, {"name": "office"})
    assert w("ann@a.test") is UNKNOWN, "there is no snapshot either"
    w.compile()
    assert w("ann@a.test") is UNKNOWN
    assert w.why("ann@a.test") == "ann@a.test: unknown (nothing lists it, but office: it was not read whole yet)"


def test_what_was_read_is_in_force_when_it_is_compiled(tmp_path):
    w = World(tmp_path, {"name": "office"})
    w.compile()
    w.read("office", "ann@a.test")
    assert (w("ann@a.test"), w("eve@a.test")) == (UNKNOWN, UNKNOWN), "the snapshot does not have the table yet"
    w.compile()
    assert (w("ann@a.test"), w("ann+x@a.test"), w("eve@a.test")) == (EXISTS, EXISTS, ABSENT)


def test_an_address_is_looked_for_once_whatever_is_found(tmp_path):
    w = World(tmp_path, {"name": "office"})
    w.read("office", "ann@a.test", "!bob@a.test", "@b.test=@a.test")
    w.compile()
    directory = w.opened()
    inner = directory.snapshot.file.value
    for address in ("ann@a.test", "bob@a.test", "eve@a.test", "eve@b.test"):
        with mock.patch.object(directory.snapshot.file, "value", mock.Mock(wraps=inner)) as counted:
            directory.lookup(Address.parse(address))
        assert counted.resolve.call_count == 1, address


@pytest.mark.parametrize(("when_stale", "answer"), [("unknown", UNKNOWN), ("accept", EXISTS)])
def test_what_is_not_found_is_not_absent_when_a_source_is_too_old(tmp_path, when_stale, answer):
    w = World(tmp_path, {"name": "office", "max_age": "1h", "when_stale": when_stale})
    w.read("office", "ann@a.test", "!bob@a.test", age=3599)
    w.compile()
    assert w("eve@a.test") is ABSENT
    w.read("office", "ann@a.test", "!bob@a.test", age=3601)
    w.compile()
    assert (w("ann@a.test"), w("eve@a.test")) == (EXISTS, answer)
    assert (w("bob@a.test"), w("bob+x@a.test")) == (ABSENT, ABSENT), "an entry says so"
    assert w("victim%far.test@a.test") is UNKNOWN, "an outage makes no relay"


def test_a_source_is_in_doubt_at_its_domains_alone(tmp_path):
    w = World(tmp_path, {"name": "a", "domains": "a.test"}, {"name": "b", "domains": "b.test", "when_stale": "accept"})
    w.read("a", "ann@a.test")
    w.compile()
    assert (w("eve@a.test"), w("eve@b.test")) == (ABSENT, EXISTS)


def test_unknown_counts_more_than_accept(tmp_path):
    w = World(tmp_path, {"name": "a", "when_stale": "accept"}, {"name": "b", "when_stale": "unknown"})
    w.compile()
    assert w("eve@a.test") is UNKNOWN


def test_what_is_read_and_never_compiled_is_in_doubt_in_the_end(tmp_path):
    w = World(tmp_path, {"name": "office", "max_age": "1h"})
    w.read("office", "ann@a.test")
    w.compile()
    w.sources["office"].table = f"{Identity.of(w.settings, w.row('office')).digest} 9"
    assert w("eve@a.test") is ABSENT
    w.sources["office"].changed_ms = NOW - 3_601_000
    assert w("eve@a.test") is UNKNOWN


def test_a_snapshot_that_stays_behind_a_table_that_changes_is_in_doubt(tmp_path):
    """A mistake in the recipient file holds up the tables, too: who is new in one is not "user unknown" for long."""
    w = World(tmp_path, {"name": "office"})
    w.read("office", "ann@a.test")
    w.compile()
    opened = w.opened()
    for second in range(0, 71, 10):
        w.read("office", *(f"new{number}@a.test" for number in range(second + 1)))
        w.opened()
        with mock.patch.object(clock, "monotonic", return_value=1000.0 + second):
            opened.refresh()
            found = opened.lookup(Address.parse("new0@a.test"))
        assert found is (ABSENT if second <= LONGEST_LAG else UNKNOWN), second
    w.compile()
    opened.refresh()
    assert opened.lookup(Address.parse("new0@a.test")) is EXISTS
    assert opened.lookup(Address.parse("eve@a.test")) is ABSENT


@pytest.mark.parametrize("octets", [None, b"", b"garbage", b'{"sources": 3}'])
def test_without_the_freshness_file_nothing_is_absent(tmp_path, octets):
    w = World(tmp_path, {"name": "office"})
    w.read("office", "ann@a.test")
    w.compile()
    directory = w.opened()
    path = paths.freshness_path(tmp_path)
    path.unlink()
    if octets is not None:
        path.write_bytes(octets)
    directory.refresh()
    assert directory.lookup(Address.parse("eve@a.test")) is UNKNOWN
    assert directory.lookup(Address.parse("ann@a.test")) is EXISTS


def test_a_live_source_is_asked_for_what_is_not_found(tmp_path):
    w = World(tmp_path, {"name": "hop", "url": "next_hop:"}, text="ann@a.test\n!bob@a.test\n")
    w.compile()
    assert [w(f"{name}@a.test") for name in ("ann", "bob", "liv", "err", "eve")] == [
        EXISTS,
        ABSENT,
        EXISTS,
        UNKNOWN,
        ABSENT,
    ]
    assert w.live.asked == ["liv@a.test", "err@a.test", "eve@a.test"], "the file decides about the others"
    assert w.why("liv@a.test") == "liv@a.test: exists (hop was asked and has it)"
    assert w.why("eve@a.test").endswith("hop was asked and does not have it)")


def test_what_a_live_source_does_not_have_may_be_in_one_that_is_too_old(tmp_path):
    w = World(tmp_path, {"name": "office"}, {"name": "hop", "url": "next_hop:", "domains": "a.test"})
    w.compile()
    assert (w("liv@a.test"), w("eve@a.test"), w("liv@b.test")) == (EXISTS, UNKNOWN, UNKNOWN)


def test_an_answer_that_nobody_waits_for_asks_nobody(tmp_path):
    w = World(tmp_path, {"name": "hop", "url": "next_hop:"}, text="ann@a.test\n")
    w.compile()
    w.opened().lookup(Address.parse("liv@a.test"))
    assert w.live.asked == []


def test_a_row_that_has_the_number_of_another_one_since_a_reload_is_not_in_force_by_its_table(tmp_path):
    """The snapshot still has the table of another row under the number: nobody of the new row is in it."""
    old = {"name": "old", "url": "file:///old"}
    w = World(tmp_path, old)
    w.read("old", "ann@a.test")
    w.compile()
    w = World(tmp_path, {"name": "new", "url": "file:///new", "domains": "b.test"}, {**old, "domains": "a.test"})
    w.read("old", "ann@a.test")
    w.read("new", "bob@b.test")
    assert w("bob@b.test") is UNKNOWN
    w.compile()
    assert (w("bob@b.test"), w("eve@b.test"), w("eve@a.test")) == (EXISTS, ABSENT, ABSENT)


def test_a_table_that_was_read_by_other_settings_decides_nothing_that_is_not_in_it(tmp_path):
    w = World(tmp_path, {"name": "office", "url": "file:///old"})
    w.read("office", "ann@a.test")
    w.compile()
    before = w.sources
    w = World(tmp_path, {"name": "office", "url": "file:///new"})
    w.sources = before
    assert (w("ann@a.test"), w("bob@a.test")) == (EXISTS, UNKNOWN)
    w.read("office", "ann@a.test", "bob@a.test")
    w.compile()
    assert (w("bob@a.test"), w("eve@a.test")) == (EXISTS, ABSENT)


def test_a_read_of_the_future_has_no_age(tmp_path):
    """The clock was wrong and is set back, and the source fails since then: what was read would never be too old."""
    w = World(tmp_path, {"name": "office", "max_age": "1h"})
    w.read("office", "ann@a.test", age=-7200)
    w.compile()
    assert (w("ann@a.test"), w("eve@a.test")) == (EXISTS, UNKNOWN)
    w.read("office", "ann@a.test", age=-2)
    w.compile()
    assert w("eve@a.test") is ABSENT


def test_a_table_that_was_lost_and_read_anew_is_compiled(tmp_path):
    """It counts its generations from the start again: they are others than those of the table before."""
    w = World(tmp_path, {"name": "office"})
    w.read("office", "ann@a.test")
    w.compile()
    paths.table_path(tmp_path, "office").unlink()
    w.read("office", "ann@a.test", "bob@a.test")
    assert RecipientsCompiler.of(w.settings).behind(tmp_path / SNAPSHOT_NAME)


def to(*addresses):
    return Redirection(tuple(map(Address.parse, addresses)))


def test_targets_of_a_live_source_are_whole_addresses_that_are_no_routes(tmp_path):
    w = World(tmp_path, {"name": "hop", "url": "next_hop:"}, text="ann@a.test\n")
    w.compile()
    assert w("team@a.test") == to(*TARGETS["team"])
    assert [w(f"{name}@a.test") for name in ("route", "short", "lines")] == [UNKNOWN] * 3


@pytest.mark.parametrize(("when_stale", "answer"), [("unknown", UNKNOWN), ("accept", to("bob@b.test"))])
def test_another_name_of_a_domain_is_in_doubt_as_the_domain_is(tmp_path, when_stale, answer):
    row = {"name": "office", "domains": "b.test", "when_stale": when_stale}
    w = World(tmp_path, row, text="@a.test = @b.test\nann@b.test\n")
    w.compile()
    assert (w("ann@a.test"), w("bob@a.test")) == (to("ann@b.test"), answer)
    assert "office: it was not read whole yet" in w.why("bob@a.test")
    w.read("office", "cid@b.test")
    w.compile()
    assert (w("cid@a.test"), w("bob@a.test")) == (to("cid@b.test"), ABSENT)


def test_a_live_source_is_asked_at_the_domain_of_which_a_name_is_another(tmp_path):
    row = {"name": "hop", "url": "next_hop:", "domains": "b.test"}
    w = World(tmp_path, row, text="@a.test = @b.test\nann@b.test\n!gone@b.test\n")
    w.compile()
    assert [w(f"{name}@a.test") for name in ("ann", "gone", "liv", "err", "eve")] == [
        to("ann@b.test"),
        ABSENT,
        to("liv@b.test"),
        UNKNOWN,
        ABSENT,
    ]
    assert w("team@a.test") == to(*TARGETS["team"])
    assert w.live.asked == ["liv@b.test", "err@b.test", "eve@b.test", "team@b.test"]


@pytest.mark.parametrize(("when_stale", "answer"), [("unknown", UNKNOWN), ("accept", to("bob@c.test"))])
def test_a_source_in_doubt_that_has_a_domain_within_a_chain_of_names_refuses_nobody(tmp_path, when_stale, answer):
    row = {"name": "office", "domains": "b.test", "when_stale": when_stale}
    w = World(tmp_path, row, text="@a.test = @b.test\n@b.test = @c.test\nann@c.test\n")
    w.compile()
    assert (w("ann@a.test"), w("bob@a.test"), w("bob@c.test")) == (to("ann@c.test"), answer, ABSENT)
    assert "office: it was not read whole yet" in w.why("bob@a.test")
    w.read("office", "cid@b.test")
    w.compile()
    assert (w("cid@a.test"), w("bob@a.test")) == (to("cid@b.test"), ABSENT)


def test_a_live_source_is_asked_at_each_domain_of_a_chain_of_names(tmp_path):
    row = {"name": "hop", "url": "next_hop:", "domains": "b.test"}
    w = World(tmp_path, row, text="@a.test = @b.test\n@b.test = @c.test\nann@c.test\n")
    w.compile()
    assert [w(f"{name}@a.test") for name in ("ann", "liv", "err", "eve")] == [
        to("ann@c.test"),
        to("liv@b.test"),
        UNKNOWN,
        ABSENT,
    ]
    assert w.live.asked == ["liv@b.test", "err@b.test", "eve@b.test"]
    assert "was asked and has it, its mail goes to liv@b.test" in w.why("liv@a.test")
