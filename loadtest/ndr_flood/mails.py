"""What is sent: forged messages in the names of many victims, good senders who mistype an address between them, and good mail that arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.doubles.name_server import NameServer

from loadtest.servers import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

VICTIMS, ADDRESSES = 50, 100
"""Domains in whose names the flood comes, and addresses at each, of which each has two messages at a time."""
TOLD = 50
"""Good senders of each side who mistype an address, each at a domain of its own."""
GOOD_EACH = 50
"""After every so many forged messages there is one that arrives."""
A_SESSION = 50
"""Forged messages over each connection."""
SIDES = {"new": "192.0.2.9", "verified": "198.51.100.7", "inside": "203.0.113.5"}
"""Good senders: unknown ones, those that SPF confirms, and clients of our own network; from where each sends."""
FORGERS = "198.18."
FRIENDS = 7
UNFILTERED = "branch.test"
"""A domain of ours whose recipients the server does not know."""
INSIDE = "203.0.113.0/24"
CONFIRMED = "v=spf1 ip4:198.51.100.0/24 -all"


class Mail(NamedTuple):
    """A message."""

    source: str
    sender: str
    recipient: str


def good_senders(side: str) -> list[str]:
    """Return those of a side who mistype."""
    return [f"ann@{side}{number}.example" for number in range(TOLD)]


def mails(forged: int) -> Iterator[Mail]:
    """Return what is sent, in order."""
    told = [Mail(SIDES[side], sender, f"nobody.here@{UNFILTERED}") for side in SIDES for sender in good_senders(side)]
    every = max(forged // len(told), 1)
    for number in range(forged):
        host = number // A_SESSION % 10_000
        victim = f"u{number // (2 * VICTIMS) % ADDRESSES}@victim{number % VICTIMS}.example"
        yield Mail(f"{FORGERS}{host // 200}.{host % 200 + 1}", victim, f"nobody{number}@{UNFILTERED}")
        if number % every == every // 2 and told:
            yield told.pop(number % len(told))
        if number % GOOD_EACH == 0:
            yield Mail("192.0.2.8", f"bob@friend{number % FRIENDS}.example", KNOWN)


def connections(forged: int) -> Iterator[list[Mail]]:
    """Return what goes over each connection: forged messages together, each good one alone."""
    together: list[Mail] = []
    for mail in mails(forged):
        if mail.source.startswith(FORGERS):
            together.append(mail)
        else:
            yield [mail]
        if len(together) == A_SESSION:
            yield together
            together = []
    if together:
        yield together


def name_server() -> NameServer:
    """Return the name server: all domains take mail, and those of verified senders name their client."""
    server = NameServer()
    domains = [f"victim{number}.example" for number in range(VICTIMS)]
    domains += [f"friend{number}.example" for number in range(FRIENDS)]
    domains += [sender.rpartition("@")[2] for side in SIDES for sender in good_senders(side)]
    for domain in domains:
        server.add(domain, "MX", (10, "mail.example"))
        if domain.startswith("verified"):
            server.add(domain, "TXT", CONFIRMED)
    return server
