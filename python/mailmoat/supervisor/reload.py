"""A reload: the settings are read again and the next generation starts beside the one in force, completely or not at all.

Where the settings are those in force, there is no next generation: the workers read the files anew that the settings name (reread.py).

One reload at a time; one that is requested meanwhile follows it. Whatever is wrong (a setting, an address, the recipient file, a process
that ends or is late) is logged, ends the reload and leaves the generation in force as it was. `advance` takes the steps that can be
taken now and never waits. Raises nothing.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from mailmoat import clock, maillog
from mailmoat.errors import ConfigError
from mailmoat.events import Event
from mailmoat.supervisor import reread
from mailmoat.supervisor.generation import keep_until_restart
from mailmoat.supervisor.instance import ReloadResult
from mailmoat.supervisor.reread import Reread

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.settings import Settings
    from mailmoat.supervisor.children import Child, Children
    from mailmoat.supervisor.generation import ChildSpec, Generation


class Owner(Protocol):
    """What a reload needs of the supervisor."""

    def start(self, generation: Generation, spec: ChildSpec) -> bool:
        """Start a process; False when that failed, which is logged."""

    def detach(self) -> None:
        """Close, in a new process, what belongs to the supervisor."""

    def reload_begins(self, begun_ms: int) -> None:
        """Note that a reload begins, by the monotonic clock."""

    def reload_ends(self, result: ReloadResult) -> None:
        """Note how it ended."""


class Reload:
    """The reload that is under way or will come; `next` is the generation it brings up, None while there is none."""

    def __init__(
        self,
        owner: Owner,
        read: Callable[[], Settings],
        make: Callable[[int, Settings, Generation], Generation],
        children: Children,
    ) -> None:
        self._owner, self._read, self._make, self._children = owner, read, make, children
        self.next: Generation | None = None
        self.requested = False
        """Another one is to follow."""
        self._number = 0
        self._begun_ms = 0
        self._kept: tuple[str, ...] = ()
        self._reread: Reread | None = None

    @property
    def wake_at(self) -> float:
        """When `advance` must be called at the latest, in monotonic seconds."""
        return inf if self._reread is None else self._reread.wake_at

    def advance(self, in_force: Generation) -> Generation | None:
        """Take the next steps; give the new generation when all its processes are ready, and forget it: it is in force now."""
        if self.next is None and self._reread is None and self.requested:
            self.requested = False
            self._begin(in_force)
        if self._reread is not None and self._reread.is_over():
            self._end_reread(self._reread, in_force)
        while self.next is not None and self._compiled(self.next, in_force) and self._ready_so_far(self.next):
            spec = next((spec for spec in self.next.specs if not spec.pid), None)
            if spec is None:
                done, self.next = self.next, None
                return done
            if not self._children.room_for(spec):
                return None
            if not self._owner.start(self.next, spec):
                self.give_up(f"{spec} of the new settings could not be started")
        return None

    def ended(self, child: Child) -> None:
        """Give up when this process, which has ended, was one of the next generation."""
        if child.generation is self.next and not child.stopping:
            self.give_up(f"{child.spec} of the new settings ended too soon: {child.status}")

    def give_up(self, reason: str) -> None:
        """Stop what was started and undo what was bound."""
        generation, self.next = self.next, None
        for child in self._children.alive.values():
            if child.generation is generation:
                self._children.stop(child)
        if generation is not None:
            generation.discard()
        self._refuse([reason])

    def succeed(self) -> None:
        """Note that the generation `advance` gave has taken over."""
        self._end(())

    def _begin(self, in_force: Generation) -> None:
        self._begun_ms = clock.monotonic_ms()
        self._owner.reload_begins(self._begun_ms)
        self._number += 1
        try:
            settings, self._kept = keep_until_restart(in_force.settings, self._read())
            if reread.suffices(in_force, settings):
                self._reread = Reread(in_force, self._children)
                return
            self.next = self._make(self._number, settings, in_force)
        except ConfigError as error:
            self._refuse(error.mistakes)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a new file, the server goes on with the old one
            self._refuse([f"{type(error).__name__}: {error}"])
        else:
            maillog.event(Event.RELOAD_STARTED, generation=self._number, workers=self.next.workers)
            in_force.refreshes.close()  # it would write the same snapshots; they are due again if this comes to nothing
            self.next.refreshes.turn(self._owner.detach)

    def _end_reread(self, over: Reread, in_force: Generation) -> None:
        self._reread = None
        if over.problems:
            self._refuse(over.problems)
            return
        maillog.event(Event.FILES_REREAD, generation=in_force.number, workers=in_force.workers)
        self._end(())

    def _compiled(self, generation: Generation, in_force: Generation) -> bool:
        """Return whether new workers will find each snapshot; one must be of the named file only if the settings name another file than before."""
        if any(spec.pid for spec in generation.specs):
            return True
        if not generation.refreshes.settled:
            return False
        unusable = generation.refreshes.unusable(in_force.settings)
        if unusable:
            self.give_up("; ".join(unusable))
            return False
        return True

    def _ready_so_far(self, generation: Generation) -> bool:
        return all(self._children.is_ready(spec) for spec in generation.specs if spec.pid)

    def _refuse(self, reasons: list[str]) -> None:
        for reason in reasons:
            maillog.event(Event.RELOAD_REFUSED, detail=reason)
        self._end(tuple(reasons))

    def _end(self, refused: tuple[str, ...]) -> None:
        kept = () if refused else self._kept
        self._owner.reload_ends(ReloadResult(self._begun_ms, clock.wall_ms(), refused, kept))
