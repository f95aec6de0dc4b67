"""The records of sources as one worker sees them, in the memory that all workers share.

A source is an IPv4 address or an IPv6 /64. What is recorded decays by half every 12 hours; `rust/machine/reputation.rs` has the formula of
the level. Sources that are trusted, and servers in front, are never recorded: what they hand on is the fault of others. Blocks begin here,
with bad evidence alone: a source whose block is over is blocked again when it does something bad again. Never raises, never waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat import clock, maillog
from mailmoat.events import Event
from mailmoat.metrics import Family, single
from mailmoat.net.address import Networks
from mailmoat.reputation import harvests
from mailmoat.reputation.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.metrics import Metrics
    from mailmoat.reputation.evidence import Reputation
    from mailmoat.settings import Settings

PARTS: Final = 64
"""Of one event, in which the shared memory counts."""
NEVER: Final = 10
"""A level that none reaches."""

NUMBERS: Final = {evidence: number for number, evidence in enumerate(Evidence)}
EVIDENCE: Final = Family(
    "mailmoat_reputation_evidence_total",
    "Evidence recorded for sources, by kind.",
    {"evidence": Evidence},
)
ACCEPTED: Final = NUMBERS[Evidence.ACCEPTED_MESSAGE]
ACCEPTED_ROW: Final = EVIDENCE[Evidence.ACCEPTED_MESSAGE]
BLOCKS: Final = single("mailmoat_reputation_blocks_total", "Sources blocked because of their reputation.")


def is_recorded(settings: Settings) -> bool:
    """Return whether anything uses the records."""
    return settings.reputation.action != "off" or bool(settings.reputation.harvest) or settings.tarpit.escalate


class Records:
    """What is remembered of sources; `judged` says whether an address is a stranger's."""

    def __init__(self, settings: Settings, metrics: Metrics, judged: Callable[[str], bool]) -> None:
        rules, smtp = settings.reputation, settings.smtp
        self._level = rules.block_level if rules.action == "reject" else NEVER
        self._time = round(rules.block_time)
        self._least = rules.harvest
        self._judged = judged
        front = [*smtp.xclient_networks, *smtp.xforward_networks, *settings.listen_proxy_networks]
        self._front = Networks(front) if front else ()
        self._metrics = metrics
        self._shared = metrics.shared

    def accepted(self, address: str, recipients: int) -> None:
        """See `Reputation.accepted`."""
        if not address or address in self._front:
            return
        self._shared.reputation_note(ACCEPTED, address, recipients, int(clock.monotonic()))
        self._metrics.add(ACCEPTED_ROW, recipients)

    def note(self, address: str, evidence: Evidence, count: int = 1) -> None:
        """See `Reputation.note`."""
        if not address or address in self._front or not self._judged(address):
            return
        now = int(clock.monotonic())
        level = self._shared.reputation_note(NUMBERS[evidence], address, count, now)
        self._metrics.add(EVIDENCE[evidence], count)
        self._judge(address, level, now)

    def level(self, address: str) -> int | None:
        """See `Reputation.level`."""
        return self._shared.reputation_level(address, int(clock.monotonic())) if address else None

    def blocks(self, address: str) -> bool:
        """Return whether the source of an address is blocked."""
        return self._shared.reputation_blocks(address, int(clock.monotonic()))

    def unknown(self, address: str, recipient: str, domain: str) -> None:
        """Record an unknown recipient, given by `Normalisation.key` and its domain, of a client that has not authenticated."""
        if not address or address in self._front or not self._judged(address):
            return
        now = int(clock.monotonic())
        guessed = self._shared.harvest_guess(address, recipient, domain, now, self._least)
        if guessed is None:
            return
        level, in_attack, began = guessed
        self._metrics.add(EVIDENCE[Evidence.UNKNOWN_RECIPIENT])
        if in_attack:
            self._metrics.add(EVIDENCE[Evidence.HARVEST])
        if began is not None:
            harvests.began(began, self._metrics)
        self._judge(address, level, now)

    def recipients(self, address: str) -> tuple[float, float]:
        """Return how many unknown and how many accepted recipients the source of an address has had, decayed."""
        unknown, accepted = self._shared.reputation_recipients(address, int(clock.monotonic()))
        return unknown / PARTS, accepted / PARTS

    def known(self, address: str) -> None:
        """Count a recipient that exists, for what is said of an attack."""
        self._shared.harvest_hit(address, int(clock.monotonic()))

    def _judge(self, address: str, level: int | None, now: int) -> None:
        if level is None or level < self._level or not self._shared.reputation_block(address, now, self._time):
            return
        self._metrics.add(BLOCKS)
        known = self._shared.reputation_of(address, now)
        if known is not None:
            source, counts, seconds, _ = known
            maillog.event(
                Event.SOURCE_BLOCKED, source=source, reputation=level, seconds=seconds, evidence=evidence_of(counts)
            )


def evidence_of(counts: list[int]) -> dict[str, float]:
    """Return the evidence there is by its name, in events, one decimal place."""
    shown = {evidence.value: round(count / PARTS, 1) for evidence, count in zip(Evidence, counts, strict=True)}
    return {name: count for name, count in shown.items() if count}


if TYPE_CHECKING:

    def _is_reputation(records: Records) -> Reputation:
        return records
