"""The golden spools of older schemas as tests need them: a copy of their own, and what is in it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.listed import listed

ARRIVAL = 1_795_600_000_000
LATER = ARRIVAL + 900_000
ALICE = [("alice@example.test", "PENDING", "", ARRIVAL, 0)]
CAROL = [("carol@example.test", "PENDING", "", ARRIVAL, 0)]

Queued = dict[int, list[tuple[str, str, str, int, int]]]
"""Of each message, by its number: address, state, reply, due and attempts of its recipients."""


@dataclass(frozen=True)
class Golden:
    """One of the directories beside this file."""

    name: str
    tag: str
    queued: Queued

    def copy(self, spool: Path) -> Path:
        """The golden spool at `spool`; the path of its database."""
        shutil.copytree(Path(__file__).parent / self.name / "partitions", spool / "partitions")
        return self.database(spool)

    def database(self, spool: Path) -> Path:
        return spool / "partitions" / self.tag / "queue.db"

    def listed(self, spool: Path) -> Queued:
        """What the list shows, in the form of `queued`."""
        return {
            int(entry["queue_id"].removeprefix(self.tag)): [
                (one.address, one.state.name, one.reply, one.due, one.attempts) for one in entry["recipients"]
            ]
            for entry in listed(str(spool))
        }


SCHEMA_1 = Golden(
    "spool-1",
    "1m8a6fsk100qp8",
    {
        1: ALICE,
        2: ALICE,
        3: [("bob@example.test", "PENDING", "451 4.3.0 Try again later", LATER, 3)],
        4: [("gone@example.test", "FAILED", "550 5.1.1 User unknown", LATER, 1)],
        5: [
            ("fresh@example.test", "PENDING", "", LATER, 2),
            ("again@example.test", "PENDING", "450 4.2.0 Mailbox busy", LATER, 2),
            ("there@example.test", "DELIVERED", "250 2.0.0 ok", LATER, 2),
            ("gone@example.test", "FAILED", "550 5.1.1 User unknown", LATER, 2),
            ("told@example.test", "CLOSED", "550 5.1.1 User unknown", LATER, 2),
        ],
        6: [("δοκ@example.test", "PENDING", "", ARRIVAL, 0), *ALICE],
        7: [("gone@example.test", "FAILED", "550 5.1.1 User unknown", LATER, 1)],
        8: CAROL,
    },
)
SCHEMA_2 = Golden(
    "spool-2",
    "1m8b73vhfv7bhx",
    {
        1: ALICE,
        2: ALICE,
        3: [
            ("fresh@example.test", "PENDING", "", ARRIVAL, 0),
            ("again@example.test", "PENDING", "450 4.2.0 Mailbox busy", LATER, 2),
            ("there@example.test", "DELIVERED", "250 2.0.0 ok", LATER, 2),
            ("gone@example.test", "FAILED", "550 5.1.1 User unknown", LATER, 2),
            ("told@example.test", "CLOSED", "550 5.1.1 User unknown", LATER, 2),
        ],
        4: CAROL,
    },
)
