"""Somebody who does the same again and again in the background while a test does something else."""

from __future__ import annotations

import collections
import threading


class Steady(threading.Thread):
    """Calls `ask` with so many seconds between two calls, until `over`, and counts in `results` what it returns."""

    def __init__(self, ask, pause):
        super().__init__(daemon=True)
        self._ask, self._pause = ask, pause
        self.results = collections.Counter()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(self._pause):
            self.results[self._ask()] += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
