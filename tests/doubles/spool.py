"""A spool in memory, in the place of runtime/spool.py; held to the real one by tests/conformance/test_spool_kit.py.

Completions come on the loop after `seconds`, never within the call. `trouble` is the error that inserts end with instead, and
`load_trouble` that of loads. What was stored is announced to `on_stored`, after its waiter.
What was asked of it is in `calls`, in its order: ("insert", queue id), ("load", queue id), ("settle", queue id, outcomes, due,
attempts, next hop), ("remove", queue id), ("hold", queue id, kind). What deferred somebody is in `attempts`, by queue id. The
messages in `damaged` are found to be so when they are loaded.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mailmoat._native import NO_MESSAGE, AttemptRow, Backlog, Held, Message, Outcome, RecipientState
from mailmoat.runtime.spool import Waiter


@dataclass(frozen=True)
class StoredRecipient:
    address: str
    state: RecipientState
    reply: str
    due: int
    attempts: int = 0
    next_hop: str = ""
    parameters: dict[str, str | None] = field(default_factory=dict)
    next_hop_fixed: str = ""
    reported: bool = False

    @property
    def is_open(self) -> bool:
        return self.state not in (RecipientState.DELIVERED, RecipientState.CLOSED)


@dataclass(frozen=True)
class Group:
    """Recipients of a message that are open and due together."""

    queue_id: str
    arrival: int
    due: int
    attempts: int
    next_hop: str


class Stored:
    """A message as it is read back: with what has become of its recipients."""

    def __init__(self, message: Message, recipients: list[StoredRecipient]) -> None:
        self._message, self.recipients = message, recipients

    def __getattr__(self, name: str) -> object:
        return getattr(self._message, name)


class FakePartition:
    def __init__(self, spool: FakeSpool, tag: str, incoming_dir: str) -> None:
        self.tag, self.incoming_dir = tag, incoming_dir
        self.messages: dict[str, Stored] = {}
        self.held: dict[str, Held] = {}
        self.damaged: set[str] = set()
        self.attempts: dict[str, list[AttemptRow]] = {}
        self.noted: dict[str, int] = {}
        self.crashes: dict[str, int] = {}
        self.groups: list[Group] | None = None
        """What an adoption finds, where that is not what is stored."""
        self._spool = spool
        self._named: set[str] = set()

    @property
    def count(self) -> int:
        return len(self.messages)

    def keep(self, message: Message) -> None:
        """It is on disk now, and due."""
        fresh = [StoredRecipient(one.address, one.state, one.reply, message.arrival) for one in message.recipients]
        self.messages[message.queue_id] = Stored(message, fresh)

    def put(self, message: Stored) -> None:
        """It is here from before, with what had become of its recipients."""
        self.messages[message.queue_id] = Stored(message._message, list(message.recipients))

    def load(self, waiter: Waiter, queue_id: str) -> None:
        self._spool.calls.append(("load", queue_id))
        if queue_id in self.damaged:
            self._spool.later(lambda: waiter.damaged("its stored octets have changed"))
        else:
            self._spool.complete(waiter, lambda: self._read(queue_id), self._spool.load_trouble)

    def settle(
        self,
        waiter: Waiter | None,
        queue_id: str,
        outcomes: list[Outcome],
        *,
        due: int,
        attempts: int,
        next_hop: str = "",
        attempt: AttemptRow | None = None,
        reported: Sequence[int] = (),
    ) -> None:
        made = [(one.index, one.state, one.reply) for one in outcomes]
        self._spool.calls.append(("settle", queue_id, made, due, attempts, next_hop))
        recipients = self.messages[queue_id].recipients
        for one in outcomes:
            news = {"state": one.state, "reply": one.reply, "due": due, "attempts": attempts, "next_hop": next_hop}
            recipients[one.index] = replace(recipients[one.index], **news)
        for index in reported:
            recipients[index] = replace(recipients[index], reported=True)
        if attempt is not None:
            self.attempts.setdefault(queue_id, []).append(attempt)
        if waiter is not None:
            self._spool.complete(waiter, lambda: (None, None))

    def end(self, queue_id: str, outcomes: list[Outcome], *, due: int, attempts: int, next_hop: str = "") -> None:
        ended = {one.index for one in outcomes}
        recipients = self.messages[queue_id].recipients
        if any(one.is_open for index, one in enumerate(recipients) if index not in ended):
            self.settle(None, queue_id, outcomes, due=due, attempts=attempts, next_hop=next_hop)
        else:
            self.remove(queue_id)

    def remove(self, queue_id: str, waiter: Waiter | None = None) -> None:
        self._spool.calls.append(("remove", queue_id))
        del self.messages[queue_id]
        if waiter is not None:
            self._spool.complete(waiter, lambda: (None, None))

    def hold(self, waiter: Waiter | None, queue_id: str, kind: Held) -> None:
        self._spool.calls.append(("hold", queue_id, kind))
        known = queue_id in self.messages
        if known:
            self.held[queue_id] = kind
        if waiter is not None:
            self._spool.complete(waiter, lambda: (None if known else NO_MESSAGE, None))

    def schedule(self) -> list[Group]:
        groups = {
            Group(queue_id, message._message.arrival, one.due, one.attempts, one.next_hop): None
            for queue_id, message in self.messages.items()
            if not self.held.get(queue_id)
            for one in message.recipients
            if one.is_open
        }
        return list(groups)

    def fill(
        self,
        backlog: Backlog,
        after: int,
        *,
        wall_ms: int,
        now_ms: int,
        longest_ms: int,
        big: int,
        at_once: bool = False,
    ) -> tuple[int | None, list[str], list[str]]:
        groups = self.schedule() if self.groups is None else self.groups
        if unknown := sorted({group.next_hop for group in groups} - self._named):
            self._named.update(unknown)
            return after, unknown, []
        backlog.add_partition(self.tag)
        suspects = [queue_id for queue_id, count in self.crashes.items() if count]
        first: dict[tuple[str, int], Group] = {}
        for group in sorted(groups, key=lambda group: group.due):
            first.setdefault((group.queue_id, backlog.line(group.next_hop)), group)
        parted = Counter(queue_id for queue_id, _ in first)
        for (queue_id, line), group in first.items():
            if queue_id in suspects:
                continue
            due = now_ms + (0 if at_once else min(max(group.due - wall_ms, 0), longest_ms))
            backlog.put(
                line,
                queue_id,
                due=due,
                now=0,
                arrival=group.arrival,
                fresh=group.attempts == 0,
                parted=parted[queue_id] > 1,
                stranded=group.attempts > 0 and due > now_ms,
            )
        return None, [], suspects

    def release(self, _waiter: Waiter | None, queue_id: str) -> None:
        self._spool.calls.append(("release", queue_id))
        self.held.pop(queue_id, None)
        self.crashes.pop(queue_id, None)

    def crashed(self, queue_id: str) -> int:
        self.crashes[queue_id] = self.crashes.get(queue_id, 0) + 1
        if self.crashes[queue_id] > 1:
            self.held[queue_id] = Held.CRASHED
        return self.crashes[queue_id]

    def note_in(self, _shared: object, _slot: int) -> None:
        """There is no other process."""

    def note(self, queue_id: str, suspicion: int) -> None:
        self.noted[queue_id] = suspicion

    def unnote(self, queue_id: str) -> None:
        self.noted.pop(queue_id, None)

    def _read(self, queue_id: str) -> tuple[str | None, Stored | None]:
        found = None if self.held.get(queue_id) else self.messages.get(queue_id)
        return (NO_MESSAGE, None) if found is None else (None, Stored(found._message, list(found.recipients)))


class FakeSpool:
    """`kept` is told of each message that is on disk, before its waiter is. Queue IDs are short: they have no tag in them, whatever `tag` says."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        incoming_dir: str | Path,
        kept: Callable[[Message], object] = lambda _: None,
        tag: str = "",
    ) -> None:
        self.seconds = 0.0
        self.trouble: str | None = None
        self.load_trouble: str | None = None
        self.on_stored: Callable[[Message], object] = lambda _: None
        self.calls: list[tuple[object, ...]] = []
        self.partition = FakePartition(self, tag, str(incoming_dir))
        self._loop, self._kept = loop, kept
        self._numbers = itertools.count(1)

    @property
    def count(self) -> int:
        return self.partition.count

    def next_queue_id(self) -> str:
        return f"q{next(self._numbers)}"

    def insert(self, waiter: Waiter, message: Message) -> None:
        def done() -> None:
            if self.trouble:
                waiter.done(self.trouble, message)
                return
            self.partition.keep(message)
            self._kept(message)
            try:
                waiter.done(None, message)
            finally:
                self.on_stored(message)

        self.calls.append(("insert", message.queue_id))
        self._loop.call_later(self.seconds, done)

    def complete(
        self, waiter: Waiter, work: Callable[[], tuple[str | None, object]], trouble: str | None = None
    ) -> None:
        """Do it when the disk answers, and notify the waiter."""
        self.later(lambda: waiter.done(*((trouble, None) if trouble else work())))

    def later(self, work: Callable[[], object]) -> None:
        """Do it when the disk answers."""
        self._loop.call_later(self.seconds, work)
