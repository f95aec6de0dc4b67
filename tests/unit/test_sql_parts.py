"""What SQL sources are made of, without a database: placeholders, rows, positions, the order of servers."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from mailmoat import clock
from mailmoat._native import Normalisation
from mailmoat.directory.bounds import Bounds
from mailmoat.directory.preference import FIRST_PAUSE, Preference
from mailmoat.directory.source import LeftOut, Listed
from mailmoat.directory.sql.connection import outages
from mailmoat.directory.sql.highest import Highest
from mailmoat.directory.sql.placeholders import MYSQL, POSTGRESQL, SQLITE, prepare
from mailmoat.directory.sql.position import Position
from mailmoat.directory.sql.rows import MOST_ROWS, Columns, Reader
from mailmoat.errors import SourceError
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import sources

KNOWN = ("address", "local", "domain")


@pytest.mark.parametrize(
    ("syntax", "written", "text", "names"),
    [
        (POSTGRESQL, "a = :address OR b=:address AND c = :domain;\n", "a = $1 OR b=$1 AND c = $2", "address domain"),
        (MYSQL, "a = :address OR b=:address", "a = ? OR b=?", "address address"),
        (POSTGRESQL, "':address' || \":address\" || :local::text", "':address' || \":address\" || $1::text", "local"),
        (POSTGRESQL, r"'\' || :local || E'\':local'", r"'\' || $1 || E'\':local'", "local"),
        (MYSQL, r"'\':local' || :local", r"'\':local' || ?", "local"),
        (
            MYSQL,
            "`:local` # :local\n:local /* :local */ -- :local",
            "`:local` # :local\n? /* :local */ -- :local",
            "local",
        ),
        (POSTGRESQL, "$x$ :local $x$ $$:local$$ a[1:n] a # :local", "$x$ :local $x$ $$:local$$ a[1:n] a # $1", "local"),
        (SQLITE, "[:local] = :local", "[:local] = ?", "local"),
        (SQLITE, "'it''s :local'", "'it''s :local'", ""),
    ],
)
def test_a_placeholder_is_found_where_it_is_one(syntax, written, text, names):
    query = prepare("lookup_query", written, KNOWN, syntax)
    assert (query.text, query.names) == (text, tuple(names.split()))
    assert query.arguments(dict.fromkeys(KNOWN, 1)) == [1] * len(query.names)


def test_a_placeholder_that_is_none_is_named_with_what_there_is():
    with pytest.raises(SourceError, match="lookup_query: there is no :adress; write :address or :local or :domain"):
        prepare("lookup_query", "a = :adress", KNOWN, SQLITE)
    with pytest.raises(SourceError, match="query: there is no :since; it takes no values"):
        prepare("query", "a > :since", (), SQLITE)


def read(names, *rows, changes=False, default_domain=None):
    reader = Reader(Columns.of("query", names.split(), changes=changes), Highest(), default_domain)
    entries = [*reader.read(rows), *reader.end()]
    return entries, reader.left_out()


def listed(names, *rows):
    return [one for entry in read(names, *rows)[0] for one in entry.addresses]


def test_a_row_is_an_entry():
    entries, left_out = read("ADDRESS other", ("alice@example.com", 1), (b"@example.net", 2), (" !Bob@example.com ", 3))
    assert [entry.addresses for entry in entries] == [
        (Listed("alice@example.com"),),
        (Listed("@example.net"),),
        (Listed("!Bob@example.com"),),
    ]
    assert entries[0].name == "alice@example.com"
    assert left_out is None


@pytest.mark.parametrize(
    ("value", "targets"),
    [
        (None, ()),
        ("", ()),
        ("alice@example.com", ()),
        ("Alice@Example.com, alice@example.com", ()),
        ("b@example.com,\n c@example.com,b@EXAMPLE.com", ("b@EXAMPLE.com", "c@example.com")),
        ("alice@example.com,b@example.com", ("alice@example.com", "b@example.com")),
        (["b@example.com", None], ("b@example.com",)),
        ('["b@example.com"]', ("b@example.com",)),
        ("@new.example", ("@new.example",)),
    ],
)
def test_targets_come_in_many_forms(value, targets):
    assert listed("address targets", ("alice@example.com", value)) == [Listed("alice@example.com", targets)]


@pytest.mark.parametrize(
    "value",
    [
        "|/usr/bin/vacation",
        "bob",
        "b@example.com, :include:/etc/all",
        "[1",
        "{}",
        "[" * 100_000,
        r'["\ud800@example.com"]',
    ],
)
def test_an_alias_with_a_target_that_is_no_address_exists_and_the_address_takes_its_place(value):
    entries, _ = read("address targets", ("all@example.com", value))
    relay = {"local_domains": "example.com"}
    settings = Settings(hostname="mx.test", relay=relay, directories=[{"name": "a", "url": "file:///x"}])
    within, (refusal,) = Bounds.of(settings, sources(settings.directory, settings.directories)[0]).entry(entries[0])
    assert within.addresses[0].targets == (("b@example.com", "all@example.com") if "b@" in value else ())
    assert refusal.sentence.startswith("all@example.com has the target ")


def test_an_alias_with_more_targets_than_are_used_is_not_redirected():
    targets = ",".join(f"a{number}@example.com" for number in range(1001))
    entries, left_out = read("address targets", ("all@example.com", targets))
    assert entries[0].addresses == (Listed("all@example.com"),)
    assert left_out.example == "all@example.com has 1001 targets, more than 1000: not redirected"


@pytest.mark.parametrize("value", [1, True, "1", "t", "Y", "yes", "active", b"\x01", Decimal(1), datetime.now(UTC)])
def test_yes(value):
    assert listed("address active", ("a@example.com", value)) == [Listed("a@example.com")]
    assert listed("address deleted", ("a@example.com", value)) == []


@pytest.mark.parametrize("value", [0, False, "0", "f", "N", "no", "off", "", b"\x00", b"0", Decimal(0), None])
def test_no(value):
    assert listed("address active", ("a@example.com", value)) == []
    assert listed("address deleted", ("a@example.com", value)) == [Listed("a@example.com")]


def test_rows_of_one_id_are_one_entry():
    rows = [
        (7, "a@example.com", "x@example.org"),
        (7, "a@example.com", "y@example.org"),
        (7, "b@example.com", None),
        (8, None, None),
        ("k", "c@example.com", None),
        (b"\xff", "d@example.com", None),
    ]
    entries, left_out = read("id address targets", *rows)
    assert [(entry.id, entry.name) for entry in entries] == [
        (b"7", "id 7"), (b"8", "id 8"), (b"k", "id k"), (b"\xff", "id ff"),
    ]  # fmt: skip
    assert entries[0].addresses == (
        Listed("a@example.com", ("x@example.org", "y@example.org")),
        Listed("b@example.com"),
    )
    assert entries[1].addresses == ()
    assert left_out == LeftOut(1, "a row without an address")


def test_long_keys_that_begin_alike_are_two_entries():
    rows = [("x" * 600 + str(number), f"a{number}@example.com") for number in range(2)]
    found = read("id address", *rows)[0]
    assert len({entry.id for entry in found}) == 2
    assert all(len(entry.id) <= 512 for entry in found)


@pytest.mark.parametrize(("case", "is_alias"), [("ignore", False), ("keep", True)])
def test_a_target_is_another_address_where_case_has_a_meaning(case, is_alias):
    normalisation = Normalisation("+", [("example.com", "keep", case, "+")])
    reader = Reader(Columns.of("query", ("address", "targets")), Highest(), None, normalisation)
    [one, two] = reader.read(
        [("Bob@example.com", "bob@Example.com"), ("c@example.com", "Eve@example.com,eve@example.com")]
    )
    assert one.addresses == (Listed("Bob@example.com", ("bob@Example.com",) if is_alias else ()),)
    assert len(two.addresses[0].targets) == 1 + is_alias


def test_an_entry_goes_on_in_the_next_part():
    reader = Reader(Columns.of("query", ("id", "address")), Highest())
    assert reader.read([(1, "a@example.com")]) == []
    [first] = reader.read([(1, "b@example.com"), (2, "c@example.com")])
    assert len(first.addresses) == 2
    assert [entry.id for entry in reader.end()] == [b"2"]
    with pytest.raises(SourceError, match=f"more than {MOST_ROWS} rows have one id"):
        reader.read([(3, "a@example.com")] * (MOST_ROWS + 1))


def test_rows_without_id_are_an_entry_for_each_target():
    entries, _ = read("address targets", ("a@example.com", "x@example.org"), ("A@Example.com", "y@example.org"))
    assert len({entry.id for entry in entries}) == 2
    entries, _ = read("address", ("a@example.com",), ("a@example.com",), ("A@example.com",))
    assert len({entry.id for entry in entries}) == 2, "upper and lower case may be different at the domain"


def test_what_is_no_address_is_left_out_and_counted():
    entries, left_out = read("address", ("a b@@",), (None,), ("\x1b[2Jx y",), ("good@example.com",))
    assert [entry.name for entry in entries] == ["good@example.com"]
    assert left_out == LeftOut(3, "a b@@ is no address")


def test_an_address_without_a_domain_is_left_out():
    """It must not become one at the first local domain: a row of garbage would be a recipient."""
    rows = ("garbage",), ("!garbage",), ('"a@b"',), ("good@example.com",)
    entries, left_out = read("address", *rows)
    assert [entry.name for entry in entries] == ["good@example.com"]
    assert left_out == LeftOut(3, "garbage has no domain; write default_domain if such names have one")


def test_an_address_without_a_domain_has_the_default_one():
    entries, left_out = read(
        "address targets", ("ann", None), ("!bob", None), ("eve", "x@example.org"), default_domain="example.com"
    )
    assert [entry.addresses for entry in entries] == [
        (Listed("ann@example.com"),),
        (Listed("!bob@example.com"),),
        (Listed("eve@example.com", ("x@example.org",)),),
    ]
    assert left_out is None


def test_a_catch_all_has_addresses_as_targets():
    rows = ("@a.example", "x@example.org"), ("@b.example", "@example.com"), ("@c.example", "@a.example, @b.example")
    entries, left_out = read("address targets", *rows)
    assert [entry.addresses for entry in entries] == [
        (Listed("@a.example", ("x@example.org",)),),
        (Listed("@b.example", ("@example.com",)),),
        (Listed("@c.example"),),
    ]
    assert left_out is None


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ("email goto", "it gives the columns email, goto, and none is named address; write for example SELECT email AS address"),
        ("x", "write for example SELECT email AS address"),
        ("address Address", "two columns are named address"),
    ],
)  # fmt: skip
def test_a_query_without_an_address_says_what_to_write(names, error):
    with pytest.raises(SourceError, match=error):
        Columns.of("query", names.split())


@pytest.mark.parametrize("names", ["address changed", "address id"])
def test_changes_need_a_key_and_a_time(names):
    with pytest.raises(SourceError, match="with changes_query it needs a column named"):
        Columns.of("changes_query", names.split(), changes=True)


@pytest.mark.parametrize(
    "value",
    [datetime(2026, 1, 2, 3, 4, 5, 6, UTC), datetime(2026, 1, 2, tzinfo=UTC).replace(tzinfo=None), 1 << 70, 1.5, Decimal("1.50"), "2026-01-02", b"\xff", None],
)  # fmt: skip
def test_a_position_outlives_the_process(value):
    position = Position(1, value, 2, settled=True, stamp="s")
    assert Position.of(position.cookie()) == position


@pytest.mark.parametrize(
    "cookie",
    [None, b"", b"{}", b"[1]", b'[1, ["datetime", "x"], 1, true, ""]', b"\xff", b'[1,["Decimal","x"],1,true,""]'],
)
def test_a_cookie_that_cannot_be_read_is_none(cookie):
    assert Position.of(cookie) is None


def test_the_highest_value_is_of_one_type_and_not_in_the_future():
    now = datetime.now(UTC)
    found = Highest()
    for value in (None, now - timedelta(hours=2), "x", now + timedelta(days=3), now.replace(tzinfo=None), now):
        found.add(value)
    assert found.value == now


def test_a_moment_is_asked_for_again_until_a_transaction_of_then_has_ended(monkeypatch):
    begun = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    monkeypatch.setattr(clock, "wall_ms", lambda: 1_000_000)
    position = Position(0, begun, 1_000_000)
    assert position.asked_from(60) == begun - timedelta(seconds=60)
    assert position.after(begun, 1_059_999, 60).asked_from(60) == begun - timedelta(seconds=60)
    settled = position.after(begun, 1_060_000, 60)
    assert settled.asked_from(60) == begun + timedelta(microseconds=1)
    later = begun + timedelta(seconds=1)
    assert settled.after(later, 1_100_000, 60) == Position(0, later, 1_000_000, settled=False)
    assert Position(0, 5, 0).asked_from(60) == Position(0, 5, 0, settled=True).asked_from(60) == 5


def test_a_server_that_failed_comes_last_for_a_while(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    order = Preference(["a", "b"])
    order.failed("a", "a is away")
    assert order.in_turn() == ["b", "a"]
    now += FIRST_PAUSE
    assert order.in_turn() == ["a", "b"]
    order.failed("a", "a is away")
    now += FIRST_PAUSE
    assert order.in_turn() == ["b", "a"]
    assert (order.passed_over("a"), order.passed_over("b")) == ((), ("a is away",))
    order.served("a")
    assert order.in_turn() == ["a", "b"]
    assert order.passed_over("b") == ()


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError(111, "Connect call failed ('192.0.2.1', 3306)"), ConnectionRefusedError(111, "refused")],
)
def test_why_there_is_no_connection_is_said_in_one_way(error):
    """By check-config, which runs on asyncio's loop, as by the server, which runs on another one."""
    with (
        pytest.raises(SourceError, match=r"^here: no connection: Connection refused$"),
        outages("here", lambda _: None),
    ):
        raise error
