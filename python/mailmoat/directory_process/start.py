"""The start of the directory process. What only it needs is imported in it, so that neither the supervisor nor a worker loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.settings import Settings


def run(settings: Settings, *, ready: Callable[[], None], lifeline: int, changed: int) -> None:
    """Serve until a signal ends the process: see `process.run`."""
    from mailmoat.directory_process import process

    process.run(settings, ready=ready, lifeline=lifeline, changed=changed)
