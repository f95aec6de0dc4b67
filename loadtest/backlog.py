"""A long queue: `python -m loadtest.backlog [--messages 1000000]`, and `--destinations 1000` for many next hops.

The spool is filled without a server. Then one worker starts with a next hop that is down, and it is measured what each message that waits costs
in memory, how long the start takes until clients are greeted and until everything is in the schedule, and what the queue costs
while nothing can be delivered. Then the next hop is there: how fast does the queue get empty, compared with fresh messages that are
accepted and delivered at once?

With `--destinations`, each next hop is an address of 127/8 with a domain of its own, and some are down or slow: how much slower do the
others get their messages than when all are well?
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.processes import Trouble, end_tidily, free_port, wait_for
from loadtest.servers import DOMAIN, KNOWN, Setup, program, start_mailmoat
from mailmoat import _native

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.servers import Running

DEAD, SLOW = 10, 1
"""Next hops of many that are down, and slow ones."""
SLOWNESS = 5
"""Seconds that a slow one takes for each reply."""
AT_ONCE = 2000
"""Messages given to a spool before they are waited for."""


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


def outage(directory: Path, messages: int, size: int) -> dict[str, float]:
    """Measure a queue to one next hop that is down at first."""
    spool, port = directory / "spool", free_port()
    next_hop = f"smtp://127.0.0.1:{port}"
    setup = Setup(next_hop=port, workers=1)
    quiet = {"MAILMOAT_LOG__LEVEL": "warning", "MAILMOAT_DELIVERY__TLS": "none"}
    server = start_mailmoat(directory, setup, quiet)
    server.tree.settle(share=0.05)
    empty = rss(server)
    server.stop()
    fill(spool, messages, size, lambda _: DOMAIN, lambda _: next_hop, wait=600_000)
    found: dict[str, float] = {"messages": messages}
    begun = time.monotonic()
    server = start_mailmoat(directory, setup, quiet)
    try:
        found["greeting_s"] = round(time.monotonic() - begun, 2)
        wait_for(lambda: server.queued() >= messages, "the queue", 120)
        found["adopted_s"] = round(time.monotonic() - begun, 2)
        server.tree.settle(share=0.05)
        found["settled_s"] = round(time.monotonic() - begun, 2)
        found["octets_each"] = round((rss(server) - empty) / messages, 1)
        before, since = server.tree.cpu(), time.monotonic()
        time.sleep(20)
        found["cpu_idle_percent"] = round((server.tree.cpu() - before) / (time.monotonic() - since) * 100, 2)
        with sink(port, directory):
            wait_for(lambda: server.queued() < messages, "end of the outage", 60)
            spent = server.tree.cpu()
            part = messages // 10
            found["first_tenth_per_s"] = round(rate_of(server, messages - part), 1)
            found["first_tenth_us"] = round((server.tree.cpu() - spent) / part * 1e6, 1)
            found["rest_per_s"] = round(rate_of(server, part), 1)
            spent = server.tree.cpu()
            found["last_tenth_per_s"] = round(rate_of(server, 0), 1)
            found["last_tenth_us"] = round((server.tree.cpu() - spent) / part * 1e6, 1)
            found["fresh_per_s"] = round(fresh(server, directory, max(messages // 20, 5000)), 1)
            found["left_octets"] = rss(server) - empty
    finally:
        server.stop()
    return found


def many(directory: Path, messages: int, destinations: int, bad: int) -> float:
    """Return messages a second for those next hops of many that are well; the first `bad` ones are down, the last of them slow."""
    directory.mkdir()
    well, dead, slow = free_port(), free_port(), free_port()

    def next_hop(number: int) -> str:
        port = well if number >= bad else slow if number >= bad - SLOW else dead
        return f"smtp://127.1.{number // 250}.{number % 250 + 1}:{port}"

    def of(count: int) -> int:
        return count % destinations

    routes = [
        f'[[routes]]\ndomains = "d{number}.test"\nnext_hop = "{next_hop(number)}"\n' for number in range(destinations)
    ]
    quiet = {"MAILMOAT_LOG__LEVEL": "warning", "MAILMOAT_DELIVERY__TLS": "none", "MAILMOAT_DELIVERY__CONNECTIONS": "2"}
    server = start_mailmoat(directory, Setup(workers=1), quiet, "\n".join(routes))
    server.stop()
    fill(
        directory / "spool",
        messages,
        1024,
        lambda count: f"d{of(count)}.test",
        lambda count: next_hop(of(count)),
        wait=0,
    )
    with sink(well, directory), sink(slow, directory, "-w", str(SLOWNESS)):
        server = start_mailmoat(directory, Setup(next_hop=well, workers=1), quiet, "\n".join(routes))
        try:
            wait_for(lambda: server.queued() > messages // 2, "queue", 60)
            # What is left at the end is that of the bad ones; the last tenth of the others is not awaited.
            left = messages * max(bad, DEAD + SLOW) // destinations
            return rate_of(server, left + (messages - left) // 10)
        finally:
            server.stop()


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


class sink:  # noqa: N801 - a context, used like a function
    """smtp-sink at a port of all addresses of this host."""

    def __init__(self, port: int, directory: Path, *options: str) -> None:
        self._port, self._options = port, options
        self._directory = directory

    def __enter__(self) -> None:
        found = program("smtp-sink")
        if found is None:
            raise Trouble("smtp-sink is missing: install postfix")
        account = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [found, *account, *self._options, f"0.0.0.0:{self._port}", "4096"]
        self._process = subprocess.Popen(command, cwd=self._directory, stdout=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def main() -> None:
    """Measure, and print one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=1_000_000)
    options.add_argument("--size", type=int, default=1024, help="octets of a message")
    options.add_argument(
        "--destinations", type=int, default=1, help="next hops; more than one: how bad ones affect the others"
    )
    given = options.parse_args()
    end_tidily()
    with tempfile.TemporaryDirectory(prefix="mailmoat-backlog-") as directory:
        if given.destinations > 1:
            well = many(Path(directory, "well"), given.messages, given.destinations, 0)
            some = many(Path(directory, "some"), given.messages, given.destinations, DEAD + SLOW)
            print(
                json.dumps(
                    {"well_per_s": round(well, 1), "others_per_s": round(some, 1), "share": round(some / well, 3)}
                )
            )
        else:
            print(json.dumps(outage(Path(directory), given.messages, given.size)))


if __name__ == "__main__":
    main()
