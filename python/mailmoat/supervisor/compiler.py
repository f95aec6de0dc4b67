"""Compiles what workers map, without using memory and time of the supervisor itself: each compile is the work of a short-lived child.

What is compiled, and when that is due, is a subclass's: a file such as that of the recipients (refresh.py), the lists of clients
(lists_refresh.py). `problems` are
those of the last compile; the same ones again are not logged. Raises nothing.
"""

from __future__ import annotations

import json
import os
import signal
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from mailmoat import clock
from mailmoat.supervisor import process

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.metrics import Metrics

CHECK_TIME: Final = 1.0
"""Seconds between two looks at the source: at each full second of the clock, so that all sources are looked at in one turn."""
LONGEST_COMPILE: Final = 120.0
"""Seconds after which a compile is given up."""


class Compiler(ABC):
    """One thing that is compiled: the name of its child, what people call it, and what names it in sentences about it."""

    def __init__(self, process_name: str, name: str, subject: str) -> None:
        self.name = name
        self._process_name, self._subject = process_name, subject
        self._metrics: Metrics | None = None
        self._child: process.Process | None = None
        self._deadline = 0.0
        self._next_check = 0.0
        self.problems: list[str] = []
        """What is wrong with the source as it was compiled last."""

    # What a subclass says.

    @abstractmethod
    def _due(self, now: float) -> bool:
        """Return whether to compile now."""

    @abstractmethod
    def _compile(self) -> dict[str, Any]:
        """Compile, in the child; return what `_compiled` gets, with a list of `problems`."""

    @abstractmethod
    def _compiled(self, result: dict[str, Any]) -> None:
        """Take what a compile did, its problems being noted."""

    @abstractmethod
    def _note(self, problems: list[str]) -> None:
        """Log these problems if they are others than before, and keep them."""

    @abstractmethod
    def _publish(self, *, watched: bool) -> None:
        """Set the gauges of the state; all to 0 when the source is watched no more."""

    # What the supervisor calls.

    @property
    def descriptor(self) -> int:
        """Readable when the running compile has something to say; -1 without one."""
        return self._child.descriptor if self._child else -1

    @property
    def wake_at(self) -> float:
        """Return when `turn` must be called at the latest, in monotonic seconds."""
        return self._deadline if self._child else self._next_check

    @property
    def settled(self) -> bool:
        """The source was looked at, and what there was to compile is compiled or given up."""
        return self._next_check > 0.0 and self._child is None

    def turn(self, detach: Callable[[], None], counts: Metrics | None = None) -> None:
        """Do what is to do now, without waiting: start a compile that is due, take the result of one that is over; say how it is."""
        self._step(detach)
        self._metrics = counts or self._metrics
        self._publish(watched=True)

    def look_now(self) -> None:
        """Look at the source at the next turn, and be `settled` only after that."""
        self._next_check = 0.0

    def close(self) -> None:
        """End a running compile, and say nothing of the source any more."""
        if self._child is not None:
            self._end(self._child)
        self._publish(watched=False)

    def detach(self) -> None:
        """Close, in a new process, what belongs to the supervisor."""
        if self._child is not None:
            self._child.close()

    # Inside.

    def _step(self, detach: Callable[[], None]) -> None:
        now = clock.monotonic()
        if self._child is not None:
            self._child.listen()
            if self._child.descriptor < 0:
                self._finish(self._child)
            elif now >= self._deadline:
                self._end(self._child)
                self._note([f"{self._subject}: not compiled within {LONGEST_COMPILE:.0f} s"])
        elif now >= self._next_check:
            self._next_check = (now // CHECK_TIME + 1) * CHECK_TIME
            if self._due(now):
                self._start(now, detach)

    def _start(self, now: float, detach: Callable[[], None]) -> None:
        self._deadline = now + LONGEST_COMPILE
        try:
            self._child = process.start(self._process_name, detach, lambda report: report(json.dumps(self._compile())))
        except OSError as error:
            self._note([f"{self._subject}: not compiled: cannot fork: {error.strerror}"])

    def _finish(self, child: process.Process) -> None:
        self._let_go(child)
        try:
            result = json.loads(child.report)
        except ValueError:
            self._note([f"{self._subject}: not compiled: {child.report or 'the compile was killed'}"])
            return
        self._note(result["problems"])
        self._compiled(result)

    def _end(self, child: process.Process) -> None:
        child.listen()
        if child.descriptor >= 0:  # it lives, so the pid is still its own
            os.kill(child.pid, signal.SIGKILL)
        self._let_go(child)

    def _let_go(self, child: process.Process) -> None:
        child.close()
        self._child = None
        with suppress(ChildProcessError):  # the supervisor waits for all its children, and may have been first
            os.waitpid(child.pid, 0)
