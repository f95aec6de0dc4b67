"""What live lookups cost a worker: RCPT at a steady rate, each of an address that nobody asked for before, with a source that answers late.

    python -m loadtest.live_lookups --rate 1000 --seconds 20 --delay 20

The source is a next hop (`next_hop:`) that answers RCPT after `--delay` milliseconds. What is measured: how long a NOOP on a quiet session of the
same worker waits, which is never less than the delay of its event loop; the time of a RCPT; threads and CPU time of the worker. The same
load on a recipient file that has the whole domain is measured first, to compare with.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import uvloop

from loadtest.processes import Trouble, free_port
from loadtest.servers import DOMAIN, Setup, start_mailmoat

if TYPE_CHECKING:
    from loadtest.servers import Running

SESSIONS = 100
A_TRANSACTION = 50
"""RCPT commands between two RSET."""
NOOP_PAUSE = 0.005
ROW = '[[directories]]\nname = "hops"\nurl = "next_hop:"\nmode = "live"\ntimeout = 5\nconcurrency = 200\n'


class LateHop(asyncio.Protocol):
    """Answers RCPT after a time, everything else at once, in order."""

    delay = 0.02

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport, self._rest = cast("asyncio.Transport", transport), b""
        self._free_at = 0.0
        self._transport.write(b"220 hop.test\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer each command when its time has come."""
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        loop = asyncio.get_running_loop()
        for line in lines:
            verb = line[:4].upper()
            reply = b"250-hop.test\r\n250 PIPELINING\r\n" if verb == b"EHLO" else b"250 2.1.5 ok\r\n"
            if verb == b"RCPT":
                reply = b"550 5.1.1 unknown\r\n" if b"no-such-mailbox" in line else reply
                self._free_at = max(self._free_at, loop.time()) + self.delay
            loop.call_at(max(self._free_at, loop.time()), self._transport.write, reply)


def serve_hop(port: int, delay: float) -> None:
    """Be the next hop until killed."""
    LateHop.delay = delay

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(LateHop, "127.0.0.1", port, backlog=1024)
        await server.serve_forever()

    uvloop.run(serve())


class Load:
    """The sessions of one run."""

    def __init__(self, port: int, rate: float, seconds: float) -> None:
        self.port, self.rate, self.seconds = port, rate, seconds
        self.rcpt: list[float] = []
        self.noop: list[float] = []
        self.refused: dict[bytes, int] = {}
        self._number = 0
        self._tickets: asyncio.Queue[int] = asyncio.Queue()

    async def run(self) -> None:
        """Send for the time; the rate does not slow down when answers do."""
        sessions = [asyncio.create_task(self._session(f"127.0.1.{number + 1}")) for number in range(SESSIONS)]
        probe = asyncio.create_task(self._probe())
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < self.seconds:
            for _ in range(int(passed * self.rate) - self._number):
                self._number += 1
                self._tickets.put_nowait(self._number)
            await asyncio.sleep(0.002)
        await self._tickets.join()
        for task in (*sessions, probe):
            task.cancel()
        await asyncio.gather(*sessions, probe, return_exceptions=True)

    async def _session(self, source: str) -> None:
        """Send RCPT from an address of its own: one alone would have half of the callouts."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))

        async def say(line: str) -> bytes:
            writer.write(line.encode() + b"\r\n")
            while True:
                reply = await reader.readline()
                if reply[3:4] != b"-":
                    return reply

        await reader.readline()
        await say("EHLO client.test")
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await say("RSET")
                await say("MAIL FROM:<a@client.test>")
                for _ in range(A_TRANSACTION):
                    number = await self._tickets.get()
                    begun = time.monotonic()
                    reply = await say(f"RCPT TO:<r{number}@{DOMAIN}>")
                    self.rcpt.append(time.monotonic() - begun)
                    self._tickets.task_done()
                    if not reply.startswith(b"250"):
                        self.refused[reply[:9]] = self.refused.get(reply[:9], 0) + 1
        writer.close()

    async def _probe(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await reader.readline()
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                begun = time.monotonic()
                writer.write(b"NOOP\r\n")
                await reader.readline()
                self.noop.append(time.monotonic() - begun)
                await asyncio.sleep(NOOP_PAUSE)
        writer.close()


def worker_of(running: Running) -> int:
    """Return the process of the worker."""
    for line in running.log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if event.get("event") == "process-started" and str(event.get("process", "")).startswith("worker"):
                return int(event["pid"])
    raise Trouble("the log names no worker")


def threads_of(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def milliseconds(values: list[float]) -> dict[str, float]:
    """Return the median and the upper percentiles."""
    ordered = sorted(values)
    return {
        name: round(ordered[int(len(ordered) * share)] * 1000, 2)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    }


def measure(directory: Path, options: argparse.Namespace, *, live: bool, hop: int) -> dict[str, object]:
    """Run the load once."""
    extra = {
        "MAILMOAT_LOG__FORMAT": "json",
        "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{hop}",
        "MAILMOAT_DELIVERY__CONNECTIONS": "200",
        "MAILMOAT_DELIVERY__TLS": "none",
    }
    whole = directory / "whole.txt"
    whole.write_text(f"@{DOMAIN}\n")
    extra["MAILMOAT_RECIPIENTS__FILE"] = "" if live else str(whole)
    running = start_mailmoat(directory, Setup(workers=1), extra, ROW if live else "")
    try:
        time.sleep(3)  # each worker has begun what it does once a second
        worker = worker_of(running)
        before = threads_of(worker)
        load = Load(running.port, options.rate, options.seconds)
        cpu = running.tree.cpu()
        seen: list[int] = []

        async def watched() -> None:
            running_load = asyncio.create_task(load.run())
            while not running_load.done():
                seen.append(threads_of(worker))
                await asyncio.sleep(0.25)
            await running_load

        uvloop.run(watched())
        return {
            "rcpt": len(load.rcpt),
            "a_second": round(len(load.rcpt) / options.seconds),
            "refused": {reply.decode(errors="replace"): count for reply, count in load.refused.items()},
            "rcpt_ms": milliseconds(load.rcpt),
            "noop_ms": milliseconds(load.noop),
            "threads_before_and_most": [before, max(seen)],
            "cpu_us_per_rcpt_all_processes": round((running.tree.cpu() - cpu) / len(load.rcpt) * 1e6),
        }
    finally:
        running.stop()


def main() -> None:
    """Measure, and print a line of JSON for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--delay", type=float, default=20, help="milliseconds until the source answers")
    options = parser.parse_args()
    port = free_port()
    hop = multiprocessing.get_context("spawn").Process(target=serve_hop, args=(port, options.delay / 1000), daemon=True)
    hop.start()
    try:
        for live in (False, True):
            with tempfile.TemporaryDirectory() as directory:
                print("live" if live else "file", json.dumps(measure(Path(directory), options, live=live, hop=port)))
    finally:
        hop.kill()
        hop.join()


if __name__ == "__main__":
    main()
