"""Whether the time of an answer shows which names exist: `python -m tests.auth_timing [ROUNDS]`.

Guesses are made in turns, in random order within each turn, at a real file of accounts with the hashes that `mailmoat user` makes. For
each pair of kinds of guesses the answer is the chance that a guess of the one kind takes longer than one of the other (0.5: no
difference; the Mann-Whitney U statistic divided by both numbers), with the p value of a difference that large or larger by chance.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from itertools import combinations
from pathlib import Path

from mailmoat.auth.accounts import Account
from mailmoat.auth.authenticator import Channel
from mailmoat.auth.composition import open_backend
from mailmoat.auth.verifiers import Argon2Hash, ScramKeys
from mailmoat.settings import Settings

SECURED = Channel("192.0.2.1", "192.0.2.25", secured=True)


def accounts() -> list[Account]:
    right = b"the right password"
    return [
        Account("hashed", Argon2Hash.make(right)),
        Account("both", Argon2Hash.make(right), ScramKeys.make(right)),
        Account("former", Argon2Hash.make(right), ScramKeys.make(right), enabled=False),
    ]


def scram_only() -> Account:
    return Account("scram", None, ScramKeys.make(b"the right password"))


async def plain(backend, name: str) -> None:
    await backend.begin("PLAIN", SECURED).respond(f"\0{name}\0a wrong password".encode())


async def scram(backend, name: str) -> None:
    exchange = backend.begin("SCRAM-SHA-256", SECURED)
    challenge = exchange.respond(f"n,,n={name},r=0123456789".encode())
    nonce = challenge.octets.partition(b",")[0]
    exchange.respond(b"c=biws," + nonce + b",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")


async def measure(backend, guess, names: dict[str, str], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {kind: [] for kind in names}
    for turn in range(rounds + 5):
        for kind in random.sample(list(names), len(names)):
            name = names[kind] if kind != "unknown" else f"n{turn}"
            begun = time.perf_counter()
            await guess(backend, name)
            if turn >= 5:
                times[kind].append((time.perf_counter() - begun) * 1e6)
    return times


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
    for title, there in (
        ("PLAIN, each account with an Argon2id hash", accounts()),
        ("PLAIN, some accounts with SCRAM alone", [*accounts(), scram_only()]),
        ("SCRAM-SHA-256", [*accounts(), scram_only()]),
    ):
        guess = scram if title.startswith("SCRAM") else plain
        names = {"unknown": "", **{account.name: account.name for account in there}}
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "accounts"
            file.write_text("".join(f"{account.line()}\n" for account in there))
            file.chmod(0o600)
            backend = open_backend(Settings(spool_dir=directory, auth={"file": str(file)}))
            times = asyncio.run(measure(backend, guess, names, rounds * (20 if guess is scram else 1)))
            backend.close()
        report(title, times)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
