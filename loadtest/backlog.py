"""A long queue: `python -m loadtest.backlog [--messages 1000000]`. Many next hops: `loadtest/destinations.py`.

The spool is filled without a server. Then one worker starts with a next hop that is down, and it is measured what each message that waits costs
in memory, how long the start takes until clients are greeted and until everything is in the schedule, what the queue costs
while nothing can be delivered, and how long an administrator waits for commands, metrics and health. Then the next hop is there: how fast
does the queue get empty, compared with fresh messages that are accepted and delivered at once?
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtest.processes import Tree, Trouble, end_tidily, free_port, wait_for
from loadtest.servers import DOMAIN, KNOWN, Setup, program, start_mailmoat
from loadtest.sink import Sink
from mailmoat import _native

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.servers import Running

AT_ONCE: Final = 2000
"""Messages given to a spool before they are waited for."""
COMMANDS: Final = ("queue stats", "queue list --limit 20", "queue top --once", "status")
PAGES: Final = ("metrics", "healthz")
LOOKS: Final = 3
"""Each is asked for so often; the least time counts."""


def fill(
    spool: Path,
    messages: int,
    size: int,
    domain_of: Callable[[int], str],
    attempted: Callable[[int], str],
    *,
    wait: int,
) -> None:
    """Put messages into a new partition: one attempt was made at a next hop, and the next is due in `wait` milliseconds."""
    partition = _native.Partition.create(str(spool))
    content = b"Subject: queued\r\n\r\n" + (b"x" * 70 + b"\r\n") * (size // 72)
    now = int(time.time() * 1000)
    for first in range(0, messages, AT_ONCE):
        number = min(AT_ONCE, messages - first)
        for count in range(first, first + number):
            queue_id = partition.next_queue_id()
            recipients = [f"alice@{domain_of(count)}"]
            message = _native.Message(
                queue_id=queue_id, arrival=now, reverse_path="", recipients=recipients, content=content
            )
            partition.insert(object(), message)
            outcome = _native.Outcome(0, _native.RecipientState.PENDING, "421 4.4.1 No connection")
            due, next_hop = now + wait, attempted(count)
            partition.settle(None, queue_id, [outcome], due=due, attempts=1, next_hop=next_hop)
        done = 0
        while done < number:
            done += len(partition.completions())
            time.sleep(0.001)
    partition.close()


def rate_of(server: Running, goal: int, seconds: float = 3600) -> float:
    """Return messages a second until the queue has come down to a number of messages."""
    begun, first = time.monotonic(), server.queued()
    wait_for(lambda: server.queued() <= goal, f"queue of {goal}", seconds)
    return (first - goal) / (time.monotonic() - begun)


def rss(server: Running) -> int:
    """Return the octets of memory that its processes do not share."""
    return server.tree.memory().pss


def beside_worker(server: Running) -> int:
    """Return the octets of memory of the other processes of a server with one worker, which is the largest of them."""
    _, *below = server.tree.pids()
    return rss(server) - max(Tree(pid).memory().pss for pid in below)


def looks(server: Running) -> dict[str, float]:
    """Return the seconds that an administrator waits for commands, metrics and health, and the processor time of the commands."""
    found: dict[str, float] = {}
    for command in COMMANDS:
        name = command.partition(" --")[0].replace(" ", "_")
        times = [_command(server, command.split()) for _ in range(LOOKS)]
        found[f"{name}_s"], found[f"{name}_cpu_s"] = (round(min(each), 2) for each in zip(*times, strict=True))
    for page in PAGES:
        found[f"{page}_s"] = round(min(_page(server, page) for _ in range(LOOKS)), 3)
    return found


def _command(server: Running, words: list[str]) -> tuple[float, float]:
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "mailmoat", *words], env=server.environment, stdout=subprocess.DEVNULL, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.monotonic() - begun, cpu


def _page(server: Running, name: str) -> float:
    begun = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/{name}", timeout=30) as page:
        page.read()
    return time.monotonic() - begun


def outage(directory: Path, messages: int, size: int, idle: float) -> dict[str, float]:
    """Measure a queue to one next hop that is down at first, and what it costs in so many seconds."""
    spool, port = directory / "spool", free_port()
    next_hop = f"smtp://127.0.0.1:{port}"
    setup = Setup(next_hop=port, workers=1)
    quiet = {"MAILMOAT_LOG__LEVEL": "warning", "MAILMOAT_DELIVERY__TLS": "none"}
    server = start_mailmoat(directory, setup, quiet)
    server.tree.settle(share=0.05)
    empty, others = rss(server), beside_worker(server)
    server.stop()
    fill(spool, messages, size, lambda _: DOMAIN, lambda _: next_hop, wait=600_000)
    begun = time.monotonic()
    server = start_mailmoat(directory, setup, quiet)
    found: dict[str, float] = {"messages": messages, "greeting_s": round(time.monotonic() - begun, 2)}
    try:
        wait_for(lambda: server.queued() >= messages, "the queue", 120)
        found["adopted_s"] = round(time.monotonic() - begun, 2)
        found["start_cpu_s"] = round(server.tree.settle(share=0.05), 2)
        found["settled_s"] = round(time.monotonic() - begun, 2)
        found["octets_each"] = round((rss(server) - empty) / messages, 1)
        found["other_processes_octets"] = beside_worker(server) - others
        found |= looks(server)
        before, since = server.tree.cpu(), time.monotonic()
        time.sleep(idle)
        found["cpu_idle_percent"] = round((server.tree.cpu() - before) / (time.monotonic() - since) * 100, 2)
        with Sink(port, directory):
            found |= drained(server, messages)
            found["fresh_per_s"] = round(fresh(server, directory, max(messages // 20, 5000)), 1)
            found["left_octets"] = rss(server) - empty
    finally:
        server.stop()
    return found


def drained(server: Running, messages: int) -> dict[str, float]:
    """Return how fast the queue gets empty, and what each message costs, when the next hop is back."""
    wait_for(lambda: server.queued() < messages, "end of the outage", 60)
    found: dict[str, float] = {}
    spent, part = server.tree.cpu(), messages // 10
    found["first_tenth_per_s"] = round(rate_of(server, messages - part), 1)
    found["first_tenth_us"] = round((server.tree.cpu() - spent) / part * 1e6, 1)
    found["rest_per_s"] = round(rate_of(server, part), 1)
    spent = server.tree.cpu()
    found["last_tenth_per_s"] = round(rate_of(server, 0), 1)
    found["last_tenth_us"] = round((server.tree.cpu() - spent) / part * 1e6, 1)
    return found


def fresh(server: Running, directory: Path, messages: int) -> float:
    """Return messages a second that are accepted and delivered at once."""
    source = program("smtp-source")
    if source is None:
        raise Trouble("smtp-source is missing: install postfix")
    command = [source, "-s", "20", "-d", "-m", str(messages), "-l", "1024", "-f", "s@good.test", "-t", KNOWN]
    begun = time.monotonic()
    subprocess.run([*command, f"127.0.0.1:{server.port}"], check=True, cwd=directory)
    wait_for(lambda: server.queued() == 0, "empty queue", 600)
    return messages / (time.monotonic() - begun)


def main() -> None:
    """Measure, and print one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=1_000_000)
    options.add_argument("--size", type=int, default=1024, help="octets of a message")
    options.add_argument("--idle", type=float, default=20, help="seconds for which the queue's cost is measured")
    given = options.parse_args()
    end_tidily()
    with tempfile.TemporaryDirectory(prefix="mailmoat-backlog-") as directory:
        print(json.dumps(outage(Path(directory), given.messages, given.size, given.idle)))


if __name__ == "__main__":
    main()
