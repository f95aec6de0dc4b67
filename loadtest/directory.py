"""What a large directory costs: to compile, in memory, and for each RCPT against one of ten entries.

`python -m loadtest.directory` compiles both from a recipient file and from the table of a source, each in a process of its own as the server
does. Then it runs RCPT commands in a session of this process alone (`machine`), and against two servers, whose CPU time is counted: each RCPT
behind the reply to the last (`lockstep`), and ten at a time (`pipelined`). The recipients are spread over all entries, and the commands have
the same length for both directories. `changed` is the machine with a snapshot of changes upon the large one, a hundredth of its addresses. A lookup among many entries waits for memory that is not in the cache of the CPU, twice; among
ten it never does. So the ratio of the machine alone is the worst case, and that of a server the one that counts. Rounds are taken in
turns, and a ratio is that of their medians. Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtest.processes import ROOT, end_tidily
from loadtest.servers import Setup, start_mailmoat

sys.path.insert(0, str(ROOT / "python"))

from mailmoat import _native
from mailmoat.metrics import share

if TYPE_CHECKING:
    from collections.abc import Sequence

DOMAIN: Final = "example.test"
USUAL: Final = _native.Normalisation("+")
SCOPE: Final[tuple[str, list[str], list[str], _native.Normalisation]] = (DOMAIN, [DOMAIN], [], USUAL)
PER_TRANSACTION: Final = 10
"""All different, for a repeated recipient costs less; so the smaller directory has all of its ten in each transaction."""
COMMANDS: Final = 100_000
SERVED: Final = 20_000
TABLE: Final = """
CREATE TABLE state(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE entry(number INTEGER PRIMARY KEY, id BLOB UNIQUE, name TEXT);
CREATE TABLE address(entry INTEGER, text TEXT, targets TEXT, PRIMARY KEY(entry, text)) WITHOUT ROWID;
CREATE TABLE history(generation INTEGER, entry INTEGER, text TEXT, PRIMARY KEY(generation, entry, text)) WITHOUT ROWID;
INSERT INTO state VALUES('identity', 'x'), ('generation', 1), ('history_from', 1);
"""


def address(number: int) -> str:
    """Return an address of the directory; all have one length."""
    return f"given.family{number:08}@{DOMAIN}"


def write_text(path: Path, entries: int) -> None:
    """Write a recipient file."""
    with path.open("w", encoding="ascii") as file:
        file.writelines(f"{address(number)}\n" for number in range(entries))


def write_table(path: Path, entries: int) -> None:
    """Write the table of a source, an entry with one address each."""
    base = sqlite3.connect(path)
    base.executescript(TABLE)
    with base:
        base.executemany("INSERT INTO address VALUES(?, ?, '')", ((n + 1, address(n)) for n in range(entries)))
    base.close()


def change_table(path: Path) -> None:
    """Say of each hundredth entry that it is another one; it has what it had."""
    base = sqlite3.connect(path)
    with base:
        base.execute("INSERT INTO history VALUES(2, 0, '')")
        base.execute("INSERT INTO history SELECT 2, entry, '' FROM address WHERE entry % 100 = 1")
        base.execute("UPDATE state SET value=2 WHERE key='generation'")
    base.close()


def compile_here(number: int, source: str, target: str) -> None:
    """Compile in this process, and print what that cost."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    entries, problems, _ = _native.compile_directory([(number, "table", source)], target, *SCOPE)
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    cost = {
        "entries": entries,
        "problems": problems,
        "seconds": round(seconds, 2),
        "cpu": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "memory_mib": round((after.ru_maxrss - before.ru_maxrss) / 1024, 1),
        "octets": Path(target).stat().st_size,
    }
    sys.stdout.write(json.dumps(cost))


def compiled(number: int, source: Path, target: Path) -> dict[str, object]:
    """Compile in a process of its own; return what that cost."""
    command = [sys.executable, "-m", "loadtest.directory", "--compile", str(number), str(source), str(target)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    cost: dict[str, object] = json.loads(done.stdout)
    return cost


def session(incoming: Path) -> _native.Session:
    """Make a session whose recipients are asked about, with the limits of a server."""
    stage = 1 << _native.Stage.RCPT
    config = _native.SessionConfig(
        hostname="mx.example.test", default_domain=DOMAIN, incoming_dir=str(incoming), asked=stage, tarpit_time=0, tarpit_max_session=0,
        auth_time=0, auth_failures=0, local_part=64, domain=255, path=256, command_line=512, text_line=1000, recipients=100,
        null_sender_recipients=0, message_size=0, header_size=0, memory_content=0, content_memory=0, workers=1, hops=0, errors=0,
        idle_commands=0, bare_newline="refuse", nul_in_header="refuse", submitter=False, chunking=False,
    )  # fmt: skip
    made = _native.Session(config, "directory-1", "192.0.2.1", False)
    made.connect()
    made.receive(b"EHLO client.sender.example\r\n")
    made.output()
    return made


def screen(directory: _native.Directory) -> _native.Screen:
    """Return the screen of a worker that has this directory and the recipient filter alone."""
    tables = _native.Tables(_native.RateLimits(share(1, sources=64), [None] * 8), _native.MonotonicClock())
    tables.use_recipients(directory)
    known = _native.Condition.known_recipient(local=[DOMAIN], blocked=[], roles=["postmaster"], normalisation=USUAL)
    return _native.Screen(tables, [[[known]] if stage == _native.Stage.RCPT else [] for stage in range(7)], 0)


def pieces(recipients: Sequence[str]) -> list[bytes]:
    """Return transactions of `PER_TRANSACTION` recipients each, as a client pipelines them."""
    made = []
    for start in range(0, len(recipients), PER_TRANSACTION):
        some = recipients[start : start + PER_TRANSACTION]
        commands = "".join(f"RCPT TO:<{recipient}>\r\n" for recipient in some)
        made.append(f"MAIL FROM:<sender@sender.example>\r\n{commands}RSET\r\n".encode())
    return made


def run(talk: _native.Session, transactions: Sequence[bytes]) -> float:
    """Run the transactions; return nanoseconds of CPU for each RCPT. RuntimeError when one was not accepted."""
    accepted = 0
    begun = time.process_time_ns()
    for transaction in transactions:
        step = talk.receive(transaction)
        while step == _native.Step.YIELD:
            step = talk.proceed()
        accepted += talk.output().count(b"250 2.1.5")
    spent = time.process_time_ns() - begun
    wanted = len(transactions) * PER_TRANSACTION
    if accepted != wanted:
        raise RuntimeError(f"{accepted} recipients accepted, not {wanted}")
    return spent / wanted


def look_up(directory: _native.Directory, keys: Sequence[str]) -> float:
    """Return nanoseconds of CPU for each lookup alone."""
    begun = time.process_time_ns()
    for key in keys:
        directory.lookup(key, DOMAIN)
    return (time.process_time_ns() - begun) / len(keys)


def compare(small: Path, large: Path, entries: int, rounds: int) -> dict[str, object]:
    """Run RCPT commands against both snapshots in turns."""
    draw = random.Random(1)
    costs: dict[str, list[float]] = {"small": [], "large": []}
    lookups: dict[str, list[float]] = {"small": [], "large": []}
    directories = {"small": (_native.Directory(str(small)), 10), "large": (_native.Directory(str(large)), entries)}
    with tempfile.TemporaryDirectory(prefix="mailmoat-directory-") as incoming:
        talks = {}
        for name, (directory, _) in directories.items():
            talks[name] = session(Path(incoming))
            talks[name].screen(screen(directory))
        for number in range(rounds + 1):  # the first warms up
            for name, (directory, count) in directories.items():
                numbers = (draw.sample(range(count), PER_TRANSACTION) for _ in range(COMMANDS // PER_TRANSACTION))
                keys = [address(number) for each in numbers for number in each]
                cost, lookup = run(talks[name], pieces(keys)), look_up(directory, keys)
                if number:
                    costs[name].append(cost)
                    lookups[name].append(lookup)
    median = {name: statistics.median(each) for name, each in costs.items()}
    return {
        "rcpt_ns": {name: round(each) for name, each in median.items()},
        "rcpt_ratio": round(median["large"] / median["small"], 3),
        "lookup_ns": {name: round(statistics.median(each)) for name, each in lookups.items()},
        "rounds": rounds,
    }


def talk_to(port: int, transactions: Sequence[Sequence[str]], *, pipelined: bool) -> None:
    """Send transactions to a server. RuntimeError when a recipient is not accepted."""
    with socket.create_connection(("127.0.0.1", port)) as peer, peer.makefile("rb") as replies:

        def ask(*lines: str) -> None:
            peer.sendall("".join(f"{line}\r\n" for line in lines).encode())
            for _ in lines:
                while (reply := replies.readline())[3:4] == b"-":
                    pass
                if not reply.startswith(b"2"):
                    raise RuntimeError(reply.decode())

        replies.readline()
        ask("EHLO client.sender.example")
        for recipients in transactions:
            commands = [f"RCPT TO:<{recipient}>" for recipient in recipients]
            ask("MAIL FROM:<sender@sender.example>")
            for some in [commands] if pipelined else [[command] for command in commands]:
                ask(*some)
            ask("RSET")
        ask("QUIT")


def serve(files: dict[str, tuple[Path, int]], rounds: int, scratch: Path) -> dict[str, object]:
    """Run RCPT commands against a server for each recipient file in turns; return microseconds of CPU for each RCPT, and the ratios."""
    draw = random.Random(2)
    costs: dict[str, dict[str, list[float]]] = {}
    servers = {}
    try:
        for name, (file, _) in files.items():
            (scratch / name).mkdir()
            servers[name] = start_mailmoat(scratch / name, Setup(workers=1), {"MAILMOAT_RECIPIENTS__FILE": str(file)})
        for number in range(rounds + 1):  # the first warms up
            for way in ("lockstep", "pipelined"):
                for name, (_, count) in files.items():
                    numbers = (draw.sample(range(count), PER_TRANSACTION) for _ in range(SERVED // PER_TRANSACTION))
                    transactions = [[address(number) for number in each] for each in numbers]
                    before = servers[name].tree.cpu()
                    talk_to(servers[name].port, transactions, pipelined=way == "pipelined")
                    spent = servers[name].tree.cpu() - before
                    if number:
                        costs.setdefault(way, {}).setdefault(name, []).append(spent / SERVED * 1e6)
    finally:
        for server in servers.values():
            server.stop()
    median = {way: {name: statistics.median(each) for name, each in found.items()} for way, found in costs.items()}
    return {
        way: {
            "rcpt_us": {name: round(each, 2) for name, each in found.items()},
            "ratio": round(found["large"] / found["small"], 3),
        }
        for way, found in median.items()
    }


def measure(entries: int, rounds: int, directory: Path) -> dict[str, object]:
    """Compile both directories from both kinds of inputs, and compare the cost of RCPT."""
    text, table, few = directory / "recipients", directory / "source.db", directory / "few"
    small, large = directory / "small.snapshot", directory / "large.snapshot"
    write_text(text, entries)
    write_table(table, entries)
    write_text(few, 10)
    compiled(0, few, small)
    by_table = compiled(1, table, large)
    machine = compare(small, large, entries, rounds)
    change_table(table)
    by_changes = compiled(1, table, large)
    changed = compare(small, large, entries, rounds)
    by_text = compiled(0, text, large)
    served = serve({"small": (few, 10), "large": (text, entries)}, rounds, directory)
    costs = {"text": by_text, "table": by_table, "changes": by_changes}
    return {**costs, "machine": machine, "changed": changed, **served}


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", nargs=3, metavar=("NUMBER", "SOURCE", "TARGET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compile:
        number, source, target = arguments.compile
        compile_here(int(number), source, target)
        return
    end_tidily()
    with tempfile.TemporaryDirectory(prefix="mailmoat-directory-") as scratch:
        figures = measure(arguments.entries, arguments.rounds, Path(scratch))
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
