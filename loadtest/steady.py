"""Good mail at a steady rate: `python -m loadtest.steady --port 2525 --rate 50 --seconds 20`.

Each message has a connection of its own and begins when its time has come, whatever became of those before, so a slow server does not
slow the clients. Prints one line of JSON: messages begun and accepted, and percentiles of the time from connecting to the 250, in milliseconds.
With `--beside PORT` each message goes to the server that does nothing (`loadtest.nothing`) as well, at the same time and from the same process;
`beside` is the same of those: what the machine itself takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter

import uvloop

from loadtest.servers import KNOWN

SOURCES = 100
CONTENT = b"Subject: good\r\n\r\n" + (b"x" * 70 + b"\r\n") * 56
STEPS = (
    (b"", b"220"),
    (b"EHLO good.test\r\n", b"250"),
    (b"MAIL FROM:<s@good.test>\r\n", b"250"),
    (f"RCPT TO:<{KNOWN}>\r\n".encode(), b"250"),
    (b"DATA\r\n", b"354"),
    (CONTENT + b".\r\n", b"250"),
)


async def send(port: int, number: int) -> str:
    """Send one message; the empty string, or what went wrong."""
    source = (f"127.0.{1 + number % SOURCES}.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
    except OSError as error:
        return error.strerror or "failed"
    try:
        for line, code in STEPS:
            writer.write(line)
            reply = await reader.readline()
            while reply[3:4] == b"-":
                reply = await reader.readline()
            if not reply.startswith(code):
                return reply.decode("ascii", "replace").strip() or "closed"
        writer.write(b"QUIT\r\n")
        await reader.readline()
    except OSError as error:
        return error.strerror or "failed"
    finally:
        writer.transport.abort()
    return ""


class Steady:
    """All messages of one run; `beside` is the port of the server that does nothing, 0 for none."""

    def __init__(self, port: int, beside: int = 0) -> None:
        self.port = port
        self.beside = Steady(beside) if beside else None
        self.times: list[float] = []
        self.wrong: Counter[str] = Counter()
        self.begun = 0

    async def one(self, number: int) -> None:
        """Send and time one."""
        begun = time.monotonic()
        wrong = await send(self.port, number)
        if wrong:
            self.wrong[wrong] += 1
        else:
            self.times.append(time.monotonic() - begun)

    async def run(self, rate: float, seconds: float) -> None:
        """Begin so many a second, and wait for the last."""
        begun = time.monotonic()
        tasks = []
        while (now := time.monotonic() - begun) < seconds:
            while self.begun < now * rate:
                tasks.append(asyncio.create_task(self.one(self.begun)))
                if self.beside:
                    tasks.append(asyncio.create_task(self.beside.one(self.begun)))
                self.begun += 1
            await asyncio.sleep(0.005)
        await asyncio.wait(tasks, timeout=60)

    def report(self, seconds: float) -> dict[str, object]:
        """Return what it came to."""
        times = sorted(self.times)
        at = {f"p{share}": round(times[min(len(times) * share // 100, len(times) - 1)] * 1000, 1) for share in (50, 95, 99)} if times else {}  # fmt: skip
        beside = {"beside": self.beside.report(seconds)} if self.beside else {}
        return {"begun": self.begun, "accepted": len(times), "rate": round(len(times) / seconds, 1), **at, "wrong": dict(self.wrong), **beside}  # fmt: skip


async def _run(options: argparse.Namespace) -> Steady:
    steady = Steady(options.port, options.beside)
    await steady.run(options.rate, options.seconds)
    return steady


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(prog="loadtest.steady", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--beside", type=int, default=0, help="port of loadtest.nothing")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        steady = runner.run(_run(options))
    print(json.dumps(steady.report(options.seconds)), flush=True)


if __name__ == "__main__":
    main()
