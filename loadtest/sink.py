"""Postfix's smtp-sink at a port of all addresses of this host, as a context: next hops that take everything and keep nothing."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Self

from loadtest.processes import Trouble, greets, wait_for
from loadtest.servers import program

if TYPE_CHECKING:
    from pathlib import Path

SESSIONS = 4000
"""At the same time; more wait for their greeting."""


class Sink:
    """One smtp-sink. Trouble: it is not installed, or does not start."""

    def __init__(self, port: int, directory: Path, *options: str) -> None:
        self.port, self._options, self._directory = port, options, directory

    def __enter__(self) -> Self:
        found = program("smtp-sink")
        if found is None:
            raise Trouble("smtp-sink is missing: install postfix")
        account = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [found, *account, "-m", str(SESSIONS), *self._options, f"0.0.0.0:{self.port}", "4096"]
        self._process = subprocess.Popen(command, cwd=self._directory, stdout=subprocess.DEVNULL)
        wait_for(lambda: self._process.poll() is not None or greets(self.port), "smtp-sink")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
