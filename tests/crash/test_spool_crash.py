"""A process killed, a disk full: a message is wholly there or wholly absent, and nothing acknowledged is missing."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.listed import listed
from tests.receiving import accept, config

from mailmoat._native import (
    AttemptRow,
    Held,
    Message,
    Outcome,
    Partition,
    RecipientState,
    count_spool,
    queue_export,
    queue_message,
    queue_stats,
)

# Inserts for ever and writes each acknowledged queue id to standard output; the content follows from the id. Every eleventh
# message has a content file. Acknowledged messages are removed now and then, told before by a minus sign.
INSERTER = """
import os, select, sys
from mailmoat._native import Message, Partition
partition = Partition.create(sys.argv[1])
def insert(number):
    queue_id = partition.next_queue_id()
    content = (queue_id + "\\r\\n").encode() * (14000 if number % 11 == 0 else 100)
    partition.insert(queue_id, Message(queue_id=queue_id, arrival=1, reverse_path="", recipients=["a@b.test"],
                     content=content, trace=b"T: t\\r\\n"))
number = 0
while True:
    while number < 64:
        insert(number)
        number += 1
    select.select([partition.descriptor], [], [])
    for waiter, error, _ in partition.completions():
        assert error is None, error
        number -= 1
        os.write(1, (waiter + "\\n").encode())
        if hash(waiter) % 5 == 0:
            os.write(1, ("-" + waiter + "\\n").encode())
            partition.remove(waiter)
"""


@contextlib.contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def completions(partition: Partition, number: int = 1) -> list[tuple[object, str | None, Message | None]]:
    found: list[tuple[object, str | None, Message | None]] = []
    while len(found) < number:
        assert select.select([partition.descriptor], [], [], 20)[0], "no completion came"
        found += partition.completions()
    return found


def octets(message: Message) -> bytes:
    content = message.open_content()
    return message.octets() + (content.read(message.size) if content else b"")


def message(partition: Partition, content: bytes) -> Message:
    return Message(
        queue_id=partition.next_queue_id(), arrival=1, reverse_path="", recipients=["a@b.test"], content=content
    )


def kill_while_inserting(spool: str, acknowledgements: int, delay: float) -> tuple[set[str], set[str]]:
    """Ids acknowledged, ids asked to be removed."""
    with child(INSERTER, spool) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(acknowledgements)]
        # The moment of the kill must not follow from the child's own steps.
        select.select([], [], [], delay)
        process.kill()
        lines += process.stdout.readlines()
    words = [line.decode().strip() for line in lines if line.endswith(b"\n")]
    return {word for word in words if word[0] != "-"}, {word[1:] for word in words if word[0] == "-"}


def test_nothing_acknowledged_is_lost_when_the_owner_is_killed(tmp_path: Path) -> None:
    seed = time.time_ns()
    chance = random.Random(seed)
    for _ in range(20):
        spool = str(tmp_path)
        acknowledged, removed = kill_while_inserting(spool, chance.randrange(400), chance.random() * 0.02)
        adopted = Partition.adopt(spool)
        if adopted is None:  # killed before it had made its partition
            assert not acknowledged, seed
            continue
        present = {group.queue_id for group in adopted.schedule()}
        assert acknowledged - removed <= present, seed
        assert adopted.count == len(present)
        for queue_id in present:
            adopted.load(queue_id, queue_id)
        for waiter, error, loaded in completions(adopted, len(present)) if present else ():
            assert error is None, (seed, waiter, error)
            assert loaded is not None, (seed, waiter)
            queue_id = loaded.queue_id
            line = f"{queue_id}\r\n".encode()
            content = octets(loaded).removeprefix(b"T: t\r\n")
            assert content in (line * 100, line * 14000), (seed, waiter)
            adopted.remove(queue_id)
        adopted.close()
        assert list((tmp_path / "partitions").iterdir()) == []


def test_an_owned_partition_is_adopted_only_after_its_owner_is_killed(tmp_path: Path) -> None:
    spool = str(tmp_path)
    with child(INSERTER, spool) as process:
        assert process.stdout
        process.stdout.readline()
        assert Partition.adopt(spool) is None
        assert count_spool(spool) > 0
        process.kill()
        process.wait()
        adopted = Partition.adopt(spool)
        assert adopted is not None
        assert all(entry["owned"] for entry in listed(spool))


def test_several_processes_compete_and_one_gets_the_orphan(tmp_path: Path) -> None:
    code = (
        "import sys; from mailmoat._native import Partition\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "p = Partition.adopt(sys.argv[1]); print(p and p.tag, flush=True); sys.stdin.readline()"
    )
    spool = str(tmp_path)
    partition = Partition.create(spool)
    partition.insert(1, message(partition, b"x"))
    partition.close()
    competitors = [
        subprocess.Popen([sys.executable, "-c", code, spool], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in competitors:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in competitors:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    found = [process.stdout.readline().strip() for process in competitors if process.stdout]
    for process in competitors:
        process.communicate("\n")
    assert sorted(found) == sorted([partition.tag, "None", "None", "None"])


@pytest.fixture
def failing_writes() -> Iterator[Callable[[int], None]]:
    """Makes every write of this process beyond so many octets of a file fail (EFBIG), until it is called with -1."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda octets: resource.setrlimit(resource.RLIMIT_FSIZE, (octets if octets >= 0 else soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_received_content_that_cannot_be_written_leaves_no_part(
    tmp_path: Path, failing_writes: Callable[[int], None]
) -> None:
    partition = Partition.create(str(tmp_path))
    limits = config(partition.incoming_dir, memory_content=1 << 20)
    content = Path(partition.incoming_dir).with_name("content")
    failing_writes(300_000)
    lost = accept(limits, b"\r\n" + b"text\r\n" * 70_000, queue_id=partition.next_queue_id())
    partition.insert("lost", lost)
    [(_, error, _)] = completions(partition)
    assert error is not None
    assert list(content.iterdir()) == []
    failing_writes(-1)
    wait_healthy(partition)
    kept = accept(limits, b"\r\n" + b"text\r\n" * 70_000, queue_id=partition.next_queue_id())
    partition.insert("kept", kept)
    assert completions(partition) == [("kept", None, None)]
    assert [file.stat().st_size for file in content.iterdir()] == [420_000]
    partition.close()


@pytest.mark.parametrize("size", [20_000, 400_000])  # the log fails; a content file fails
def test_failing_writes_lose_nothing_acknowledged(
    tmp_path: Path, failing_writes: Callable[[int], None], size: int
) -> None:
    partition = Partition.create(str(tmp_path))
    first, settled, removed = (message(partition, b"x") for _ in range(3))
    for one in (first, settled, removed):
        partition.insert(one.queue_id, one)
    completions(partition, 3)
    failing_writes(300_000)
    acknowledged = {first.queue_id, settled.queue_id}
    failed: set[str] = set()
    while partition.healthy:  # a failed batch may be followed by one that the reopened queue still has room for
        batch = [message(partition, os.urandom(size)) for _ in range(5)]
        for one in batch:
            partition.insert(one.queue_id, one)
        for waiter, error, _ in completions(partition, len(batch)):
            (failed if error else acknowledged).add(str(waiter))
    assert failed
    partition.remove(removed.queue_id)
    partition.settle("settled", settled.queue_id, [Outcome(0, RecipientState.PENDING, "451 no")], due=9, attempts=4)
    failing_writes(-1)
    assert completions(partition) == [("settled", None, None)]
    wait_healthy(partition)
    last = message(partition, os.urandom(size))
    partition.insert("last", last)
    assert completions(partition) == [("last", None, None)]
    partition.close()
    adopted = Partition.adopt(str(tmp_path))
    assert adopted is not None
    stored = {group.queue_id: group.attempts for group in adopted.schedule()}
    assert set(stored) == {*acknowledged, last.queue_id}
    assert stored[settled.queue_id] == 4
    assert adopted.count == len(stored)


def test_changes_that_are_asked_while_writes_fail_are_done_afterwards(
    tmp_path: Path, failing_writes: Callable[[int], None]
) -> None:
    partition = Partition.create(str(tmp_path))
    held, failed, tried, elsewhere = sent = [message(partition, b"x" * 9000) for _ in range(4)]
    for one in sent:
        partition.insert(one.queue_id, one)
    completions(partition, 4)
    failing_writes(10_000)
    partition.hold("held", held.queue_id, Held.OPERATOR)
    partition.fail("failed", failed.queue_id, "554 no", due=5)
    attempt = AttemptRow(at=6, next_hop="smtp://hop:25", peer="")
    later = [Outcome(0, RecipientState.PENDING, "451 no")]
    partition.settle("tried", tried.queue_id, later, due=7, attempts=1, attempt=attempt)
    partition.redirect("elsewhere", elsewhere.queue_id, due=8, next_hop="smtp://other:25")
    while partition.healthy:
        select.select([], [], [], 0.01)
    assert partition.completions() == []
    failing_writes(-1)
    assert completions(partition, 4) == [(name, None, None) for name in ("held", "failed", "tried", "elsewhere")]
    stored = [queue_message(str(tmp_path), one.queue_id) for one in sent]
    assert [one.status.name for one in stored if one] == ["HELD", "QUEUED", "DEFERRED", "QUEUED"]
    assert [len(one.attempts) for one in stored if one] == [0, 0, 1, 0]
    recipients = [one.message.recipients[0] for one in stored if one]
    assert [one.due for one in recipients] == [1, 5, 7, 8]
    assert recipients[1].state is RecipientState.FAILED
    assert recipients[3].next_hop_fixed == "smtp://other:25"


def wait_healthy(partition: Partition) -> None:
    """The writer recovers by itself, nobody has to ask; a change of health has no descriptor."""
    for _ in range(200):
        if partition.healthy:
            return
        select.select([], [], [], 0.05)
    pytest.fail("not healthy again")


def test_a_full_disk_fails_inserts_and_heals(small_disk: Path) -> None:
    spool = str(small_disk)
    partition = Partition.create(spool)
    acknowledged: list[str] = []
    error = None
    while error is None:
        sent = message(partition, os.urandom(20_000))
        partition.insert(sent.queue_id, sent)
        [(_, error, _)] = completions(partition)
        if error is None:
            acknowledged.append(sent.queue_id)
    assert acknowledged
    assert "full" in error, error
    assert not partition.healthy
    # Removing frees pages inside the database: the partition gets well without help from outside, and nothing gets smaller.
    for queue_id in acknowledged[:20]:
        partition.remove(queue_id)
    wait_healthy(partition)
    sent = message(partition, b"after")
    partition.insert("after", sent)
    assert completions(partition) == [("after", None, None)]
    kept = [*acknowledged[20:], sent.queue_id]
    partition.close()
    adopted = Partition.adopt(spool)
    assert adopted is not None
    assert [group.queue_id for group in adopted.schedule()] == kept


@pytest.mark.parametrize("size", [200_000, 500_000])  # in the database; in files of their own
def test_more_at_once_than_the_disk_can_hold(small_disk: Path, size: int) -> None:
    spool = str(small_disk)
    partition = Partition.create(spool)
    sent = [message(partition, os.urandom(size)) for _ in range(15)]
    contents = {one.queue_id: octets(one) for one in sent}
    for one in sent:
        partition.insert(one.queue_id, one)
    results = {str(waiter): error for waiter, error, _ in completions(partition, 15)}
    acknowledged = [queue_id for queue_id, error in results.items() if error is None]
    assert len(acknowledged) < 15
    for queue_id in acknowledged[:-1]:
        partition.remove(queue_id)
    wait_healthy(partition)
    partition.close()
    left = acknowledged[-1:]
    adopted = Partition.adopt(spool)
    if not left:
        assert adopted is None
        return
    assert adopted is not None
    assert [group.queue_id for group in adopted.schedule()] == left
    adopted.load(None, left[0])
    [(_, _, loaded)] = completions(adopted)
    assert loaded is not None
    assert octets(loaded) == contents[left[0]]
    assert len(list(Path(spool, "partitions", adopted.tag, "content").iterdir())) == int(size > 256 * 1024)


def test_a_disk_filled_by_others_heals_when_they_leave(small_disk: Path) -> None:
    spool = str(small_disk)
    partition = Partition.create(spool)
    first = message(partition, b"first")
    partition.insert("first", first)
    assert completions(partition) == [("first", None, None)]
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    large = message(partition, os.urandom(600_000))
    small = message(partition, os.urandom(100_000))
    partition.remove(first.queue_id)
    partition.insert("large", large)
    partition.insert("small", small)
    for _, error, _ in completions(partition, 2):
        assert error is not None
    assert not partition.healthy
    ballast.unlink()
    wait_healthy(partition)
    last = message(partition, os.urandom(600_000))
    partition.insert("last", last)
    assert completions(partition) == [("last", None, None)]
    assert [group.queue_id for group in partition.schedule()] == [last.queue_id]
    assert len(list(Path(spool, "partitions", partition.tag, "content").iterdir())) == 1


def test_a_read_only_disk_is_an_error(small_disk: Path) -> None:
    partition = Partition.create(str(small_disk))
    partition.insert(1, message(partition, b"x"))
    partition.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match="Read-only"):
        Partition.create(str(small_disk))
    with pytest.raises(OSError):
        Partition.adopt(str(small_disk))


def test_a_spool_on_a_read_only_disk_can_be_read(small_disk: Path, tmp_path: Path) -> None:
    partition = Partition.create(str(small_disk))
    sent = message(partition, b"x")
    partition.insert(1, sent)
    partition.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert [entry["queue_id"] for entry in listed(str(small_disk))] == [sent.queue_id]
    assert queue_stats(str(small_disk)).messages == 1
    found = queue_message(str(small_disk), sent.queue_id)
    assert found is not None
    assert found.message.octets() == b"x"
    assert queue_export(str(small_disk), sent.queue_id, str(tmp_path / "rescued"))
