"""Standard input, output and error of the commands, wherever they are connected.

A closed stream is connected to /dev/null: otherwise the next file that is opened, perhaps the database of the spool, would get the output. Characters that an
ASCII stream cannot encode are no failure: rich's tables escape it, and click, which prints the rest, sends UTF-8. When the reader is gone (`| head`), a command ends silently; when the
disk of the output is full, with one line.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import NoReturn


def prepare() -> None:
    """Make the streams safe to print to; called before anything is opened."""
    _lead_somewhere()
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115 - it is there to the end
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        old = sys.stdout
        sys.stdout = _Output(
            old.detach(), encoding=old.encoding, errors="backslashreplace", line_buffering=old.line_buffering
        )


def finish() -> None:
    """Write out what is buffered, while it can still be said that this failed."""
    sys.stdout.flush()


def _lead_somewhere() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


class _Output(io.TextIOWrapper):
    """Standard output that ends the command when it cannot be written to."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            _give_up(error)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            _give_up(error)


def _give_up(error: OSError) -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered is written once more at the end
    if error.errno != errno.EPIPE:
        print(f"mailmoat: the output cannot be written: {error.strerror}", file=sys.stderr)
    raise SystemExit(1)
