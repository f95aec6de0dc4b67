"""The spool partition through its Python face: completions by descriptor, adoption, files, listing."""

from __future__ import annotations

import os
import select
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from tests.listed import listed
from tests.receiving import accept, config

from mailmoat._native import (
    AttemptRow,
    DamagedMessage,
    Held,
    Message,
    Outcome,
    Partition,
    QueueFilter,
    QueueStatus,
    RecipientState,
    count_spool,
    queue_export,
    queue_list,
    queue_message,
    queue_stats,
)


def message(partition: Partition, content: bytes = b"Subject: x\r\n\r\ny\r\n") -> Message:
    return Message(
        queue_id=partition.next_queue_id(),
        arrival=1_790_000_000_000,
        reverse_path="sender@there.test",
        recipients=["one@here.test", "two@here.test"],
        content=content,
        trace=b"Received: here\r\n",
    )


def completions(partition: Partition, number: int = 1) -> list[tuple[object, str | None, Message | None]]:
    found: list[tuple[object, str | None, Message | None]] = []
    while len(found) < number:
        readable, _, _ = select.select([partition.descriptor], [], [], 20)
        assert readable, "no completion came"
        found += partition.completions()
    return found


def insert(partition: Partition, content: bytes = b"Subject: x\r\n\r\ny\r\n") -> Message:
    sent = message(partition, content)
    partition.insert("inserted", sent)
    assert completions(partition) == [("inserted", None, None)]
    return sent


def load(partition: Partition, queue_id: str) -> Message:
    partition.load("loaded", queue_id)
    [(waiter, error, loaded)] = completions(partition)
    assert (waiter, error) == ("loaded", None)
    assert loaded is not None
    return loaded


def groups(partition: Partition) -> list[tuple[str, int, int, str]]:
    return [(group.queue_id, group.due, group.attempts, group.next_hop) for group in partition.schedule()]


@pytest.fixture
def spool(tmp_path: Path) -> str:
    path = tmp_path / "spool"
    path.mkdir()
    return str(path)


def test_an_insert_completes_on_the_descriptor_with_its_waiter(spool: str) -> None:
    partition = Partition.create(spool)
    waiters = [object() for _ in range(50)]
    for waiter in waiters:
        partition.insert(waiter, message(partition))
    found = completions(partition, 50)
    assert [waiter for waiter, _, _ in found] == waiters
    assert all(error is None and loaded is None for _, error, loaded in found)
    assert partition.count == 50
    assert partition.healthy
    assert not select.select([partition.descriptor], [], [], 0)[0]
    partition.close()


def test_the_waiter_is_released(spool: str) -> None:
    partition = Partition.create(spool)
    waiter = object()
    before = sys.getrefcount(waiter)
    partition.insert(waiter, message(partition))
    completions(partition)
    assert sys.getrefcount(waiter) == before


def test_a_loaded_message_is_the_stored_one(spool: str) -> None:
    partition = Partition.create(spool)
    sent = insert(partition)
    got = load(partition, sent.queue_id)
    assert got.octets() == sent.octets()
    for name in (
        "queue_id",
        "arrival",
        "reverse_path",
        "recipients",
        "parameters",
        "results",
        "smtputf8",
        "eight_bit",
        "size",
    ):
        assert getattr(got, name) == getattr(sent, name)


def test_settle_changes_what_is_loaded_and_scheduled(spool: str) -> None:
    partition = Partition.create(spool)
    sent = insert(partition)
    delivered, later = RecipientState.DELIVERED, RecipientState.PENDING
    partition.settle("settled", sent.queue_id, [Outcome(1, delivered, "250 ok")], due=77, attempts=2)
    assert completions(partition) == [("settled", None, None)]
    assert groups(partition) == [(sent.queue_id, sent.arrival, 0, "")]
    partition.settle(1, sent.queue_id, [Outcome(0, later, "451 no")], due=78, attempts=3, next_hop="smtp://hop:25")
    completions(partition)
    assert groups(partition) == [(sent.queue_id, 78, 3, "smtp://hop:25")]
    one, two = load(partition, sent.queue_id).recipients
    assert (one.address, one.state, one.reply, one.due) == ("one@here.test", RecipientState.PENDING, "451 no", 78)
    assert (two.state, two.reply, two.attempts, two.next_hop) == (RecipientState.DELIVERED, "250 ok", 2, "")
    assert two.state is RecipientState.DELIVERED


def test_an_operator_holds_redirects_and_fails(spool: str) -> None:
    partition = Partition.create(spool)
    sent = insert(partition)
    partition.hold("held", sent.queue_id, Held.OPERATOR)
    partition.redirect("redirected", sent.queue_id, due=8, next_hop="smtp://other:25")
    partition.redirect("again", sent.queue_id, due=9, recipients=["new@here.test"])
    assert completions(partition, 3) == [(waiter, None, None) for waiter in ("held", "redirected", "again")]
    assert groups(partition) == []
    partition.load("loaded", sent.queue_id)
    [(waiter, error, loaded)] = completions(partition)
    assert (waiter, loaded) == ("loaded", None), "it is not given to be delivered"
    assert str(error).startswith("no such message")
    partition.release("released", sent.queue_id)
    partition.retry("retried", sent.queue_id, due=10)
    completions(partition, 2)
    one, two, new = load(partition, sent.queue_id).recipients
    assert [one.next_hop_fixed, two.next_hop_fixed, new.next_hop_fixed] == ["smtp://other:25"] * 2 + [""]
    assert [one.state, two.state, new.state] == [RecipientState.CLOSED] * 2 + [RecipientState.PENDING]
    assert groups(partition) == [(sent.queue_id, 10, 0, "")]
    partition.hold("held again", sent.queue_id, Held.OPERATOR)
    partition.fail("failed", sent.queue_id, "554 5.7.1 no", due=11)
    completions(partition, 2)
    assert groups(partition) == [(sent.queue_id, 11, 0, "")], "what is held would never be reported"
    assert load(partition, sent.queue_id).recipients[2].reply == "554 5.7.1 no"
    partition.remove(sent.queue_id, "removed")
    partition.hold("gone", sent.queue_id, Held.OPERATOR)
    removed, (waiter, error, _) = completions(partition, 2)
    assert removed == ("removed", None, None)
    assert waiter == "gone"
    assert str(error).startswith("no such message")


def test_attempts_are_kept_for_the_operator(spool: str) -> None:
    partition = Partition.create(spool)
    sent = insert(partition)
    row = AttemptRow(at=7, next_hop="smtp://hop:25", peer="192.0.2.1:25")
    later = [Outcome(0, RecipientState.PENDING, "451 no"), Outcome(1, RecipientState.PENDING, "451 no")]
    partition.settle(1, sent.queue_id, later, due=9, attempts=1, next_hop="smtp://hop:25", attempt=row, reported=[1])
    completions(partition)
    found = queue_message(spool, sent.queue_id)
    assert found is not None
    [attempt] = found.attempts
    assert (attempt.number, attempt.at, attempt.next_hop, attempt.peer) == (1, row.at, row.next_hop, row.peer)
    assert attempt.outcomes == later
    assert [one.reported for one in found.message.recipients] == [False, True]
    assert (found.status, found.crashes, found.damage, found.owned) == (QueueStatus.DEFERRED, 0, None, True)
    assert found.header == b"Received: here\r\nSubject: x\r\n\r\n"
    assert queue_message(spool, partition.next_queue_id()) is None
    assert partition.crashed(sent.queue_id) == 1


def test_the_queue_is_filtered_and_counted(spool: str) -> None:
    partition = Partition.create(spool)
    sent, held = insert(partition), insert(partition)
    partition.hold(1, held.queue_id, Held.OPERATOR)
    completions(partition)
    for filter_, expected in [
        (QueueFilter(), [sent, held]),
        (QueueFilter(to="one@here.test"), [sent, held]),
        (QueueFilter(sender="<>"), []),
        (QueueFilter(next_hop="smtp://*"), []),
        (QueueFilter(arrived_before=sent.arrival), []),
        (QueueFilter(statuses=[QueueStatus.HELD]), [held]),
    ]:
        page = queue_list(spool, filter_)
        assert [entry["queue_id"] for entry in page.entries] == [one.queue_id for one in expected]
        assert page.examined == 2
        assert page.after is not None
        assert queue_list(spool, filter_, page.after).after is None
    with pytest.raises(ValueError, match="QueueStatus"):
        QueueFilter(statuses=[9])  # type: ignore[list-item]
    stats = queue_stats(spool)
    assert (stats.messages, stats.recipients, stats.octets) == (2, 4, 2 * sent.size)
    assert (stats.oldest, stats.statuses) == (sent.arrival, [1, 0, 1, 0, 0])
    tally = stats.domains["here.test"]
    assert (tally.recipients, tally.deferred, tally.oldest) == (4, 0, sent.arrival)
    assert stats.next_hops == {"": tally}


def test_a_message_is_exported_and_imported(spool: str, tmp_path: Path) -> None:
    partition = Partition.create(spool)
    sent = insert(partition)
    file = tmp_path / "exported"
    assert queue_export(spool, sent.queue_id, str(file))
    assert file.read_bytes().endswith(b"\n\n" + sent.octets())
    again = Message.imported(str(file), partition.next_queue_id(), partition.incoming_dir)
    assert (again.octets(), again.recipients, again.arrival) == (sent.octets(), sent.recipients, sent.arrival)
    with pytest.raises(FileExistsError):
        queue_export(spool, sent.queue_id, str(file))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="shorter or longer"):
        Message.imported(str(file), partition.next_queue_id(), partition.incoming_dir)
    assert not queue_export(spool, partition.next_queue_id(), str(tmp_path / "other"))


def test_one_partition_is_claimed_by_name(spool: str) -> None:
    partition = Partition.create(spool)
    insert(partition)
    assert Partition.claim(spool, partition.tag) is None
    partition.close()
    claimed = Partition.claim(spool, partition.tag)
    assert isinstance(claimed, Partition)
    assert claimed.count == 1
    assert Partition.claim(spool, "nonsense") is None


def test_envelope_parameters_and_results_are_kept(spool: str) -> None:
    partition = Partition.create(spool)
    given = {"RET": "HDRS", "SMTPUTF8": None, "X-NEW": "what/ever"}
    sent = Message(
        queue_id=partition.next_queue_id(),
        arrival=1,
        reverse_path="",
        recipients=["a@b.test"],
        content=b"",
        parameters=given,
        results="opaque",
    )
    partition.insert("inserted", sent)
    completions(partition)
    got = load(partition, sent.queue_id)
    assert (got.parameters, got.results, got.smtputf8) == (given, "opaque", True)
    with pytest.raises(ValueError, match="no parameter"):
        Message(queue_id="q", arrival=1, reverse_path="", recipients=[], content=b"", parameters={"A": "b c"})


def test_mistakes_of_the_caller_are_errors(spool: str) -> None:
    partition = Partition.create(spool)
    with pytest.raises(ValueError, match="not of partition"):
        partition.remove("elsewhere1")
    with pytest.raises(ValueError, match="RecipientState"):
        Outcome(0, 7, "")  # type: ignore[arg-type]
    partition.load("absent", partition.next_queue_id())
    [(_, error, loaded)] = completions(partition)
    assert (error, loaded) == ("no such message in this partition", None)
    partition.close()
    with pytest.raises(OSError, match="closed"):
        partition.insert("late", message(partition))


def test_an_empty_partition_is_removed_on_close_and_a_full_one_stays(spool: str) -> None:
    partition = Partition.create(spool)
    sent = insert(partition)
    partition.close()
    assert count_spool(spool) == 1
    adopted = Partition.adopt(spool)
    assert adopted is not None
    assert adopted.tag == partition.tag
    adopted.remove(sent.queue_id)
    adopted.close()
    assert [path.name for path in Path(spool).rglob("*")] == ["partitions"]


def test_a_large_content_has_a_file_until_its_message_is_removed(spool: str) -> None:
    partition = Partition.create(spool)
    sent = insert(partition, b"x" * 500_000)
    got = load(partition, sent.queue_id)
    content = got.open_content()
    assert content is not None
    (file,) = Path(partition.incoming_dir).with_name("content").iterdir()
    assert content.read(got.size) == file.read_bytes() == b"x" * 500_000
    assert got.size == sent.size
    assert got.octets() == b"Received: here\r\n"
    partition.remove(sent.queue_id)
    partition.close()
    assert not file.exists()


def test_a_content_in_memory_has_its_lasting_name_alone_and_is_read_without_it(spool: str) -> None:
    partition = Partition.create(spool)
    body = b"a line of the body\r\n" * 20_000
    limits = config(partition.incoming_dir, memory_content=1 << 20)
    sent = accept(limits, b"Subject: x\r\n\r\n" + body, queue_id=partition.next_queue_id())
    partition.insert("inserted", sent)
    assert completions(partition) == [("inserted", None, None)]
    assert list(Path(partition.incoming_dir).iterdir()) == []
    (file,) = Path(partition.incoming_dir).with_name("content").iterdir()
    stored = load(partition, sent.queue_id).open_content()
    assert stored is not None
    assert stored.read(1 << 20) == file.read_bytes() == body
    partition.insert("again", sent)
    [(_, error, _)] = completions(partition)
    assert error is not None
    assert file.read_bytes() == body
    partition.remove(sent.queue_id)
    partition.close()
    assert not file.exists()
    held = sent.open_content()
    assert held is not None
    assert (held.read(7), held.read(1 << 20), held.read(1)) == (body[:7], body[7:], b"")


def test_unfinished_files_of_a_dead_owner_are_cleared(spool: str) -> None:
    partition = Partition.create(spool)
    insert(partition)
    Path(partition.incoming_dir, "half").write_bytes(b"half")
    partition.close()
    adopted = Partition.adopt(spool)
    assert adopted is not None
    assert list(Path(adopted.incoming_dir).iterdir()) == []


def test_a_damaged_partition_is_set_aside_and_told(spool: str) -> None:
    partition = Partition.create(spool)
    insert(partition)
    partition.close()
    Path(spool, "partitions", partition.tag, "queue.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(OSError, match=f"{partition.tag} is damaged and was moved to .*damaged"):
        Partition.adopt(spool)
    assert Partition.adopt(spool) is None
    assert Path(spool, "damaged", partition.tag, "queue.db").read_bytes() == b"garbage" * 1000


def damage(spool: str, table: str) -> Partition:
    """Overwrite the first page of a table in a partition with a hundred messages; return the partition, which is closed."""
    partition = Partition.create(spool)
    for _ in range(100):
        partition.insert(None, message(partition, b"y" * 4096))
    partition.close()
    path = Path(spool, "partitions", partition.tag, "queue.db")
    with closing(sqlite3.connect(path)) as queue:
        [root] = queue.execute("SELECT rootpage FROM sqlite_schema WHERE name=?", [table]).fetchone()
    with path.open("r+b") as file:
        file.seek(4096 * (root - 1))
        file.write(b"\xff" * 4096)
    return partition


@pytest.mark.parametrize("table", ["message", "recipient"])
def test_damage_to_envelopes_is_found_before_the_partition_is_used(spool: str, table: str) -> None:
    damage(spool, table)
    with pytest.raises(OSError, match="damaged"):
        Partition.adopt(spool)


def test_damage_to_contents_is_found_when_they_are_loaded(spool: str) -> None:
    tag = damage(spool, "content").tag
    adopted = Partition.adopt(spool)
    assert isinstance(adopted, Partition)
    assert adopted.count == 100
    for number in (1, 2):
        adopted.load(number, f"{tag}{number}")
    for _, error, found in completions(adopted, 2):
        assert error is None
        assert isinstance(found, DamagedMessage)
    adopted.hold("held", f"{tag}1", Held.DAMAGED)
    assert completions(adopted) == [("held", None, None)]
    assert adopted.healthy
    assert len(adopted.schedule()) == 99
    rest = listed(spool)
    for entry in rest:
        adopted.remove(entry["queue_id"], "removed")
    assert [error for _, error, _ in completions(adopted, 100)] == [None] * 100
    assert (adopted.healthy, adopted.count) == (True, 0)
    adopted.close()
    assert not Path(spool, "partitions", tag).exists()


def test_a_missing_spool_and_a_file_in_its_place_are_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        Partition.create(str(tmp_path / "file"))
    for call in (Partition.adopt, listed, count_spool):
        with pytest.raises(FileNotFoundError):
            call(str(tmp_path / "missing"))


def test_listing_shows_all_partitions_and_who_owns_them(spool: str) -> None:
    one, two = Partition.create(spool), Partition.create(spool)
    first, second = insert(one), insert(two)
    two.close()
    entries = {entry["queue_id"]: entry for entry in listed(spool)}
    assert entries[first.queue_id] == {
        "queue_id": first.queue_id,
        "arrival": 1_790_000_000_000,
        "reverse_path": "sender@there.test",
        "size": first.size,
        "recipients": first.recipients,
        "status": QueueStatus.QUEUED,
        "crashes": 0,
        "partition": one.tag,
        "owned": True,
    }
    assert not entries[second.queue_id]["owned"]
    assert count_spool(spool) == 2


def test_a_message_has_one_status_wherever_it_is_shown(spool: str) -> None:
    partition = Partition.create(spool)
    sent = insert(partition)
    partition.settle(1, sent.queue_id, [Outcome(0, RecipientState.DELIVERED, "250 ok")], due=9, attempts=1)
    completions(partition)
    found = queue_message(spool, sent.queue_id)
    assert found is not None
    assert found.status is listed(spool)[0]["status"] is QueueStatus.QUEUED, "who waits was never tried"


def test_listing_pages_through_a_long_queue(spool: str) -> None:
    partition = Partition.create(spool)
    ids = []
    for _ in range(1203):
        sent = message(partition)
        ids.append(sent.queue_id)
        partition.insert(None, sent)
    completions(partition, 1203)
    assert [entry["queue_id"] for entry in listed(spool)] == ids
    assert [group.queue_id for group in partition.schedule()] == ids


@pytest.mark.usefixtures("root")
def test_listing_as_root_leaves_no_file_of_root_behind(spool: str) -> None:
    code = (
        "import os, select, sys; from mailmoat._native import Message, Partition; os.setuid(65534)\n"
        "p = Partition.create(sys.argv[1])\n"
        "p.insert(1, Message(queue_id=p.next_queue_id(), arrival=1, reverse_path='', recipients=['a@b'], content=b'x'))\n"
        "select.select([p.descriptor], [], []); os.kill(os.getpid(), 9)"
    )
    os.chown(spool, 65534, 65534)
    for parent in Path(spool).parents:  # pytest closes its directories to others
        if parent != Path(tempfile.gettempdir()) and parent.stat().st_mode & 0o077 == 0:
            parent.chmod(0o755)
    assert subprocess.run([sys.executable, "-c", code, spool], check=False).returncode == -9
    [partition] = Path(spool, "partitions").iterdir()
    (partition / "queue.db-shm").unlink()
    assert len(listed(spool)) == 1
    assert {path.stat().st_uid for path in Path(spool).rglob("*")} == {65534}
