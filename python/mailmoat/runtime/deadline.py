"""The end of the time that an awaited answer has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Deadline:
    """Cancels a task when its time has come, and says afterwards whether it was this that cancelled it."""

    __slots__ = ("_passed", "_task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._passed = False

    def due(self) -> None:
        """Cancel what is awaited."""
        self._passed = True
        self._task.cancel()

    def ends_this(self) -> bool:
        """Return whether the deadline has passed and nothing else cancels the task; its own cancellation is undone."""
        return self._passed and self._task.uncancel() == 0
