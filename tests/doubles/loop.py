"""An event loop in virtual time: it runs what is ready, and timers when `advance` passes them. In whole milliseconds, without sockets.

With the clocks of the product set to it (`now_ms`), the product's own timers and anything that waits on a loop run as they do in a
server, and a wait of an hour costs nothing. Held to the real loops by tests/conformance/test_loop_kit.py.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

from mailmoat._native import MonotonicClock

START_MS = 1_000_000


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs what is ready; timers when `advance` passes them."""

    def __init__(self):
        self.steady = MonotonicClock()
        self.now_ms = START_MS
        self.faults = []
        self.wakes = 0
        self._ready = []
        self._timers = []
        self._number = itertools.count()

    @property
    def now_ms(self):
        return self._now_ms

    @now_ms.setter
    def now_ms(self, now_ms):
        self._now_ms = now_ms
        self.steady.set(now_ms / 1000)

    def time(self):
        return self.now_ms / 1000

    def get_debug(self):
        return False

    def call_soon(self, callback, *args, context=None):
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        at_ms = round(when * 1000)
        handle = asyncio.TimerHandle(at_ms / 1000, callback, args, self, context)
        heapq.heappush(self._timers, (at_ms, next(self._number), handle))
        return handle

    def run_in_executor(self, executor, function, *args):
        future = self.create_future()

        def run():
            try:
                result = function(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_soon(run)
        return future

    def call_exception_handler(self, context):
        self.faults.append(context)

    def create_future(self):
        return asyncio.Future(loop=self)

    def create_task(self, coroutine, **options):
        return asyncio.Task(coroutine, loop=self, **options)

    def _timer_handle_cancelled(self, handle):
        """It is skipped when its time comes."""

    def settle(self):
        """Run all that is ready now."""
        asyncio._set_running_loop(self)
        try:
            while self._ready or (self._timers and self._timers[0][0] <= self.now_ms):
                ready, self._ready = self._ready, []
                while self._timers and self._timers[0][0] <= self.now_ms:
                    ready.append(heapq.heappop(self._timers)[2])
                for handle in ready:
                    if not handle.cancelled():
                        handle._run()
        finally:
            asyncio._set_running_loop(None)

    def advance(self, to_ms):
        """Let time pass, stopping at each timer."""
        self.settle()
        while self._timers and self._timers[0][0] <= to_ms:
            self.now_ms = max(self.now_ms, self._timers[0][0])
            self.wakes += 1
            self.settle()
        self.now_ms = max(self.now_ms, to_ms)
