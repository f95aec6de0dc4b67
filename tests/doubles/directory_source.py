"""Who drives a synchronised source in tests: applies its steps as the keeper of a table does, and remembers them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from mailmoat.directory.source import Begin, Delta, Entry, LiveSource, Part, Step, SyncSource, Whole
from mailmoat.directory_process.live.row import LiveRow
from mailmoat.settings.sections.directories import SourceSettings, merged
from mailmoat.settings.sections.directory import DirectorySettings


def row(url: str, **settings: object) -> SourceSettings:
    """A row of `[[directories]]`, as written in the settings."""
    written = {
        "name": "office",
        "url": url,
        **{name: value if isinstance(value, tuple | list) else str(value) for name, value in settings.items()},
    }
    return merged(DirectorySettings(), SourceSettings.model_validate(written))


def live_row(name: str, source: LiveSource, **settings: object) -> LiveRow:
    """A live source with these settings of its row; `key`, `others`, `handed_on`, `upstream_of` and `room_of` are those of `LiveRow`."""
    own = {
        key: settings.pop(key) for key in ("key", "others", "handed_on", "upstream_of", "room_of") if key in settings
    }
    return LiveRow(row("script:///bin/true", name=name, mode="live", **settings), source, **own)


class Known(dict[bytes, Entry]):
    """The entries in force."""

    def entry(self, entry_id: bytes) -> Entry | None:
        return self.get(entry_id)


class Replica:
    """What was read of a source; lives on when the source is run again."""

    def __init__(self) -> None:
        self.known = Known()
        self.cookie: bytes | None = None
        self.steps: list[Step] = []
        self._shadow: dict[bytes, Entry] = {}

    @property
    def addresses(self) -> set[str]:
        return {listed.text for entry in self.known.values() for listed in entry.addresses}

    async def run(self, source: SyncSource, until: Callable[[], object], seconds: float = 20.0) -> list[Step]:
        """Apply steps until a condition holds after one of them; return those of this run."""
        begun = len(self.steps)
        async with asyncio.timeout(seconds), aclosing(source.steps(self.cookie, self.known)) as steps:
            async for step in steps:
                self.steps.append(step)
                self.apply(step)
                if until():
                    break
        return self.steps[begun:]

    def apply(self, step: Step) -> None:
        """Take one step into what is known."""
        match step:
            case Begin():
                self._shadow = {}
            case Part(entries):
                self._shadow.update((entry.id, entry) for entry in entries)
            case Whole():
                self.known.clear()
                self.known.update(self._shadow)
            case Delta(changed, removed):
                self.known.update((entry.id, entry) for entry in changed)
                for entry_id in [*removed, *(entry.id for entry in changed if not entry.addresses)]:
                    self.known.pop(entry_id, None)
        self.cookie = getattr(step, "cookie", self.cookie)
