"""Files and directories that are complete after a crash: replaced in one step, created with their entry on disk.

Whoever reads the target of `replace` or `replacing` finds the old content or the new one, at any moment. After a loss of power this
holds for `replacing` alone, and when its block has ended the new content is there to stay. The new file has an unpredictable name,
so that no link can wait there, and mode 0600. Blocks on the disk. Raises OSError: then the target is as it was, and the new file is gone.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from tempfile import _TemporaryFileWrapper as NewFile


def replace(target: Path, content: bytes) -> None:
    """Give `target` this content, whole or not at all; for what is made anew when it is lost, so nothing waits for the disk."""
    with _renamed(target, target.parent) as file:
        file.write(content)


@contextmanager
def replacing(target: Path, directory: Path | None = None) -> Iterator[NewFile[bytes]]:
    """Open a new file that becomes `target` when the block ends without an exception, and is then on disk.

    It is made in `directory`, on the file system of the target: that of the target unless given.
    """
    with _renamed(target, directory or target.parent) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    sync_directory(target.parent)


def make_directory(path: Path) -> None:
    """Make a directory and those above it that are missing, each with its entry on disk."""
    if path.is_dir():
        return
    make_directory(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Wait until the entries of a directory, such as a file's new name, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exposed(path: Path) -> str:
    """Return in words, with the fix, what every account can do with a file that is for ours alone; empty if nothing.

    By the modes of the file and of all directories above it; one that cannot be looked at is not exposed.
    """
    try:
        file = path.resolve(strict=True)
        mode = file.stat().st_mode
        can_enter = all(above.stat().st_mode & stat.S_IXOTH for above in file.parents)
    except OSError:
        return ""
    if can_enter and mode & (stat.S_IWOTH | stat.S_IROTH):
        return f"every account can {'change' if mode & stat.S_IWOTH else 'read'} it; chmod o= {path}"
    return ""


@contextmanager
def _renamed(target: Path, directory: Path) -> Iterator[NewFile[bytes]]:
    with tempfile.NamedTemporaryFile(prefix=f"{target.name}.", dir=directory, delete=False) as file:
        new = Path(file.name)
        try:
            yield file
            file.close()
            new.replace(target)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
