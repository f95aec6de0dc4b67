"""The dialogues of `relay-test`: one connection per probe, several in parallel; never DATA, never another host.

Greeting, EHLO, RSET, MAIL, RCPT, QUIT. TLS comes first where the caller says so, and by STARTTLS where MAIL gets 530 without it (RFC 3207 4);
the certificate is not verified, for nothing secret is sent. What the server or the network does wrong is an outcome's `problem`; only `meet`, which
makes the first connection, raises: ConnectionError with a plain sentence.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat.cli.relay_probes import Outcome, Reply
from mailmoat.net.address import literal
from mailmoat.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from mailmoat.cli.relay_probes import Probe

CONNECTIONS: Final = 16
"""Side by side at first."""
CONNECTIONS_HELD: Final = 64
"""Side by side when the server holds replies back."""
PATIENCE: Final = 1.0
"""Seconds without any reply that show a tarpit."""
TRIES: Final = 3
"""Connections a probe may use up by being turned away (too many connections)."""
LINES: Final = 100
"""Longest reply taken."""

_SERVICE_CLOSING: Final = 421
_NOT_SO: Final = 530
"""TLS or authentication is required (RFC 3207 4, RFC 4954 6)."""
_TROUBLES: Final = (OSError, EOFError, TimeoutError, ValueError)


@dataclass(frozen=True, slots=True)
class Server:
    """Whom we talk to: `host` as resolved, and what it said of itself."""

    host: str
    port: int
    greeting: str
    name: str
    smtputf8: bool
    starttls: bool = False
    implicit: bool = False
    """TLS begins with the first octet (RFC 8314 3)."""


class _Dialogue:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float) -> None:
        self._reader = reader
        self._writer = writer
        self._patience = patience
        self.own_ip: str = writer.get_extra_info("sockname")[0]
        self.peer_ip: str = writer.get_extra_info("peername")[0]

    async def command(self, line: str) -> tuple[Reply, list[str]]:
        """Send one command and give its reply, whole and by line."""
        self._writer.write(line.encode() + b"\r\n")
        return await self.reply()

    async def reply(self) -> tuple[Reply, list[str]]:
        """Read one reply (RFC 5321 4.2.1); EOFError, TimeoutError or ValueError when none comes."""
        begun = clock.monotonic()
        lines: list[str] = []
        async with asyncio.timeout(self._patience):
            while len(lines) < LINES:
                raw = await self._reader.readline()
                if not raw.endswith(b"\n"):
                    raise EOFError("the server closed the connection")
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if not line[:3].isascii() or not line[:3].isdigit():
                    raise ValueError("the server does not speak SMTP")
                lines.append(printable(line[4:]))
                if line[3:4] != "-":
                    return Reply(int(line[:3]), " ".join(lines), clock.monotonic() - begun), lines
        raise ValueError("the reply has no end")

    async def start_tls(self) -> None:
        """Change to TLS and say EHLO again (RFC 3207 4.2). ConnectionError if the server refuses."""
        reply, _ = await self.command("STARTTLS")
        if reply.code != 220:  # noqa: PLR2004
            raise ConnectionError(f"it answers STARTTLS with {reply}")
        async with asyncio.timeout(self._patience):
            await self._writer.start_tls(_context())
        await self.command(f"EHLO {literal(self.own_ip)}")

    async def greet(self) -> list[str]:
        """Read the greeting and send EHLO, or HELO; return the lines of the reply. ConnectionError if the server refuses."""
        greeting, _ = await self.reply()
        if greeting.code != 220:  # noqa: PLR2004 - the only greeting that lets us go on (RFC 5321 4.3.2)
            raise ConnectionError(f"it greets with {greeting}")
        for verb in ("EHLO", "HELO"):
            reply, lines = await self.command(f"{verb} {literal(self.own_ip)}")
            if reply.code == 250:  # noqa: PLR2004
                return [str(greeting), *lines]
        raise ConnectionError(f"it answers EHLO and HELO with {reply}")


@asynccontextmanager
async def _connect(host: str, port: int, patience: float, *, implicit: bool) -> AsyncIterator[_Dialogue]:
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection(host, port, ssl=_context() if implicit else None)
    try:
        dialogue = _Dialogue(reader, writer, patience)
        yield dialogue
        with suppress(*_TROUBLES):  # until then it is one of the connections that the server counts (RFC 5321 4.1.1.10)
            async with asyncio.timeout(PATIENCE):
                await dialogue.command("QUIT")
    finally:
        writer.close()


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def meet(host: str, port: int, patience: float, *, implicit: bool = False) -> Server:
    """Connect once and learn the server's address, name and extensions; ConnectionError when it does not talk to us."""
    try:
        async with _connect(host, port, patience, implicit=implicit) as dialogue:
            greeting, name, *extensions = await dialogue.greet()
    except _TROUBLES as error:
        raise ConnectionError(f"cannot talk SMTP with {host} port {port}: {_describe(error, patience)}") from error
    words = (name or greeting[4:]).split()
    offered = {word.upper() for extension in extensions for word in extension.split()[:1]}
    return Server(
        dialogue.peer_ip,
        port,
        greeting,
        words[0] if words else "",
        smtputf8="SMTPUTF8" in offered,
        starttls="STARTTLS" in offered,
        implicit=implicit,
    )


async def run_probes(
    server: Server, probes: Sequence[Probe], patience: float, advance: Callable[[], None]
) -> list[Outcome]:
    """Run all probes and give their outcomes in order; `advance` is called after each.

    A server that holds replies back gets more connections at once, one that turns connections away fewer.
    """
    pending = deque((probe, TRIES) for probe in probes)
    running: dict[asyncio.Task[tuple[Outcome, bool]], tuple[Probe, int]] = {}
    outcomes: dict[int, Outcome] = {}
    width, most = CONNECTIONS, CONNECTIONS_HELD
    while pending or running:
        while pending and len(running) < width:
            entry = pending.popleft()
            running[asyncio.create_task(_run_probe(server, entry[0], patience))] = entry
        done, _ = await asyncio.wait(running, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            width = min(width + CONNECTIONS, most)
        for task in done:
            (probe, tries), (outcome, turned_away) = running.pop(task), task.result()
            if turned_away and (running or tries > 1):
                width = most = max(1, len(running))
                pending.append((probe, tries if running else tries - 1))
            else:
                outcomes[probe.number] = outcome
                advance()
    return [outcomes[probe.number] for probe in probes]


async def _run_probe(server: Server, probe: Probe, patience: float) -> tuple[Outcome, bool]:
    """Give the outcome, and whether the server turned the connection away before it could be tried."""
    outcome = Outcome(probe)
    met = False
    try:
        async with _connect(server.host, server.port, patience, implicit=server.implicit) as dialogue:
            await dialogue.greet()
            met = True
            await dialogue.command("RSET")
            ascii_only = probe.sender.isascii() and probe.recipient.isascii()
            parameter = " SMTPUTF8" if server.smtputf8 and not ascii_only else ""
            mail, _ = await dialogue.command(f"MAIL FROM:{probe.sender}{parameter}")
            if mail.code == _NOT_SO and server.starttls:
                await dialogue.start_tls()
                mail, _ = await dialogue.command(f"MAIL FROM:{probe.sender}{parameter}")
            outcome = replace(outcome, mail=mail)
            if mail.code == 250:  # noqa: PLR2004
                rcpt, _ = await dialogue.command(f"RCPT TO:{probe.recipient}")
                outcome = replace(outcome, rcpt=rcpt)
    except _TROUBLES as error:
        outcome = replace(outcome, problem=_describe(error, patience))
    last = outcome.rcpt or outcome.mail
    if last and last.code == _SERVICE_CLOSING:
        outcome = replace(outcome, problem="the server closed the session")
    return outcome, not met


def _describe(error: BaseException, patience: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no reply within {patience:g} s"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {(error.reason or 'no reason is given').replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno:
        # The text of asyncio has a tuple in it; a name that is not found has a number below 0.
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error) or type(error).__name__
