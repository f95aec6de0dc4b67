"""Many next hops, some of which are bad: `python -m loadtest.destinations [--mx] [--bad KIND=NUMBER ...]`.

How much slower do the others get their messages beside the bad ones than alone? The spool is filled without a server; then one worker
delivers. Each next hop has a domain and an address of its own. All are in a network namespace that has nothing but loopback, where nft
makes the bad ones bad, so this needs root. With `--mx` the addresses are found by MX records of a real name server. Rounds alternate which
of the two comes first; the result is the median of their ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.doubles.name_server import NameServer
from tests.namespace import alone

from loadtest.backlog import fill
from loadtest.processes import Trouble, end_tidily, free_port, wait_for
from loadtest.servers import Setup, metric, program, start_mailmoat
from loadtest.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SLOWNESS: Final = 5
"""Seconds that a slow next hop takes for each reply."""
DELIVERED: Final = 'mailmoat_delivery_attempts_total{outcome="delivered"}'
MEASURED: Final = 0.9
"""Share of the messages after which the clock is stopped; the last ones of a destination wait for nobody else."""


class Kind(StrEnum):
    """What a next hop is like."""

    WELL = "well"
    REFUSES = "refuses"
    """It refuses connections."""
    SILENT = "silent"
    """Nothing answers a SYN."""
    MUTE = "mute"
    """It accepts connections, and never says anything."""
    SLOW = "slow"
    """It takes some seconds for each reply."""
    UNNAMED = "unnamed"
    """Its name server does not answer; with `--mx` alone."""


NETWORKS: Final = {kind: f"127.{number}" for number, kind in enumerate(Kind, start=1)}
USUAL: Final = {Kind.REFUSES: 4, Kind.SILENT: 3, Kind.MUTE: 3, Kind.SLOW: 1}
USUAL_MX: Final = {Kind.REFUSES: 3, Kind.SILENT: 3, Kind.MUTE: 2, Kind.UNNAMED: 2, Kind.SLOW: 1}


@dataclass(frozen=True)
class Hops:
    """Next hops by their numbers."""

    kinds: tuple[Kind, ...]
    port: int
    names: NameServer | None
    """Where they are found; None: each domain has a route."""

    def address(self, number: int) -> str:
        """Return the address of a next hop; its network says what it is like."""
        return f"{NETWORKS[self.kinds[number]]}.{number // 250}.{number % 250 + 1}"

    def destination(self, number: int) -> str:
        """Return the name by which the spool remembers that a message was tried there."""
        return f"mx d{number}.test" if self.names else f"smtp://{self.address(number)}:{self.port}"

    def settings(self) -> dict[str, str]:
        """Return the settings of a server that delivers to them, by their environment names."""
        return {
            "MAILMOAT_LOG__LEVEL": "warning",
            "MAILMOAT_DELIVERY__TLS": "none",
            "MAILMOAT_DELIVERY__CONNECTIONS": "2",
            **(
                {
                    "MAILMOAT_DELIVERY__NEXT_HOP": "mx",
                    "MAILMOAT_DNS__SERVERS": self.names.address,
                    "MAILMOAT_MX__PORT_NUMBER": str(self.port),
                    "MAILMOAT_MX__IGNORED_NETWORKS": "203.0.113.0/24",
                }
                if self.names
                else {}
            ),
        }

    def routes(self) -> str:
        """Return the routes in the form of the settings' file."""
        if self.names:
            return ""
        rows = (
            f'[[routes]]\ndomains = "d{number}.test"\nnext_hop = "{self.destination(number)}"\n'
            for number in range(len(self.kinds))
        )
        return "\n".join(rows)

    def publish(self) -> None:
        """Put them into the name server."""
        if self.names is None:
            return
        for number, kind in enumerate(self.kinds):
            self.names.add(f"d{number}.test", "MX", (10, f"mx.d{number}.test"))
            self.names.add(f"mx.d{number}.test", "A", self.address(number))
            if kind is Kind.UNNAMED:
                self.names.set(f"d{number}.test", fault="drop")


@dataclass(frozen=True)
class Rate:
    """How fast messages were delivered."""

    per_second: float
    cpu_us: float
    """Microseconds of the server's processor time for each."""


def measure(directory: Path, hops: Hops, numbers: Sequence[int], each: int) -> Rate:
    """Return how fast the next hops that are well get their messages, when those with these numbers have `each` of them."""
    directory.mkdir()
    server = start_mailmoat(directory, Setup(workers=1), hops.settings(), hops.routes())
    server.stop()

    def of(count: int) -> int:
        return numbers[count % len(numbers)]

    goal = each * hops.kinds.count(Kind.WELL) * MEASURED
    fill(
        directory / "spool",
        each * len(numbers),
        1024,
        lambda count: f"d{of(count)}.test",
        lambda count: hops.destination(of(count)),
        wait=0,
    )
    server = start_mailmoat(directory, Setup(next_hop=hops.port, workers=1), hops.settings(), hops.routes())
    try:
        begun, spent = time.monotonic(), server.tree.cpu()
        wait_for(lambda: metric(server.admin, DELIVERED) >= goal, "end of the measurement", 600)
        delivered, taken = metric(server.admin, DELIVERED), time.monotonic() - begun
        return Rate(delivered / taken, (server.tree.cpu() - spent) / delivered * 1e6)
    finally:
        server.stop()


def compare(directory: Path, kinds: Sequence[Kind], each: int, rounds: int, *, mx: bool) -> dict[str, float]:
    """Return the rates of those that are well alone and beside the others, and their ratio."""
    with world(directory, kinds, mx=mx) as hops:
        everywhere = range(len(kinds))
        well = [number for number in everywhere if kinds[number] is Kind.WELL]
        found: dict[str, list[Rate]] = {"alone": [], "beside": []}
        for turn in range(rounds):
            runs = [("alone", well), ("beside", everywhere)]
            for name, numbers in runs if turn % 2 == 0 else reversed(runs):
                found[name].append(measure(directory / f"{name}{turn}", hops, numbers, each))
    pairs = list(zip(found["alone"], found["beside"], strict=True))
    return {
        "alone_per_s": round(statistics.median(one.per_second for one in found["alone"]), 1),
        "beside_per_s": round(statistics.median(one.per_second for one in found["beside"]), 1),
        "share": round(statistics.median(beside.per_second / one.per_second for one, beside in pairs), 3),
        "least_share": round(min(beside.per_second / one.per_second for one, beside in pairs), 3),
        "cpu_us_alone": round(statistics.median(one.cpu_us for one in found["alone"]), 1),
        "cpu_us_beside": round(statistics.median(one.cpu_us for one in found["beside"]), 1),
    }


@contextmanager
def world(directory: Path, kinds: Sequence[Kind], *, mx: bool) -> Iterator[Hops]:
    """Have these next hops in a network namespace, for this thread and what it starts."""
    if os.geteuid() != 0:
        raise Trouble("this needs root, who may make a network namespace")
    with ExitStack() as stack:
        stack.enter_context(alone())
        port, mute = free_port(), stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        hops = Hops(tuple(kinds), port, stack.enter_context(NameServer()) if mx else None)
        hops.publish()
        slow = Sink(free_port(), directory, *slow_options())
        stack.enter_context(Sink(port, directory))
        stack.enter_context(slow)
        _nft(port, mute.getsockname()[1], slow.port)
        yield hops


def slow_options() -> list[str]:
    """Return the options of a slow smtp-sink."""
    return [part for command in ("EHLO", "MAIL", "RCPT", "DATA", ".") for part in ("-W", f"{command}:{SLOWNESS}")]


def _nft(port: int, mute: int, slow: int) -> None:
    """Make the networks of the bad ones what they are."""
    program_ = program("nft")
    if program_ is None:
        raise Trouble("nft is missing: install nftables")
    rules = f"""
        table ip bad {{
          chain filtered {{
            type filter hook output priority 0
            ip daddr {NETWORKS[Kind.REFUSES]}.0.0/16 tcp dport {port} reject with tcp reset
            ip daddr {NETWORKS[Kind.SILENT]}.0.0/16 tcp dport {port} drop
          }}
          chain redirected {{
            type nat hook output priority -100
            ip daddr {NETWORKS[Kind.MUTE]}.0.0/16 tcp dport {port} redirect to :{mute}
            ip daddr {NETWORKS[Kind.SLOW]}.0.0/16 tcp dport {port} redirect to :{slow}
          }}
        }}
    """
    subprocess.run([program_, "-f", "-"], input=rules, text=True, check=True)


def kinds_of(destinations: int, bad: dict[Kind, int]) -> list[Kind]:
    """Return what each next hop is like, the bad ones first."""
    kinds = [kind for kind, number in bad.items() for _ in range(number)]
    return kinds + [Kind.WELL] * (destinations - len(kinds))


def _bad(written: str) -> tuple[Kind, int]:
    kind, _, number = written.partition("=")
    return Kind(kind), int(number)


def main() -> None:
    """Measure, and print one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--destinations", type=int, default=1000)
    options.add_argument("--each", type=int, default=30, help="messages for each of them")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--mx", action="store_true", help="find them by MX records")
    kinds = ", ".join(kind for kind in Kind if kind is not Kind.WELL)
    options.add_argument("--bad", nargs="*", type=_bad, metavar="KIND=NUMBER", help=f"bad ones: {kinds}")
    given = options.parse_args()
    end_tidily()
    bad = dict(given.bad) if given.bad is not None else USUAL_MX if given.mx else USUAL
    with tempfile.TemporaryDirectory(prefix="mailmoat-destinations-") as directory:
        hops = kinds_of(given.destinations, bad)
        print(json.dumps(compare(Path(directory), hops, given.each, given.rounds, mx=given.mx)))


if __name__ == "__main__":
    main()
