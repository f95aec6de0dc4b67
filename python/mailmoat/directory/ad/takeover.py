"""A controller that serves in place of another one, and what it lacked of what was known when it took over.

It may be behind: what was created elsewhere reaches it by replication, within seconds or hours. Promises: what it lacked from the start stays known as
it is until the controller has it, has it as deleted, or has served for `GRACE`; what it had and has no more is gone. Values only, for one source; they
do not outlive the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailmoat.directory.ad.mark import Mark
    from mailmoat.directory.source import Entry, Listed

GRACE: Final = 24 * 60 * 60 * 1000
"""Milliseconds in which a controller receives what the others had: links between sites may replicate at night only."""


class Takeover:
    """That of the controller that is asked now."""

    def __init__(self) -> None:
        self._controller = b""
        self.since_ms = 0
        """When it took over, milliseconds since the epoch; 0 = all that is known was read from it."""
        self.compared = True
        """Whether it is known what it lacked."""
        self.said = 0
        """How many it lacked when that was said last."""
        self._lacked: dict[bytes, tuple[Listed, ...]] = {}
        """Addresses by the ids of their entries."""

    @property
    def recent(self) -> bool:
        """Whether the controller may still lack something."""
        return self.since_ms > 0 and clock.wall_ms() - self.since_ms < GRACE

    @property
    def over(self) -> bool:
        """Whether the controller served long enough to have all that it will get: what it lacks is gone."""
        return self.since_ms > 0 and not self.recent

    def __contains__(self, entry_id: bytes) -> bool:
        return entry_id in self._lacked

    @property
    def lacked(self) -> int:
        """How many entries it lacked, or addresses of them, and lacks still."""
        return len(self._lacked)

    def at(self, controller: bytes, mark: Mark | None) -> None:
        """Note which controller is asked now; it takes over if another one gave what is known, as `mark` says (None = as before)."""
        before = mark.controller if mark else self._controller
        since_ms = min(mark.since_ms if mark else self.since_ms, clock.wall_ms())
        if before not in (b"", controller):
            since_ms = clock.wall_ms()
        same = (controller, since_ms) == (self._controller, self.since_ms)
        self._controller, self.since_ms = controller, since_ms
        if not same:
            self._lacked.clear()
            self.compared = not self.recent

    def end(self) -> None:
        """Count what the controller has as all there is."""
        self.since_ms = 0
        self.compared = True
        self._lacked.clear()

    def lacks(self, known: Entry, found: Iterable[Listed] = ()) -> None:
        """Note which addresses of an entry that is known the controller does not have, which has `found`."""
        there = {listed.text for listed in found}
        lacked = tuple(listed for listed in known.addresses if listed.text not in there)
        if lacked:
            self._lacked[known.id] = lacked

    def completed(self, entry: Entry) -> Entry:
        """Return an entry as the controller has it, with the addresses that it lacks."""
        lacked = self._lacked.pop(entry.id, ())
        there = {listed.text for listed in entry.addresses}
        still = tuple(listed for listed in lacked if listed.text not in there)
        if still:
            self._lacked[entry.id] = still
        return entry._replace(addresses=(*entry.addresses, *still))

    def gone(self, entry_id: bytes) -> None:
        """Forget what an entry lacked: the controller has it as deleted."""
        self._lacked.pop(entry_id, None)
