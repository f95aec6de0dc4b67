"""What Sender ID and SPF cost, and what others notice while names are looked up: samples of the case `senderid`.

The name server is the tests' own, in this process, which has nothing else to do meanwhile. The messages come from `DOMAINS` domains,
each with a record of its own, over connections that are reused and pipelined; their client is named by the PROXY protocol, and its
HELO name is checked with the rest. The other mail is of this host, which is not checked. How long others wait is asked by probe.py.
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

DOMAINS = 200
DELAY = 0.02
RECORD = "v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 include:shared.example ~all"
SHARED = "v=spf1 ip4:203.0.113.0/24 -all"
WAITING = 50
"""Sessions that wait for a dead name server."""

Sample = dict[str, Any]


def off(messages: int, measured: Measured) -> Sample:
    """Measure without Sender ID, for comparison."""
    with _serving({}) as running:
        _send(running.proxied, messages // 10)
        return _probed(running, messages, measured)


def on(messages: int, measured: Measured) -> Sample:
    """Measure with Sender ID: each domain is looked up in this run, at a slow name server."""
    with _name_server() as names, _serving(_checked(names)) as running:
        return _probed(running, messages, measured) | {"questions": len(names.questions)}


def dead(messages: int, measured: Measured) -> Sample:
    """Measure while no name server answers: other mail beside waiting sessions, then checked mail when none waits any more.

    Raises:
        Trouble: the sessions did not wait as long as the other mail took.

    """
    with NameServer() as names:
        names.set("", fault="drop")
        with _serving(_checked(names)) as running:
            _other(running.port, messages // 10)
            free = measured(running, messages, _other)
            waiting = _popen(running.proxied, "senders", WAITING)
            try:
                time.sleep(0.5)
                begun = time.perf_counter()
                _other(running.port, messages)
                seconds = time.perf_counter() - begun
                if waiting.poll() is not None:
                    raise Trouble(f"nobody waited for the name server any more when {messages} messages were sent")
                waiting.communicate(timeout=60)
            finally:
                if waiting.poll() is None:
                    waiting.kill()
                    waiting.wait()
            sample = _probed(running, messages, measured)
    return sample | {"beside": messages / seconds / free["per_second"]}


def _checked(names: NameServer) -> dict[str, str]:
    return {
        "MAILMOAT_SENDERID__ENABLED": "true",
        "MAILMOAT_DNS__SERVERS": names.address,
    }


@contextmanager
def _name_server() -> Iterator[NameServer]:
    zones = {f"d{number}.example": {"TXT": [RECORD]} for number in range(DOMAINS)}
    with NameServer({**zones, "shared.example": {"TXT": [SHARED]}}) as names:
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


def _send(port: int, count: int) -> None:
    _finish(_popen(port, "senders", count))


def _other(port: int, count: int) -> None:
    _finish(_popen(port, "pipelined", count))


def _popen(port: int, mode: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadtest.compare.sender", "--port", str(port), "--mode", mode]
    command += ["--count", str(count), "--domains", str(DOMAINS)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def _finish(client: subprocess.Popen[str]) -> None:
    _, errors = client.communicate(timeout=300)
    if client.returncode:
        raise Trouble(errors.strip()[-300:])


def _probed(running: Running, messages: int, measured: Measured) -> Sample:
    """Return the sample, with the round trips of NOOP while the client sends; what they cost the server is in it."""
    trips = {}

    def client(port: int, count: int) -> None:  # the other mail's port is not theirs
        command = [sys.executable, "-m", "loadtest.compare.probe", "--port", str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as probe:
            if probe.stdout is None or probe.stdout.readline() != "ready\n":
                raise Trouble("the probe got no greeting")
            _send(running.proxied, count)
            said, _ = probe.communicate("end", timeout=30)
        trips["noop_ms"] = json.loads(said)

    return measured(running, messages, client) | trips
