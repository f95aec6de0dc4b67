"""The metrics of each source of recipients, out of what the directory process says of them.

Their label `source` is the name of a row of `[[directories]]`, of which there are at most `MOST_SOURCES`: so the number of values is bounded. They are
not in the shared memory, whose rows are given before the settings are read a second time. Counters begin at 0 with the directory process. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.directory.freshness import SourceAnswer, SyncState
from mailmoat.metrics import Gathered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.directory.freshness import Freshness, LiveState, SourceFreshness
    from mailmoat.metrics import Sample

SOURCE_STATE: Final = Gathered(
    "mailmoat_directory_source_state",
    "1 for how the last read of a source of recipients ended, or its last lookup, else 0.",
    {"source": None, "state": SyncState},
)
SOURCE_AGE: Final = Gathered(
    "mailmoat_directory_source_age_seconds",
    "Time since a synchronised source of recipients said last that what is known of it is right.",
    {"source": None},
)
SOURCE_ENTRIES: Final = Gathered(
    "mailmoat_directory_source_entries", "Entries known of a synchronised source of recipients.", {"source": None}
)
SOURCE_LEFT_OUT: Final = Gathered(
    "mailmoat_directory_source_left_out",
    "Entries, addresses and targets of a synchronised source that do not count, in its last read.",
    {"source": None},
)
SOURCE_KEPT: Final = Gathered(
    "mailmoat_directory_source_kept",
    "Entries of a synchronised source that are in force though the controller that is read lacks them, or addresses of them.",
    {"source": None},
)
SOURCE_READ_TIME: Final = Gathered(
    "mailmoat_directory_source_read_seconds",
    "Time that the last full read of a synchronised source took.",
    {"source": None},
)
SOURCE_FAILURES: Final = Gathered(
    "mailmoat_directory_source_failures_total",
    "Reads of a synchronised source that failed, each new attempt in an outage among them.",
    {"source": None},
)
SOURCE_ANSWERS: Final = Gathered(
    "mailmoat_directory_source_answers_total",
    "Lookups in a live source of recipients, by what became of them.",
    {"source": None, "answer": SourceAnswer},
)
SOURCE_ANSWER_TIME: Final = Gathered(
    "mailmoat_directory_source_answer_seconds_total",
    "Time that a live source of recipients took for the answers exists and absent.",
    {"source": None},
)


def gathered(freshness: Freshness, now_ms: int) -> dict[Gathered, list[Sample]]:
    """Return the values of each family; `now_ms` is the time, in milliseconds since the epoch."""
    found: dict[Gathered, list[Sample]] = {}
    for source in freshness.sources:
        for family, *labels, value in _synchronised(source, now_ms):
            found.setdefault(family, []).append(((source.name, *labels), value))
    for state in freshness.live:
        for family, *labels, value in _live(state):
            found.setdefault(family, []).append(((state.name, *labels), value))
    return found


def _synchronised(source: SourceFreshness, now_ms: int) -> Iterator[tuple[Gathered, *tuple[str, ...], float]]:
    yield from _states(source.state)
    if source.synced_ms:
        yield SOURCE_AGE, source.age(now_ms)
    yield SOURCE_ENTRIES, source.entries
    yield SOURCE_LEFT_OUT, source.left_out
    yield SOURCE_KEPT, source.kept
    yield SOURCE_READ_TIME, source.read_seconds
    yield SOURCE_FAILURES, source.failures


def _live(state: LiveState) -> Iterator[tuple[Gathered, *tuple[str, ...], float]]:
    answered = SyncState.CURRENT if state.answered_ms else SyncState.NEW
    yield from _states(SyncState.FAILED if state.error else answered)
    for answer in SourceAnswer:
        yield SOURCE_ANSWERS, answer, state.counts.get(answer, 0)
    yield SOURCE_ANSWER_TIME, state.answer_seconds


def _states(state: SyncState) -> Iterator[tuple[Gathered, str, float]]:
    return ((SOURCE_STATE, each, float(each is state)) for each in SyncState)
