"""The gauges of a worker's directory: how much is in force, how old it is, and which sources are not in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.directory.composed import ComposedDirectory
from mailmoat.directory.freshness import SyncState
from mailmoat.metrics import DIRECTORY_AGE, DIRECTORY_ENTRIES, WORKERS_DIRECTORY_OK, Family, single

if TYPE_CHECKING:
    from mailmoat.directory.snapshot_directory import SnapshotDirectory
    from mailmoat.metrics import Metrics

DIRECTORY_SOURCES: Final = Family(
    "mailmoat_directory_sources",
    "Synchronised sources of recipients, by how their last read ended.",
    {"state": SyncState},
    same=True,
)
DIRECTORY_SOURCES_STALE: Final = single(
    "mailmoat_directory_sources_stale",
    "Synchronised sources that are too old or were never read whole, so that what is not found is unknown or accepted.",
    same=True,
)
DIRECTORY_OLDEST: Final = single(
    "mailmoat_directory_oldest_seconds", "Time since the oldest of the last reads of all sources.", same=True
)
DIRECTORY_LIVE_FAILED: Final = single(
    "mailmoat_directory_live_failed", "Live sources of recipients that did not answer when last asked.", same=True
)
DIRECTORY_LIVE_INCONCLUSIVE: Final = single(
    "mailmoat_directory_live_inconclusive",
    "Domains whose next hop accepts every address, refuses late, or refuses all that it accepted before: its answers mean nothing.",
    same=True,
)


def publish(directory: SnapshotDirectory | ComposedDirectory | None, metrics: Metrics) -> None:
    """Set a worker's gauges of its directory; None when none is configured."""
    snapshot = directory.snapshot if isinstance(directory, ComposedDirectory) else directory
    metrics.set(WORKERS_DIRECTORY_OK, int(snapshot is None or snapshot.entries > 0))
    metrics.set(DIRECTORY_ENTRIES, snapshot.entries if snapshot else 0)
    if snapshot and snapshot.written_ms:
        metrics.set(DIRECTORY_AGE, max(0, clock.wall_ms() - snapshot.written_ms) // 1000)
    if isinstance(directory, ComposedDirectory):
        _publish_sources(directory, metrics)


def _publish_sources(directory: ComposedDirectory, metrics: Metrics) -> None:
    judged, now = directory.doubts, clock.wall_ms()
    for state in SyncState:
        metrics.set(DIRECTORY_SOURCES[state], sum(fresh.state is state for _, fresh, _ in judged))
    metrics.set(DIRECTORY_SOURCES_STALE, sum(bool(doubt) for _, _, doubt in judged))
    ages = [fresh.age(now) for _, fresh, _ in judged if fresh.synced_ms]
    metrics.set(DIRECTORY_OLDEST, round(max(ages, default=0)))
    live = directory.freshness.live
    metrics.set(DIRECTORY_LIVE_FAILED, sum(bool(source.error) for source in live))
    metrics.set(DIRECTORY_LIVE_INCONCLUSIVE, sum(source.inconclusive for source in live))
    if directory.live is not None:
        directory.live.publish()
