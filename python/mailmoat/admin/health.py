"""Whether the server does its work, decided from the shared memory alone; pure, never fails.

A worker counts from the moment it accepts connections. When it dies, its gauges are reset and it does not count any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.directory.directory import DIRECTORY_STATE, SourceState
from mailmoat.directory.freshness import SyncState
from mailmoat.directory.gauges import (
    DIRECTORY_LIVE_FAILED,
    DIRECTORY_LIVE_INCONCLUSIVE,
    DIRECTORY_SOURCES,
    DIRECTORY_SOURCES_STALE,
)
from mailmoat.dns_lists.counted import OUT_OF_FORCE, Place
from mailmoat.limits.pressure import PRESSURE_LEVEL, PRESSURE_READING, Level, Resource
from mailmoat.lists.lists import LIST_ENTRIES, LISTS_STATE, WORKERS_LISTS_OK, ListsState
from mailmoat.lists.sources import ListName
from mailmoat.metrics import (
    DIRECTORY_AGE,
    DIRECTORY_ENTRIES,
    PARTITIONS_NEWER,
    WORKERS_ACCOUNTS_OK,
    WORKERS_DIRECTORY_OK,
    WORKERS_READY,
    WORKERS_SPOOL_HEALTHY,
    WORKERS_STRESSED,
    WORKERS_WANTED,
)
from mailmoat.policy.sender_file import SENDER_FILE_STATE
from mailmoat.reports.budgets import BOUNCE_FLOOD, WORKERS_WITHOUT_BOUNCES, Side
from mailmoat.reputation.harvests import HARVESTS
from mailmoat.tls.state import CERTIFICATE_LEFT, CERTIFICATE_STATE, CertificateState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat._native import Shared


TLS_REASONS: Final[dict[object, str]] = {
    CertificateState.EXPIRED: "TLS certificate expired",
    CertificateState.REFUSED: "TLS certificate refused, an older one is in force",
    CertificateState.EXPIRING: "TLS certificate expires soon",
}
"""What is wrong with the certificates, in the states in which something is."""


class Health(NamedTuple):
    """What `/healthz` says."""

    status: str
    """`ok`; `degraded`: it works, with fewer workers than wanted, nearly too many connections, too little of a resource, an old directory or certificate, or
    messages it cannot deliver; `failing`: mail is not taken or not all of it."""
    reasons: list[str]
    workers_wanted: int
    workers_ready: int
    directory: dict[str, str | int]
    """Of the recipient file: `state`, `entries` and `age` in seconds; empty when none is watched."""
    tls: dict[str, str | int]
    """Of the certificates: `state` and `days_left` of the first to expire; empty when TLS is not used."""
    harvests: int
    """Harvest attacks that go on. The server does its work meanwhile."""
    lists: dict[str, str | int]
    """Of the lists of clients: `state`, entries of `block` and `allow`; empty when they are not watched."""
    bounces: str
    """`on`; `off` by `ndr.enabled`, which is a warning: senders are not told what failed; `flood`: more are due than the budgets allow."""


def judge(shared: Shared) -> Health:
    """Return the health of the server now."""
    rows = [shared.row(slot) for slot in range(shared.slots)]
    wanted = sum(row[WORKERS_WANTED] for row in rows)
    ready = [row for row in rows if row[WORKERS_READY]]
    seen = _directory(rows), _tls(rows), _greatest(rows, HARVESTS), _lists(rows), _bounces(rows)
    directory, tls, _, lists, _ = seen
    if failing := list(_failing(ready)):
        return Health("failing", failing, wanted, len(ready), *seen)
    degraded = [f"{wanted - len(ready)} of {wanted} workers not ready"] * (len(ready) < wanted)
    degraded += [*_degraded(ready), *_dns_lists(ready)]
    if directory.get("state") is SourceState.REFUSED:
        degraded.append("recipient file refused, an older one is in force")
    if _greatest(rows, SENDER_FILE_STATE[SourceState.REFUSED]):
        degraded.append("file of blocked senders refused, an older one is in force")
    degraded += _sources(rows)
    if reason := TLS_REASONS.get(tls.get("state")):
        degraded.append(reason)
    if lists.get("state") is ListsState.REFUSED:
        degraded.append("a file of the lists refused, what it said before is in force")
    return Health("degraded" if degraded else "ok", degraded, wanted, len(ready), *seen)


def _failing(ready: list[list[int]]) -> Iterator[str]:
    """Yield why mail is not taken, or not all of it."""
    if not ready:
        yield "no worker ready"
    if any(not row[WORKERS_SPOOL_HEALTHY] for row in ready):
        yield "spool unhealthy"
    if any(not row[WORKERS_DIRECTORY_OK] for row in ready):
        yield "recipient directory not available"


def _degraded(ready: list[list[int]]) -> Iterator[str]:
    """Yield what a worker that takes mail cannot do."""
    if stressed := sum(row[WORKERS_STRESSED] for row in ready):
        yield f"{stressed} of {len(ready)} workers near their limit of connections"
    for resource in Resource:
        if level := _greatest(ready, PRESSURE_LEVEL[resource]):
            reading = _greatest(ready, PRESSURE_READING[resource]) / PRESSURE_READING.unit
            yield f"pressure {Level(level).label}: {resource.described(reading)}"
    if any(not row[WORKERS_ACCOUNTS_OK] for row in ready):
        yield "accounts not available, so clients cannot authenticate"
    if any(not row[WORKERS_LISTS_OK] for row in ready):
        yield "lists of clients damaged, older ones are in force"
    for side in Side:
        if any(row[BOUNCE_FLOOD[side]] for row in ready):
            yield f"flood of bounces because of mail from {side}: what the budgets of ndr have no room for is suppressed"
    if newer := sum(row[PARTITIONS_NEWER] for row in ready):
        yield f"{newer} {'partition' if newer == 1 else 'partitions'} of a later version not worked on"


def _dns_lists(ready: list[list[int]]) -> Iterator[str]:
    """Yield which providers of `dns_lists` are not used."""
    for place in Place:
        if any(row[OUT_OF_FORCE[place]] for row in ready):
            yield f"provider {place} of dns_lists.providers does not work and is not used; see mailmoat dns-lists check"


def _directory(rows: list[list[int]]) -> dict[str, str | int]:
    states = [state for state in SourceState if _greatest(rows, DIRECTORY_STATE[state])]
    if not states:
        return {}
    return {
        "state": states[0],
        "entries": _greatest(rows, DIRECTORY_ENTRIES),
        "age": _greatest(rows, DIRECTORY_AGE),
    }


def _sources(rows: list[list[int]]) -> Iterator[str]:
    """Yield what is wrong with the sources of recipients."""
    for state, what in ((SyncState.FAILED, "cannot be read"), (SyncState.SHRUNK, "lost too many entries")):
        if count := _greatest(rows, DIRECTORY_SOURCES[state]):
            yield f"{count} of the sources of recipients {what}, what was read before is in force; see mailmoat directory status"
    if count := _greatest(rows, DIRECTORY_SOURCES_STALE):
        yield f"{count} of the sources of recipients not in force: what is not found is unknown or accepted; see mailmoat directory status"
    if count := _greatest(rows, DIRECTORY_LIVE_FAILED):
        yield f"{count} of the live sources of recipients not answering; see mailmoat directory status"
    if count := _greatest(rows, DIRECTORY_LIVE_INCONCLUSIVE):
        yield f"{count} domains whose next hop accepts every address, refuses late, has lost its recipients or refuses postmaster; see mailmoat directory status"


def _tls(rows: list[list[int]]) -> dict[str, str | int]:
    states = [state for state in CertificateState if _greatest(rows, CERTIFICATE_STATE[state])]
    return {"state": states[0], "days_left": _greatest(rows, CERTIFICATE_LEFT) // 86_400} if states else {}


def _lists(rows: list[list[int]]) -> dict[str, str | int]:
    states = [state for state in ListsState if _greatest(rows, LISTS_STATE[state])]
    entries = {name.value: _greatest(rows, LIST_ENTRIES[name]) for name in ListName}
    return {"state": states[0], **entries} if states else {}


def _bounces(rows: list[list[int]]) -> str:
    if any(_greatest(rows, BOUNCE_FLOOD[side]) for side in Side):
        return "flood"
    return "off" if _greatest(rows, WORKERS_WITHOUT_BOUNCES) else "on"


def _greatest(rows: list[list[int]], index: int) -> int:
    return max(row[index] for row in rows)
