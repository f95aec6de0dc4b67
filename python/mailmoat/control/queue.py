"""What commands do with the messages of one worker.

Promises: a message is in no attempt while something is done with it. One that is in memory for an attempt is left to end it; then the action is
carried out, whether the command still waits or not. What an answer counts as done is on disk. An action that fails leaves the message in the
queue as it was. Messages are taken in portions, so that a request of many does not stop the loop.
"""

from __future__ import annotations

import os
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat._native import NO_MESSAGE
from mailmoat.control.channel import ControlError
from mailmoat.events import Event
from mailmoat.runtime.actions import MOST_IDS, Retry, described, name_of, parse, perform, waits_after

if TYPE_CHECKING:
    import asyncio

    from mailmoat._native import Message
    from mailmoat.control.channel import Document
    from mailmoat.delivery.queue import Queue
    from mailmoat.runtime.actions import Action
    from mailmoat.runtime.spool import SpoolStore
    from mailmoat.runtime.timers import Timers

PATIENCE: Final = 5.0
"""Seconds that an answer waits for attempts to end and for the disk."""
LOOK: Final = 0.1
"""Seconds between two looks at whether an attempt has ended."""


class Result(StrEnum):
    """What became of an action on one message; the words of an answer."""

    DONE = "done"
    GONE = "gone"
    """It is not, or no longer, in the spool."""
    WAITING = "waiting"
    """Carried out when its attempt has ended, or when the disk takes it."""
    FAILED = "failed"


async def act(control: QueueControl, arguments: Document) -> Document:
    """Do `action` with the messages `queue_ids`; return how many are done, and the queue IDs of the others by their result."""
    queue_ids = arguments.get("queue_ids")
    if not isinstance(queue_ids, list) or not all(isinstance(one, str) for one in queue_ids):
        raise ControlError("queue_ids: not a list of texts")
    if len(queue_ids) > MOST_IDS:
        raise ControlError(f"queue_ids: more than {MOST_IDS}")
    try:
        action = parse(arguments.get("action"))
    except ValueError as error:
        raise ControlError(f"action: {error}") from None
    return await control.act(action, dict.fromkeys(queue_ids))


class QueueControl:
    """The queue and the spool of one worker, as commands use them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, queue: Queue, spool: SpoolStore, timers: Timers) -> None:
        self.queue = queue
        self.spool = spool
        self._loop = loop
        self._timers = timers
        self._postponed: dict[str, _Step] = {}
        """What waits for the end of an attempt, by queue ID."""
        self._looks = False

    async def act(self, action: Action, queue_ids: dict[str, None]) -> Document:
        """Do one thing with messages, and wait for it as long as `PATIENCE`."""
        if isinstance(action, Retry):
            return self._retry(queue_ids)
        batch = _Batch(self._loop.create_future(), len(queue_ids))
        steps = [_Step(self, batch, action, queue_id) for queue_id in queue_ids]
        for step in steps:
            step.begin()
        if batch.open:
            key = self._timers.after(PATIENCE, batch)
            await batch.ended
            self._timers.cancel(key)
        found: Document = {result: [step.queue_id for step in steps if step.result is result] for result in Result}
        found[Result.DONE] = len(found[Result.DONE])
        found["errors"] = Counter(step.error for step in steps if step.result is Result.FAILED)
        return found

    def destinations(self) -> Document:
        """Return what each destination has in memory, its connections, and whether it answers."""
        return {
            "pid": os.getpid(),
            "destinations": [
                {
                    "name": one.name,
                    "active": one.active,
                    "connections": one.transport.connections,
                    "away": one.away,
                }
                for one in self.queue.destinations
            ],
        }

    def postpone(self, step: _Step) -> None:
        """Begin a step again until its message is not in memory."""
        self._postponed[step.queue_id] = step
        if not self._looks:
            self._looks = True
            self._timers.after(LOOK, self)

    def is_postponed(self, queue_id: str) -> bool:
        """Return whether something waits already for the end of the message's attempt."""
        return queue_id in self._postponed

    def due(self) -> None:
        """Look again at what was in memory."""
        self._looks = False
        postponed, self._postponed = self._postponed, {}
        for step in postponed.values():
            step.begin()

    def _retry(self, queue_ids: dict[str, None]) -> Document:
        """Make messages due. Nothing is written: one that is in an attempt is being tried, and after a crash all wait as before."""
        gone = [queue_id for queue_id in queue_ids if not (self.queue.retry((queue_id,)) or self.queue.waits(queue_id))]
        found: Document = {result: [] for result in Result}
        return found | {Result.DONE: len(queue_ids) - len(gone), Result.GONE: gone, "errors": {}}


class _Batch:
    """The steps of one request; ends when the last one has, or when its time is over."""

    __slots__ = ("ended", "open")

    def __init__(self, ended: asyncio.Future[None], steps: int) -> None:
        self.ended = ended
        self.open = steps

    def one_ends(self) -> None:
        self.open -= 1
        if not self.open:
            self.due()

    def due(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class _Step:
    """One action on one message: waits for the end of an attempt, then for the disk."""

    __slots__ = ("_action", "_batch", "_control", "_waited", "error", "queue_id", "result")

    def __init__(self, control: QueueControl, batch: _Batch, action: Action, queue_id: str) -> None:
        self._control = control
        self._batch = batch
        self._action = action
        self._waited = control.queue.waits(queue_id)
        """One that is held does not: it comes back into the schedule only when it is released."""
        self.queue_id = queue_id
        self.result = Result.WAITING
        self.error = ""

    def begin(self) -> None:
        """Take the message out of the queue in memory and do it, or wait while it is in an attempt."""
        control = self._control
        partition = control.spool.owner_of(self.queue_id)
        if partition is None:
            self._end(Result.GONE)
        elif control.is_postponed(self.queue_id):
            self._end(Result.FAILED, "another command waits for the end of its attempt")
        elif control.queue.forget(self.queue_id):
            try:
                perform(partition, self, self.queue_id, self._action, clock.wall_ms())
            except (OSError, ValueError) as error:
                self.done(str(error), None)
        else:
            control.postpone(self)

    def done(self, error: str | None, _message: Message | None) -> None:
        """Take the end of it from the spool."""
        if error is None:
            maillog.event(
                Event.QUEUE_COMMAND,
                queue_id=self.queue_id,
                command=name_of(self._action),
                detail=described(self._action),
            )
            if waits_after(self._action, before=self._waited):
                self._control.queue.add(self.queue_id)
            self._end(Result.DONE)
        elif error.startswith(NO_MESSAGE):
            self._end(Result.GONE)
        else:
            if self._waited:
                self._control.queue.add(self.queue_id)
            self._end(Result.FAILED, error)

    def _end(self, result: Result, error: str = "") -> None:
        self.result, self.error = result, error
        self._batch.one_ends()
