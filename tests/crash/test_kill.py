"""kill -9 under load: of a worker, of the supervisor, of all. What a client was told 250 for arrives at the next hop."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal

import pytest
from tests.doubles.next_hop import NextHop
from tests.doubles.senders import Senders
from tests.integration.conftest import answers, wait_for

ROUNDS = 20 if os.environ.get("MAILMOAT_TEST_SOAK") == "1" else 3
CLIENTS = 6
BEFORE_KILL = 150
"""Messages acknowledged in a round before the kill; the load goes on while it happens."""


def worker(server) -> None:
    os.kill(server.workers()[0], signal.SIGKILL)


def supervisor(server) -> None:
    server.kill(signal.SIGKILL)
    server.process.wait()


def everything(server) -> None:
    pids = server.pids()
    server.kill(signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.process.wait()


def restart(server) -> None:
    """A new supervisor, beside the workers of the dead one that may still drain and greet: theirs is no sign of it."""
    served = len(server.logged("serving"))
    server.start(wait=False)
    wait_for(lambda: len(server.logged("serving")) > served, what="new supervisor")


def await_end(pids: list[int]) -> None:
    wait_for(lambda: all("\tZ" in status(pid) or not status(pid) for pid in pids), 20, "end of the old workers")


def status(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        return file.read()
    return ""


@pytest.mark.timeout(60 * ROUNDS)
@pytest.mark.parametrize("kill", [worker, supervisor, everything], ids=lambda kill: kill.__name__)
def test_nothing_that_was_acknowledged_is_missing(server, kill, capsys):
    acknowledged: set[str] = set()
    turns, queued = itertools.count(), 0
    # Every third message stays a while: there must be something in the spool to lose.
    with NextHop(end=lambda _: "250 ok" if next(turns) % 3 else "451 4.3.0 later") as hop:
        made = server(
            MAILMOAT_WORKERS="2",
            MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{hop.port}",
            MAILMOAT_DELIVERY__RETRY="1",
            MAILMOAT_DRAIN_TIME="5",
        )
        for number in range(ROUNDS):
            load = Senders(made.port, f"r{number}m", a_connection=20, large=100_000).start(CLIENTS)
            load.more(BEFORE_KILL)
            pids = made.pids()
            queued += made.count()
            kill(made)
            if made.exited():
                restart(made)
            load.more(BEFORE_KILL // 2)
            load.stop()
            acknowledged |= load.acknowledged
            # A worker that dies over and over is replaced after growing waits, up to 30 s; the connections queued for it wait.
            wait_for(lambda: answers(made.port), what="greeting")
            if kill is not worker:
                await_end(pids)
        wait_for(made.empty, what="empty spool")
        ids = hop.ids()
        missing = acknowledged - set(ids)
        twice = sum(count - 1 for count in ids.values())
        beyond = len(set(ids) - acknowledged)
    with capsys.disabled():
        print(
            f"\nkill -9 of {kill.__name__}: {ROUNDS} rounds, {len(acknowledged)} acknowledged, {len(missing)} missing, "
            f"{twice} duplicates, {beyond} arrived whose 250 was not read; {queued} were in the spool when it was killed"
        )
    assert missing == set()
    assert queued > 0
    # A kill may repeat what each connection to the next hop had under way, and what it had told nobody of yet.
    assert twice <= ROUNDS * 2 * 160, "more came twice than were in memory"
    assert len(acknowledged) >= ROUNDS * BEFORE_KILL
