"""When a session has been silent or open for too long (RFC 5321 4.5.3.2.7).

`Timeouts` is the limits of a worker, asked with numbers. `Watch` is the one timer of a session: it wakes the session when a limit could
be over or its hold is. Times are seconds; a limit of 0 is off. Never ends a session by itself.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from mailmoat import clock

if TYPE_CHECKING:
    from mailmoat.runtime.timers import Due, Timers
    from mailmoat.settings.sections.limits import LimitsSettings

PROXY: Final = 3.0
"""For the PROXY header."""
LINGER: Final = 10.0
"""For the last reply to be read, before the connection is aborted."""
BUSY: Final = 1.0
"""Between two looks at a session whose reply is owed."""
SOONEST: Final = 0.01


class Timeouts:
    """The limits `command_time`, `data_time`, `data_rate` and `session_time` of one worker."""

    def __init__(self, limits: LimitsSettings, timers: Timers) -> None:
        self.timers = timers
        self._command = limits.command_time
        self._content = limits.data_time
        self._silence = tuple(limit for limit in (limits.command_time, limits.data_time) if limit)
        self._session = limits.session_time
        self._rate = limits.data_rate

    def lasted(self, age: float) -> bool:
        """Return whether a session of this age has used up its time."""
        return bool(self._session) and age >= self._session

    def silent(self, idle: float, *, in_content: bool) -> bool:
        """Return whether a client has been silent for too long."""
        limit = self._content if in_content else self._command
        return bool(limit) and idle >= limit

    def slow(self, octets: int, seconds: float) -> bool:
        """Return whether content of so many octets in this time comes too slowly."""
        return octets < self._rate * seconds

    @property
    def window(self) -> float:
        """Over which the rate of content is taken; 0: never."""
        return self._content

    def next_look(self, idle: float, age: float) -> float | None:
        """Return when the shortest of the limits could be over, from now; None when none is on."""
        # A limit that is over is the one that does not hold now: when it comes to hold, it begins anew.
        soonest = inf
        for limit in self._silence:
            soonest = min(soonest, limit - idle if idle < limit else limit)
        if self._session:
            soonest = min(soonest, self._session - age)
        return None if soonest == inf else max(soonest, SOONEST)


class Watch:
    """The timer of one session; `started` is when its connection was made, `touched` when its client was last at work."""

    __slots__ = ("_key", "_mark", "_timeouts", "started", "touched")

    def __init__(self, timeouts: Timeouts, started: float) -> None:
        self._timeouts = timeouts
        self._key = 0
        self._mark: tuple[float, int, int] | None = None
        self.started = started
        self.touched = clock.monotonic()

    @property
    def idle(self) -> float:
        """Since the client was last at work."""
        return clock.monotonic() - self.touched

    @property
    def age(self) -> float:
        """Since the connection was made."""
        return clock.monotonic() - self.started

    @property
    def lasted(self) -> bool:
        """Whether the session has had all its time."""
        return self._timeouts.lasted(self.age)

    def silent(self, *, in_content: bool) -> bool:
        """Return whether the client has been silent for too long."""
        return self._timeouts.silent(self.idle, in_content=in_content)

    def slow(self, transactions: int, octets: int, window: float | None = None) -> bool:
        """Return whether content comes too slowly since a look that was so long ago; to be asked again and again while it comes.

        `transactions` of the session so far, and `octets` of their contents; `window` in seconds, `data_time` unless given.
        """
        now, mark = clock.monotonic(), self._mark
        window = self._timeouts.window if window is None else window
        if mark is None or mark[1] != transactions:
            self._mark = now, transactions, octets
            return False
        if not window or now - mark[0] < window:
            return False
        self._mark = now, transactions, octets
        return self._timeouts.slow(octets - mark[2], now - mark[0])

    def touch(self) -> None:
        """Note that the client is at work."""
        self.touched = clock.monotonic()

    def arm(self, owner: Due) -> None:
        """Wake the owner when a limit could be over."""
        now = clock.monotonic()
        seconds = self._timeouts.next_look(now - self.touched, now - self.started)
        if seconds is not None:
            self.wake_after(seconds, owner)

    def wake_after(self, seconds: float, owner: Due) -> None:
        """Wake the owner then, and not before."""
        self.cancel()
        self._key = self._timeouts.timers.after(seconds, owner)

    def cancel(self) -> None:
        """Wake nobody."""
        if self._key:
            self._timeouts.timers.cancel(self._key)
            self._key = 0
