"""What lists in the DNS cost, and what mail notices of a list that dies: samples of the case `dns_lists`.

The name server is the tests' own, in this process. Each message comes over a connection of its own from an address that was not seen before, as
given by the PROXY protocol, so each is looked up in both lists: the dearest case there is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.doubles.name_server import NameServer

from loadtest.processes import ROOT, Trouble, free_port
from loadtest.servers import Running, Setup, start_mailmoat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Measured = Callable[[Running, int, Callable[[int, int], None]], "Sample"]

ZONES = ("bl.test", "other.test")
DELAY = 0.005

Sample = dict[str, Any]


def off(messages: int, measured: Measured) -> Sample:
    """Measure without lists, for comparison."""
    with _serving({}) as running:
        client = _Client(running)
        client.send(messages // 10)
        return measured(running, messages, client)


def on(messages: int, measured: Measured) -> Sample:
    """Measure with two lists that answer."""
    with _name_server() as names, _serving(_asking(names)) as running:
        client = _Client(running)
        client.send(messages // 10)
        return measured(running, messages, client) | {"questions": len(names.questions)}


def dead(messages: int, measured: Measured) -> Sample:
    """Measure after one of two lists has died, beside the rate before in the same server; the first messages find out.

    Raises:
        Trouble: a message was refused, or the list was still used.

    """
    with _name_server() as names, _serving(_asking(names)) as running:
        client = _Client(running)
        client.send(messages // 10)
        free = measured(running, messages, client)
        names.set(ZONES[0], fault="drop")
        begun = time.perf_counter()
        client.send(messages // 10)
        found_out = time.perf_counter() - begun
        asked = len(names.questions)
        sample = measured(running, messages, client)
        if "dns-list-failed" not in running.log.read_text():
            raise Trouble("no alarm was raised")
        questions = [name for name, _ in names.questions[asked:] if name.endswith(ZONES[0])]
    beside = {"beside": sample["per_second"] / free["per_second"], "found_out_seconds": found_out}
    return sample | beside | {"questions_of_dead": len(questions)}


def _asking(names: NameServer) -> dict[str, str]:
    return {
        "MAILMOAT_DNS__SERVERS": names.address,
        "MAILMOAT_DNS_LISTS__PROVIDERS": json.dumps([{"zone": zone} for zone in ZONES]),
        "MAILMOAT_DNS_LISTS__ACTION": "reject",
    }


@contextmanager
def _name_server() -> Iterator[NameServer]:
    with NameServer({f"2.0.0.127.{zone}": {"A": ["127.0.0.2"]} for zone in ZONES}) as names:
        names.set("", delay=DELAY)
        yield names


@contextmanager
def _serving(extra: dict[str, str]) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="mailmoat-compare-", ignore_cleanup_errors=True) as directory:
        running = start_mailmoat(Path(directory), Setup(proxied=free_port()), extra)
        try:
            yield running
        finally:
            running.stop()


class _Client:
    """Sends from addresses that this server has not seen yet."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._next = 0

    def __call__(self, _port: int, count: int) -> None:
        """Send as many messages to the address where clients are named."""
        self.send(count)

    def send(self, count: int) -> None:
        """Send as many messages."""
        command = [sys.executable, "-m", "loadtest.compare.sender", "--port", str(self._running.proxied)]
        command += ["--mode", "strangers", "--count", str(count), "--first", str(self._next)]
        self._next += count
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT)
        if done.returncode:
            raise Trouble(done.stderr.strip()[-300:])
