"""The results of TLS at servers found by MX records: counted for metrics, and for domains that ask for reports kept in files (RFC 8460).

One file a day (UTC) below `spool_dir/tls-reports`, to which all workers append: a line is a JSON object with a count, and what is the same in
several lines is added up by who reads them. What is not written when a worker dies is lost; nothing else is.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from mailmoat import clock, files, maillog
from mailmoat.delivery.tls_results import PolicyKind, Published, TlsResult
from mailmoat.events import Event
from mailmoat.metrics import Family
from mailmoat.resolver import Found

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.metrics import Metrics
    from mailmoat.resolver import Answer

DIRECTORY: Final = "tls-reports"
KEPT_DAYS: Final = 14
MOST: Final = 8 << 20
"""Octets of different results that are kept in memory between two writes; further ones are counted in metrics alone."""
MOST_PLACES, LONGEST_PLACE = 4, 500
"""Places that a domain may want its reports at, and octets of one."""
WRITE: Final = 60.0
"""Seconds between two writes."""
LARGEST: Final = 64 << 20
"""Octets of the file of a day; what comes later is counted in metrics alone."""

RESULTS: Final = Family(
    "mailmoat_mx_tls_total",
    "Connections to servers found by MX records, and searches for policies that failed, by policy and result of TLS.",
    {"policy": PolicyKind, "result": TlsResult},
)


class Counted(msgspec.Struct, frozen=True):
    """What is counted: a line of the file has this and `count`."""

    domain: str
    reports_to: tuple[str, ...]
    """Where the domain wants its reports, `mailto:` and `https:`."""
    policy: PolicyKind
    lines: tuple[str, ...]
    patterns: tuple[str, ...]
    result: TlsResult
    host: str = ""
    address: str = ""
    reason: str = ""


class _Line(msgspec.Struct, frozen=True):
    count: int
    of: Counted


class TlsReports:
    """The results of one worker."""

    def __init__(self, spool_dir: Path, metrics: Metrics | None, *, kept: bool) -> None:
        """Count into `metrics`, and where `kept` into files as well."""
        self._directory = spool_dir / DIRECTORY
        self._metrics = metrics
        self._kept = kept
        self._counts: dict[Counted, int] = {}
        self._left = MOST
        self._day = ""
        self._write_at = clock.monotonic() + WRITE

    def count(
        self,
        published: Published,
        result: TlsResult,
        reports_to: tuple[str, ...],
        *,
        host: str = "",
        address: str = "",
        reason: str = "",
    ) -> None:
        """Count one result; `reports_to` is empty where the domain asks for no reports."""
        if self._metrics is not None:
            self._metrics.add(RESULTS[published.kind, result])
        if not self._kept or not reports_to:
            return
        counted = Counted(
            published.domain,
            reports_to,
            published.kind,
            published.lines,
            published.patterns,
            result,
            host,
            "" if result is TlsResult.SUCCESS else address,
            reason,
        )
        if counted in self._counts:
            self._counts[counted] += 1
        elif (size := _size(counted)) <= self._left:
            self._left -= size
            self._counts[counted] = 1

    def tick(self) -> None:
        """Write what is due; call it about once a second."""
        if clock.monotonic() >= self._write_at:
            self.write()

    def write(self) -> None:
        """Append what was counted to the file of this day."""
        self._write_at = clock.monotonic() + WRITE
        if not self._counts:
            return
        counts, self._counts, self._left = self._counts, {}, MOST
        day = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC).date().isoformat()
        lines = b"".join(msgspec.json.encode(_Line(count, counted)) + b"\n" for counted, count in counts.items())
        try:
            files.make_directory(self._directory)
            self._append(self._directory / f"{day}.jsonl", lines)
            if day != self._day:
                self._day = day
                self._remove_old()
        except OSError as error:
            maillog.event(Event.TLS_REPORT_NOT_KEPT, path=str(self._directory), detail=error.strerror or "")

    @staticmethod
    def _append(path: Path, lines: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(descriptor).st_size < LARGEST:
                os.write(descriptor, lines)
        finally:
            os.close(descriptor)

    def _remove_old(self) -> None:
        for path in sorted(self._directory.glob("*.jsonl"))[:-KEPT_DAYS]:
            path.unlink(missing_ok=True)


def _size(counted: Counted) -> int:
    """Return the octets that a result takes, roughly."""
    texts = (*counted.reports_to, *counted.lines, *counted.patterns, counted.host, counted.address, counted.reason)
    return sum(map(len, texts)) + 100 * len(texts)


def reports_to(answer: Answer) -> tuple[str, ...]:
    """Return where the TXT records at `_smtp._tls` of a domain want its reports; empty unless exactly one is valid (RFC 8460 3)."""
    records = answer.records if isinstance(answer, Found) else ()
    found = [record for record in records if isinstance(record, bytes) and record.startswith(b"v=TLSRPTv1;")]
    if len(found) != 1:
        return ()
    for field in found[0].decode("ascii", "replace").split(";")[1:]:
        key, _, value = field.strip(" \t").partition("=")
        if key == "rua":
            places = (place.strip(" \t") for place in value.split(","))
            kept = (
                place for place in places if place.startswith(("mailto:", "https:")) and len(place) <= LONGEST_PLACE
            )
            return tuple(islice(kept, MOST_PLACES))
    return ()
