"""Where the log is, and its lines, oldest first: files (also of gzip, bzip2 and xz), standard input, the journal of systemd.

A source can be read several times. Whatever is not a line of the log, such as what another program wrote there, is left to the reader; a line that is
longer than any of ours comes in parts. Raises OSError when a file cannot be read or what is compressed is damaged, and LogError with a sentence for an administrator when no log is found.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zlib
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

UNIT: Final = "mailmoat.service"
STANDARD_INPUT: Final = "-"
MOST_LINE: Final = 1 << 16
"""Octets of a line; ours have 4,000 at most."""
_COMPRESSED: Final[dict[bytes, Callable[[IO[bytes]], IO[bytes]]]] = {
    b"\x1f\x8b": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast("IO[bytes]", bz2.BZ2File(file)),
    b"\xfd7zXZ": lambda file: cast("IO[bytes]", lzma.LZMAFile(file)),  # noqa: SIM115 - it ends with `file`
}
"""How a file is read that begins so."""
_SYSTEMD: Final = Path("/run/systemd/system")
"""Is there where systemd runs (sd_booted(3))."""


class LogError(Exception):
    """Why there is no log to read, for an administrator."""


class LogSource(Protocol):
    """Lines of a log."""

    @property
    def name(self) -> str:
        """Its name in the output of a command."""

    def lines(self) -> Iterator[bytes]:
        """Give the lines from the first one on."""


class LogFile:
    """A file, also one that logrotate has compressed."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def lines(self) -> Iterator[bytes]:
        """Give the lines; OSError when the file cannot be read."""
        with self._path.open("rb") as file:
            begin = file.read(max(map(len, _COMPRESSED)))
            file.seek(0)
            opened = next((open_(file) for mark, open_ in _COMPRESSED.items() if begin.startswith(mark)), file)
            try:
                yield from _lines(opened)
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise OSError(
                    errno.EIO, f"what is compressed is damaged or ends too soon ({error})", self.name
                ) from None


class StandardInput:
    """Standard input, kept in a file without a name so that it can be read again."""

    name = "standard input"

    def __init__(self) -> None:
        self._kept: IO[bytes] | None = None

    def lines(self) -> Iterator[bytes]:
        """Give the lines, once they have all come."""
        if self._kept is None:
            self._kept = tempfile.TemporaryFile()  # noqa: SIM115 - it ends with the command
            shutil.copyfileobj(sys.stdin.buffer, self._kept)
        self._kept.seek(0)
        yield from _lines(self._kept)


class Journal:
    """What a unit of systemd has written to the journal; `since` is a time as `journalctl --since` takes it."""

    def __init__(self, unit: str, since: str | None) -> None:
        self.name = f"the journal of {unit}"
        self._command = ["journalctl", "--unit", unit, "--output", "cat", "--quiet", "--no-pager"]
        if since is not None:
            self._command += ["--since", since]

    def lines(self) -> Iterator[bytes]:
        """Give the lines. LogError: journalctl fails."""
        with subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:  # noqa: S603 - our own words
            output, errors = cast("IO[bytes]", running.stdout), cast("IO[bytes]", running.stderr)
            yield from _lines(output)
            said = errors.read().decode(errors="replace").strip()
        if running.returncode != 0:
            raise LogError(f"{self.name} cannot be read: {said.splitlines()[-1] if said else 'journalctl failed'}")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(file.readline, MOST_LINE), b"")


def named(logs: Sequence[str], since: str | None) -> list[LogSource]:
    """Return the sources that were named on the command line: files, or `-`. LogError for `since`, which is for the journal."""
    if since is not None:
        raise LogError("--since is for the journal; a file is read whole")
    return [StandardInput() if log == STANDARD_INPUT else LogFile(Path(log)) for log in logs]


def of_server(pid: int | None, since: str | None) -> list[LogSource]:
    """Return where the server of this pid writes to, or, for None or 0, the journal if there is one. LogError: that is not known."""
    if not pid:
        if _has_journal():
            return [Journal(UNIT, since)]
        raise LogError(
            "no server runs here and there is no journal: name the log with --log FILE, or --log - for standard input"
        )
    output = Path(f"/proc/{pid}/fd/1")
    try:
        mode, target = output.stat().st_mode, str(output.readlink())
    except OSError:
        raise LogError(
            f"where the server (pid {pid}) writes its log cannot be seen: run this as root, or name it with --log FILE"
        ) from None
    if stat.S_ISREG(mode):
        return [
            LogFile(path)
            for path in (*rotated(Path(target)), output if target.endswith(" (deleted)") else Path(target))
        ]
    if stat.S_ISSOCK(mode) and _has_journal():
        return [Journal(_unit_of(pid), since)]
    what = "terminal" if stat.S_ISCHR(mode) else "program" if stat.S_ISFIFO(mode) else "place that cannot be read again"
    raise LogError(f"the server (pid {pid}) writes its log to a {what} ({target}): name a file with --log FILE")


def rotated(path: Path) -> list[Path]:
    """Return the older parts of a log file, the oldest first: `log.2.gz`, `log.1`, `log-20261125`."""
    older = re.compile(re.escape(path.name) + r"[.-]\d[\d.-]*(\.gz|\.bz2|\.xz)?")
    try:
        found = [
            (entry.stat().st_mtime_ns, Path(entry.path))
            for entry in os.scandir(path.parent)
            if older.fullmatch(entry.name)
        ]
    except OSError:
        return []
    return [path for _, path in sorted(found)]


def _has_journal() -> bool:
    return _SYSTEMD.is_dir() and shutil.which("journalctl") is not None


def _unit_of(pid: int) -> str:
    """Return the unit of systemd that a process is of."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return UNIT
    found = re.search(r"/([^/\n]+\.service)(/[^\n]*)?$", groups, re.MULTILINE)
    return found[1] if found else UNIT
