"""A live source as it is asked: with its settings."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailmoat._native import Address
    from mailmoat.directory.source import LiveAnswer, LiveSource
    from mailmoat.settings.sections.directories import SourceSettings


def _no_others(_address: Address) -> tuple[Address, ...]:
    return ()


def _as_it_is(_address: Address, target: str) -> str:
    return target


def _one_upstream(_address: Address) -> str:
    return ""


def _all_room(_upstream: str) -> int:
    return sys.maxsize


@runtime_checkable
class Refutable(Protocol):
    """A source whose answers a later refusal of a message can prove wrong."""

    def refused_late(self, address: Address, reply: str) -> bool:
        """Take the reply with which a next hop has refused a message for an address that the source has; return whether it has to be asked again."""


@dataclass(frozen=True)
class LiveRow:
    """A live source, and its row of the settings, merged with `[directory]`."""

    settings: SourceSettings
    source: LiveSource
    key: Callable[[Address], str] = attrgetter("key")
    """What all spellings of a mailbox have in common."""
    others: Callable[[Address], Sequence[Address]] = _no_others
    """Addresses that exist in the place of one that the source does not have, if it has them; none = only the source itself can say."""
    handed_on: Callable[[Address, str], str] = _as_it_is
    """What a target of one of these others is for a subaddress: the same with its detail, or as it is."""
    upstream_of: Callable[[Address], str] = _one_upstream
    """Which of its servers an address is asked for at, where it has different ones: an outage of one says nothing of the others."""
    room_of: Callable[[str], int] = _all_room
    """How many lookups one of its servers takes at the same time, where that is less than `concurrency`."""
    answer_time: float = 0.0
    """Seconds after which a lookup is given up that goes on without anybody who waits, for its answer to be kept; `timeout` where that is longer."""

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.settings.name

    @property
    def accepts_unknown(self) -> bool:
        """Whether an address counts as existing where this source does not answer and no other one has it."""
        return self.settings.when_stale == "accept"

    def answer_of(
        self, other: Address, address: Address, before: LiveAnswer, answer: LiveAnswer | None
    ) -> LiveAnswer | None:
        """Return what follows for an address from the answer before and that about one of its others: the detail of a subaddress goes on to the targets."""
        if answer is not None and answer.whole_domain and before.whole_domain:
            return before  # the entry for the whole domain has both
        if answer is None or not answer.targets or self.key(other) == self.key(address):
            return answer
        return answer._replace(targets=tuple(self.handed_on(address, target) for target in answer.targets))
