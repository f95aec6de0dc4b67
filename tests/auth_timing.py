"""Whether the time of an answer shows which names exist: `python -m tests.auth_timing [ROUNDS]`.

Guesses are made in turns, in random order within each turn, at a real file of accounts with the hashes that `mailmoat user` makes.
SCRAM is measured within a process, and by the replies of a server through TLS, which is what a client sees. Each guess has another of
many names, all of one length: neither what a longer name takes nor what a processor does faster the second time says that a name exists.
For each pair of kinds of guesses the answer is the chance that a guess of the one kind takes longer than one of the other (0.5: no
difference; the Mann-Whitney U statistic divided by both numbers), with the p value of a difference that large or larger by chance.
"""

from __future__ import annotations

import asyncio
import base64
import math
import random
import socket
import statistics
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.compare.tls import certificate
from loadtest.compare.tls_sender import context
from loadtest.processes import free_port
from loadtest.servers import Setup, start_mailmoat

from mailmoat.auth.accounts import Account
from mailmoat.auth.authenticator import Channel
from mailmoat.auth.composition import open_backend
from mailmoat.auth.verifiers import Argon2Hash, ScramKeys
from mailmoat.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

ACCOUNTS = 200
"""Of each kind."""
SECURED = Channel("192.0.2.1", "192.0.2.25", secured=True)


def accounts(kinds: Iterable[str]) -> Iterator[Account]:
    """Yield so many accounts of each of these kinds; all have one password."""
    right = b"the right password"
    argon2, scram = Argon2Hash.make(right), ScramKeys.make(right)
    made: dict[str, Callable[[str], Account]] = {
        "hashed": lambda name: Account(name, argon2),
        "both": lambda name: Account(name, argon2, scram),
        "former": lambda name: Account(name, argon2, scram, enabled=False),
        "scram": lambda name: Account(name, None, scram),
    }
    return (made[kind](name(kind, number)) for kind in kinds for number in range(ACCOUNTS))


def write_accounts(directory: Path, kinds: Iterable[str]) -> Path:
    file = directory / "accounts"
    file.touch(0o600)
    file.write_text("".join(f"{account.line()}\n" for account in accounts(kinds)))
    return file


def name(kind: str, number: int) -> str:
    """Return the name of an account; those of all kinds are of one length."""
    return f"{kind[0]}{number:05}"


async def plain(backend, name: str) -> None:
    await backend.begin("PLAIN", SECURED).respond(f"\0{name}\0a wrong password".encode())


async def scram(backend, name: str) -> None:
    exchange = backend.begin("SCRAM-SHA-256", SECURED)
    challenge = exchange.respond(f"n,,n={name},r=0123456789".encode())
    nonce = challenge.octets.partition(b",")[0]
    exchange.respond(b"c=biws," + nonce + b",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")


async def measure(backend, guess, kinds: Sequence[str], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds + 5):
        for kind in random.sample(kinds, len(kinds)):
            guessed = name(kind, turn % ACCOUNTS)
            begun = time.perf_counter()
            await guess(backend, guessed)
            if turn >= 5:
                times[kind].append((time.perf_counter() - begun) * 1e6)
    return times


def measure_served(kinds: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Measure the two replies to a SCRAM guess through a connection in TLS to a server that holds and limits nothing."""
    limits = ("TARPIT__AUTH_TIME", "LIMITS__AUTH_FAILURES", "LIMITS__ERRORS", "LIMITS__IDLE_COMMANDS")
    settings = {f"MAILMOAT_{name}": "0" for name in limits} | {"MAILMOAT_LIMITS__AUTH_FAILURE_RATE": "off"}
    with tempfile.TemporaryDirectory() as directory:
        file = write_accounts(Path(directory), kinds)
        port = free_port()
        setup = Setup(certificate=certificate("P-256"), listen=(f"submissions://127.0.0.1:{port}",))
        running = start_mailmoat(Path(directory), setup, settings | {"MAILMOAT_AUTH__FILE": str(file)})
        try:
            with context().wrap_socket(socket.create_connection(("127.0.0.1", port))) as connection:
                connection.recv(4096)
                connection.sendall(b"EHLO client.test\r\n")
                connection.recv(4096)
                return asyncio.run(measure(connection, scram_command, ("unknown", *kinds), rounds))
        finally:
            running.stop()


async def scram_command(connection, name: str) -> None:
    challenge = said(connection, "AUTH SCRAM-SHA-256 " + written(f"n,,n={name},r=0123456789"), "334 ")
    nonce = base64.b64decode(challenge).partition(b",")[0].decode()
    said(connection, written(f"c=biws,{nonce},p={'A' * 43}="), "535 ")


def written(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def said(connection, line: str, code: str) -> str:
    """Say a line; return what the reply of one line has behind this code."""
    connection.sendall(f"{line}\r\n".encode())
    reply = connection.recv(4096).decode()
    if not (reply.startswith(code) and reply.endswith("\r\n")):
        raise SystemExit(f"{line}: {reply}")
    return reply.removeprefix(code)


def chance(one: list[float], other: list[float]) -> tuple[float, float]:
    """How often a value of the one is greater, and the p value of that (normal approximation; ties are rare)."""
    ranked = sorted(other)
    greater = sum((bisect_left(ranked, value) + bisect_right(ranked, value)) / 2 for value in one)
    n, m = len(one), len(other)
    z = (greater - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return greater / (n * m), math.erfc(abs(z) / math.sqrt(2))


def report(title: str, times: dict[str, list[float]]) -> None:
    print(title)
    for kind, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"  {kind:<10} n={len(values)}  median {median:9.1f} us  quartiles {low:9.1f} {high:9.1f}")
    for one, other in combinations(times, 2):
        more, p = chance(times[one], times[other])
        print(f"  {one} > {other}: {more:.3f}  p = {p:.3f}")


def main(rounds: int) -> None:
    for title, kinds in (
        ("PLAIN, each account with an Argon2id hash", ("hashed", "both", "former")),
        ("PLAIN, some accounts with SCRAM alone", ("hashed", "both", "former", "scram")),
        ("SCRAM-SHA-256", ("hashed", "both", "former", "scram")),
    ):
        guess = scram if title.startswith("SCRAM") else plain
        with tempfile.TemporaryDirectory() as directory:
            file = write_accounts(Path(directory), kinds)
            backend = open_backend(Settings(spool_dir=directory, auth={"file": str(file)}))
            guesses = rounds * (20 if guess is scram else 1)
            times = asyncio.run(measure(backend, guess, ("unknown", *kinds), guesses))
            backend.close()
        report(title, times)
    report("SCRAM-SHA-256, by replies through TLS", measure_served(("hashed", "both", "former", "scram"), rounds * 20))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
