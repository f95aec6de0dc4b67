"""The answers of one content synchronisation (RFC 4533 3.4) as steps: the whole content, or what changed since a cookie, then each change.

Promises: a cookie is given only with all that it stands for, so that nothing is lost wherever it ends. What a present phase does not name is
gone; would that be more than the shrink limit, the content is to be read whole instead (`RefreshNeededError`), where the guard over full reads
decides. So it is where a server seems to have given all of its content in place of what changed: it may do that for a cookie that it does not
recognise (3.1), and slapd ends it like a delete phase then, so that nothing says what is gone. No socket, no clock. Raises GarbledError for what is no such answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.directory.ldap.deltas import deltas
from mailmoat.directory.shrinkage import FEW
from mailmoat.directory.source import LARGEST_PART, Begin, Part, Whole
from mailmoat.errors import MailmoatError
from mailmoat.ldap import content_sync
from mailmoat.ldap.ber import GarbledError
from mailmoat.ldap.content_sync import IdSet, NewCookie, PhaseEnd, State
from mailmoat.ldap.message import Intermediate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailmoat.directory.ldap.objects import EntryReader
    from mailmoat.directory.source import Entry, KnownIds, Step
    from mailmoat.ldap.message import SearchEntry


_SUSPICIOUS: Final = 10
"""When so many of 100 known entries come in a refresh that names none as gone, it may be the whole content."""


class RefreshNeededError(MailmoatError):
    """What changed since the cookie does not lead to the content: it must be read whole."""


class Refresh:
    """One synchronisation, from `cookie` or, where that is None, from nothing; `shrink_limit` in per cent of what is known."""

    def __init__(self, reader: EntryReader, cookie: bytes | None, known: KnownIds, shrink_limit: int) -> None:
        self.cookie = cookie
        """What all that was given so far stands for."""
        self._following = cookie
        self.over = False
        """The refresh is over; each change follows as it happens."""
        self._reader = reader
        self._known = known
        self._shrink_limit = shrink_limit
        self._whole = cookie is None
        self._present: set[bytes] | None = None if self._whole else set()
        self._names_gone = False
        """An entry was named as gone: the server recognises the cookie."""
        self._changed: dict[bytes, Entry] = {}
        self._removed: dict[bytes, None] = {}

    @property
    def size(self) -> int:
        """Entries that wait to be given."""
        return len(self._changed) + len(self._removed)

    def begin(self) -> Iterator[Step]:
        """Yield what comes before all answers."""
        if self._whole:
            yield Begin()

    def take(self, answer: SearchEntry | Intermediate) -> Iterator[Step]:
        """Take an answer, and yield what can be given now."""
        if isinstance(answer, Intermediate):
            said = content_sync.said_in(answer)
            match said:
                case NewCookie():
                    self._go_on(said.cookie)
                case IdSet():
                    self._several(said)
                case PhaseEnd():
                    yield from self.end(said)
        else:
            self._one(answer)
        if self.size >= LARGEST_PART:
            yield from self.given(more=not self.over)

    def end(self, phase: PhaseEnd | None) -> Iterator[Step]:
        """End a phase, or the whole of it, and yield what follows. GarbledError for an end that says nothing."""
        if phase is None and not self.over:
            raise GarbledError("a synchronisation that ends without a final state")
        if phase is None or self.over:
            return
        if self._present is not None and phase.deletes:
            self._doubt(len(self._present))
        elif self._present is not None:
            self._remove_absent(self._present)
            self._present = None
        self._following = phase.cookie or self._following
        yield from self.given()
        self.over = phase.last
        if phase.last and self._whole:
            self.cookie = self._following
            yield Whole(self.cookie)
            self._whole = False

    def given(self, *, more: bool = False) -> Iterator[Step]:
        """Yield the changes that wait; `Current` when none do. With `more`, what follows belongs to them."""
        changed, removed = tuple(self._changed.values()), tuple(self._removed)
        self._changed.clear()
        self._removed.clear()
        if self._whole:
            for at in range(0, len(changed), LARGEST_PART):
                yield Part(changed[at : at + LARGEST_PART])
        else:
            before, self.cookie = self.cookie, self._following
            yield from deltas(changed, removed, before, self.cookie, more=more)

    def _one(self, answer: SearchEntry) -> None:
        state, entry_id, cookie = content_sync.state_of(answer)
        if state is State.DELETE:
            self._remove((entry_id,))
        else:
            if self._present is not None:
                self._present.add(entry_id)
            if state is not State.PRESENT:
                self._removed.pop(entry_id, None)
                self._changed[entry_id] = self._reader.entry(answer, entry_id)
        self._go_on(cookie)

    def _several(self, said: IdSet) -> None:
        if said.deletes:
            self._remove(said.ids)
        elif self._present is not None:
            self._present.update(said.ids)
        self._go_on(said.cookie)

    def _go_on(self, cookie: bytes | None) -> None:
        """Take over a cookie; during the refresh only that of the end of a phase stands for all before it."""
        if self.over and cookie:
            self._following = cookie

    def _remove(self, ids: Iterable[bytes]) -> None:
        self._names_gone = True
        for entry_id in ids:
            self._changed.pop(entry_id, None)
            self._removed[entry_id] = None

    def _doubt(self, sent: int) -> None:
        """See that a refresh is no content in place of changes."""
        if sent and not self._names_gone and 100 * sent >= _SUSPICIOUS * len(self._known):
            raise RefreshNeededError(
                f"{sent} entries came where {len(self._known)} are known, and none is named as gone"
            )

    def _remove_absent(self, present: set[bytes]) -> None:
        absent = [entry_id for entry_id in self._known if entry_id not in present]
        if len(absent) > FEW and 100 * len(absent) > self._shrink_limit * len(self._known):
            raise RefreshNeededError(f"{len(absent)} of {len(self._known)} entries are gone")
        self._remove(absent)
