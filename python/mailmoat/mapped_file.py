"""A compiled file that all workers map read-only: opened at the start, and anew whenever it was replaced.

Promises: one that is missing, unreadable or damaged leaves the one before in force, and `error` has the reason; without any, `value` is
None. A look costs a `stat`, also where there is no file. Never writes the file (`directory.snapshot`, `lists.compiler`), never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from mailmoat.file_changes import NONE, existing_stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


class MappedFile(Generic[T]):
    """The file at `path`, which need not exist yet; `open_` maps it, and raises OSError when it cannot be used."""

    def __init__(self, path: Path, open_: Callable[[str], T]) -> None:
        self._path, self._open = path, open_
        self._watchers: list[Callable[[T], None]] = []
        self.stamp = NONE
        """Of the file in force: another value when it was replaced."""
        self.value: T | None = None
        self.error: OSError | None = None
        """Why the file that is there now is not in force; None when it is."""
        self.refresh()

    def refresh(self) -> bool:
        """Map the file if it was replaced; return whether another one is in force."""
        try:
            stamp = existing_stamp(self._path)
            if stamp == self.stamp:
                self.error = None
                return False
            value = self._open(str(self._path))
        except OSError as error:
            self.error = error
            return False
        self.stamp, self.value, self.error = stamp, value, None
        for taken in self._watchers:
            taken(value)
        return True

    def watch(self, taken: Callable[[T], None]) -> None:
        """Call `taken` with what is in force, if there is anything, and with each value that comes into force."""
        self._watchers.append(taken)
        if self.value is not None:
            taken(self.value)
