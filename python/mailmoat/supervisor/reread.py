"""A reload that finds the settings as they are: the generation in force stays, and its workers read the files anew that the settings name.

So no session ends for a new certificate, account or sender. Workers get SIGHUP, and each counts in the shared memory when it
is done. `problems` are the sentences about files that cannot be used, as this process sees them, which has the rights of its workers;
what was read of these files before stays in force. Never waits, never raises.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.metrics import FILES_REREAD
from mailmoat.reports import languages
from mailmoat.supervisor import preflight, sockets
from mailmoat.tls import certificates

if TYPE_CHECKING:
    from mailmoat.settings import Settings
    from mailmoat.supervisor.children import Child, Children
    from mailmoat.supervisor.generation import Generation

TIME: Final = 10.0
"""Seconds a worker has to read its files."""
LOOK_TIME: Final = 0.02
"""Seconds between two looks at what the workers have counted."""


def suffices(generation: Generation, settings: Settings) -> bool:
    """Return whether these settings need no other generation. Agents of an administrator may keep files that only they can read anew."""
    if dict(settings) != dict(generation.settings) or settings.extensions:
        return False
    if settings.worker_count != generation.workers:  # the machine has other CPUs than it had
        return False
    return not any(sockets.is_available(each.host) for each in settings.listen if each not in generation.addresses)


class Reread:
    """One such reload, from its beginning."""

    def __init__(self, generation: Generation, children: Children) -> None:
        self._generation, self._children = generation, children
        self._deadline = clock.monotonic() + TIME
        settings = generation.settings
        self.problems = [*_look(generation), *preflight.unusable_files(settings), *languages.unusable(settings)]
        generation.refreshes.look_now()
        self._asked: dict[int, tuple[Child, int]] = {}
        for pid, child in children.alive.items():
            if child.generation is generation and child.spec.kind == "worker" and not child.stopping:
                self._asked[pid] = child, self._counted(child)
                os.kill(pid, signal.SIGHUP)

    @property
    def wake_at(self) -> float:
        """When `is_over` must be asked again, in monotonic seconds."""
        return clock.monotonic() + LOOK_TIME

    def is_over(self) -> bool:
        """Return whether all is read; a worker that ends meanwhile is replaced by one that has read everything."""
        refreshes = self._generation.refreshes
        if not refreshes.settled:
            return False
        late = [child for child, before in self._asked.values() if self._is_busy(child, before)]
        if late and clock.monotonic() < self._deadline:
            return False
        self.problems += [f"{child.spec} has not read its files within {TIME:.0f} s; see its log" for child in late]
        self.problems += refreshes.problems
        return True

    def _is_busy(self, child: Child, before: int) -> bool:
        """Return whether it has not counted yet; one that is not ready has just begun, and reads everything."""
        alive = self._children.alive.get(child.process.pid) is child and self._children.is_ready(child.spec)
        return alive and not child.stopping and self._counted(child) == before

    def _counted(self, child: Child) -> int:
        return self._children.metric(child, FILES_REREAD)


def _look(generation: Generation) -> list[str]:
    """Take new certificates for processes to come; return why others are not taken."""
    if generation.certificates is None:
        return []
    looked = certificates.look(generation.certificates, generation.settings.hostname)
    generation.certificates = looked[0]
    return list(map(str, looked[2]))
