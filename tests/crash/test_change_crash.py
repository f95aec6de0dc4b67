"""What is asked of a stored message besides delivering it, killed before each write: done or not done, and done when it was acknowledged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.needs import find_peer

from mailmoat._native import Partition, QueueStatus, queue_message

# Ten messages, and a change of nine of them; each acknowledgement is a line of standard output: the number of the message.
CHANGER = """
import os, select, sys
from mailmoat._native import AttemptRow, Held, Message, Outcome, Partition, RecipientState
partition = Partition.create(sys.argv[1])
ids = []
for number in range(10):
    ids.append(partition.next_queue_id())
    partition.insert(None, Message(queue_id=ids[-1], arrival=1, reverse_path="s@a.test", recipients=["x@b.test"],
                     content=b"x" * (300_000 if number == 9 else 100)))
def wait(*names):
    waits = set(names)
    while waits:
        select.select([partition.descriptor], [], [])
        for name, error, _ in partition.completions():
            assert error is None, error
            if name is not None:
                waits.discard(name)
                os.write(1, b"%d\\n" % name)
partition.load(10, ids[0])
wait(10)
later = [Outcome(0, RecipientState.PENDING, "451 later")]
failed = [Outcome(0, RecipientState.FAILED, "550 no")]
row = AttemptRow(at=2, next_hop="smtp://hop:25", peer="192.0.2.1:25")
partition.hold(0, ids[0], Held.OPERATOR)
wait(0)
partition.settle(1, ids[1], later, due=3, attempts=1, next_hop="smtp://hop:25", attempt=row, reported=[0])
wait(1)
partition.redirect(2, ids[2], due=4, next_hop="smtp://other:25")
wait(2)
partition.redirect(3, ids[3], due=5, recipients=["y@b.test", "z@b.test"])
wait(3)
partition.fail(4, ids[4], "554 no", due=6)
partition.retry(5, ids[5], due=7)
wait(4, 5)
partition.hold(None, ids[6], Held.DAMAGED)
partition.release(6, ids[6])
wait(6)
partition.crashed(ids[7]); partition.crashed(ids[7])
os.write(1, b"7\\n")
partition.remove(ids[9], 9)
wait(9)
"""
STEPS = ["pwrite64", "fdatasync", "unlink,unlinkat"]
"""System calls that change what is on disk."""
MOST = 150


def look(spool: str, queue_id: str) -> tuple[object, ...] | None:
    """What an operator sees of a message."""
    found = queue_message(spool, queue_id)
    if found is None:
        return None
    assert found.damage is None
    recipients = [(one.address, one.state.name, one.due, one.next_hop_fixed) for one in found.message.recipients]
    return (
        found.status,
        found.crashes,
        len(found.attempts),
        [one.reported for one in found.message.recipients],
        recipients,
    )


FRESH = (QueueStatus.QUEUED, 0, 0, [False], [("x@b.test", "PENDING", 1, "")])
CHANGED: dict[int, tuple[object, ...] | None] = {
    0: (QueueStatus.HELD, *FRESH[1:]),
    1: (QueueStatus.DEFERRED, 0, 1, [True], [("x@b.test", "PENDING", 3, "")]),
    2: (*FRESH[:4], [("x@b.test", "PENDING", 4, "smtp://other:25")]),
    3: (
        *FRESH[:3],
        [False] * 3,
        [("x@b.test", "CLOSED", 5, ""), ("y@b.test", "PENDING", 5, ""), ("z@b.test", "PENDING", 5, "")],
    ),
    4: (*FRESH[:4], [("x@b.test", "FAILED", 6, "")]),
    5: (*FRESH[:4], [("x@b.test", "PENDING", 7, "")]),
    6: FRESH,
    7: (QueueStatus.CRASHED, 2, *FRESH[2:]),
    8: FRESH,
    9: None,
}
BETWEEN = {6: [(QueueStatus.DAMAGED, *FRESH[1:])], 7: [(QueueStatus.QUEUED, 1, *FRESH[2:])]}
"""What is there between two changes of one message."""


@pytest.mark.parametrize("step", STEPS)
def test_a_change_is_done_whole_or_not_at_all(tmp_path: Path, step: str) -> None:
    strace = find_peer("strace")
    for number in range(1, MOST):
        spool = tmp_path / str(number)
        spool.mkdir()
        inject = ["-e", f"trace={step}", "-e", f"inject={step}:signal=KILL:when={number}"]
        command = [strace, "-f", "-qq", "-o", "/dev/null", *inject, sys.executable, "-c", CHANGER, str(spool)]
        done = subprocess.run(command, capture_output=True, check=False)
        acknowledged = {int(line) for line in done.stdout.split(b"\n")[:-1]}
        adopted = Partition.adopt(str(spool))
        if not isinstance(adopted, Partition):
            assert not acknowledged
            continue
        if 10 in acknowledged:
            for place, changed in CHANGED.items():
                found = look(str(spool), f"{adopted.tag}{'123456789a'[place]}")
                possible = [changed] if place in acknowledged else [FRESH, *BETWEEN.get(place, []), changed]
                assert found in possible, (step, number, place, acknowledged)
        due = {group.queue_id for group in adopted.schedule()}
        held = {
            entry
            for entry in CHANGED
            if (found := look(str(spool), f"{adopted.tag}{'123456789a'[entry]}"))
            and found[0] not in {QueueStatus.QUEUED, QueueStatus.DEFERRED}
        }
        assert not due & {f"{adopted.tag}{'123456789a'[entry]}" for entry in held}
        adopted.close()
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    assert acknowledged == {*CHANGED, 10} - {8}
