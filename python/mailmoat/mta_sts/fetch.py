"""One policy fetched by HTTPS (RFC 8461 3.3): the octets of a 200, or `FetchError`. Nothing is followed, nothing is kept.

The server is authenticated by the system's CAs for `mta-sts.` before the domain. Time and size are bounded whatever it does.
"""

from __future__ import annotations

import asyncio
import ssl
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import h11

from mailmoat.errors import MailmoatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PATH: Final = "/.well-known/mta-sts.txt"
PORT: Final = 443
LONGEST: Final = 64 << 10
"""Octets of a policy (RFC 8461 3.3)."""
_HEADER: Final = 16 << 10
_CHUNK: Final = 8192
_OK: Final = 200


class FetchResult(StrEnum):
    """What became of a fetch; failures in the words of reports (RFC 8460 4.3.2.2)."""

    FETCHED = "fetched"
    UNREACHABLE = "sts-policy-fetch-error"
    UNVERIFIED = "sts-webpki-invalid"
    INVALID = "sts-policy-invalid"


class FetchError(MailmoatError):
    """A policy could not be fetched; its text is for the log."""

    def __init__(self, failure: FetchResult, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure


def context(ca: Path | None) -> ssl.SSLContext:
    """Return what all fetches share: the CAs of a file, or those that OpenSSL finds. OSError and ssl.SSLError: the file cannot be used."""
    made = ssl.create_default_context(cafile=ca)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.hostname_checks_common_name = False
    return made


async def fetch(host: str, addresses: Sequence[str], *, tls: ssl.SSLContext, seconds: float, port: int = PORT) -> bytes:
    """Return the policy that the first of these addresses serves. Raises FetchError."""
    failure = FetchError(FetchResult.UNREACHABLE, f"{host} has no address")
    try:
        async with asyncio.timeout(seconds):
            for address in addresses:
                try:
                    return await _get(host, address, port, tls)
                except ssl.SSLCertVerificationError as error:
                    failure = FetchError(FetchResult.UNVERIFIED, f"{host}: {error.verify_message}")
                except (OSError, EOFError) as error:
                    failure = FetchError(
                        FetchResult.UNREACHABLE, f"{host}: {getattr(error, 'strerror', '') or 'connection lost'}"
                    )
    except TimeoutError:
        raise FetchError(FetchResult.UNREACHABLE, f"{host}: timed out") from None
    raise failure


async def _get(host: str, address: str, port: int, tls: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection(address, port, ssl=tls, server_hostname=host)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADER)
        fields = [("Host", host), ("Accept", "text/plain"), ("Connection", "close")]
        for event in (h11.Request(method="GET", target=PATH, headers=fields), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        return await _body(host, connection, reader)
    except h11.RemoteProtocolError:
        raise FetchError(FetchResult.UNREACHABLE, f"{host}: the answer is no HTTP") from None
    finally:
        writer.transport.abort()


async def _body(host: str, connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            _check(host, event)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > LONGEST:
                raise FetchError(FetchResult.INVALID, f"{host}: more than {LONGEST} octets")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)
        elif not isinstance(event, h11.InformationalResponse):
            raise EOFError


def _check(host: str, response: h11.Response) -> None:
    if response.status_code != _OK:
        raise FetchError(FetchResult.UNREACHABLE, f"{host}: HTTP status {response.status_code}")
    kind = next((value for name, value in response.headers if name == b"content-type"), b"text/plain")
    if kind.partition(b";")[0].strip().lower() != b"text/plain":
        raise FetchError(FetchResult.INVALID, f"{host}: the policy is not text/plain")
