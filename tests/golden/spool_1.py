"""The golden spool of schema 1 as tests need it: a copy of their own, and what is in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from mailmoat._native import list_spool

GOLDEN = Path(__file__).parent / "spool-1"
TAG = "1m8a6fsk100qp8"
ARRIVAL = 1_795_600_000_000
LATER = ARRIVAL + 900_000
QUEUED = {
    1: [("alice@example.test", "PENDING", "", ARRIVAL, 0)],
    2: [("alice@example.test", "PENDING", "", ARRIVAL, 0)],
    3: [("bob@example.test", "PENDING", "451 4.3.0 Try again later", LATER, 3)],
    4: [("gone@example.test", "FAILED", "550 5.1.1 User unknown", LATER, 1)],
    5: [
        ("fresh@example.test", "PENDING", "", LATER, 2),
        ("again@example.test", "PENDING", "450 4.2.0 Mailbox busy", LATER, 2),
        ("there@example.test", "DELIVERED", "250 2.0.0 ok", LATER, 2),
        ("gone@example.test", "FAILED", "550 5.1.1 User unknown", LATER, 2),
        ("told@example.test", "CLOSED", "550 5.1.1 User unknown", LATER, 2),
    ],
    6: [("δοκ@example.test", "PENDING", "", ARRIVAL, 0), ("alice@example.test", "PENDING", "", ARRIVAL, 0)],
    7: [("gone@example.test", "FAILED", "550 5.1.1 User unknown", LATER, 1)],
    8: [("carol@example.test", "PENDING", "", ARRIVAL, 0)],
}
"""Of each message, by its number: address, state, reply, due and attempts of its recipients."""


def copy(spool: Path) -> Path:
    """The golden spool at `spool`; the path of its database."""
    shutil.copytree(GOLDEN / "partitions", spool / "partitions")
    return database(spool)


def database(spool: Path) -> Path:
    return spool / "partitions" / TAG / "queue.db"


def listed(spool: Path) -> dict[int, list[tuple[str, str, str, int, int]]]:
    """What `list_spool` shows, in the form of `QUEUED`."""
    return {
        int(entry["queue_id"].removeprefix(TAG)): [
            (one.address, one.state.name, one.reply, one.due, one.attempts) for one in entry["recipients"]
        ]
        for entry in list_spool(str(spool))
    }
