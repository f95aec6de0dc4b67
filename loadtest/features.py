"""What limits, lists, reputation and filters cost a good message: servers with all of them, with the defaults and with none, side by side.

`python -m loadtest.features` measures this build; `--other PATH` measures the build of another checkout as well (`make .venv/.tested`
there first), with its defaults. All servers live at the same time and are measured in short turns, forwards and backwards, so that
whatever else the machine does meets all alike. Printed is the CPU time a message of each server's process tree (median), and its ratio to that
of the first server, taken within a round. Read the ratios. Nothing else should run; `--rounds` and `--count` make it longer.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtest import servers
from loadtest.compare import cases
from loadtest.processes import ROOT, Trouble, end_tidily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from loadtest.servers import Running

RATES: Final = ("CONNECTION", "MESSAGE", "RECIPIENT", "UNKNOWN_RECIPIENT", "NULL_SENDER", "AUTH_FAILURE")
PLENTY: Final = "999999999/min"
PREFIXES: Final = 200_000
SENDERS: Final = 100_000
BASE: Final = int(ip_address("11.0.0.0"))
SETTLE: Final = 0.3
"""Seconds after a round until its last messages are on disk."""

COMMON: Final = {"WORKERS": "1", "LISTEN_PROXY_NETWORKS": "", "TARPIT__TIME": "5", "TARPIT__MAX_SESSION": "300"}
"""No server in front: reputation is not recorded of one."""
DEFAULTS: Final = {"LIMITS__MESSAGE_RATE": PLENTY, "LIMITS__CONNECTIONS_PER_SOURCE": "100000"}
"""All clients are one source, so what it may do is raised."""
OFF: Final = {
    **{f"LIMITS__{name}_RATE": "off" for name in (*RATES, "BYTE")},
    "LIMITS__CONNECTIONS": "0",
    "LIMITS__CONNECTIONS_PER_SOURCE": "0",
    "LIMITS__CONNECTIONS_PER_SOURCE_PERCENT": "0",
    "REPUTATION__ACTION": "off",
    "REPUTATION__HARVEST": "0",
    "TARPIT__ESCALATE": "false",
    **{f"PRESSURE__{name}": "off" for name in ("DISK", "MEMORY", "QUEUE", "LAG")},
    **{f"HELO__{name}": "off" for name in ("OWN_NAME", "MALFORMED", "UNQUALIFIED", "LITERAL", "UNRESOLVABLE")},
    **{f"SENDER_FILTER__{name}": "off" for name in ("BLANK", "RESERVED_DOMAINS", "UNRESOLVABLE")},
}
ON: Final = {
    **{f"LIMITS__{name}_RATE": PLENTY for name in RATES},
    "LIMITS__BYTE_RATE": "900GiB/min",
    "LIMITS__CONNECTIONS": "100000",
    "LIMITS__CONNECTIONS_PER_SOURCE": "100000",
    "LIMITS__CONNECTIONS_PER_SOURCE_PERCENT": "2",
    "REPUTATION__ACTION": "reject",
    "REPUTATION__HARVEST": "50",
    "TARPIT__ESCALATE": "true",
    "TARPIT__ESCALATE_MAX": "30",
    "PRESSURE__DISK": "99.8,99.9,99.85,99.7",
    "PRESSURE__MEMORY": "72,75,73,71",
    "PRESSURE__QUEUE": "99999999,999999999,99999999,9999999",
    "PRESSURE__LAG": "20,50,20,10",
    **{f"HELO__{name}": "reject" for name in ("OWN_NAME", "MALFORMED", "UNQUALIFIED", "LITERAL")},
    "SENDER_FILTER__BLANK": "stamp",
}
MODES: Final[dict[str, Callable[[int, int], None]]] = {
    "new": cases.smtp_source,
    "reused": lambda port, count: cases.smtp_source(port, count, reuse=True),
    "pipelined": lambda port, count: cases.own_sender(port, count, mode="pipelined"),
}


@dataclass
class Plan:
    """A server to measure."""

    checkout: Path
    settings: Mapping[str, str]


def plans(directory: Path, other: Path | None) -> dict[str, Plan]:
    """Return the servers by name, the one that the others are compared with first; files that they read are made in the directory."""
    (directory / "block").write_text("\n".join(prefixes()))
    (directory / "senders").write_text("\n".join(senders()))
    files = {
        "LISTS__BLOCK_FILES": str(directory / "block"),
        "SENDER_FILTER__BLOCKED_FILE": str(directory / "senders"),
    }
    own = {"off": Plan(ROOT, OFF), "defaults": Plan(ROOT, DEFAULTS), "on": Plan(ROOT, ON | files)}
    return own if other is None else {"other": Plan(other.resolve(), DEFAULTS), **own}


def prefixes() -> Iterator[str]:
    """Yield the entries of a block list: addresses and networks, none of them our clients'."""
    for number in range(PREFIXES):
        yield f"{ip_address(BASE + 256 * number)}{'/24' if number % 2 else ''}"


def senders() -> Iterator[str]:
    """Yield blocked senders, and domains with all below them."""
    for number in range(SENDERS):
        yield f"spammer{number}@bulk{number % 5000}.example" if number % 10 else f".spam{number}.example"


@contextmanager
def started(plan: Plan, directory: Path) -> Iterator[Running]:
    """Start the server of a plan."""
    directory.mkdir()
    known = (plan.checkout / "docs" / "settings.md").read_text()
    wanted = {f"MAILMOAT_{name}": value for name, value in (COMMON | dict(plan.settings)).items()}
    # A setting that a build does not have is not set; those that every measurement sets are taken back.
    unknown = {f"MAILMOAT_{name}": "" for name in ("LIMITS__MESSAGE_RATE",)}
    extra = unknown | {name: value for name, value in wanted.items() if f"`{name}`" in known}
    running = servers.start_mailmoat(directory, servers.Setup(), extra, checkout=plan.checkout)
    try:
        yield running
    finally:
        running.stop()


def measure(running: Mapping[str, Running], mode: str, rounds: int, count: int) -> dict[str, list[float]]:
    """Send `count` messages to each server in turn, `rounds` times; return the microseconds of CPU a message, by server and round."""
    send = MODES[mode]
    costs: dict[str, list[float]] = {name: [] for name in running}
    for server in running.values():
        send(server.port, count // 3)
    for _ in range(rounds):
        for name in random.sample(sorted(running), len(running)):
            server = running[name]
            before = server.tree.cpu()
            send(server.port, count)
            time.sleep(SETTLE)
            costs[name].append((server.tree.cpu() - before) / count * 1e6)
    return costs


def report(mode: str, costs: Mapping[str, list[float]]) -> None:
    """Print a line for each server."""
    first = next(iter(costs))
    for name, spent in costs.items():
        ratios = sorted(mine / its for mine, its in zip(spent, costs[first], strict=True))
        quarter = len(ratios) // 4
        print(
            f"{mode:10} {name:9} {statistics.median(spent):7.1f} us a message, least {min(spent):7.1f}   {statistics.median(ratios):.3f} of "
            f"{first} (half of the rounds: {ratios[quarter]:.3f} to {ratios[-quarter - 1]:.3f}; by the least {min(spent) / min(costs[first]):.3f})",
            flush=True,
        )


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--other", type=Path, help="another checkout, built")
    parser.add_argument("--rounds", type=int, default=15, help="default 15")
    parser.add_argument("--count", type=int, default=3000, help="messages a round and server, default 3000")
    parser.add_argument("--modes", default=",".join(MODES), help=f"default {','.join(MODES)}")
    options = parser.parse_args()
    end_tidily()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailmoat-features-")))
        running = {
            name: stack.enter_context(started(plan, directory / name))
            for name, plan in plans(directory, options.other).items()
        }
        time.sleep(2)  # the lists are compiled and mapped
        for mode in options.modes.split(","):
            report(mode, measure(running, mode, options.rounds, options.count))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(str(trouble))
