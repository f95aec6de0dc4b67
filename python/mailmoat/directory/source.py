"""What a source of recipients gives: values, and the two protocols by which it is asked.

A synchronised source (`SyncSource`) gives steps: a full read (`Begin`, `Part`..., `Whole`), what changed since (`Delta`), or that nothing did
(`Current`). The caller keeps the entries and the cookie, a whole change in one transaction; the source keeps nothing that it needs after a
restart. A live source (`LiveSource`) is asked for one address at a time. Both run in the directory process only, on its loop: they never
block it, and they never write to the log. An outage is a `SourceError` with a sentence for the administrator, without a password in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from mailmoat.directory.directory import Presence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from mailmoat._native import Address

MOST_TARGETS: Final = 1000
"""Of one address: what the snapshot has room for."""
LARGEST_PART: Final = 1000
"""Entries of a `Part`, or of a `Delta`, at most: the loop waits while it is taken."""


class Listed(NamedTuple):
    """One address of an entry."""

    text: str
    """In the notation of the recipient file: `a@example.com`, `@example.com`, `!b@example.com`."""
    targets: tuple[str, ...] = ()
    """Addresses that get its mail instead; none = it is delivered to itself."""


class Entry(NamedTuple):
    """One object of a source: an account, a group, a row."""

    id: bytes
    """Stays the same as long as the entry lives: objectGUID, entryUUID, the key of a row."""
    name: str
    """For the administrator: a distinguished name, the key of a row, a line number."""
    addresses: tuple[Listed, ...]
    """None = it gets no mail now (disabled, without an address), which is the same as removed."""


def addresses_in(entry: Entry) -> int:
    """Return how many addresses an entry has; one that excludes an address is none."""
    return len({one.text for one in entry.addresses if not one.text.startswith("!")})


class Begin(NamedTuple):
    """A full read begins; what was read of one before that did not end is forgotten."""


class Part(NamedTuple):
    """Some entries of the full read, at most `LARGEST_PART`. Of two with one id the later counts."""

    entries: tuple[Entry, ...]


class Whole(NamedTuple):
    """The full read is over: what it has replaces what was there."""

    cookie: bytes | None = None
    """Where `steps` goes on after a restart; None = with a full read."""
    entries: int | None = None
    """How many came that have an address. With fewer different ids in them it is not used: of two with one id, the first is lost."""


class Delta(NamedTuple):
    """What changed since the cookie before: entries that are new or other than before, whole, and ids that are gone."""

    changed: tuple[Entry, ...]
    removed: tuple[bytes, ...]
    cookie: bytes | None = None
    more: bool = False
    """This is a part: others follow, or `Current`, and they are in force together. The cookie is that of before."""


class Current(NamedTuple):
    """The source was asked now, and nothing changed: what is known is as fresh as now."""

    cookie: bytes | None = None


class Using(NamedTuple):
    """The server that is asked from now on, as it is shown to the administrator."""

    server: str
    passed_over: tuple[str, ...] = ()
    """Why each server that is preferred to it is not asked, a sentence each."""


class LeftOut(NamedTuple):
    """Entries that cannot be recipients were left out since the step before: how many, and a sentence about one of them."""

    entries: int
    example: str


class Kept(NamedTuple):
    """Entries that are in force though the server that is asked lacks them, or addresses of them: how many now, and why, in a sentence."""

    entries: int
    why: str


class Remark(NamedTuple):
    """What the administrator should look at, a sentence; it may be given again."""

    sentence: str


Step: TypeAlias = Begin | Part | Whole | Delta | Current | Using | LeftOut | Kept | Remark


class KnownIds(Protocol):
    """The entries that are known of a source, for one that gets no notice of what was removed."""

    def __contains__(self, entry_id: object, /) -> bool:
        """Return whether an entry is known by its id."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield each id, in no order that means something; entries may change meanwhile."""

    def entry(self, entry_id: bytes) -> Entry | None:
        """Return an entry as it is known."""


class SyncSource(Protocol):
    """A source that is read whole once, and then its changes."""

    def steps(self, cookie: bytes | None, known: KnownIds) -> AsyncIterator[Step]:
        """Yield the steps since `cookie`, from a full read where it is None or the server does not accept it any more.

        It may go on for ever, where the server gives notice, or end; then it is called again after the `interval` of its row.
        SourceError when the source cannot be read.
        """


class LiveAnswer(NamedTuple):
    """What a live source says of an address."""

    presence: Presence
    """EXISTS or ABSENT; an outage is a SourceError."""
    targets: tuple[str, ...] = ()
    """Addresses that get its mail instead; none = it is delivered to itself."""
    entry: str = ""
    """The name of the entry that has it, for the administrator."""
    whole_domain: bool = False
    """An entry for its whole domain has it, and none for itself."""
    other_domain: str = ""
    """The domain of which its own is another name; then its mail goes to the same local part there, unless it has targets."""

    @property
    def is_of_others(self) -> bool:
        """Whether an entry for another spelling, or for the address of a subaddress, would come before it."""
        return self.presence is Presence.ABSENT or self.whole_domain

    def targets_of(self, address: Address) -> tuple[str, ...]:
        """Return the addresses that get the mail of `address`: the one that was asked for, another spelling or a subaddress of it."""
        if self.targets or not self.other_domain:
            return self.targets
        return (f"{str(address).rpartition('@')[0]}@{self.other_domain}",)


def united(address: Address, found: Sequence[tuple[str, tuple[str, ...]]]) -> LiveAnswer:
    """Return the answer for `address` from the entries that have it, each with its name and targets.

    Their targets are united; an entry without targets adds the address itself where another one has targets.
    """
    if not found:
        return LiveAnswer(Presence.ABSENT)
    targets: tuple[str, ...] = ()
    if any(own for _, own in found):
        targets = tuple(dict.fromkeys(target for _, own in found for target in own or (str(address),)))
    return LiveAnswer(Presence.EXISTS, targets, found[0][0])


class LiveSource(Protocol):
    """A source that is asked for one address at a time."""

    async def lookup(self, address: Address) -> LiveAnswer:
        """Return whether the normalised `address` exists. SourceError when the source cannot be asked.

        LookupFailedError where it was asked, and answered with an error: strangers choose the addresses, and one of them is no outage.
        """


class ProbeResult(NamedTuple):
    """What a first connection to a source found, for `mailmoat check-config`."""

    server: str
    """The one that answered, as it is shown to the administrator."""
    place: str = ""
    """Where entries are read: a search base, a table."""
    entries: int | None = None
    """How many there are; None where that cannot be said cheaply."""
    sample: tuple[Entry, ...] = ()
    """Some of them, at most three."""
    remarks: tuple[str, ...] = ()
    """What the administrator should look at, a sentence each."""


@runtime_checkable
class Probed(Protocol):
    """A source that can be tried without reading it whole."""

    async def probe(self) -> ProbeResult:
        """Connect, and say what is there. SourceError when that fails."""


@runtime_checkable
class Remarked(Protocol):
    """A source whose answers an administrator should know something of."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What that is, a sentence each."""


@runtime_checkable
class Closing(Protocol):
    """A source that holds connections."""

    async def close(self) -> None:
        """Close them; never raises."""
