"""The keys of bounce address tags, in `bounce-tags.key` below the spool: made once, and a new one after the time that is set.

All workers of a server use the same file; who finds the newest key too old adds one, under a lock. A key stays as long as a tag made with it may
hold. One line a key: number, the day on which it was made, its octets in hexadecimal digits. Blocks on the disk. Raises OSError, and
ConfigError for a file that is not one.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mailmoat import files
from mailmoat.bounce_tags.tag import LONGEST, Key
from mailmoat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME: Final = "bounce-tags.key"
LOCK_NAME: Final = f"{NAME}.lock"
LENGTH: Final = 32
"""Octets of a key."""
NUMBERS: Final = 10


def keys(spool_dir: Path, today: int, rotate_days: int) -> tuple[Key, ...]:
    """Return the keys, the newest first; it is made by this call where there is none that is new enough. `today`: days since the epoch."""
    path = spool_dir / NAME
    found = read(path)
    if found and today - found[0].made < rotate_days:
        return found
    with _locked(spool_dir / LOCK_NAME):
        found = read(path)
        if found and today - found[0].made < rotate_days:
            return found
        number = (found[0].number + 1) % NUMBERS if found else 0
        kept = tuple(key for key in found if today - key.made < rotate_days + LONGEST and key.number != number)
        found = (Key(number, today, os.urandom(LENGTH)), *kept)
        with files.replacing(path) as file:
            file.write("".join(f"{key.number} {key.made} {key.octets.hex()}\n" for key in found).encode("ascii"))
    return found


def read(path: Path) -> tuple[Key, ...]:
    """Return the keys in a file, the newest first; none when there is no file."""
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError:
        raise _damaged(path) from None
    found = tuple(_key(path, line) for line in text.splitlines())
    if not found:
        raise _damaged(path)
    return found


def _key(path: Path, line: str) -> Key:
    try:
        number, made, octets = line.split()
        key = Key(int(number), int(made), bytes.fromhex(octets))
    except ValueError:
        raise _damaged(path) from None
    if not 0 <= key.number < NUMBERS or len(key.octets) != LENGTH:
        raise _damaged(path)
    return key


def _damaged(path: Path) -> ConfigError:
    return ConfigError(
        [f"{path}: not a file of keys; remove it, and a new one is made: tags made before are worth nothing then"]
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
