"""How many good lookups fail while questions for dead zones fill what may be on its way: a program, `python -m tests.dns_flood [RUNS]`.

Sixteen zones do not answer; 192 clients ask for eight names in one of them at a time, without end. Meanwhile 65 other clients ask for
one name each, which is answered at once. Each failure would be a TempError of Sender ID. On loopback alone; a run takes 15 s.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from dataclasses import dataclass

from tests.doubles.name_server import NameServer

from mailmoat.resolver import Budget, Failed
from mailmoat.resolver.resolver import DnsResolver
from mailmoat.settings.sections.dns import DnsSettings

GOOD, DEAD_ZONES, CLIENTS, AT_A_TIME = 65, 16, 12, 8
FILLED = 3.0
"""Seconds until the flood has filled what it can."""
PAUSE = 0.1


@dataclass
class Outcome:
    """What became of the good lookups."""

    failed: int = 0
    slowest: float = 0.0
    in_flight: int = 0


def budget(client: str) -> Budget:
    """What a message may ask by default."""
    defaults = DnsSettings()
    return Budget(defaults.budget_queries, defaults.budget_time, client)


async def flood(resolver: DnsResolver, zone: int, client: int) -> None:
    """Ask for names of a dead zone until it is cancelled."""
    for message in itertools.count():
        asked = budget(f"10.{zone}.{client}.1")
        names = (f"n{message}-{name}-{client}.dead{zone}.test" for name in range(AT_A_TIME))
        await asyncio.gather(*(resolver.query(name, "TXT", asked) for name in names))
        await asyncio.sleep(0)


async def measure(address: str) -> Outcome:
    """Count the good lookups that fail beside the flood."""
    resolver, outcome = DnsResolver(DnsSettings(servers=address)), Outcome()
    floods = [
        asyncio.create_task(flood(resolver, zone, client)) for zone in range(DEAD_ZONES) for client in range(CLIENTS)
    ]
    await asyncio.sleep(FILLED)
    for number in range(GOOD):
        began = time.monotonic()
        answer = await resolver.query(f"good{number}.test", "TXT", budget(f"192.0.2.{number}"))
        outcome.slowest = max(outcome.slowest, time.monotonic() - began)
        outcome.failed += isinstance(answer, Failed)
        outcome.in_flight = max(outcome.in_flight, len(resolver._in_flight))
        await asyncio.sleep(PAUSE)
    for task in floods:
        task.cancel()
    await asyncio.gather(*floods, return_exceptions=True)
    await resolver.close()
    return outcome


def main(runs: int) -> None:
    """Print one line for each run."""
    zones = {f"good{number}.test": {"TXT": ["v=spf1 -all"]} for number in range(GOOD)}
    for run in range(1, runs + 1):
        with NameServer(zones) as server:
            for zone in range(DEAD_ZONES):
                server.set(f"dead{zone}.test", fault="drop")
            found = asyncio.run(measure(server.address))
        print(f"run {run}: {found.failed} of {GOOD} failed, slowest {found.slowest:.2f} s, {found.in_flight} in flight")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
