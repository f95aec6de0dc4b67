"""Micro-benchmarks of the parts that count, most of them written in Rust, as Python sees them, each against a yardstick in Python that does the same work or less.

A ratio of two times taken in turns on the same machine says more than a time. Run alone: `python -m loadtest.micro`.
"""

from __future__ import annotations

import asyncio
import email.parser
import os
import re
import select
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from email.headerregistry import Address
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spf  # type: ignore[import-untyped]
import uvloop

from loadtest.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    from mailmoat import _native
except ImportError:
    sys.path.insert(0, str(ROOT / "python"))
    from mailmoat import _native

from mailmoat.mailauth.spf.checker import Checker, CheckRequest, Result, Scope, Status
from mailmoat.resolver import Answer, Budget, Found, Kind, NoName

MESSAGE = b"From: <a@sender.example>\r\nSubject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 56


@dataclass
class Bench:
    """One part: `run` and `yardstick` each do `units` units of work."""

    what: str
    yardstick_is: str
    units: int
    run: Callable[[], object]
    yardstick: Callable[[], object]


def measure(rounds: int = 3, *, short: bool = True) -> dict[str, Any]:
    """Measure each part and its yardstick in turns: nanoseconds per unit, a list for each."""
    found: dict[str, Any] = {}
    scale = 1 if short else 5
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailmoat-micro-")))
        for name, make in BENCHES.items():
            bench = make(scale, directory, stack)
            costs: list[float] = []
            yardsticks: list[float] = []
            bench.run()
            bench.yardstick()
            for _ in range(max(rounds, 3)):
                costs.append(_nanoseconds(bench.run, bench.units))
                yardsticks.append(_nanoseconds(bench.yardstick, bench.units))
            found[name] = {"what": bench.what, "yardstick": bench.yardstick_is, "ns": costs, "yardstick_ns": yardsticks}
    return found


def _nanoseconds(work: Callable[[], object], units: int) -> float:
    begun = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begun) / units


def session(directory: Path) -> _native.Session:
    """Make a session that was greeted and asks nobody anything."""
    config = _native.SessionConfig(
        hostname="mx.example.test",
        default_domain="example.test",
        incoming_dir=str(directory),
        asked=0,
        tarpit_time=0,
        tarpit_max_session=0,
        auth_time=0,
        auth_failures=0,
        local_part=64,
        domain=255,
        path=256,
        command_line=512,
        text_line=1000,
        recipients=0,
        null_sender_recipients=0,
        message_size=0,
        header_size=0,
        memory_content=0,
        content_memory=0,
        workers=1,
        hops=0,
        errors=0,
        idle_commands=0,
        bare_newline="refuse",
        nul_in_header="refuse",
        submitter=False,
        chunking=False,
    )
    made = _native.Session(config, "micro-1", "192.0.2.1", False)
    made.connect()
    made.receive(b"EHLO client.sender.example\r\n")
    made.output()
    return made


COMMANDS = b"MAIL FROM:<sender.name@sender.example> SIZE=1000 BODY=8BITMIME\r\nRCPT TO:<alice@example.test>\r\nRSET\r\n"
LINE = re.compile(
    rb"(?i)(?:MAIL FROM:<([^<>@\s]*)@([^<>@\s]*)>((?: [A-Z0-9]+=\S+)*)|RCPT TO:<([^<>@\s]*)@([^<>@\s]*)>((?: [A-Z0-9]+=\S+)*)|RSET)\s*"
)


def parser(scale: int, directory: Path, stack: ExitStack) -> Bench:  # noqa: ARG001 - benches are made alike
    """Pass commands through the session machine."""
    machine = session(directory)
    turns = 5_000 * scale

    def run() -> None:
        for _ in range(turns):
            machine.receive(COMMANDS)
            machine.output()

    def yardstick() -> None:
        for _ in range(turns):
            replies = b""
            for line in COMMANDS.split(b"\r\n")[:-1]:
                matched = LINE.fullmatch(line)
                if matched is not None and matched[1]:
                    (matched[1] + b"@" + matched[2].lower()).decode()
                    dict(word.split(b"=", 1) for word in matched[3].split())
                replies += b"250 2.0.0 OK\r\n" if matched else b"500 5.5.2 What?\r\n"

    return Bench(
        "command, parsed and answered by the session machine", "a regular expression a line", turns * 3, run, yardstick
    )


def normaliser(scale: int, directory: Path, stack: ExitStack) -> Bench:  # noqa: ARG001 - benches are made alike
    """Normalise addresses."""
    addresses = [f"First.Last{number}@Example.TEST" for number in range(2_000 * scale)]

    def run() -> None:
        for address in addresses:
            _native.normalise_address(address)

    def yardstick() -> None:
        for address in addresses:
            parsed = Address(addr_spec=address)
            f"{parsed.username}@{parsed.domain.lower()}"

    return Bench("address, normalised", "email.headerregistry.Address", len(addresses), run, yardstick)


def decoder(scale: int, directory: Path, stack: ExitStack) -> Bench:  # noqa: ARG001 - benches are made alike
    """Decode the content of DATA."""
    block = ((b"x" * 70 + b"\r\n") * 9 + b"..stuffed\r\n") * 100
    chunks = [block[at : at + 65_536] for at in range(0, len(block), 65_536)] * 5 * scale
    octets = sum(map(len, chunks))

    def run() -> None:
        machine = session(directory)
        machine.receive(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        for chunk in chunks:
            machine.receive(chunk)

    def yardstick() -> None:
        for chunk in chunks:
            b"".join(line[1:] if line.startswith(b".") else line for line in chunk.splitlines(keepends=True))

    return Bench("KiB of content, unstuffed and checked", "splitlines and join", octets // 1024, run, yardstick)


def header(scale: int, directory: Path, stack: ExitStack) -> Bench:  # noqa: ARG001 - benches are made alike
    """Pass the header section of a message from DATA to the message."""
    fields = b"".join(b"X-Field-%d: some value of usual length\r\n\tfolded once\r\n" % number for number in range(100))
    machine = session(directory)
    turns = 200 * scale

    def run() -> None:
        for _ in range(turns):
            machine.receive(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
            machine.receive(fields + b"\r\nx\r\n.\r\n")
            machine.message(
                queue_id="aaaaaaaaaaaaa", arrival=0, date="Thu, 01 Jan 1970 00:00:00 +0000", stamps=b"", firewall=None
            )
            machine.committed()
            machine.output()

    def yardstick() -> None:
        for _ in range(turns):
            email.parser.BytesHeaderParser().parsebytes(fields + b"\r\nx\r\n")

    return Bench(
        "header field, whole transaction of 100", "email.parser.BytesHeaderParser", turns * 100, run, yardstick
    )


def wheel(scale: int, directory: Path, stack: ExitStack) -> Bench:  # noqa: ARG001 - benches are made alike
    """Schedule and cancel, with 10,000 others waiting."""
    loop = uvloop.new_event_loop()
    stack.callback(loop.close)
    made = _native.Wheel(0)
    owner = object()
    waiting = [loop.call_later(1000 + number, print) for number in range(10_000)]
    for timer in waiting:
        stack.callback(timer.cancel)
    for number in range(10_000):
        made.schedule(1_000_000 + number, owner)
    turns = 20_000 * scale

    def run() -> None:
        schedule, cancel = made.schedule, made.cancel
        for number in range(turns):
            cancel(schedule(5_000 + (number & 1023), owner))

    def yardstick() -> None:
        later = loop.call_later
        for number in range(turns):
            later(5 + (number & 1023) / 1000, print).cancel()

    return Bench(
        "deadline, scheduled and cancelled in the wheel", "uvloop's call_later and cancel", turns, run, yardstick
    )


def release(scale: int, directory: Path, stack: ExitStack) -> Bench:  # noqa: ARG001 - benches are made alike
    """Release deadlines that are due."""
    turns = 20_000 * scale
    loop = uvloop.new_event_loop()
    stack.callback(loop.close)
    made = _native.Wheel(0)
    now = 0

    def run() -> None:
        nonlocal now
        owner = object()
        for number in range(turns):
            made.schedule(now + 1 + (number & 63), owner)
        now += 64
        for _ in made.advance(now):
            pass

    def yardstick() -> None:
        async def wait() -> None:
            future = loop.create_future()
            for _ in range(turns - 1):
                loop.call_later(0.001, int)
            loop.call_later(0.002, future.set_result, None)
            await future

        loop.run_until_complete(asyncio.wait_for(wait(), 60))

    return Bench("deadline, scheduled and come due", "uvloop's call_later", turns, run, yardstick)


def spool(scale: int, directory: Path, stack: ExitStack) -> Bench:
    """Commit messages of 4 KiB, 50 of them waiting at any time."""
    partition = _native.Partition.create(str(directory))
    stack.callback(partition.close)
    batches, size = 4 * scale, 50

    def run() -> None:
        for _ in range(batches):
            for _ in range(size):
                partition.insert(None, _message(partition))
            done = 0
            while done < size:
                select.select([partition.descriptor], [], [], 20)
                done += len(partition.completions())

    def yardstick() -> None:
        for number in range(batches * size):
            descriptor = os.open(directory / f"file{number}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.write(descriptor, MESSAGE)
            os.fsync(descriptor)
            os.close(descriptor)

    return Bench("message of 4 KiB in the spool, 50 at a time", "a file and fsync each", batches * size, run, yardstick)


def _message(partition: _native.Partition) -> _native.Message:
    return _native.Message(
        queue_id=partition.next_queue_id(),
        arrival=1_790_000_000_000,
        reverse_path="a@sender.example",
        recipients=["alice@example.test"],
        content=MESSAGE,
    )


class _Known:
    """A resolver whose cache knows everything."""

    def __init__(self, texts: dict[str, bytes]) -> None:
        self._answers = {(name, "TXT"): Found((text,), 300.0) for name, text in texts.items()}

    def cached(self, name: str, kind: Kind) -> Answer | None:
        """Return the answer."""
        return self._answers.get((name, kind), NoName(300.0))

    async def query(self, name: str, kind: Kind, budget: Budget) -> Answer:
        """Fail: no query is expected."""
        raise NotImplementedError

    async def close(self) -> None:
        """Do nothing."""


def _checks(checker: Checker, addresses: int) -> Callable[[int], None]:
    """Check one domain's messages from that many hosts in turns: when they are more than are remembered, each is evaluated."""
    budget = Budget(0, 3600)
    questions = [
        CheckRequest(
            f"10.0.{n >> 8}.{n & 255}", Scope.PRA, "someone@sender.example", "client.sender.example", "mx.example.test"
        )
        for n in range(addresses)
    ]

    turn = cycle(questions)

    def run(turns: int) -> None:
        for request in islice(turn, turns):
            result = checker.check(request, budget)
            if not isinstance(result, Result) or result.status is not Status.FAIL:
                raise RuntimeError(f"the check gave {result}")

    return run


def _evaluation(scale: int, stack: ExitStack, what: str, addresses: int) -> Bench:
    """Return a record with three includes and 36 networks in all, none of them the client's; every answer is known."""
    networks = [f"ip4:198.51.{number}.0/24" for number in range(36)]
    texts = {f"shared{part}.example": " ".join(["v=spf1", *networks[part::3], "~all"]).encode() for part in range(3)}
    texts["sender.example"] = b"v=spf1 include:shared0.example include:shared1.example include:shared2.example -all"
    run = _checks(Checker(_Known(texts)), addresses)
    memory = {(name, "TXT"): [((name, "TXT"), (text,))] for name, text in texts.items()}
    stack.callback(setattr, spf, "DNSLookup", spf.DNSLookup)
    turns = 500 * scale

    def yardstick() -> None:
        spf.DNSLookup = lambda name, kind, *_: memory.get((name, kind), [])
        for _ in range(turns):
            query = spf.query("10.0.0.1", "someone@sender.example", "client.sender.example")
            if query.check()[0] != "fail":
                raise RuntimeError("pyspf gave another result")

    return Bench(what, "pyspf as it is, answers known", turns, lambda: run(turns), yardstick)


def evaluation(scale: int, directory: Path, stack: ExitStack) -> Bench:  # noqa: ARG001 - benches are made alike
    """Check Sender ID, each time for another host."""
    return _evaluation(scale, stack, "Sender ID check of a record with three includes, DNS answers known", 4096)


def remembered(scale: int, directory: Path, stack: ExitStack) -> Bench:  # noqa: ARG001 - benches are made alike
    """Check Sender ID for one host."""
    return _evaluation(scale, stack, "the same check, its result cached", 1)


BENCHES = {
    "parser": parser,
    "normaliser": normaliser,
    "decoder": decoder,
    "header": header,
    "wheel": wheel,
    "release": release,
    "spool": spool,
    "evaluation": evaluation,
    "remembered": remembered,
}


if __name__ == "__main__":
    from loadtest.compare.document import micro_table

    print(micro_table(measure(short="--full" not in sys.argv)))
