"""Messages out of the queue into files, and back: to keep them, to look at them, to move them to another host.

Promises: an export changes nothing in the queue. An import puts all its messages into the queue or, whatever happens, none: they are stored in a partition
of their own, which appears in the spool complete, and which a worker takes over like that of one that is gone. What is outside the spool directory is read and written
with the rights of this process, what is in it with those of its owner. OSError and TransferError name the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from mailmoat import clock, files
from mailmoat._native import Message, Partition, queue_export
from mailmoat.queue_work.owner import as_owner
from mailmoat.runtime import command_notes
from mailmoat.runtime.actions import MOST_IDS
from mailmoat.runtime.command_notes import CommandNote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SUFFIX: Final = ".mailmoat"
_STAGING: Final = "transfer-"
_AT_ONCE: Final = 200
"""Messages that are handed to the disk together."""


class TransferError(Exception):
    """Why a file cannot be imported, for an administrator."""


@dataclass(slots=True)
class Exported:
    """What became of messages that were to be exported."""

    written: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Not, or no longer, in the queue."""
    damaged: dict[str, str] = field(default_factory=dict)
    """What is stored of them cannot be read, and why."""


def export(spool_dir: Path, directory: Path, queue_ids: Iterable[str], progress: Callable[[int], None]) -> Exported:
    """Write messages to files of this directory, each with its queue ID as name.

    FileExistsError: a file of that name is there. The directory is made if it is missing.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    exported = Exported()
    with _staging(spool_dir) as staging:
        for queue_id in queue_ids:
            try:
                done = _export(spool_dir, staging, queue_id, directory / f"{queue_id}{SUFFIX}")
                (exported.written if done else exported.gone).append(queue_id)
            except OSError as error:
                if error.errno is not None:
                    raise
                exported.damaged[queue_id] = str(error)  # what is stored of it, not a failure of the system
            progress(1)
    return exported


def import_(
    spool_dir: Path, paths: Iterable[Path], progress: Callable[[int], None], *, check: bool = False
) -> dict[str, str]:
    """Put the messages of files into the queue; return their queue IDs by the names of the files. `check`: only see whether it would work.

    TransferError: a file is none that was exported, or is damaged; then nothing was imported.
    """
    imported: dict[str, str] = {}
    with _staging(spool_dir) as staging:
        with as_owner(spool_dir):
            partition = Partition.create(str(staging))
        try:
            waiting = 0
            for path in paths:
                imported[str(path)] = _import(spool_dir, staging, partition, path)
                waiting += 1
                if waiting == _AT_ONCE:
                    waiting = _await(partition, waiting)
                progress(1)
            _await(partition, waiting)
        finally:
            with as_owner(spool_dir):
                partition.close()
        if imported and not check:
            with as_owner(spool_dir):
                _publish(spool_dir, staging, partition.tag)
                _note(spool_dir, list(imported.values()))
    return imported


def _note(spool_dir: Path, queue_ids: list[str]) -> None:
    """Leave notes for the log; where that fails, the messages are in the queue all the same."""
    now = clock.wall_ms()
    with suppress(OSError):
        for first in range(0, len(queue_ids), MOST_IDS):
            command_notes.leave(spool_dir, CommandNote(now, "import", "", tuple(queue_ids[first : first + MOST_IDS])))


def paths_of(named: Iterable[Path]) -> list[Path]:
    """Return the files that are named, and of a directory all that were exported into it. OSError when one is not there."""
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            found += sorted(path.glob(f"*{SUFFIX}"))
        else:
            path.stat()
            found.append(path)
    return found


def _export(spool_dir: Path, staging: Path, queue_id: str, target: Path) -> bool:
    """Copy by way of the staging directory, because the owner of the spool may not write to the target's."""
    with as_owner(spool_dir):
        staged = staging / "message"
        if not queue_export(str(spool_dir), queue_id, str(staged)):
            return False
        source = staged.open("rb")
        staged.unlink()
    with source:
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        with files.replacing(target) as file:
            shutil.copyfileobj(source, file)
    return True


def _import(spool_dir: Path, staging: Path, partition: Partition, path: Path) -> str:
    """Hand one message to the partition, and return its queue ID."""
    queue_id = partition.next_queue_id()
    with _opened(path) as source, as_owner(spool_dir):
        staged = staging / "message"
        with staged.open("xb") as file:
            shutil.copyfileobj(source, file)
        try:
            message = Message.imported(str(staged), queue_id, partition.incoming_dir)
        except ValueError as error:
            raise TransferError(f"{path}: {error}; nothing was imported") from None
        finally:
            staged.unlink()
        partition.insert(str(path), message)
    return queue_id


def _opened(path: Path) -> IO[bytes]:
    """Open a file. TransferError: it is a device or a pipe, which may never end."""
    file = os.fdopen(
        os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb"
    )  # a pipe would wait for who writes
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise TransferError(f"{path}: it is not a file; nothing was imported")


def _await(partition: Partition, number: int) -> int:
    """Wait for so many messages to be on disk; 0 wait then. TransferError when one cannot be."""
    while number:
        select.select([partition.descriptor], [], [])
        for waiter, error, _ in partition.completions():
            number -= 1
            if error is not None:
                raise TransferError(f"{waiter}: {error}; nothing was imported")
    return number


def _publish(spool_dir: Path, staging: Path, tag: str) -> None:
    """Move the partition to the others, whole."""
    partitions = spool_dir / "partitions"
    files.make_directory(partitions)
    (staging / "partitions" / tag).rename(partitions / tag)
    files.sync_directory(partitions)


@contextmanager
def _staging(spool_dir: Path) -> Iterator[Path]:
    """Give a directory below the spool directory, of its owner, for the moment; remove those that killed commands have left."""
    with as_owner(spool_dir):
        for left in spool_dir.glob(f"{_STAGING}*"):
            _sweep(left)
        path, lock = _make_staging(spool_dir)
    try:
        yield path
    finally:
        with as_owner(spool_dir):
            shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _make_staging(spool_dir: Path) -> tuple[Path, int]:
    """Return a new directory and a descriptor that locks it."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_STAGING, dir=spool_dir))
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path, lock
        os.close(lock)  # swept by another command before it was locked


def _sweep(left: Path) -> None:
    """Remove a directory whose command does not live any more."""
    try:
        lock = os.open(left, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
    except OSError:
        pass
    finally:
        os.close(lock)
