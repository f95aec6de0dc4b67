"""kill -9 under load with retries and reports in play: what was acknowledged is delivered or reported, and a crash explains what came twice.

Every fourth message has a mailbox that is busy twice, every eighth one beside it that is not there: its sender gets a report. Each message has a
sender of its own, by which its report is known. A copy is explained by the death of the worker that owned the partition of the message,
at the time of the copy before it; a second report by the death of the owner of the message it is about, when the first one was made.
`MAILMOAT_TEST_SOAK=1` runs twenty rounds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from tests.doubles.client import Client
from tests.doubles.next_hop import Message, NextHop
from tests.doubles.senders import Senders
from tests.integration.conftest import Server, answers, wait_for

from mailmoat._native import QueueFilter, QueueStatus, queue_list
from mailmoat.runtime.queue_id import partition_of

ROUNDS = 20 if os.environ.get("MAILMOAT_TEST_SOAK") == "1" else 3
CLIENTS = 4
BEFORE_KILL = 80
"""Messages acknowledged in a round before the kill; the load goes on while it happens."""
BUSY = 2
"""How often a busy mailbox defers each message."""
LATE = 3.0
"""Seconds by which the next hop may read late what was sent to it, or a worker store late what was answered."""
GONE = "gone@all.example.test"


def recipients(name: str) -> list[str]:
    """The recipients of a message."""
    number = int(name.rpartition("m")[2])
    if number % 8 == 0:
        return ["there@all.example.test", GONE]
    return ["busy@all.example.test" if number % 4 == 0 else "there@all.example.test"]


class Mixed(Senders):
    """Clients whose messages go to different mailboxes, each from a sender of its own."""

    def post(self, client: Client, name: str, size: int) -> None:
        text = f"Message-ID: <{name}@client.test>\r\n\r\n" + ("x" * 70 + "\r\n") * (size // 72)
        steps = [(f"MAIL FROM:<s@{name}.test>", 250), *((f"RCPT TO:<{one}>", 250) for one in recipients(name))]
        for line, code in (*steps, ("DATA", 354), (f"{text}.", 250)):
            if client.ask(line).code != code:
                raise ConnectionError(line)
        self.acknowledged.add(name)


class Mailboxes:
    """What the next hop answers to RCPT: one mailbox is not there, another is busy at first."""

    def __init__(self) -> None:
        self._deferred: dict[str, int] = defaultdict(int)
        self._senders = threading.local()
        self._lock = threading.Lock()

    def mail(self, line: str) -> str:
        """The reply to MAIL; each connection has a thread of its own."""
        self._senders.now = line.partition("<")[2].partition(">")[0]
        return "250 2.1.0 ok"

    def rcpt(self, line: str) -> str:
        """The reply to RCPT."""
        if f"<{GONE}" in line:
            return "550 5.1.1 no such mailbox"
        if "<busy@" not in line:
            return "250 2.1.5 ok"
        with self._lock:
            self._deferred[self._senders.now] += 1
            return "450 4.2.1 busy" if self._deferred[self._senders.now] <= BUSY else "250 2.1.5 ok"


class Copies:
    """What came to the next hop, by the message or the report it is a copy of, in the order of coming."""

    def __init__(self, taken: Iterable[Message]) -> None:
        self.messages: dict[tuple[str, str], list[Message]] = defaultdict(list)
        """By name and recipient."""
        self.reports: dict[str, list[Message]] = defaultdict(list)
        """By the name of the message that they are about."""
        for message in taken:
            for recipient in message.recipients:
                if message.sender:
                    self.messages[name_of(message.sender), recipient].append(message)
                else:
                    self.reports[name_of(recipient)].append(message)

    def unexplained(self, crashes: list[Crash]) -> list[object]:
        """Copies of a message or of one report, and reports about one message, that no crash explains."""
        same = [*self.messages.values(), *(each for copies in self.reports.values() for each in by_id(copies))]
        found: list[object] = [
            (first.queue_id, first.begun, second.queue_id, second.begun)
            for copies in same
            for first, second in itertools.pairwise(copies)
            if first.queue_id != second.queue_id
            or not any(one.explains(first.queue_id, first.begun, second.begun) for one in crashes)
        ]
        queue_ids = {name: copies[0].queue_id for (name, _), copies in self.messages.items()}
        for name, copies in self.reports.items():
            about, made = queue_ids.get(name, ""), sorted(made_at(each[0]) for each in by_id(copies))
            # A Date has whole seconds.
            found += [
                (name, about, first, second)
                for first, second in itertools.pairwise(made)
                if not any(one.explains(about, first, second + 1) for one in crashes)
            ]
        return found


def by_id(copies: list[Message]) -> list[list[Message]]:
    """Copies of the same report together."""
    found: dict[str, list[Message]] = defaultdict(list)
    for one in copies:
        found[one.queue_id].append(one)
    return list(found.values())


def made_at(report: Message) -> float:
    """When a report was made, in whole seconds since the epoch."""
    return parsedate_to_datetime(message_from_bytes(report.content)["Date"]).timestamp()


@dataclass(frozen=True)
class Crash:
    """Workers were killed."""

    at: float
    """Seconds since the epoch."""
    partitions: frozenset[str]
    """Tags of those that they owned."""

    def explains(self, queue_id: str, first: float, second: float) -> bool:
        """Whether what was done for a message at the first time may have been done again at the second."""
        return partition_of(queue_id) in self.partitions and first - LATE <= self.at <= min(first + LATE, second)


def name_of(address: str) -> str:
    """The name of the message with this sender."""
    return address.rpartition("@")[2].removesuffix(".test")


def kill(server: Server, number: int) -> Crash:
    """Kill a worker, the supervisor, or all, by turns. Workers without a supervisor end tidily."""
    pids = server.pids()
    killed = [] if number % 3 == 1 else pids if number % 3 else server.workers()[:1]
    owned = owners(Path(server.environment["MAILMOAT_SPOOL_DIR"]))
    if number % 3:
        server.kill(signal.SIGKILL)
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    at = time.time()
    if number % 3:
        server.process.wait()
    return Crash(at, frozenset(tag for tag, pid in owned.items() if pid in killed))


def owners(spool: Path) -> dict[str, int]:
    """The processes that hold the locks of the partitions, by the tags of these."""
    holders = dict(_locks())
    found = {}
    for lock in spool.glob("partitions/*/lock"):
        with contextlib.suppress(FileNotFoundError):
            found[lock.parent.name] = holders.get(lock.stat().st_ino, 0)
    return found


def _locks() -> Iterator[tuple[int, int]]:
    """Inodes of the files that are locked by flock, and by whom (proc_locks(5))."""
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[3] == "WRITE":
            yield int(fields[5].rpartition(":")[2]), int(fields[4])


def restart(server: Server) -> None:
    served = len(server.logged("serving"))
    server.start(wait=False)
    wait_for(lambda: len(server.logged("serving")) > served, what="new supervisor")


def set_aside(server: Server) -> set[str]:
    """Names of the messages that are held because two workers died while they were busy with them."""
    spool, filter_ = server.environment["MAILMOAT_SPOOL_DIR"], QueueFilter(statuses=[QueueStatus.CRASHED])
    found, after = [], ""
    while after is not None:
        page = queue_list(spool, filter_, after)
        found += page.entries
        after = page.after
    return {name_of(entry["reverse_path"] or entry["recipients"][0].address) for entry in found}


@pytest.mark.timeout(90 * ROUNDS)
def test_nothing_acknowledged_is_neither_delivered_nor_reported(server, capsys):
    acknowledged: set[str] = set()
    crashes: list[Crash] = []
    mailboxes = Mailboxes()
    with NextHop(MAIL=mailboxes.mail, RCPT=mailboxes.rcpt) as hop:
        made = server(
            MAILMOAT_WORKERS="2",
            MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{hop.port}",
            MAILMOAT_DELIVERY__RETRY="1s",
            MAILMOAT_DRAIN_TIME="5",
            MAILMOAT_RELAY__NETWORKS="127.0.0.0/8",  # reports to those inside have budgets that this does not spend
        )
        for number in range(ROUNDS):
            load = Mixed(made.port, f"r{number}m", a_connection=20, large=100_000).start(CLIENTS)
            load.more(BEFORE_KILL, 60)
            crashes.append(kill(made, number))
            if made.exited():
                restart(made)
            load.more(BEFORE_KILL // 2, 60)
            load.stop()
            acknowledged |= load.acknowledged
            wait_for(lambda: answers(made.port), 40, what="greeting")
        wait_for(lambda: made.count() == len(set_aside(made)), 90, what="empty spool")
        aside = set_aside(made)
    taken = Copies(hop.messages)
    expected = {(name, one) for name in acknowledged - aside for one in recipients(name)}
    reported = {name for name, one in expected if one == GONE}
    missing = expected - taken.messages.keys() - {(name, GONE) for name in reported}
    unreported = reported - taken.reports.keys()
    twice = [copies for copies in taken.messages.values() if len(copies) > 1]
    reported_twice = [copies for copies in taken.reports.values() if len(copies) > 1]
    unexplained = taken.unexplained(crashes)
    with capsys.disabled():
        print(
            f"\nkill -9 with retries and reports: {ROUNDS} rounds, {len(acknowledged)} acknowledged, {len(missing)} missing, "
            f"{len(reported)} reported, {len(unreported)} not reported, {len(twice)} came twice, "
            f"{len(reported_twice)} reported twice, {len(unexplained)} unexplained, {len(aside)} set aside"
        )
    assert (missing, unreported, unexplained) == (set(), set(), [])
    assert bool(taken.unexplained([])) == bool(twice or reported_twice), "a copy is explained without a crash"
    assert reported
    assert len(acknowledged) >= ROUNDS * BEFORE_KILL
