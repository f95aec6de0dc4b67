"""The account that a spool directory belongs to, as which root works on it.

So files that are made have the owner that the server needs, and a link that this account puts into its directory leads nowhere that it may not go itself.
"""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mailmoat.supervisor.preflight import acting_as
from mailmoat.supervisor.privileges import Account

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def as_owner(spool_dir: Path) -> Iterator[None]:
    """Work with the rights of the owner of the spool directory, for the moment. OSError when it is not there."""
    with acting_as(_owner(spool_dir)):
        yield


def _owner(spool_dir: Path) -> Account | None:
    """Return whom root becomes; None for everybody else, who can only be who they are."""
    status = spool_dir.stat()
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwuid(status.st_uid)
    except KeyError:
        return Account(str(status.st_uid), status.st_uid, status.st_gid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
