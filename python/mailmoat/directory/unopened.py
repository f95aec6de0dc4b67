"""Stands for a source that cannot be opened, for example because its library is not installed: each read and each lookup is an outage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mailmoat._native import Address
    from mailmoat.directory.source import KnownIds, LiveAnswer, Step
    from mailmoat.errors import SourceError


class Unopened:
    """A source in either mode."""

    def __init__(self, error: SourceError) -> None:
        self._error = error

    async def steps(self, cookie: bytes | None, known: KnownIds) -> AsyncIterator[Step]:  # noqa: ARG002 - nothing is read
        """Raise what is wrong."""
        raise self._error
        yield  # a generator, as every source

    async def lookup(self, address: Address) -> LiveAnswer:  # noqa: ARG002 - nobody is asked
        """Raise what is wrong."""
        raise self._error
