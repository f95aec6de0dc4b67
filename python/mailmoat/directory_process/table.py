"""The table of one synchronised source: what was read of it, on disk, in an SQLite database of its own.

Promises: rows, cookie and generation change together, in one transaction, so after a crash it is as before a change or as after it. What changed
may come in parts (`apply`), which are in force together (`settle`) or not at all (`undo`). A full read goes to tables beside those in force,
and is swapped in at its end; if it does not end, what was there stays in force. The generation changes exactly when recipients do. An entry
keeps its number as long as it is known. A database that is damaged, or of another version, is begun anew. One process writes (`identity` is
what it reads by: another one does not go on from the cookie); others read the tables, in Rust (`compile_directory`) or for the administrator, at
any time. A step takes as long as its entries, at most `LARGEST_PART` of them. Raises DirectoryError when the disk does not do it.

    state    key, value: see `table_state`
    entry    number, id, name
    address  entry, text, targets (one a line)
    history  see `history`, whose `history_from` is among the state
"""

from __future__ import annotations

from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.directory.shrinkage import NOTHING, Stock
from mailmoat.directory.source import LARGEST_PART, Entry, addresses_in
from mailmoat.directory.table_reading import listed
from mailmoat.directory_process.history import History
from mailmoat.directory_process.table_digest import DIGESTS, digest_of, written
from mailmoat.directory_process.table_schema import SHADOW, SWAP, VERSION, execute
from mailmoat.directory_process.table_state import TableState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mailmoat.directory.identity import Identity
    from mailmoat.directory.shrinkage import Losses
    from mailmoat.directory.source import Listed

MADE_UP: Final = b"\0kept "
"""What ids begin with that no source has given, of entries that were in force before the table was begun: no source hears of them."""


class Table(TableState):
    """The table in the database at `path`, for a source that is read by `identity`."""

    def __init__(self, path: Path, identity: Identity) -> None:
        super().__init__(path, identity)
        self._digest = self._next = self._digest_before = 0
        self.read = NOTHING
        """What the full read that is under way has so far."""
        self.before = self.gone = NOTHING
        """What was in force before the change that is not settled, and what that takes away of it."""

    def _begin(self, base: sqlite3.Connection) -> None:
        super()._begin(base)
        self._history = History(base)
        self._mark = self._state("identity", "").partition(".")[2] or token_hex(8)
        with self._transaction():
            self._set(version=VERSION, url=self.identity.url)
            self._history.begin(self.generation)
            if self._state("addresses", None) is None:
                self._set(addresses=self._row("SELECT count(*) FROM address WHERE text NOT LIKE '!%'")[0])
        self.held = str(self._state("held", ""))
        """Why something was held back since what is in force was read; empty when nothing was."""

    def __contains__(self, entry_id: object) -> bool:
        with self._failing():
            return self._row("SELECT 1 FROM entry WHERE id=?", entry_id) is not None

    def __len__(self) -> int:
        return self.entries

    def __iter__(self) -> Iterator[bytes]:
        with self._failing():
            for _, entry_id, _ in self._numbered():
                if not entry_id.startswith(MADE_UP):
                    yield entry_id

    def entry(self, entry_id: bytes) -> Entry | None:
        """Return an entry by its id, as it is known."""
        with self._failing():
            found = self._row("SELECT number, name FROM entry WHERE id=?", entry_id)
            return Entry(entry_id, found[1], self._addresses("address", found[0])) if found else None

    def all(self) -> Iterator[Entry]:
        """Yield each entry, in the order of their numbers."""
        with self._failing():
            for number, entry_id, name in self._numbered():
                yield Entry(entry_id, name, self._addresses("address", number))

    def begin(self) -> None:
        """Begin a full read; forget another one that did not end, what the last one replaced, and changes that are not settled."""
        self.undo()
        with self._transaction():
            for kind in ("shadow_entry", "shadow_address", "old_entry", "old_address"):
                self._base.execute(f"DROP TABLE IF EXISTS {kind}")
            execute(self._base, SHADOW)
        self._digest, self.read = 0, NOTHING
        self._next = int(self._state("next", 1))

    def add(self, entries: Iterable[Entry]) -> None:
        """Add a part of the full read."""
        with self._transaction():
            for entry in entries:
                if (again := self._remove("shadow_", entry.id)) is not None:
                    self._digest = (self._digest - digest_of(again)) % DIGESTS
                    self.read = self.read.minus(addresses_in(again))
                if entry.addresses:
                    self._add_shadow(entry)
            self._set(next=self._next)

    def swap(self, cookie: bytes | None, losses: Losses | None = None) -> bool:
        """Put the full read in force, with which so much was lost; return whether other recipients are."""
        changed = self._digest != self._stored_digest() or self.generation == 0
        with self._transaction():
            execute(self._base, SWAP)
            if changed:
                self._history.restart(self.generation + 1)
            self._keep(self.read, self._digest)
            self._settle(cookie, losses, changed=changed)
        self.held = ""
        return changed

    def forget(self, most: int = LARGEST_PART) -> bool:
        """Remove some of what a full read replaced; return whether there is more."""
        with self._transaction():
            for kind, column in (("address", "entry"), ("entry", "number")):
                if self._row("SELECT 1 FROM sqlite_schema WHERE name=?", f"old_{kind}") is None:
                    continue
                some = f"SELECT {column} FROM old_{kind} ORDER BY {column} LIMIT 1 OFFSET ?"  # noqa: S608 - ours
                last = self._row(some, most)
                if last is not None:
                    self._base.execute(f"DELETE FROM old_{kind} WHERE {column} < ?", last)  # noqa: S608 - ours
                    return True
                self._base.execute(f"DROP TABLE old_{kind}")
        return False

    def apply(self, changed: Iterable[Entry], removed: Iterable[bytes]) -> None:
        """Take what changed since the cookie before, or a part of it; it is in force with `settle`."""
        with self._working():
            digest, stock, following = self._stored_digest(), self.stock, self._state("next", 1)
            generation = self.generation + 1
            self._history.follow(generation, self._digest_before)
            for entry in (*(Entry(entry_id, "", ()) for entry_id in removed), *changed):
                known = self._row("SELECT number FROM entry WHERE id=?", entry.id)
                number, before = known[0] if known else following, self._remove("", entry.id)
                was, now, has = digest_of(before), digest_of(entry), addresses_in(entry)
                if was != now:
                    self._history.keep(generation, number, before.addresses if before else ())
                if before is not None:
                    stock = stock.minus(addresses_in(before))
                    self.gone = self.gone.lost(addresses_in(before), has if entry.addresses else None)
                if entry.addresses:
                    self._insert("", number, entry)
                    following += known is None
                    stock = stock.plus(has)
                digest += now - was
            self._history.limit(generation)
            self._keep(stock, digest % DIGESTS)
            self._set(next=following)

    def settle(self, cookie: bytes | None, losses: Losses | None = None) -> bool:
        """Put in force what was applied, if anything, with which so much was lost; return whether other recipients are."""
        with self._transaction():
            changed = self._stored_digest() != self._digest_before
            self._settle(cookie, losses, changed=changed)
        self.held = ""
        return changed

    def hold(self, reason: str) -> None:
        """Note why something is held back, also for after a restart: the source may not repeat it. DirectoryError when the disk does not take it."""
        self.held = reason
        if reason != self._state("held", ""):
            with self._transaction():
                self._set(held=reason)

    def settle_bounds(self) -> None:
        """Put in force what was applied so that all entries are within the bounds of the identity.

        The cookie counts where tighter bounds are all that is new, and something is left: nobody believes a source that is empty.
        """
        with self._transaction():
            before, tighter = self.bounds, self.identity.bounds
            others = before is not None and not tighter.within(before)
            is_read = not others and self.read_by(self.identity._replace(bounds=before or tighter)) and self.entries > 0
            changed = self._stored_digest() != self._digest_before
            digest = self.identity.digest if is_read else ""
            self._set(bounds=tighter.text, identity=f"{digest}.{self._mark}", generation=self.generation + changed)

    def settle_kept(self) -> None:
        """Put in force what was applied to a table that was never read: it was in force before this one was begun, and is read by no settings."""
        with self._transaction():
            self._set(bounds=self.identity.bounds.text, identity=f".{self._mark}", generation=1)

    def _settle(self, cookie: bytes | None, losses: Losses | None, *, changed: bool) -> None:
        generation = self.generation + (1 if changed else 0)
        identity, now = f"{self.identity.digest}.{self._mark}", clock.wall_ms()
        lost = (losses or self.losses).written
        self._set(identity=identity, cookie=cookie, synced_ms=now, generation=generation, losses=lost, held="")

    def _keep(self, stock: Stock, digest: int) -> None:
        self._set(entries=stock.entries, addresses=stock.addresses, digest=written(digest))

    def _add_shadow(self, entry: Entry) -> None:
        known = self._row("SELECT number FROM entry WHERE id=?", entry.id)
        self._insert("shadow_", known[0] if known else self._next, entry)
        self._next += known is None
        self.read = self.read.plus(addresses_in(entry))
        self._digest = (self._digest + digest_of(entry)) % DIGESTS

    def _insert(self, prefix: str, number: int, entry: Entry) -> None:
        self._base.execute(f"INSERT INTO {prefix}entry VALUES(?, ?, ?)", (number, entry.id, entry.name))
        rows = ((number, one.text, "\n".join(one.targets)) for one in entry.addresses)
        self._base.executemany(f"INSERT OR REPLACE INTO {prefix}address VALUES(?, ?, ?)", rows)

    def _remove(self, prefix: str, entry_id: bytes) -> Entry | None:
        """Remove an entry; return it without its name, None when it is not there."""
        known = self._row(f"SELECT number FROM {prefix}entry WHERE id=?", entry_id)  # noqa: S608 - ours
        if known is None:
            return None
        entry = Entry(entry_id, "", self._addresses(f"{prefix}address", known[0]))
        self._base.execute(f"DELETE FROM {prefix}entry WHERE number=?", known)  # noqa: S608 - ours
        self._base.execute(f"DELETE FROM {prefix}address WHERE entry=?", known)  # noqa: S608 - ours
        return entry

    def _numbered(self) -> Iterator[tuple[int, bytes, str]]:
        after = 0
        query = "SELECT number, id, name FROM entry WHERE number > ? ORDER BY number LIMIT ?"
        while rows := self._base.execute(query, (after, LARGEST_PART)).fetchall():
            yield from rows
            after = rows[-1][0]

    def _addresses(self, table: str, number: int) -> tuple[Listed, ...]:
        rows = self._base.execute(f"SELECT text, targets FROM {table} WHERE entry=?", (number,))  # noqa: S608 - ours
        return tuple(listed(text, targets) for text, targets in rows)

    def _stored_digest(self) -> int:
        return int.from_bytes(self._state("digest", b""), "big")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._working():
            yield
            self._base.execute("COMMIT")

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Work in the transaction that is open, or in a new one; it ends here only when something fails, without any of it."""
        with self._failing():
            try:
                if not self._base.in_transaction:
                    self._check_place()
                    self._base.execute("BEGIN IMMEDIATE")
                    self._digest_before, self.before, self.gone = self._stored_digest(), self.stock, NOTHING
                yield
            except BaseException:
                self.undo()
                raise
