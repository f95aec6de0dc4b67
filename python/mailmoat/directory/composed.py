"""The directory of a worker that has several sources: the snapshot, live sources, and how far what is not found can be trusted.

Promises: what the snapshot has is said at once, whatever its age. What it does not have is ABSENT only when every source that is responsible for the domain is in
force: read whole once, in the snapshot, younger than its `max_age`; live sources have answered. Else it is UNKNOWN, or, where each source in doubt
has `when_stale = "accept"`, EXISTS, but never an address that `may_route`. So an outage is never "user unknown". `refresh`, every second or so, looks at the snapshot and at the freshness file;
a lookup reads no file.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from mailmoat import clock
from mailmoat._native import Address
from mailmoat.directory import freshness, paths
from mailmoat.directory.directory import Presence, Redirection
from mailmoat.directory.freshness import Freshness
from mailmoat.directory.identity import Identity, was_read_by
from mailmoat.directory.snapshot_directory import NOT_LISTED
from mailmoat.file_changes import NONE, stamp_of
from mailmoat.settings.sections.directories import sources
from mailmoat.span import span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence

    from mailmoat.directory.directory import Found
    from mailmoat.directory.freshness import SourceFreshness
    from mailmoat.directory.live.wire import LiveReply
    from mailmoat.directory.snapshot_directory import Resolved, SnapshotDirectory
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

T = TypeVar("T")

LONGEST_LAG: Final = 60.0
"""Seconds that the snapshot may be behind a table without a new one. Beyond that, compiling fails, and recipients that are new in the table are not found."""
LONGEST_AHEAD_MS: Final = 60_000
"""Milliseconds that a read may be ahead of the clock. One that is further ahead was dated by a clock that was wrong: its age is not known."""
_DOUBTS: Final = {"unknown": Presence.UNKNOWN, "accept": Presence.EXISTS}
_NO_ANSWER: Final = "the directory process does not answer: mailmoat status says whether the server runs"


class LookupClient(Protocol):
    """Asks the live sources, as `LiveClient` does."""

    def lookup(self, address: Address, client: str = "") -> Awaitable[LiveReply]:
        """Ask about an address; UNKNOWN when nobody answers. See `Directory` for the client."""

    def close(self) -> None:
        """Ask no more."""

    def publish(self) -> None:
        """Set the gauge of the lookups on their way."""


class Later(Generic[T]):
    """Something that is asked for when it is awaited, and not at all if it is not."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Coroutine[None, None, T]]) -> None:
        self._make = make

    def __await__(self) -> Generator[None, None, T]:
        return self._make().__await__()


class ComposedDirectory:
    """The sources of these settings; without a snapshot there are live ones alone, without `live` there are none."""

    def __init__(self, settings: Settings, snapshot: SnapshotDirectory | None, live: LookupClient | None) -> None:
        self.snapshot = snapshot
        self.live = live
        rows = sources(settings.directory, settings.directories)
        self._synchronised = {number: row for number, row in enumerate(rows, 1) if row.mode == "sync"}
        self._identities = {number: Identity.of(settings, row).digest for number, row in self._synchronised.items()}
        self._live_domains = _domains(row for row in rows if row.mode == "live")
        self._spool_dir = settings.spool_dir
        self._path = paths.freshness_path(settings.spool_dir)
        self._stamp = NONE
        self.freshness = Freshness()
        self._behind: dict[int, tuple[str, float]] = {}
        """The state of each table that the snapshot does not have as it is now: as it has it, and since when, in monotonic seconds."""
        self._doubted: dict[str, Presence] = {}
        """What follows for what is not found, by domain; empty = at every domain."""
        self.refresh()

    def refresh(self) -> None:
        """Look at the snapshot and at the freshness file, and judge each source."""
        if self.snapshot is not None:
            self.snapshot.refresh()
        stamp = stamp_of(self._path)
        if stamp != self._stamp:
            self._stamp, self.freshness = stamp, freshness.read(self._path)
        doubted: dict[str, Presence] = {}
        for number, row in self._synchronised.items():
            self._compare(number, row)
            if self.doubt(number, row):
                for domain in row.domains or ("",):
                    if doubted.get(domain) is not Presence.UNKNOWN:
                        doubted[domain] = _DOUBTS[row.when_stale]
        self._doubted = doubted

    def doubt(self, number: int, row: SourceSettings) -> str:
        """Return why what this source does not have may exist; empty when it is in force."""
        fresh, now = self.freshness.of(row.name), clock.wall_ms()
        compiled = self._compiled(number)
        if not compiled or not fresh.synced_ms:
            return "it was not read whole yet"
        if not (was_read_by(self._identities[number], compiled) and was_read_by(self._identities[number], fresh.table)):
            return "it was not read whole yet by these settings"
        if fresh.synced_ms > now + LONGEST_AHEAD_MS:
            return "it was read at a time in the future: the clock was set back"
        if fresh.age(now) > row.max_age:
            return f"it was read {span(1000 * fresh.age(now))} ago"
        if compiled != fresh.table and max(self._lag(number), (now - fresh.changed_ms) / 1000) > LONGEST_LAG:
            return "what was read is not compiled"
        return ""

    def _compare(self, number: int, row: SourceSettings) -> None:
        """Note since when the snapshot is behind a table and does not advance."""
        compiled = self._compiled(number)
        if compiled == self.freshness.of(row.name).table:
            self._behind.pop(number, None)
        elif self._behind.get(number, ("", 0.0))[0] != compiled:
            self._behind[number] = compiled, clock.monotonic()

    def _lag(self, number: int) -> float:
        """Return the seconds since when the snapshot is behind a table; 0 when it is not."""
        return clock.monotonic() - self._behind[number][1] if number in self._behind else 0.0

    @property
    def doubts(self) -> list[tuple[SourceSettings, SourceFreshness, str]]:
        """Each synchronised source, what is known of it, and why it is not in force; empty when it is."""
        return [
            (row, self.freshness.of(row.name), self.doubt(number, row)) for number, row in self._synchronised.items()
        ]

    def lookup(self, address: Address, client: str = "") -> Found | Awaitable[Found]:
        """Say whether `address` exists, and who gets its mail if that is not itself."""
        found, decides, others, _, _ = self._resolve(address)
        if decides:
            return found
        asked = [each for each in (address, *others) if self._live_for(each) is not None]
        if self.live is None or not asked:
            return self._not_found(address, others)
        return Later(partial(self._ask, partial(self.live.lookup, client=client), address, others, asked))

    def explain(self, address: Address) -> str | Awaitable[str]:
        """Say which entry of which source decides about `address`, or which sources may have it."""
        resolved = self._resolve(address)
        if self.snapshot is not None and resolved.decides:
            return self._with_entry(self.snapshot, address, resolved)
        others = resolved.others
        asked = [each for each in (address, *others) if self._live_for(each) is not None]
        if self.live is None or not asked:
            return self._why_not_found(address, others)
        return Later(partial(self._explain, self.live, address, others, asked))

    def _with_entry(self, snapshot: SnapshotDirectory, address: Address, resolved: Resolved) -> str:
        """Return what the snapshot says of an address, with the name of the entry that decides and its age."""
        why = snapshot.explain(address)
        row = self._synchronised.get(resolved.source)
        if row is None:
            return why
        from mailmoat.directory.table_reading import entry_name  # for commands: a worker explains nothing

        name = entry_name(paths.table_path(self._spool_dir, row.name), resolved.entry)
        fresh = self.freshness.of(row.name)
        when = f"{span(1000 * fresh.age(clock.wall_ms()))} ago" if fresh.synced_ms else "at an unknown time"
        named = f"; the entry is {name}" if name else ""
        return f"{why.removesuffix(')')}{named}; read {when})"

    def close(self) -> None:
        """Ask no more."""
        if self.live is not None:
            self.live.close()

    def _live_for(self, address: Address) -> LookupClient | None:
        """Return the live sources, if one of them is responsible for an address that the snapshot does not have; else None."""
        return self.live if not self._live_domains or address.domain in self._live_domains else None

    def _resolve(self, address: Address) -> Resolved:
        return self.snapshot.resolve(address) if self.snapshot is not None else NOT_LISTED

    async def _explain(
        self, live: LookupClient, address: Address, others: Sequence[Address], asked: list[Address]
    ) -> str:
        unknown, source = "", ""
        for each in asked:
            reply = await live.lookup(each)
            if reply.presence is Presence.EXISTS:
                targets = _targets(each, others, reply)
                goes = f", its mail goes to {' '.join(targets)}" if targets else ""
                return f"{address}: exists ({reply.source} was asked and has it{goes})"
            if reply.presence is Presence.UNKNOWN:
                silent = f"{reply.source} was asked and did not answer" if reply.source else _NO_ANSWER
                unknown = f"{address}: unknown ({silent})"
            source = reply.source
        return unknown or self._why_not_found(address, others, f"{source} was asked and does not have it")

    def _why_not_found(self, address: Address, others: Sequence[Address], *more: str) -> str:
        domains = {each.domain for each in (address, *others)}
        responsible = [each for each in self.doubts if not each[0].domains or domains.intersection(each[0].domains)]
        why = [f"{row.name}: {doubt}" for row, _, doubt in responsible if doubt]
        if why:
            found = self._not_found(address, others)
            presence = found if isinstance(found, Presence) else found.presence
            return f"{address}: {presence.value} (nothing lists it, but {'; '.join(why)})"
        ages = [f"{row.name} was read {span(1000 * fresh.age(clock.wall_ms()))} ago" for row, fresh, _ in responsible]
        return f"{address}: absent ({'; '.join(['neither it nor its domain is listed', *ages, *more])})"

    async def _ask(
        self,
        ask: Callable[[Address], Awaitable[LiveReply]],
        address: Address,
        others: Sequence[Address],
        asked: list[Address],
    ) -> Found:
        unknown = False
        for each in asked:
            reply = await ask(each)
            if reply.presence is Presence.EXISTS:
                return _redirected(_targets(each, others, reply))
            unknown |= reply.presence is Presence.UNKNOWN
        return Presence.UNKNOWN if unknown else self._not_found(address, others)

    def _not_found(self, address: Address, others: Sequence[Address]) -> Found:
        """Return what follows for an address that no source has; `others` are the same at the domains that its own is another name of."""
        doubts = {self._doubted.get(domain) for domain in ("", *(each.domain for each in (address, *others)))}
        if Presence.UNKNOWN in doubts:
            return Presence.UNKNOWN
        if Presence.EXISTS not in doubts:
            return Presence.ABSENT
        if address.may_route:
            return Presence.UNKNOWN  # nobody has said that it is a mailbox, and the next hop may send it anywhere
        return Redirection((others[-1],)) if others else Presence.EXISTS

    def _compiled(self, number: int) -> str:
        """Return the state of a table as it is in the snapshot in force."""
        return self.snapshot.table_state(number) if self.snapshot is not None else ""


def _targets(asked: Address, others: Sequence[Address], reply: LiveReply) -> tuple[str, ...]:
    """Return who gets the mail where the live sources have `asked`: that itself, if it is the same address at another domain."""
    return reply.targets or ((str(asked),) if asked in others else ())


def _redirected(targets: tuple[str, ...]) -> Found:
    """Return what follows for an address that exists and has these targets, if any: UNKNOWN when nobody can say where its mail goes.

    A target is as strict as in a table: whole, and nothing that another server may read as a route, since strangers would reach it.
    """
    try:
        addresses = tuple(map(Address.parse, targets))
    except ValueError:
        return Presence.UNKNOWN
    if any(not each.domain or each.may_route for each in addresses):
        return Presence.UNKNOWN
    return Redirection(addresses) if addresses else Presence.EXISTS


def _domains(rows: Iterable[SourceSettings]) -> frozenset[str]:
    """Return the domains of these rows; none when one of them has all."""
    domains = [row.domains for row in rows]
    return frozenset() if not all(domains) else frozenset(domain for each in domains for domain in each)
