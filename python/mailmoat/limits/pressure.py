"""Back pressure: what the server is short of, how much, and who has to wait because of it.

Each worker takes its readings once a second and writes them and its level of each resource into the shared memory. Disk, memory and
queue belong to the host: all workers act on the greatest level. A worker that is late is so for itself. A level begins and ends at
different readings (`pressure.*`), so it does not flutter. Who waits: `Pressure.refuses`; nothing else follows from a level, and what was begun
goes on. Costs nothing on the way of a message but the look at one number. Never raises for what cannot be read.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat._native import Disk
from mailmoat.events import Event
from mailmoat.limits.readings import memory_limit, own_memory
from mailmoat.metrics import QUEUE_MESSAGES, SPOOL_SPARE, Family, single

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mailmoat.metrics import Metrics
    from mailmoat.settings.sections.pressure import PressureSettings, Thresholds

STEP_SECONDS: Final = 30.0
"""How long a level lasts before the next have to wait, too."""


class Level(IntEnum):
    """How short a resource is."""

    NORMAL = 0
    MEDIUM = 1
    HIGH = 2

    @property
    def label(self) -> str:
        """As people read it."""
        return self.name.lower()


class Precedence(IntEnum):
    """Who is served before whom; those of the lowest wait first."""

    BAD = 0
    """A stranger of bad reputation."""
    STRANGER = 1
    KNOWN = 2
    """Known good: by its reputation or by a list."""
    TRUSTED = 3
    """Inside, or authenticated: never waits."""


class Resource(StrEnum):
    """What can be short."""

    DISK = "disk"
    MEMORY = "memory"
    QUEUE = "queue"
    LAG = "lag"

    def described(self, reading: float) -> str:
        """Return a reading as people read it."""
        match self:
            case Resource.DISK:
                return f"{reading:.1f} % of the spool's disk are used"
            case Resource.MEMORY:
                return f"the workers have {reading:.1f} % of the memory"
            case Resource.QUEUE:
                return f"{reading:.0f} messages are in the spool"
            case Resource.LAG:
                return f"a worker is {reading:.1f} s late"


PRESSURE_LEVEL: Final = Family(
    "mailmoat_pressure_level",
    "How short a resource is: 0 normal, 1 medium, 2 high; the greatest of all workers.",
    {"resource": Resource},
    same=True,
)
PRESSURE_READING: Final = Family(
    "mailmoat_pressure_reading",
    "The last reading of a resource, in the unit of its setting in pressure; the greatest of all workers.",
    {"resource": Resource},
    unit=1000,
    same=True,
)
WORKER_MEMORY: Final = single("mailmoat_worker_memory_bytes", "Memory that the workers have for themselves.")


def following(level: Level, reading: float, bounds: Thresholds) -> Level:
    """Return the level after a reading."""
    if reading >= bounds.high or (level is Level.HIGH and reading >= bounds.below_high):
        return Level.HIGH
    if reading >= bounds.medium or (level is not Level.NORMAL and reading >= bounds.below_medium):
        return Level.MEDIUM
    return Level.NORMAL


class Pressure:
    """The pressure on this host as one worker feels it; `on_change` is given whether anybody has to wait, whenever that changes."""

    def __init__(
        self,
        settings: PressureSettings,
        spool_dir: Path,
        metrics: Metrics,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        watched = {resource: getattr(settings, resource) for resource in Resource}
        self._watched: dict[Resource, Thresholds] = {key: bounds for key, bounds in watched.items() if bounds}
        self._metrics = metrics
        self._spool_dir = spool_dir
        self._on_change = on_change
        self._disk: Disk | None = None
        self._memory_limit = memory_limit()
        self._own = dict.fromkeys(Resource, Level.NORMAL)
        self._ticked: float | None = None
        self._late = 0.0
        self._since = 0.0
        self.level = Level.NORMAL
        """That of the resource which is shortest."""
        self.resource: Resource | None = None
        """The shortest; None without pressure."""
        self.refused_below = 0
        """New messages of clients of a lower precedence are refused; 0 without pressure."""
        self.closed_below = 0
        """New connections likewise."""

    @staticmethod
    def is_on(settings: PressureSettings) -> bool:
        """Return whether anything is watched."""
        return any(getattr(settings, resource) for resource in Resource)

    def tick(self, seconds: float) -> None:
        """Take the readings; to be called every so many seconds, or as much later as the worker is late."""
        now = clock.monotonic()
        late = 0.0 if self._ticked is None else max(now - self._ticked - seconds, 0.0)
        self._ticked = now
        levels = {resource: self._look(resource, self._read(resource, late)) for resource in self._watched}
        self._late = late
        resource = max(levels, key=lambda one: levels[one], default=None)
        level = levels[resource] if resource else Level.NORMAL
        if level is not self.level:
            self._since = now
        self.level, self.resource = level, resource if level else None
        lasts = level is not Level.NORMAL and now - self._since >= STEP_SECONDS
        refused_below = level + int(lasts)
        if bool(refused_below) != bool(self.refused_below):
            self._on_change(bool(refused_below))
        self.refused_below = refused_below
        self.closed_below = int(Precedence.KNOWN) if level is Level.HIGH else 0

    def end(self) -> None:
        """Take back what this worker says of the host: it takes no reading any more, and its last one would hold the others."""
        for resource in self._watched:
            self._metrics.set(PRESSURE_LEVEL[resource], Level.NORMAL)
            self._metrics.set(PRESSURE_READING[resource], 0)

    def _read(self, resource: Resource, late: float) -> float | None:
        shared = self._metrics.shared
        match resource:
            case Resource.DISK:
                used = self._used(shared.sum(SPOOL_SPARE))
                return None if used is None else 100 * used
            case Resource.MEMORY:
                self._metrics.set(WORKER_MEMORY, own_memory() or 0)
                return 100 * shared.sum(WORKER_MEMORY) / self._memory_limit
            case Resource.QUEUE:
                return float(shared.sum(QUEUE_MESSAGES))
            case Resource.LAG:
                return min(late, self._late)  # one long turn is no pressure

    def _used(self, spare: int) -> float | None:
        try:
            self._disk = self._disk or Disk(str(self._spool_dir))
        except OSError:
            return None
        return self._disk.used(spare)

    def _look(self, resource: Resource, reading: float | None) -> Level:
        """Return the level to act on after a reading of this worker; None is no reading, and the level stays."""
        metrics, own = self._metrics, self._own[resource]
        if reading is None:
            return own
        bounds = self._watched[resource]
        after = self._own[resource] = following(own, reading, bounds)
        row, of_host = PRESSURE_LEVEL[resource], resource is not Resource.LAG
        metrics.set(PRESSURE_READING[resource], round(reading * 1000))
        was = Level(metrics.shared.greatest(row)) if of_host else own
        metrics.set(row, after)
        level = Level(metrics.shared.greatest(row)) if of_host else after
        if level is not was:
            self._tell(resource, was, level, reading)
        return level

    def _tell(self, resource: Resource, was: Level, level: Level, reading: float) -> None:
        bounds = self._watched[resource]
        bound = {Level.HIGH: bounds.high, Level.MEDIUM: bounds.medium, Level.NORMAL: bounds.below_medium}[level]
        if was is Level.HIGH and level is Level.MEDIUM:
            bound = bounds.below_high
        maillog.event(
            Event.PRESSURE_CHANGED,
            level="warning" if level > was else "info",
            slot=self._metrics.slot,
            resource=resource,
            pressure=level.label,
            before=was.label,
            reading=round(reading, 3),
            threshold=bound,
            detail=resource.described(reading),
        )
