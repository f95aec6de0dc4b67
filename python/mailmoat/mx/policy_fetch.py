"""Fetches MTA-STS policies for deliveries: from the addresses that our own resolver finds, with the CAs of the system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.file_changes import NONE, stamp_of
from mailmoat.mta_sts.fetch import PORT, FetchError, FetchResult, context, fetch
from mailmoat.mx.addresses import Unusable
from mailmoat.resolver import Budget
from mailmoat.tls.authorities import system_file

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from mailmoat.file_changes import Stamp
    from mailmoat.mx.addresses import Addresses

SECONDS: Final = 15.0
"""For one fetch, which the first message for a domain waits for."""
MOST_ADDRESSES: Final = 4
QUERIES: Final = 4


class PolicyFetch:
    """Fetches; it has the CAs in memory, until their file changes."""

    def __init__(self, addresses: Addresses, ca: Path | None = None, port: int = PORT) -> None:
        """Take where hosts are found; `ca` and `port` differ from those of the world in tests."""
        self._addresses = addresses
        self._ca = ca
        self._port = port
        self._stamp: Stamp | None = None
        self._context: ssl.SSLContext | None = None

    async def __call__(self, domain: str) -> bytes:
        """Return the policy of a domain as it is served. Raises FetchError."""
        host = f"mta-sts.{domain}"
        located = await self._addresses.locate(host, Budget(QUERIES, SECONDS))
        if isinstance(located, Unusable):
            raise FetchError(FetchResult.UNREACHABLE, f"{host}: {located.value}")
        found = located.addresses[:MOST_ADDRESSES]
        return await fetch(host, found, tls=self._tls(), seconds=SECONDS, port=self._port)

    def _tls(self) -> ssl.SSLContext:
        file = self._ca or system_file()
        stamp = stamp_of(file) if file is not None else NONE
        if self._context is None or stamp != self._stamp:
            try:
                self._context = context(file)
            except OSError as error:
                raise FetchError(FetchResult.UNREACHABLE, f"{file}: the CAs cannot be read: {error.strerror}") from None
            self._stamp = stamp
        return self._context
