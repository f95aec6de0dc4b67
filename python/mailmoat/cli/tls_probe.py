"""The handshakes of `tls check`: one connection each, with our own client machine; greeting, EHLO, STARTTLS, EHLO, QUIT.

No message is sent, and no other host is connected to. Whatever the server or the network does wrong is a `ProbeError` with a plain sentence.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailmoat import clock
from mailmoat._native import Client, ClientStep, TlsClient, TlsClock
from mailmoat.errors import MailmoatError
from mailmoat.net.address import literal
from mailmoat.printable import printable

if TYPE_CHECKING:
    from mailmoat._native import TlsFacts
    from mailmoat.net.endpoint import Endpoint

CHUNK: Final = 64 * 1024
POLITENESS: Final = 2.0
"""Seconds that the rest of the session may take when the handshake is done."""
OWN_WORDS: Final = " The next hop "
VERSIONS: Final = {"TLSv1.3": "1.3", "TLSv1.2": "1.2"}
"""As facts and as policies name them."""


class ProbeError(MailmoatError):
    """There was no handshake, or it failed; the text completes "HOST: "."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is connected to, and how."""

    place: Endpoint
    implicit: bool
    """TLS from the first octet on, instead of STARTTLS."""
    name: str
    """Sent to the server, and looked for in its certificate."""
    authorities: bytes
    """PEM; empty when nothing can be verified."""
    patience: float
    """Seconds for connection and dialogue."""
    minimum: str = "1.2"
    """The oldest version to try, as policies name it: a server withholds STARTTLS from who tries a version it does not have."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a handshake has shown."""

    facts: TlsFacts
    seconds: float
    """From our first octet of the handshake to its end."""


@dataclass(frozen=True, slots=True)
class Result:
    """What two handshakes have shown: the usual one, and one in the other version."""

    usual: Seen
    versions: dict[str, str]
    """By version: empty when it works, else why it does not."""


def examine(target: Target) -> Result:
    """Make the handshakes. ProbeError when the usual one fails."""
    _prepare(target)
    usual = asyncio.run(_shake(target, "1.2", "1.3"))
    versions = dict.fromkeys(VERSIONS, "")
    for version, number in VERSIONS.items():
        if number < target.minimum:
            versions[version] = f"tls.minimum is {target.minimum}"
        elif version != usual.facts.version:
            try:
                asyncio.run(_shake(target, number, number))
            except ProbeError as error:
                versions[version] = str(error)
    return Result(usual, versions)


def _prepare(target: Target) -> None:
    """Make a key once: the first one of a process sets up the cryptography, which is no part of a handshake."""
    try:
        policy = _policy(target, "1.2", "1.3")
    except ValueError as error:
        raise ProbeError(f"the file of CAs cannot be used: {error}") from None
    try:
        Client("localhost", tls="encrypt").start_tls(policy, target.name)
    except ValueError:
        raise ProbeError(f"{target.name} is not the name of a host; write one after --name") from None


def _policy(target: Target, minimum: str, maximum: str) -> TlsClient:
    return TlsClient(
        clock=TlsClock(clock.wall_ms() // 1000),
        verify=False,
        ca=target.authorities,
        identity=None,
        minimum=minimum,
        maximum=maximum,
    )


async def _shake(target: Target, minimum: str, maximum: str) -> Seen:
    policy = _policy(target, minimum, maximum)
    try:
        async with asyncio.timeout(target.patience):
            reader, writer = await asyncio.open_connection(target.place.host, target.place.port)
            try:
                client, seen = await _handshake(target, policy, reader, writer)
                await _leave(client, reader, writer)
                return seen
            finally:
                writer.close()  # sends what is written; nobody waits for the reply to QUIT
    except TimeoutError:
        raise ProbeError(f"no answer within {target.patience:g} s") from None
    except OSError as error:
        text = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror or error)
        raise ProbeError(f"cannot connect: {text}") from None


async def _handshake(
    target: Target, policy: TlsClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[Client, Seen]:
    # Not our own name: at this very server that would be a loop.
    client = Client(literal(writer.get_extra_info("sockname")[0]), tls="encrypt")
    begun = clock.monotonic()
    step = client.start_tls(policy, target.name) if target.implicit else client.step
    while client.tls is None:
        writer.write(client.output())
        if step is ClientStep.CLOSED:
            raise ProbeError(_why(client))
        octets = await reader.read(CHUNK)
        step = client.receive(octets) if octets else client.end("the server closed the connection")
        if step is ClientStep.START_TLS:
            writer.write(client.output())
            begun = clock.monotonic()
            step = client.start_tls(policy, target.name)
    return client, Seen(client.tls, clock.monotonic() - begun)


async def _leave(client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the session by QUIT, as far as the server goes along."""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(POLITENESS):
            while client.step not in (ClientStep.READY, ClientStep.CLOSED):
                writer.write(client.output())
                octets = await reader.read(CHUNK)
                if not octets:
                    return
                client.receive(octets)
    if client.step is ClientStep.READY:
        client.quit()
    writer.write(client.output())


def _why(client: Client) -> str:
    """Return why the connection closed before the handshake was done."""
    if client.tls_fault:
        return f"the handshake failed: {client.tls_fault}"
    if client.refusal is None:
        return "the server closed the connection"
    reply = client.refusal[1]
    # The machine's own sentences are about a next hop, which this server need not be.
    return f"it {reply.partition(OWN_WORDS)[2]}" if OWN_WORDS in reply else f"it answers {printable(reply)}"
