"""From schemas 1 and 2 to schema 3: what the rows become, what an older owner's partition shows, what a later one's does."""

from __future__ import annotations

import fcntl
import select
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.golden.spools import SCHEMA_1, SCHEMA_2, Golden

from mailmoat._native import (
    Message,
    Partition,
    RecipientState,
    SealedPartition,
    count_spool,
    newer_partitions,
    queue_message,
)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    SCHEMA_1.copy(tmp_path)
    return tmp_path


def version(spool: Path, golden: Golden = SCHEMA_1) -> int:
    with closing(sqlite3.connect(f"file:{golden.database(spool)}?mode=ro", uri=True)) as queue:
        return queue.execute("PRAGMA user_version").fetchone()[0]


def schema(database: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as queue:
        return set(queue.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


def adopt(spool: Path) -> Partition:
    partition = Partition.adopt(str(spool))
    assert isinstance(partition, Partition)
    return partition


def load(partition: Partition, number: int) -> Message:
    partition.load(None, f"{partition.tag}{number}")
    assert select.select([partition.descriptor], [], [], 20)[0]
    [(_, error, message)] = partition.completions()
    assert error is None
    assert message is not None
    return message


@pytest.mark.parametrize("golden", [SCHEMA_1, SCHEMA_2], ids=["1", "2"])
def test_every_message_is_there_after_the_migration(tmp_path: Path, golden: Golden) -> None:
    golden.copy(tmp_path)
    assert golden.listed(tmp_path) == golden.queued
    partition = adopt(tmp_path)
    assert golden.listed(tmp_path) == golden.queued
    assert (version(tmp_path, golden), partition.count) == (3, len(golden.queued))
    assert partition.next_queue_id() == f"{golden.tag}{len(golden.queued) + 1}"
    fresh = Partition.create(str(tmp_path))
    assert schema(golden.database(tmp_path)) == schema(tmp_path / "partitions" / fresh.tag / "queue.db")


def test_a_message_of_schema_1_has_its_due_time_in_each_recipient(spool: Path) -> None:
    groups = [(group.queue_id, group.due, group.attempts, group.next_hop) for group in adopt(spool).schedule()]
    expected = {number: min(one[3:] for one in recipients) for number, recipients in SCHEMA_1.queued.items()}
    assert groups == [(f"{SCHEMA_1.tag}{number}", *expected[number], "") for number in expected]


def test_a_message_of_schema_2_is_the_one_that_was_stored(tmp_path: Path) -> None:
    SCHEMA_2.copy(tmp_path)
    before = [queue_message(str(tmp_path), f"{SCHEMA_2.tag}{number}") for number in SCHEMA_2.queued]
    partition = adopt(tmp_path)
    for number, shown in zip(SCHEMA_2.queued, before, strict=True):
        assert shown is not None
        assert (shown.damage, shown.attempts, shown.crashes) == (None, [], 0)
        stored, found = shown.message, load(partition, number)
        for name in ("reverse_path", "arrival", "recipients", "parameters", "results", "session_id", "size"):
            assert getattr(stored, name) == getattr(found, name)
        assert stored.octets() == found.octets()
        content = found.open_content()
        assert stored.size == len(found.octets()) + (len(content.read(stored.size)) if content else 0)
    small = load(partition, 1)
    assert (small.parameters, small.results) == ({"RET": "HDRS", "ENVID": "QQ314159"}, "opaque")
    assert small.octets().endswith(b"\r\n\r\nSmall.\r\n")
    several = [group for group in partition.schedule() if group.queue_id == f"{SCHEMA_2.tag}3"]
    assert {(group.attempts, group.next_hop) for group in several} == {(0, ""), (2, "smtp://hop.example.test:25")}


def test_a_migrated_message_is_the_one_that_was_stored(spool: Path) -> None:
    partition = adopt(spool)
    international = load(partition, 6)
    assert international.reverse_path == "jörg@xn--bcher-kva.example"
    assert (international.parameters, international.smtputf8) == ({"SMTPUTF8": None}, True)
    assert (international.session_id, international.client) == ("Sinternational", "192.0.2.1")
    assert (international.eight_bit, international.results) == (True, "")
    assert international.octets().endswith("\r\n\r\nGrüße.\r\n".encode())
    assert international.size == len(international.octets())
    large = load(partition, 2)
    content = large.open_content()
    assert content is not None
    body = content.read(large.size)
    assert body == b"A line of a large message.\r\n" * 100
    assert large.size == len(large.octets()) + len(body)
    report = load(partition, 8)
    assert (report.reverse_path, report.session_id, report.client, report.parameters) == ("", "", "", {})
    states = [recipient.state for recipient in load(partition, 5).recipients]
    assert states == [*list(RecipientState)[:1] * 2, *list(RecipientState)[1:4]]


def test_files_that_an_older_owner_was_receiving_are_deleted(spool: Path) -> None:
    directory = SCHEMA_1.database(spool).parent
    (directory / "loose").mkdir()
    (directory / "loose" / "half").write_bytes(b"half")
    adopt(spool)
    assert sorted(path.name for path in directory.iterdir() if path.is_dir()) == ["content", "incoming"]


def test_the_queue_of_a_living_older_owner_is_listed_and_left_as_it_is(spool: Path) -> None:
    database = SCHEMA_1.database(spool)
    with closing(sqlite3.connect(database)) as owner, (database.parent / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        owner.execute("UPDATE message SET attempts=4 WHERE seq=3")
        owner.commit()
        before = database.read_bytes(), database.with_name("queue.db-wal").read_bytes()
        queued = SCHEMA_1.listed(spool)
        assert queued[3] == [(*SCHEMA_1.queued[3][0][:4], 4)]
        assert queued | {3: SCHEMA_1.queued[3]} == SCHEMA_1.queued
        assert (count_spool(str(spool)), newer_partitions(str(spool))) == (8, [])
        assert Partition.adopt(str(spool)) is None
        assert before == (database.read_bytes(), database.with_name("queue.db-wal").read_bytes())
    assert version(spool) == 1


def test_a_later_schema_is_refused_by_name(spool: Path) -> None:
    with closing(sqlite3.connect(SCHEMA_1.database(spool))) as queue:
        queue.execute("PRAGMA user_version = 4")
    sealed = Partition.adopt(str(spool))
    assert isinstance(sealed, SealedPartition)
    assert "schema version 4, this program supports 3: start the version of mailmoat that made it" in sealed.reason
    assert newer_partitions(str(spool)) == [(SCHEMA_1.tag, 8)]


def test_a_migration_that_fails_leaves_the_older_schema(spool: Path) -> None:
    """The tables cannot be renamed while one of the new names is taken."""
    with closing(sqlite3.connect(SCHEMA_1.database(spool))) as queue:
        queue.execute("CREATE TABLE recipient_old(x)")
    with pytest.raises(OSError, match=SCHEMA_1.tag):
        Partition.adopt(str(spool))
    assert version(spool) == 1
    assert SCHEMA_1.listed(spool) == SCHEMA_1.queued
    with closing(sqlite3.connect(SCHEMA_1.database(spool))) as queue:
        queue.execute("DROP TABLE recipient_old")
    assert adopt(spool).count == 8
