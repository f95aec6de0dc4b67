"""The certificates a worker serves, replaced when their files change.

Promises: what is in force is sound and stays so; a session keeps what it began with. What cannot be used is logged once for as long as
it stays the same. Looks at the files every `LOOK_TIME` seconds at most; reads small files and blocks for as long as that takes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.events import Event
from mailmoat.tls import certificates, state

if TYPE_CHECKING:
    from mailmoat.metrics import Metrics
    from mailmoat.settings import Settings
    from mailmoat.tls.certificates import Certificates

LOOK_TIME: Final = 60.0
"""Seconds between two looks at the files."""


class TlsMaterial:
    """What the connections of one worker share."""

    def __init__(self, settings: Settings, in_force: Certificates, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._refused: set[str] = set()
        self._next_look = 0.0
        self.in_force = in_force

    def tick(self) -> None:
        """Work once a second."""
        if clock.monotonic() >= self._next_look:
            self._next_look = clock.monotonic() + LOOK_TIME
            self._look()
        now = clock.wall_ms() // 1000
        state.publish(self._metrics, self.in_force, now, refused=bool(self._refused))

    def _look(self) -> None:
        self.in_force, replaced, problems = certificates.look(self.in_force, self._settings.hostname)
        refused = {str(problem) for problem in problems}
        for sentence in sorted(refused - self._refused):
            maillog.event(Event.CERTIFICATE_REFUSED, detail=sentence, pid=os.getpid())
        self._refused = refused
        now = clock.wall_ms() // 1000
        for new in replaced:
            maillog.event(
                Event.CERTIFICATE_REPLACED,
                path=str(new.source.certificate),
                names=new.leaf.names,
                days=new.days_left(now),
                fingerprint=new.leaf.fingerprint,
                pid=os.getpid(),
            )
