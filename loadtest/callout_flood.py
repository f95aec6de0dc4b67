"""Good mail beside harvesters, at a server whose only source of recipients is its next hop (`next_hop:`).

    python -m loadtest.callout_flood --hop postfix --sources 2 --sessions 100
    python -m loadtest.callout_flood --hop tarpit --sources 200 --sessions 4

Each guess is a new address. A harvester waits `--patience` seconds for the reply to one, and connects again then, so that guesses do not become fewer
where replies take long. Good clients, each at an address of its own, send RCPT for addresses that are in the cache (`cached`) and for existing ones that nobody
asked for before (`new`). The next hop is a real Postfix, or one that holds each refusal for 5 seconds. All of it is in a network namespace of its
own, so this needs root. With its default `in_flow_delay`, Postfix would wait for a second at each callout that it accepts after the first hundred. Printed: how guesses and good recipients were answered first, how long the good ones waited in milliseconds, processor
time, and the most connections to the next hop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, cast

import uvloop
from tests.namespace import alone
from tests.postfix import Postfix

from loadtest.processes import free_port, greets, wait_for
from loadtest.servers import DOMAIN, Setup, start_mailmoat

if TYPE_CHECKING:
    from loadtest.servers import Running

ROW = '[[directories]]\nname = "hops"\nurl = "next_hop:"\nmode = "live"\n'
HOP_ADDRESS = "127.0.0.2"
HELD = 5.0
"""Seconds that the tar pit of the next hop holds a refusal."""
GOOD_CLIENTS = 8
GOOD_PAUSE = 0.5
CACHED = 20
MAIN = f"""
myhostname = hub.test
mydestination =
inet_interfaces = 127.0.0.1
relay_domains = {DOMAIN}
relay_recipient_maps = regexp:{{{{/^(new|cached)/ x}}}}
relay_transport = discard:
mynetworks = 127.0.0.0/8
in_flow_delay = 0
smtpd_recipient_restrictions = permit_mynetworks, reject
"""
SERVICE = HOP_ADDRESS + ":{port} inet n - n - - smtpd\ndiscard unix - - n - - discard\n"


class TarPit(asyncio.Protocol):
    """A next hop that holds refusals."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport, self._rest, self._free_at = cast("asyncio.Transport", transport), b"", 0.0
        self._transport.write(b"220 hub.test\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer each command when its time has come."""
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        loop = asyncio.get_running_loop()
        for line in lines:
            reply, self._free_at = b"250 2.0.0 ok\r\n", max(self._free_at, loop.time())
            if line[:4].upper() == b"EHLO":
                reply = b"250-hub.test\r\n250 PIPELINING\r\n"
            elif line.startswith((b"RCPT TO:<guess", b"RCPT TO:<no-such-mailbox")):
                reply, self._free_at = b"550 5.1.1 unknown\r\n", self._free_at + HELD
            loop.call_at(self._free_at, self._say, reply)

    def _say(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)


def serve_tar_pit(port: int) -> None:
    """Be the next hop until killed."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(TarPit, HOP_ADDRESS, port, backlog=1024)
        await server.serve_forever()

    uvloop.run(serve())


class Session:
    """A client's session, at the stage where recipients are named."""

    def __init__(self, port: int, source: str) -> None:
        self._port, self._source = port, source

    async def open(self) -> None:
        """Connect, and send MAIL."""
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._source, 0)
        )
        for line in ("", "EHLO client.example", "MAIL FROM:<a@client.example>"):
            await self.say(line)

    async def say(self, line: str) -> str:
        """Send a line, and return the code and the enhanced code of the reply; empty when the session has ended."""
        if line:
            self._writer.write(line.encode() + b"\r\n")
        reply = b"----"
        while reply[3:4] == b"-":
            reply = await self._reader.readline()
        return reply[:9].decode().strip()

    def close(self) -> None:
        """End it."""
        self._writer.transport.abort()


class Load:
    """All clients of one run."""

    def __init__(self, port: int, options: argparse.Namespace) -> None:
        self._port, self._options = port, options
        self._guesses, self._new, self._cached = count(), count(), count()
        self.guesses: Counter[str] = Counter()
        self.answers: dict[str, Counter[str]] = {"cached": Counter(), "new": Counter()}
        self.waits: dict[str, list[float]] = {"cached": [], "new": []}

    async def run(self) -> None:
        """Fill the cache, and then let all of them at the server."""
        session = Session(self._port, "127.0.0.1")
        await session.open()
        for number in range(CACHED):
            await session.say(f"RCPT TO:<cached{number}@{DOMAIN}>")
        session.close()
        options = self._options
        guessers = [
            asyncio.create_task(self._guess(f"127.{16 + number // 250}.{number % 250}.1"))
            for number in range(options.sources)
            for _ in range(options.sessions)
        ]
        await asyncio.sleep(options.before)
        until = time.monotonic() + options.seconds
        kinds = ("cached", "new") * (GOOD_CLIENTS // 2)
        good = [self._good(f"127.0.1.{number + 1}", kind, until) for number, kind in enumerate(kinds)]
        await asyncio.gather(*good)
        for task in guessers:
            task.cancel()
        await asyncio.gather(*guessers, return_exceptions=True)

    async def _guess(self, source: str) -> None:
        while True:
            session = Session(self._port, source)
            with suppress(OSError):
                await session.open()
                reply = "-"
                while reply:
                    try:
                        async with asyncio.timeout(self._options.patience):
                            reply = await session.say(f"RCPT TO:<guess{next(self._guesses)}@{DOMAIN}>")
                    except TimeoutError:
                        self.guesses["none"] += 1
                        break
                    if reply:
                        self.guesses[reply] += 1
                session.close()
            await asyncio.sleep(0.01)

    async def _good(self, source: str, kind: str, until: float) -> None:
        while time.monotonic() < until:
            session = Session(self._port, source)
            with suppress(OSError):
                await session.open()
                number = next(self._cached) % CACHED if kind == "cached" else next(self._new)
                begun = time.monotonic()
                self.answers[kind][await session.say(f"RCPT TO:<{kind}{number}@{DOMAIN}>")] += 1
                self.waits[kind].append(time.monotonic() - begun)
                session.close()
            await asyncio.sleep(GOOD_PAUSE)


def connections_to(port: int) -> int:
    """Return how many connections to the next hop are open."""
    address = f"0200007F:{port:04X}"
    rows = [line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2] == address and row[3] == "01" for row in rows)


def milliseconds(waits: list[float]) -> dict[str, int]:
    """Return the median, the 99th percentile and the longest."""
    ordered = sorted(waits)
    return {
        name: round(ordered[int((len(ordered) - 1) * part)] * 1000)
        for name, part in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
    }


def measure(directory: Path, hop: int, options: argparse.Namespace) -> dict[str, object]:
    """Run the load once."""
    extra = {
        "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://{HOP_ADDRESS}:{hop}",
        "MAILMOAT_DELIVERY__TLS": "none",
        "MAILMOAT_RECIPIENTS__FILE": "",
        "MAILMOAT_RELAY__NETWORKS": "",
    }
    running = start_mailmoat(directory, Setup(workers=2, tarpit=options.tarpit), extra, ROW)
    try:
        load, most = Load(running.port, options), 0

        async def watched() -> None:
            nonlocal most
            task = asyncio.create_task(load.run())
            while not task.done():
                most = max(most, connections_to(hop))
                await asyncio.sleep(0.25)
            await task

        cpu, begun = running.tree.cpu(), time.monotonic()
        uvloop.run(watched())
        seconds = time.monotonic() - begun
        guesses = sum(load.guesses.values())
        return {
            "guesses_per_s": round(guesses / seconds),
            "guesses": dict(load.guesses.most_common()),
            **{kind: dict(answers) for kind, answers in load.answers.items()},
            **{f"{kind}_ms": milliseconds(waits) for kind, waits in load.waits.items()},
            "cpu_percent": round(100 * (running.tree.cpu() - cpu) / seconds),
            "cpu_us_per_guess": round((running.tree.cpu() - cpu) / max(guesses, 1) * 1e6),
            "most_connections_to_next_hop": most,
            "callouts": asked_of(running),
        }
    finally:
        running.stop()


def asked_of(running: Running) -> dict[str, int]:
    """Return how often the next hop was asked, by what followed."""
    command = [sys.executable, "-m", "mailmoat", "directory", "status", "--json"]
    done = subprocess.run(command, env=dict(running.environment), capture_output=True, text=True, check=False)
    (status,) = json.loads(done.stdout)
    counts: dict[str, int] = status["counts"]
    return counts


def main() -> None:
    """Measure, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hop", choices=("postfix", "tarpit"), default="postfix")
    parser.add_argument("--sources", type=int, default=2, help="addresses of harvesters")
    parser.add_argument("--sessions", type=int, default=100, help="sessions of each of them")
    parser.add_argument("--patience", type=float, default=0.5, help="seconds that a harvester waits for a reply")
    parser.add_argument("--tarpit", type=float, default=0, help="seconds of the server's own tar pit")
    parser.add_argument("--before", type=float, default=10, help="seconds of the harvest before good mail comes")
    parser.add_argument("--seconds", type=float, default=40, help="seconds of good mail")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stack.enter_context(alone())
        directory, port = Path(name), free_port()
        if options.hop == "postfix":
            directory.chmod(0o755)
            (directory / "postfix").mkdir()
            stack.enter_context(Postfix(directory / "postfix", MAIN, SERVICE.format(port=port)))
        else:
            hop = multiprocessing.get_context("fork").Process(target=serve_tar_pit, args=(port,), daemon=True)
            hop.start()
            stack.callback(hop.join)
            stack.callback(hop.kill)
        wait_for(lambda: greets(port, HOP_ADDRESS), "greeting of the next hop")
        print(json.dumps(measure(directory, port, options)))


if __name__ == "__main__":
    main()
