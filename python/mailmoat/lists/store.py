"""Our own files of the lists: changed under a lock by one command at a time, whether a server runs or not.

Promises: a change is wholly there or not at all, also after a crash, and is on disk when `change` returns; killing a process in
between leaves the old list or the new one, and the next change or the server compiles it. Files belong to the owner of the spool
directory, so root may change them for the server. Blocks on the lock and on the disk. Raises ConfigError for a file with a mistake,
OSError.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from mailmoat import clock, files
from mailmoat._native import EntryList
from mailmoat.errors import ConfigError
from mailmoat.lists.compiler import Compiled, Report, compile_sources
from mailmoat.lists.sources import ListName, directory, snapshot, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mailmoat.settings import Settings

V = TypeVar("V")

LOCK_NAME: Final = "lock"
HEADERS: Final = {
    ListName.BLOCK: b"# Clients that are refused. Written by `mailmoat block`, which keeps no comment but the reason on the line of an entry.\n",
    ListName.ALLOW: b"# Clients that no filter judges. Written by `mailmoat allow`, which keeps no comment but the reason on the line of an entry.\n",
}


def change(
    settings: Settings, name: ListName, change: Callable[[EntryList], V], on_wait: Callable[[], None]
) -> tuple[V, Report]:
    """Change one of our lists, and put it in force. `on_wait` is called if another process has the lock."""
    path = directory(settings) / name
    with locked(settings, on_wait):
        _sweep(path)
        before = _octets(path)
        entries = _read(path, before)
        entries.remove_ended(clock.wall_ms() // 1000)
        result = change(entries)
        after = HEADERS[name] + entries.text()
        if after != before:
            with files.replacing(path) as file:
                file.write(after)
                _give(file.fileno(), directory(settings))
        return result, _compile_ours(settings)


@contextmanager
def locked(settings: Settings, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of the lists; their directory is made if it is not there. The spool directory must be."""
    where = directory(settings)
    if not where.is_dir():
        os.stat(settings.spool_dir)  # noqa: PTH116 - its error names the spool directory
        files.make_directory(where)
        _give_path(where, settings.spool_dir)
    descriptor = os.open(where / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _give(descriptor, settings.spool_dir)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _compile_ours(settings: Settings) -> Report:
    """Put our own lists in force. Files of the administrator are taken as they were: they may be unfinished, which the server finds out."""
    target = snapshot(settings)
    known = Compiled(target).sources()
    named = [source for source in sources(settings) if source.ours or (source.path, source.name) in known]
    return compile_sources(target, [(source, source.ours) for source in named])


def _octets(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _read(path: Path, octets: bytes) -> EntryList:
    entries = EntryList()
    entries.read(octets)
    if entries.problems:
        raise ConfigError([f"{path}: {problem}" for problem in entries.problems])
    return entries


def _sweep(path: Path) -> None:
    """Remove new files that killed processes left; nobody else writes one while the lock is held."""
    for left in path.parent.glob(f"{path.name}.*"):
        left.unlink()


def _give(descriptor: int, like: Path) -> None:
    """Give a file to the owner of a directory; only root has to."""
    owner = like.stat()
    if os.fstat(descriptor).st_uid != owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _give_path(path: Path, like: Path) -> None:
    owner = like.stat()
    if path.stat().st_uid != owner.st_uid:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
