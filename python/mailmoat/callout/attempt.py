"""One callout, as the pool sees it: an attempt without a message, on a connection that never says DATA."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mailmoat._native import Message
from mailmoat.callout.judgement import Judgement, judge

if TYPE_CHECKING:
    from mailmoat._native import Outcome
    from mailmoat.delivery.attempt import AttemptRecord
    from mailmoat.delivery.pool import Pool


class CalloutAttempt:
    """Whether the next hop accepts one address; `indexes` is empty once nobody waits for the answer."""

    __slots__ = ("answer", "indexes", "message")

    def __init__(self, address: str) -> None:
        self.message = Message(queue_id="", arrival=0, reverse_path="", recipients=[address], content=b"")
        self.indexes = [0]
        self.answer: asyncio.Future[tuple[Judgement, str]] = asyncio.get_running_loop().create_future()

    def finished(self, outcomes: list[Outcome], record: AttemptRecord) -> None:
        """Take the outcome: see `Attempt`."""
        if outcomes and not self.answer.done():
            self.answer.set_result((judge(outcomes[0], reached=bool(record.peer)), outcomes[0].reply))


async def ask(pool: Pool, address: str) -> tuple[Judgement, str]:
    """Return what the next hop says of an address, and its reply in one ASCII line."""
    attempt = CalloutAttempt(address)
    pool.submit(attempt)
    try:
        return await attempt.answer
    finally:
        if not attempt.answer.done() or attempt.answer.cancelled():
            attempt.indexes.clear()  # where a connection has it, it is not sent anew
            pool.withdraw(attempt)  # or connections would be opened for nobody
