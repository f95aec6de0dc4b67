"""The timer wheel on the event loop: one loop timer for all deadlines of a worker.

Promises: an owner's `due()` is called once, in the loop's thread, at or after its deadline by `clock.monotonic_ms` and never
before it (the loop's own clock is a cached one and runs up to 1.5 ms ahead or behind); owners due together follow each other by
deadline, then by order of scheduling. If an owner raises, `on_error` gets the exception, and the others are not affected.

A key that is cancelled is forgotten, except when its owner comes due in the very same turn as the caller: it may have been
taken already, then `cancel` returns False and `due()` is still called.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, cast

from mailmoat import clock
from mailmoat._native import Wheel

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_NEVER = 1 << 64
_HELD_BACK = -1  # no deadline is before this: scheduling leaves the loop timer alone


class Due(Protocol):
    """What waits for a deadline."""

    def due(self) -> None:
        """Handle the deadline."""


class Timers:
    """Deadlines of one event loop; `on_error` gets what an owner raised and must not raise itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_error: Callable[[BaseException], None]) -> None:
        self._loop = loop
        self._on_error = on_error
        self._begun_ms = clock.monotonic_ms()
        self._wheel = Wheel(self._begun_ms)
        self._timer: asyncio.TimerHandle | None = None
        self._armed_ms = _NEVER

    def __len__(self) -> int:
        return len(self._wheel)

    def after(self, seconds: float, owner: Due) -> int:
        """Call `owner.due()` after at least `seconds`; the key is for `cancel` and never 0."""
        return self.call_at_ms(math.ceil((clock.monotonic() + seconds) * 1000), owner)

    def in_step(self, seconds: float, owner: Due) -> int:
        """Call `owner.due()` after that many seconds or less, in step with all that have this rhythm or a multiple of it: they share a turn.

        Of two processes each has its own steps, so they do not all wake at once.
        """
        rhythm_ms, now_ms = round(seconds * 1000), clock.monotonic_ms()
        return self.call_at_ms(now_ms + rhythm_ms - (now_ms - self._begun_ms) % rhythm_ms, owner)

    def call_at_ms(self, deadline_ms: int, owner: Due) -> int:
        """Call `owner.due()` when `clock.monotonic_ms()` has reached the deadline; one that has passed is due in the next turn."""
        key = self._wheel.schedule(max(deadline_ms, 0), owner)
        if deadline_ms < self._armed_ms:
            self._arm(deadline_ms)
        return key

    async def wait(self, seconds: float) -> None:
        """Return after at least `seconds`."""
        passed: asyncio.Future[None] = self._loop.create_future()
        self.after(seconds, _Passed(passed))
        await passed

    def cancel(self, key: int) -> bool:
        """Return whether the owner still waited; the loop's timer stays and finds nothing."""
        return self._wheel.cancel(key)

    def fit(self) -> None:
        """Give back the room of owners that have left; owners that are scheduled anew make more of it free for the next call."""
        self._wheel.fit()

    def close(self) -> None:
        """Forget all owners; nothing is called any more."""
        self._disarm()
        self._armed_ms = _HELD_BACK
        self._wheel = Wheel(0)

    def _arm(self, deadline_ms: int) -> None:
        self._disarm()
        self._armed_ms = deadline_ms
        # Whole milliseconds: uvloop counts in them from its own time rounded down, which then meets the deadline exactly.
        self._timer = self._loop.call_later(max(deadline_ms - clock.monotonic_ms(), 0) / 1000, self._wake)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        self._armed_ms = _HELD_BACK
        wheel = self._wheel
        try:
            # An early wakening gives no owner here and is armed again below.
            for owner in cast("list[Due]", wheel.advance(clock.monotonic_ms())):
                self._call(owner)
                if wheel is not self._wheel:  # the owner has closed us
                    break
        finally:
            if wheel is self._wheel:
                self._armed_ms = _NEVER
                deadline_ms = wheel.next_deadline()
                if deadline_ms is not None:
                    self._arm(deadline_ms)

    def _call(self, owner: Due) -> None:
        try:
            owner.due()
        except Exception as error:  # noqa: BLE001 - one owner's fault must not cost the others their deadlines
            self._on_error(error)


class _Passed:
    """Ends a wait when its time has come."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future

    def due(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
