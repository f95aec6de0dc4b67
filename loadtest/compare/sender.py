"""The client for what smtp-source cannot do: pipelined mail, mail from many domains, floods of unknown recipients. Prints JSON.

`python -m loadtest.compare.sender --port 2525 --mode pipelined|senders|strangers|flood --count N --sessions 50 --size 4096`
With `senders` each message comes from the next of `--domains` domains, `d0.example` and so on, by the PROXY protocol. With `strangers`
each comes over a connection of its own from the next address, counted from `--first`, by the same protocol.
Ends with 1 and a line on standard error when a reply is not the one expected.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from ipaddress import ip_address
from itertools import count
from typing import TYPE_CHECKING, cast

import uvloop

from loadtest.content import stuffed
from loadtest.servers import DOMAIN, KNOWN

if TYPE_CHECKING:
    from collections.abc import Coroutine

NETWORK = int(ip_address("198.18.0.0"))
PROXY = b"PROXY TCP4 203.0.113.9 203.0.113.25 40000 25\r\n"
HELLO = b"EHLO client.sender.example\r\n"
MAIL = b"MAIL FROM:<sender@sender.example>\r\n"
ENVELOPE = MAIL + f"RCPT TO:<{KNOWN}>\r\nDATA\r\n".encode()
LIMIT = 300.0


class Replies:
    """Cuts what arrives into the codes of whole replies."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes) -> list[bytes]:
        """Return the codes of the replies that are complete now."""
        *lines, self._rest = (self._rest + octets).split(b"\r\n")
        return [line[:3] for line in lines if line[3:4] != b"-"]


class Work:
    """What all connections share: how much is left to begin and to end, and the first thing that went wrong."""

    def __init__(self, units: int) -> None:
        self.units = units
        self.begun = 0
        self.ended = 0
        self.done = asyncio.get_running_loop().create_future()
        self.numbers = count()
        self._tasks: set[asyncio.Task[object]] = set()

    def later(self, opening: Coroutine[object, object, object]) -> None:
        """Open one more connection, unless nothing is left."""
        if self.begun >= self.units:
            opening.close()
            return
        task = asyncio.get_running_loop().create_task(opening)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def take(self) -> bool:
        """Return whether there is another unit to begin."""
        if self.begun >= self.units:
            return False
        self.begun += 1
        return True

    def end(self) -> None:
        """Count a unit that is done."""
        self.ended += 1
        if self.ended == self.units and not self.done.done():
            self.done.set_result(None)

    def fail(self, what: str) -> None:
        """Give up."""
        if not self.done.done():
            self.done.set_exception(RuntimeError(what))


class Client(asyncio.Protocol):
    """A connection that speaks when the replies it waits for are all there."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.replies = Replies()
        self.expected: list[bytes] = [b"220"]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self.transport = cast("asyncio.Transport", transport)
        self.step = self.hello

    def data_received(self, data: bytes) -> None:
        """Hold the replies to what is expected."""
        for code in self.replies.feed(data):
            if not self.expected or code != self.expected.pop(0):
                self.work.fail(f"unexpected reply {data[:200]!r}")
                return
        if not self.expected:
            self.step()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail unless the end was reached."""
        if not self.work.done.done() and self.expected:
            self.work.fail(f"connection lost: {exc}")

    def say(self, octets: bytes, *expected: bytes) -> None:
        """Write, and expect these codes."""
        self.expected += expected
        self.transport.write(octets)

    def hello(self) -> None:
        """Send EHLO after the greeting."""
        self.say(HELLO, b"250")
        self.step = self.begin

    def begin(self) -> None:
        """Begin after the reply to EHLO."""
        raise NotImplementedError

    def leave(self) -> None:
        """Close the connection when nothing is left to do."""
        self.expected = []
        self.transport.close()


class Pipelined(Client):
    """Content, its end and the next envelope in one write: one round trip a message (RFC 2920)."""

    content = b""

    def envelope(self) -> bytes:
        """Return the commands of the next message's envelope."""
        return ENVELOPE

    def begin(self) -> None:
        """Send the first envelope."""
        if self.work.take():
            self.say(self.envelope(), b"250", b"250", b"354")
            self.step = self.message
        else:
            self.leave()

    def message(self) -> None:
        """Send the content after 354."""
        content = self.content
        if self.work.take():
            self.say(content + self.envelope(), b"250", b"250", b"250", b"354")
            self.step = self.message_and_next
        else:
            self.say(content, b"250")
            self.step = self.last

    def message_and_next(self) -> None:
        """Count an accepted message and send the next one after its 354."""
        self.work.end()
        self.message()

    def last(self) -> None:
        """Count the last accepted message."""
        self.work.end()
        self.leave()


class Senders(Pipelined):
    """As Pipelined, each message from the next domain, and from an address that is judged, as given by the PROXY protocol."""

    domains = 1
    body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be elsewhere: an address of this host has no status."""
        super().connection_made(transport)
        self.transport.write(PROXY)

    def envelope(self) -> bytes:
        """Return a sender at the next domain, in the envelope and in the header section."""
        sender = b"sender@d%d.example" % (next(self.work.numbers) % self.domains)
        self.content = b"Sender: %s\r\n%s" % (sender, self.body)  # a second From would leave no responsible address
        return ENVELOPE.replace(b"sender@sender.example", sender)


class Strangers(Client):
    """One message over each connection, from an address of its own in 198.18.0.0/15 (RFC 2544), as given by the PROXY protocol."""

    first = 0
    content = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who it is."""
        super().connection_made(transport)
        self.port = transport.get_extra_info("peername")[1]
        if self.work.take():
            address = ip_address(NETWORK + self.first + next(self.work.numbers))
            self.transport.write(b"PROXY TCP4 %s 203.0.113.25 40000 25\r\n" % str(address).encode())
        else:
            self.leave()

    def begin(self) -> None:
        """Send the envelope."""
        self.say(ENVELOPE, b"250", b"250", b"354")
        self.step = self.message

    def message(self) -> None:
        """Send the content after 354."""
        self.say(self.content, b"250")
        self.step = self.again

    def again(self) -> None:
        """Count an accepted message, and be the next stranger."""
        self.work.end()
        self.leave()
        loop = asyncio.get_running_loop()
        self.work.later(loop.create_connection(lambda: type(self)(self.work), "127.0.0.1", self.port))


class Flood(Client):
    """One unknown recipient after the other, each another one."""

    def begin(self) -> None:
        """Open a transaction."""
        self.say(MAIL, b"250")
        self.step = self.guess

    def guess(self) -> None:
        """Ask for the next."""
        if self.work.take():
            self.say(b"RCPT TO:<guess%d@%s>\r\n" % (next(self.work.numbers), DOMAIN.encode()), b"550")
            self.step = self.refused
        else:
            self.leave()

    def refused(self) -> None:
        """Count a refused recipient."""
        self.work.end()
        self.guess()


KINDS: dict[str, type[Client]] = {"pipelined": Pipelined, "senders": Senders, "strangers": Strangers, "flood": Flood}


async def run(kind: type[Client], port: int, units: int, sessions: int) -> float:
    """Do the work; seconds it took. Raises RuntimeError when a reply was wrong, OSError, TimeoutError."""
    work = Work(units)
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    made = [loop.create_connection(lambda: kind(work), "127.0.0.1", port) for _ in range(min(sessions, units))]
    await asyncio.gather(*made)
    await asyncio.wait_for(work.done, LIMIT)
    return time.perf_counter() - begun


def main() -> None:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=KINDS, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--domains", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    Strangers.first = options.first
    Pipelined.content = Strangers.content = Senders.body = stuffed(options.size)
    Senders.domains = options.domains
    try:
        seconds = uvloop.run(run(KINDS[options.mode], options.port, options.count, options.sessions))
    except (OSError, RuntimeError, TimeoutError) as error:
        sys.exit(f"{options.mode}: {error!r}")
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
