"""Whether a flood was withstood: by the log, by what the next hop was given, and by what the commands and the metrics say of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from loadtest.ndr_flood.mails import GOOD_EACH, SIDES, good_senders
from loadtest.processes import ROOT
from loadtest.servers import KNOWN
from mailmoat.settings.sections.ndr import NdrSettings

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.ndr_flood.sending import Run
    from mailmoat.settings.rate import Rate

WARM, GROWTH = 0.1, 0.15
"""After what share of the messages a worker has what it needs, and by what share of that it may have grown at the end."""
WARMED = 5_000
"""Messages it takes until then at least: memory is not judged in a shorter flood."""
DEFAULTS = NdrSettings()


class Verdict(NamedTuple):
    """One promise."""

    kept: bool
    what: str

    def line(self) -> str:
        """Return it for a person."""
        return f"{'ok ' if self.kept else 'NOT'} {self.what}"


@dataclass
class Logged:
    """What the log says."""

    accepted: set[str] = field(default_factory=set)
    """Messages that a client brought."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Bounces that were not sent."""
    told: set[str] = field(default_factory=set)
    """Messages about which there was a bounce, or none with a reason."""
    delivered: set[str] = field(default_factory=set)
    """Messages that a next hop took."""
    twice: int = 0
    """Messages about which something was said twice."""
    held: int = 0
    """Bounces that waited for another one to the same address."""
    began: list[dict[str, Any]] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)


def read(log: Path) -> Logged:
    """Read the log of a server."""
    found = Logged()
    with log.open("rb") as lines:
        for line in lines:
            if b'"event":"bounce-' in line:
                _bounce(found, msgspec.json.decode(line))
            elif b'"event":"message-accepted"' in line:
                found.accepted.add(msgspec.json.decode(line)["queue_id"])
            elif b'"event":"delivery-attempt"' in line:
                attempt = msgspec.json.decode(line)
                if all(outcome["outcome"] == "delivered" for outcome in attempt["outcomes"]):
                    found.delivered.add(attempt["queue_id"])
    return found


def _bounce(found: Logged, event: dict[str, Any]) -> None:
    match event["event"]:
        case "bounce-made" | "bounce-suppressed":
            found.twice += event["about"] in found.told
            found.told.add(event["about"])
            if event["event"] == "bounce-suppressed":
                found.reasons[event["reason"]] += 1
        case "bounce-held":
            found.held += 1
        case "bounce-flood-began":
            found.began.append(event)
        case "bounce-flood-ended":
            found.ended.append(event)


def judge(run: Run, log: Path, *, until_over: bool) -> list[Verdict]:
    """Return what was promised, and whether it was kept."""
    logged = read(log)
    return [
        *_ends(run, logged),
        *_budgets(run),
        *_good(run),
        *_alarm(run, logged, until_over=until_over),
        *_memory(run),
        *_visible(run, logged, log),
    ]


def _ends(run: Run, logged: Logged) -> list[Verdict]:
    lost = logged.accepted - logged.told - logged.delivered
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in logged.reasons.most_common())
    return [
        Verdict(
            len(logged.accepted) == run.accepted,
            f"{run.accepted:,} messages got 250, {len(logged.accepted):,} by the log",
        ),
        Verdict(not lost, f"{len(lost)} of them without an end"),
        Verdict(not logged.twice, f"{logged.twice} messages with two ends"),
        Verdict(bool(logged.reasons), f"{logged.held:,} bounces held; not sent: {reasons}"),
    ]


def _budgets(run: Run) -> list[Verdict]:
    outside = {to: count for to, count in run.hop.reports.items() if "@victim" in to}
    domains: Counter[str] = Counter()
    for address, count in outside.items():
        domains[address.rpartition("@")[2]] += count
    new = sum(run.hop.reports[address] for address in good_senders("new"))
    return [
        _within("one address", max(outside.values(), default=0), DEFAULTS.per_address, run.seconds),
        _within("one domain", max(domains.values(), default=0), DEFAULTS.per_domain, run.seconds),
        _within(
            f"all unknown senders ({len(outside)} of the victims)",
            sum(outside.values()) + new,
            DEFAULTS.total,
            run.seconds,
        ),
    ]


def _within(whom: str, sent: int, rate: Rate | None, seconds: float) -> Verdict:
    if rate is None:
        return Verdict(kept=False, what=f"bounces to {whom} have no budget")
    most = rate.burst + int(rate.count * seconds / rate.seconds) + 1
    return Verdict(sent <= most, f"{sent} bounces to {whom}, at most {most} in {seconds:.0f} s")


def _good(run: Run) -> list[Verdict]:
    verdicts = []
    for side in SIDES:
        counts = Counter(run.hop.reports[address] for address in good_senders(side))
        verdicts.append(
            Verdict(
                counts.keys() == {1},
                f"bounces to good senders ({side}): {counts[0]} got none, {counts[1]} one, {counts.total() - counts[0] - counts[1]} more",
            )
        )
    good = -(-run.forged // GOOD_EACH)
    taken = run.hop.taken[KNOWN]
    return [*verdicts, Verdict(taken == good, f"{taken} of {good} messages to a known recipient arrived")]


def _alarm(run: Run, logged: Logged, *, until_over: bool) -> list[Verdict]:
    began = [event["side"] for event in logged.began]
    health = f"{run.during['status']}, bounces {run.during['bounces']}"
    verdicts = [
        Verdict(began == ["outside"], f"flood began: {began}"),
        Verdict(run.during["bounces"] == "flood" and run.flooded > 0, f"health meanwhile: {health}"),
    ]
    if until_over:
        withheld = sum(count for reason, count in logged.reasons.items() if reason.endswith("-budget"))
        ends = [(event["side"], event["withheld"]) for event in logged.ended]
        seconds = [event["duration"] for event in logged.ended]
        verdicts.append(
            Verdict(ends == [("outside", withheld)], f"flood ended: {ends} after {seconds} s; {withheld:,} by the log")
        )
    return verdicts


def _memory(run: Run) -> list[Verdict]:
    if run.forged * WARM < WARMED:
        return []
    warm = next(seen for seen in run.seen if seen.share >= WARM)
    pairs = list(zip(warm.memory, run.seen[-1].memory, strict=True))
    most = max(now.own / before.own - 1 for before, now in pairs)
    whole = max(now.rss / before.rss - 1 for before, now in pairs)
    return [
        Verdict(most <= GROWTH, f"memory of a worker since a tenth of the messages: own {most:+.1%}, RSS {whole:+.1%}")
    ]


def _visible(run: Run, logged: Logged, log: Path) -> list[Verdict]:
    suppressed = logged.reasons.total()
    counted = _said("queue", "log", log, "--counts")["reasons"]
    listed = _said("queue", "log", log, "--limit", str(suppressed * 3))
    shown = sum(event["event"] == "bounce-suppressed" for event in listed)
    return [
        Verdict(
            run.suppressed == suppressed, f"{run.suppressed:,.0f} not sent by the metrics, {suppressed:,} by the log"
        ),
        Verdict(counted == dict(logged.reasons), f"{sum(counted.values()):,} by `mailmoat queue log --counts`"),
        Verdict(shown == suppressed, f"{shown:,} by `mailmoat queue log`"),
    ]


def _said(*words: str | Path) -> Any:
    log = next(word for word in words if not isinstance(word, str))
    command = [str(word) for word in words if word is not log]
    asked = subprocess.run(
        [sys.executable, "-m", "mailmoat", *command, "--json", "--log", str(log)],
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(asked.stdout)
