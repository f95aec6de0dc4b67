"""Tries a source for a command: what a first connection finds, and what a full read would change. Nothing that the server uses is changed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat import clock
from mailmoat._native import Address
from mailmoat.callout.source import TEST_NAME
from mailmoat.directory.bounds import Bounds, Kind
from mailmoat.directory.directory import Presence
from mailmoat.directory.source import Closing, Entry, LeftOut, Part, Probed, ProbeResult, Whole
from mailmoat.directory.table_reading import entries_of
from mailmoat.directory_process.bounded import Bounded, open_bounded_sync
from mailmoat.directory_process.live.opening import open_live_row
from mailmoat.errors import SourceError
from mailmoat.settings.source_url import SourceUrl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from mailmoat.directory.source import LiveSource, SyncSource
    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

PROBE_TIME: Final = 30.0
"""Seconds that a source has to show itself, beside its own limits."""
MOST_AT_A_TIME: Final = 16
"""Sources that are tried at the same time."""
MOST_DOMAINS: Final = 5
"""Domains at which an address that cannot exist is asked for."""


class Difference(NamedTuple):
    """One difference between a source as it is and as it is known."""

    sign: str
    """`+` new, `-` gone, `~` other addresses."""
    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]


async def probe_each(
    settings: Settings, rows: Sequence[SourceSettings], ended: Callable[[], None]
) -> list[ProbeResult | SourceError]:
    """Try the sources of merged rows, several at a time; return what each showed or why it cannot be used, in their order. `ended` is called after each."""
    room = asyncio.Semaphore(MOST_AT_A_TIME)

    async def one(row: SourceSettings) -> ProbeResult | SourceError:
        async with room:
            try:
                return await probe(settings, row)
            except SourceError as error:
                return error
            finally:
                ended()

    return await asyncio.gather(*map(one, rows))


async def probe(settings: Settings, row: SourceSettings) -> ProbeResult:
    """Connect to each server of the source of a merged row, and say what the first that can be used has, with what is wrong with the others.

    SourceError when none can be used. Those behind the first are tried too: a server that waits for an outage is used for the first time in one.
    """
    narrowed = [row.model_copy(update={"url": SourceUrl(str(one), (one,))}) for one in row.url.servers]
    results = await asyncio.gather(*(_tried(settings, each) for each in narrowed))
    failures = [str(one) for one in results if isinstance(one, SourceError)]
    served = [one for one in results if isinstance(one, ProbeResult)]
    if not served:
        raise SourceError("; ".join(failures))
    first, *others = served
    more = (f"{other.server}: {remark}" for other in others for remark in other.remarks if remark not in first.remarks)
    return first._replace(remarks=(*failures, *first.remarks, *more))


async def _tried(settings: Settings, row: SourceSettings) -> ProbeResult | SourceError:
    """Return what the one server of a row has, or why it cannot be used."""
    try:
        return await _probe_one(settings, row)
    except SourceError as error:
        return error


async def _probe_one(settings: Settings, row: SourceSettings) -> ProbeResult:
    source: SyncSource | LiveSource = (
        open_bounded_sync(settings, row) if row.mode == "sync" else open_live_row(settings, row)
    )
    try:
        probed = source.unbounded if isinstance(source, Bounded) else source
        if not isinstance(probed, Probed) or (row.mode == "live" and row.url.scheme == "script"):
            return await _asked(settings, row, source)  # type: ignore[arg-type] # it is live
        async with asyncio.timeout(PROBE_TIME + max(row.timeout, row.script_time)):
            return await probed.probe()
    except TimeoutError:
        raise SourceError(f"{row.url}: it did not answer in time") from None
    finally:
        if isinstance(source, Closing):
            await source.close()


async def _asked(settings: Settings, row: SourceSettings, source: LiveSource) -> ProbeResult:
    """Ask a live source that can show nothing else for an address that cannot exist, at some of its domains."""
    answers, doubts = [], []
    for domain in (row.domains or tuple(settings.relay.local_domains))[:MOST_DOMAINS]:
        address = Address.parse(f"{TEST_NAME}{clock.random_below(1 << 64):016x}@{domain}")
        async with asyncio.timeout(row.timeout):
            answer = await source.lookup(address)
        said = f"{domain}: {answer.entry}" if answer.entry and answer.entry != str(address) else domain
        match answer.presence:
            case Presence.ABSENT:
                answers.append(f"{said}, an address that cannot exist is absent")
            case Presence.EXISTS:
                doubts.append(
                    f"{said}; it has an address that cannot exist, {address}: every address would be accepted"
                )
            case Presence.UNKNOWN:
                doubts.append(
                    f"{said}; it does not say whether {address} exists: mail for what it does not know gets 451"
                )
    return ProbeResult(str(row.url), "; ".join(answers), remarks=tuple(doubts))


class _NothingKnown:
    """For a source that is read whole."""

    def __contains__(self, entry_id: object, /) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def entry(self, entry_id: bytes) -> Entry | None:  # noqa: ARG002 - nothing is
        """Return none."""
        return None


async def read_whole(settings: Settings, row: SourceSettings) -> tuple[dict[bytes, Entry], list[LeftOut]]:
    """Return all entries of the source of a merged row by their ids, and what was left out. SourceError when it cannot be read."""
    source = open_bounded_sync(settings, row)
    found: dict[bytes, Entry] = {}
    left_out: list[LeftOut] = []
    try:
        async with aclosing(source.steps(None, _NothingKnown())) as steps:
            async for step in steps:
                if isinstance(step, Part):
                    found |= {entry.id: entry for entry in step.entries}
                elif isinstance(step, LeftOut):
                    left_out.append(step)
                elif isinstance(step, Whole):
                    break
    finally:
        await source.close()
    return {key: entry for key, entry in found.items() if entry.addresses}, left_out


def differences(found: dict[bytes, Entry], table: Path) -> Iterator[Difference]:
    """Yield what is other in `found` than in a table, those that are known first. DirectoryError when the table cannot be read."""
    rest = dict(found)
    for known in entries_of(table) if table.exists() else ():
        now = rest.pop(known.id, None)
        if now is None:
            yield Difference("-", known.name, shown(known), ())
        elif shown(now) != shown(known):
            yield Difference("~", now.name, shown(known), shown(now))
    for entry in rest.values():
        yield Difference("+", entry.name, (), shown(entry))


def exported(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield what entries list as a recipient file, in which each address has one line and postmaster no targets."""
    listed: dict[str, list[tuple[str, ...]]] = {}
    for entry in entries:
        for one in entry.addresses:
            listed.setdefault(one.text, []).append(one.targets)
    for text, each in listed.items():
        itself = () if text.startswith("@") else (text,)
        targets = tuple(dict.fromkeys(target for own in each for target in own or itself)) if any(each) else ()
        is_plain = targets in ((), itself) or text.partition("@")[0] == "postmaster"
        yield text if is_plain else f"{text} = {', '.join(targets)}"


def shown(entry: Entry) -> tuple[str, ...]:
    """Return the addresses of an entry, each in the notation of the recipient file, sorted."""
    return tuple(
        sorted(f"{one.text} = {', '.join(one.targets)}" if one.targets else one.text for one in entry.addresses)
    )


def remarks(settings: Settings, row: SourceSettings, probed: ProbeResult) -> Iterator[str]:
    """Yield what an administrator should look at in what the source of a merged row showed, a sentence each."""
    yield from probed.remarks
    if probed.entries == 0:
        yield "it has no entries; an empty result is never used, and until there is another one, what is not found gets 451"
    domains = row.domains or tuple(settings.relay.local_domains)
    refused = (refusal for entry in probed.sample for refusal in Bounds.of(settings, row).entry(entry)[1])
    yield from (
        one.sentence for one in refused if one.kind is not Kind.ADDRESS
    )  # many have an address of another domain
    texts = [one.text for entry in probed.sample for one in entry.addresses]
    if texts and not any(_domain(text, settings.relay.default_domain) in domains for text in texts):
        setting = "domains of this source" if row.domains else "relay.local_domains"
        yield f"none of the addresses that are shown, such as {texts[0]}, is at one of the {setting}: such addresses are not looked up"


def _domain(text: str, default: str | None) -> str:
    """Return the domain of an entry in the notation of the recipient file; empty when it is no address."""
    local, at, domain = text.removeprefix("!").rpartition("@")
    try:
        return Address.parse(f"{local or 'all'}@{domain}" if at else f"{text}@{default or ''}").domain
    except ValueError:
        return ""


def described(probed: ProbeResult) -> str:
    """Return what was found, in a sentence."""
    parts = [probed.server, probed.place]
    if probed.entries is not None:
        parts.append(f"{probed.entries} entries")
    if probed.sample:
        parts.append(
            "such as " + "; ".join(f"{one.name} with {', '.join(shown(one)) or 'no address'}" for one in probed.sample)
        )
    return ", ".join(filter(None, parts))
