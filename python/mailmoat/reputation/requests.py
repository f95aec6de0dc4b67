"""What `mailmoat reputation` asks of a server that runs: to forget sources, and to save the records at once, so that they can be read.

A request is the file `<spool_dir>/reputation.request`. The command makes it and waits until it is gone; a worker that sees it, within a second,
renames it, so that no other takes it, does what it asks, and removes it. The work is done in a thread. A request that a killed process left is removed
by the next command, once nobody can wait for it any more, or at the next start. OSError on the side of the command: the spool cannot be used.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

import msgspec

from mailmoat import clock
from mailmoat.reputation import saved

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat._native import Shared
    from mailmoat.net.address import Network

NAME: Final = f"{saved.NAME}.request"
TAKEN: Final = f"{saved.NAME}.taken"
PATIENCE_MS: Final = 10_000
"""How long a command waits for its request."""


class Request(msgspec.Struct, frozen=True):
    """What is asked for, beside saving."""

    forget: str = ""
    """A prefix whose sources are forgotten; empty: none."""


ALL: Final = ("0.0.0.0/0", "::/0")


def overlapping(shared: Shared, network: Network, now: int) -> list[tuple[str, list[int], int, int | None]]:
    """Return the sources in a network, or of which it is a part: prefix, counts, seconds blocked, level."""
    return [row for row in shared.reputation_list(now) if _overlap(ip_network(row[0]), network)]


def forget(shared: Shared, network: Network, now: int) -> int:
    """Forget the sources in a network; return their number."""
    sources = [str(ip_network(row[0]).network_address) for row in overlapping(shared, network, now)]
    return sum(shared.reputation_reset(source) for source in sources)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def is_there(spool_dir: Path) -> bool:
    """Return whether there is a request; asked once a second, so it opens nothing."""
    return os.access(spool_dir / NAME, os.F_OK)


def answer(shared: Shared, spool_dir: Path, now: int) -> None:
    """Do what is asked, if no other worker does it."""
    taken = spool_dir / TAKEN
    with suppress(OSError, msgspec.MsgspecError, ValueError):
        (spool_dir / NAME).rename(taken)
        request = msgspec.json.decode(taken.read_bytes(), type=Request)
        if request.forget:
            forget(shared, ip_network(request.forget), now)
        saved.save(shared, spool_dir)
    taken.unlink(missing_ok=True)


def ask(spool_dir: Path, request: Request) -> bool:
    """Make a request; return False when another one is under way."""
    owner = spool_dir.stat()
    _remove_left(spool_dir)
    with tempfile.NamedTemporaryFile(prefix=f"{saved.NAME}.", dir=spool_dir) as file:
        file.write(msgspec.json.encode(request))
        file.flush()
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        if is_open(spool_dir):
            return False
        try:
            os.link(file.name, spool_dir / NAME)
        except FileExistsError:
            return False
    return True


def is_open(spool_dir: Path) -> bool:
    """Return whether a request is not answered yet."""
    return (spool_dir / NAME).exists() or (spool_dir / TAKEN).exists()


def _remove_left(spool_dir: Path) -> None:
    """Remove what was requested, or taken by a worker that is dead now, so long ago that nobody waits for it."""
    for name in (NAME, TAKEN):
        path = spool_dir / name
        with suppress(FileNotFoundError):
            if abs(clock.wall_ms() - path.stat().st_ctime_ns // 1_000_000) > PATIENCE_MS:
                path.unlink()
