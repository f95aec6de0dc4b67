"""Metrics: how a family is declared, where its values are in the shared memory, and their Prometheus text (format 0.0.4).

A family is declared once, at import. The values of its labels are the members of enums, never texts of its own, so a family with
labels is declared in the file of its enum; one without labels that belongs to no agent is declared here. Each value takes the next
row of the shared memory. Whatever is declared when `share` makes that memory, before the fork, can be counted: the families of an
administrator's agent like any other. A wrong or repeated name is a ValueError at import.

A label whose values are only in the settings belongs to a `Gathered` family: it has no rows, and who shows it brings its values along.

Counting is one addition to an atomic cell. `render` never fails and reads only shared memory, so any process can call it while all
others run or are dead.
"""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from mailmoat._native import Shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Label = TypeVar("Label", bound=StrEnum)
Sample: TypeAlias = tuple[tuple[str, ...], float]
"""The values of the labels, and the value."""

_NAME: Final = re.compile(r"mailmoat(_[a-z0-9]+)+")
_LABEL: Final = re.compile(r"[a-z]+(_[a-z]+)*")
_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
_next_row = 0


class Family(Generic[Label]):
    """One metric: `family[member]` is the row of the value with that label, `family[one, another]` where there are two labels.

    The name says what it is: a counter ends in `_total`, any other is a gauge. What is counted goes `unit` times into what is
    shown: 1000 where milliseconds are counted and seconds shown. `same`: each worker sets the same value, so the
    greatest is shown and not the sum.
    """

    __slots__ = ("_rows", "labels", "meaning", "name", "same", "unit")

    def __init__(
        self, name: str, meaning: str, labels: Mapping[str, Iterable[Label]], *, unit: int = 1, same: bool = False
    ) -> None:
        _check(name, meaning, labels)
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)
        self.unit = unit
        self.same = same
        self._rows: dict[str | tuple[str, ...], int] = {}
        self._add(product(*labels.values()))
        FAMILIES[name] = self

    def __getitem__(self, label: Label | tuple[Label, ...]) -> int:
        """Return the row of the value with this label; KeyError when there is none."""
        return self._rows[label]

    @property
    def kind(self) -> str:
        """The type, as Prometheus calls it."""
        return _kind(self.name)

    def extend(self, labels: Iterable[Label]) -> None:
        """Add the members of one more enum to the values of the one label; those that are there stay as they are."""
        self._add(product(labels))

    def samples(self) -> Iterator[tuple[str, int]]:
        """Name and labels of each value as Prometheus writes them, and its row."""
        for label_or_labels, row in self._rows.items():
            values = (label_or_labels,) if isinstance(label_or_labels, str) else label_or_labels
            yield _sample(self.name, self.labels, values), row

    def _add(self, values: Iterable[tuple[Label, ...]]) -> None:
        global _next_row  # noqa: PLW0603 - rows are given once in a process, to whatever is declared in it
        for labels in values:
            if not all(map(_LABEL_VALUE.fullmatch, labels)):
                raise ValueError(f"{self.name}: {labels} cannot be the values of labels")
            key = labels[0] if len(labels) == 1 else labels
            if key not in self._rows:
                self._rows[key] = _next_row
                _next_row += 1


class Gathered:
    """A metric whose values are not in the shared memory. A label has the members of an enum, or None where the settings name its values: of those there are few."""

    __slots__ = ("labels", "meaning", "name")

    def __init__(self, name: str, meaning: str, labels: Mapping[str, type[StrEnum] | None]) -> None:
        _check(name, meaning, labels)
        self.name, self.meaning, self.labels = name, meaning, labels
        GATHERED[name] = self

    @property
    def kind(self) -> str:
        """The type, as Prometheus calls it."""
        return _kind(self.name)

    def lines(self, samples: Iterable[Sample]) -> Iterator[str]:
        """Yield its Prometheus text."""
        yield from _heading(self)
        for values, number in samples:
            yield f"{_sample(self.name, self.labels, values)} {number}"


FAMILIES: Final[dict[str, Family[Any]]] = {}
"""Every family with rows declared so far, by name."""
GATHERED: Final[dict[str, Gathered]] = {}
"""Every other one."""


def _check(name: str, meaning: str, labels: Iterable[str]) -> None:
    if not _NAME.fullmatch(name) or name in FAMILIES or name in GATHERED:
        raise ValueError(f"{name}: not a name of a metric, or declared twice")
    if "\n" in meaning or "\\" in meaning or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{name}: a meaning is one line without a backslash, a label is lower case")


def _kind(name: str) -> str:
    return "counter" if name.endswith("_total") else "gauge"


def _heading(family: Family[Any] | Gathered) -> tuple[str, str]:
    return f"# HELP {family.name} {family.meaning}", f"# TYPE {family.name} {family.kind}"


def _sample(name: str, labels: Iterable[str], values: Iterable[str]) -> str:
    """Return a name with its labels, as Prometheus writes them."""
    pairs = ",".join(f'{label}="{value}"' for label, value in zip(labels, values, strict=True))
    return f"{name}{{{pairs}}}" if pairs else name


def single(name: str, meaning: str, *, unit: int = 1, same: bool = False) -> int:
    """Declare a family without labels and return the row of its only value."""
    return Family[StrEnum](name, meaning, {}, unit=unit, same=same)[()]


SESSIONS: Final = single("mailmoat_sessions_total", "SMTP sessions begun.")
CONNECTIONS: Final = single(
    "mailmoat_connections",
    "Connections open now, and those of clients that disconnected while held, until the hold ends.",
)
MESSAGES_ACCEPTED: Final = single(
    "mailmoat_messages_accepted_total", "Messages answered with 250 after the end of data."
)
BYTES_ACCEPTED: Final = single("mailmoat_accepted_bytes_total", "Size of the content of accepted messages.")
IDLE_CLOSED: Final = single(
    "mailmoat_connections_idle_closed_total", "Idle connections closed because nearly too many were open."
)
EARLY_TALKERS: Final = single("mailmoat_early_talkers_total", "Clients that talked before the greeting.")
SOURCES_UNCOUNTED: Final = single(
    "mailmoat_connections_uncounted_total",
    "Connections that were not counted for their source address because the table of sources was full.",
)
ACCEPT_PAUSES: Final = single(
    "mailmoat_accept_pauses_total", "Times a worker stopped accepting because it had too few file descriptors."
)
HELD_SESSIONS: Final = single(
    "mailmoat_tarpit_held_sessions", "Replies held in the tarpit now, including those of clients that disconnected."
)
TARPIT_HOLDS: Final = single("mailmoat_tarpit_holds_total", "Replies delayed by the tarpit.")
TARPIT_TIME: Final = single("mailmoat_tarpit_seconds_total", "Time replies were delayed by the tarpit.", unit=1000)
TARPIT_EVICTIONS: Final = single(
    "mailmoat_tarpit_evictions_total", "Held sessions closed because the host held too many."
)
TARPIT_DISCONNECTED: Final = single("mailmoat_tarpit_disconnected_total", "Clients that disconnected while held.")
QUEUE_MESSAGES: Final = single("mailmoat_queue_messages", "Messages in the spool.")
SPOOL_SPARE: Final = single(
    "mailmoat_spool_spare_bytes", "Octets free inside the databases of the spool, which the next messages take first."
)
PARTITIONS_NEWER: Final = single(
    "mailmoat_partitions_newer", "Partitions written by a later version, whose messages are not delivered."
)
AGENT_TIMEOUTS: Final = single(
    "mailmoat_agent_timeouts_total", "Policy agents that did not answer in time; the client got 451 4.3.0."
)
AGENT_ERRORS: Final = single("mailmoat_agent_errors_total", "Failures of policy agents; the client got 451 4.3.0.")
DNS_QUERIES: Final = single(
    "mailmoat_dns_queries_total", "Queries to name servers; equal queries at the same time count as one."
)
DNS_CACHE_HITS: Final = single("mailmoat_dns_cache_hits_total", "Queries answered from the cache.")
DNS_CIRCUIT_BREAKERS_OPEN: Final = single(
    "mailmoat_dns_circuit_breakers_open", "Zones and names that are not asked for now because they did not answer."
)
DIRECTORY_ENTRIES: Final = single("mailmoat_directory_entries", "Entries of the recipient directory.", same=True)
DIRECTORY_AGE: Final = single(
    "mailmoat_directory_age_seconds", "Time since the recipient file in force was written.", same=True
)
SPOOL_ERRORS: Final = single("mailmoat_spool_errors_total", "Operations on the spool that failed.")
LOG_LINES_LOST: Final = single("mailmoat_log_lines_lost_total", "Log lines lost because the log was not read.")
WORKER_RESTARTS: Final = single("mailmoat_worker_restarts_total", "Workers started again after they died.")
FILES_REREAD: Final = single(
    "mailmoat_files_reread_total", "Times a worker has read the files that the settings name again at a reload."
)
WORKERS_WANTED: Final = single("mailmoat_workers_wanted", "Workers the supervisor keeps running.")
WORKERS_READY: Final = single("mailmoat_workers_ready", "Workers that accept connections.")
WORKERS_STRESSED: Final = single(
    "mailmoat_workers_stressed", "Workers that close idle connections because nearly too many are open."
)
WORKERS_SPOOL_HEALTHY: Final = single("mailmoat_workers_spool_healthy", "Workers whose spool accepts messages.")
WORKERS_DIRECTORY_OK: Final = single(
    "mailmoat_workers_directory_ok", "Workers that can look recipients up, or do not need to."
)
WORKERS_ACCOUNTS_OK: Final = single(
    "mailmoat_workers_accounts_ok", "Workers that can check the passwords of accounts, or do not need to."
)
WORKERS_DNS_SILENT: Final = single(
    "mailmoat_workers_dns_silent", "Workers whose name servers did not answer when last asked."
)


def share(workers: int, sources: int = 65_536) -> Shared:
    """Make the memory for everything declared so far, before the fork; OSError when memory is short."""
    gauges = [row for family in FAMILIES.values() if family.kind == "gauge" for _, row in family.samples()]
    return Shared(workers, _next_row, gauges=gauges, sources=sources)


class Metrics:
    """The metrics of one slot."""

    __slots__ = ("_add", "_set", "shared", "slot")

    def __init__(self, shared: Shared, slot: int) -> None:
        self.shared = shared
        self.slot = slot
        self._add = shared.add
        self._set = shared.set

    def add(self, row: int, n: int = 1) -> None:
        """Count `n` more; a gauge may take a negative number."""
        self._add(self.slot, row, n)

    def set(self, row: int, value: int) -> None:
        """Set a gauge."""
        self._set(self.slot, row, value)


def render(shared: Shared, gathered: Mapping[Gathered, Iterable[Sample]] | None = None) -> str:
    """Return all metrics as Prometheus text, summed over the slots, counters of dead workers included, and what was gathered."""
    columns = list(zip(*(shared.row(slot) for slot in range(shared.slots)), strict=True))
    lines: list[str] = []
    for family in sorted(FAMILIES.values(), key=lambda family: family.name):
        lines += _heading(family)
        fold = max if family.same else sum
        for sample, row in family.samples():
            number = fold(columns[row])
            lines.append(f"{sample} {number if family.unit == 1 else number / family.unit}")
    for other, samples in (gathered or {}).items():
        lines += other.lines(samples)
    return "\n".join(lines) + "\n"
