"""kill -9 under load with retries and reports in play: what was acknowledged is delivered or reported, and a crash explains what came twice.

Every fourth message has a mailbox that is busy twice, every eighth one beside it that is not there: its sender gets a report. Each message has a
sender of its own, by which its report is known. `MAILMOAT_TEST_SOAK=1` runs twenty rounds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections import defaultdict

import pytest
from tests.doubles.client import Client
from tests.doubles.next_hop import NextHop
from tests.doubles.senders import Senders
from tests.integration.conftest import Server, answers, wait_for

from mailmoat._native import QueueFilter, QueueStatus, queue_list

ROUNDS = 20 if os.environ.get("MAILMOAT_TEST_SOAK") == "1" else 3
CLIENTS = 4
BEFORE_KILL = 80
"""Messages acknowledged in a round before the kill; the load goes on while it happens."""
BUSY = 2
"""How often a busy mailbox defers each message."""
LATE = 3.0
"""Seconds after a kill in which the next hop may still take what was on its way."""


def recipients(name: str) -> list[str]:
    """The recipients of a message."""
    number = int(name.rpartition("m")[2])
    if number % 8 == 0:
        return ["there@all.example.test", "gone@all.example.test"]
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


class Taken:
    """When the next hop took which message for whom; a message by its name, a report by that of the message it is about."""

    def __init__(self) -> None:
        self.messages: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.reports: dict[str, list[float]] = defaultdict(list)
        self._deferred: dict[str, int] = defaultdict(int)
        self._senders = threading.local()
        self._lock = threading.Lock()

    def mail(self, line: str) -> str:
        """The reply to MAIL; each connection has a thread of its own."""
        self._senders.now = line.partition("<")[2].partition(">")[0]
        return "250 2.1.0 ok"

    def rcpt(self, line: str) -> str:
        """The reply to RCPT."""
        if "<gone@" in line:
            return "550 5.1.1 no such mailbox"
        if "<busy@" not in line:
            return "250 2.1.5 ok"
        with self._lock:
            self._deferred[self._senders.now] += 1
            return "450 4.2.1 busy" if self._deferred[self._senders.now] <= BUSY else "250 2.1.5 ok"

    def end(self, line: str) -> str:
        """The reply to the end of a message, `<sender> to recipient,recipient`."""
        sender, _, paths = line.partition("> to ")
        with self._lock:
            for path in paths.split(","):
                if sender == "<":
                    self.reports[name_of(path)].append(time.monotonic())
                else:
                    self.messages[name_of(sender), path].append(time.monotonic())
        return "250 2.0.0 taken"


def name_of(address: str) -> str:
    """The name of the message with this sender."""
    return address.rpartition("@")[2].removesuffix(".test")


def kill(server: Server, number: int) -> None:
    """Kill a worker, the supervisor, or all, by turns."""
    pids = server.pids()
    if number % 3 == 0:
        os.kill(server.workers()[0], signal.SIGKILL)
        return
    server.kill(signal.SIGKILL)
    for pid in pids if number % 3 == 2 else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.process.wait()


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


def explained(times: list[float], kills: list[float]) -> bool:
    """Between each delivery and the next there was a kill, or the first was on its way when it came."""
    pairs = itertools.pairwise(times)
    return all(any(first - LATE <= kill <= second for kill in kills) for first, second in pairs)


@pytest.mark.timeout(90 * ROUNDS)
def test_nothing_acknowledged_is_neither_delivered_nor_reported(server, capsys):
    acknowledged: set[str] = set()
    kills: list[float] = []
    taken = Taken()
    with NextHop(MAIL=taken.mail, RCPT=taken.rcpt, end=taken.end) as hop:
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
            kills.append(time.monotonic())
            kill(made, number)
            if made.exited():
                restart(made)
            load.more(BEFORE_KILL // 2, 60)
            load.stop()
            acknowledged |= load.acknowledged
            wait_for(lambda: answers(made.port), 40, what="greeting")
        wait_for(lambda: made.count() == len(set_aside(made)), 90, what="empty spool")
        aside = set_aside(made)
    expected = {(name, one) for name in acknowledged - aside for one in recipients(name)}
    reported = {name for name, one in expected if one.startswith("gone@")}
    missing = expected - taken.messages.keys() - {(name, "gone@all.example.test") for name in reported}
    unreported = reported - taken.reports.keys()
    twice = [times for times in taken.messages.values() if len(times) > 1]
    # A report is made anew when the crash came before it was noted; both may be delivered after that.
    reported_twice = [[kills[0], *times[1:]] for times in taken.reports.values() if len(times) > 1]
    with capsys.disabled():
        print(
            f"\nkill -9 with retries and reports: {ROUNDS} rounds, {len(acknowledged)} acknowledged, {len(missing)} missing, "
            f"{len(reported)} reported, {len(unreported)} not reported, {len(twice)} came twice, "
            f"{len(reported_twice)} reported twice, {len(aside)} set aside"
        )
    assert (missing, unreported) == (set(), set())
    assert reported
    assert [times for times in twice if not explained(times, kills)] == []
    assert all(explained(times, kills) for times in reported_twice)
    assert len(acknowledged) >= ROUNDS * BEFORE_KILL
