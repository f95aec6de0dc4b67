"""The lines in the log about faults that no session or message is to blame for: of the event loop, of a deadline. Never raises."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mailmoat import maillog
from mailmoat.events import Event

if TYPE_CHECKING:
    import asyncio


def loop_failed(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Log what an event loop could not do: its exception handler."""
    error = context.get("exception")
    reason = maillog.describe(error) if isinstance(error, BaseException) else None
    maillog.event(Event.LOOP_FAILED, what=str(context.get("message")), error=reason, pid=os.getpid())


def deadline_failed(error: BaseException) -> None:
    """Log what was raised by the owner of a deadline."""
    maillog.event(Event.DEADLINE_FAILED, error=maillog.describe(error), pid=os.getpid())
