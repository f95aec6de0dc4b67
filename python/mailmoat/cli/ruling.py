"""What the server says of an address at RCPT, and why: the same filter over the same directory, for the commands."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.directory.directory import Directory
    from mailmoat.policy.agents.recipient_filter import Standing
    from mailmoat.settings import Settings

T = TypeVar("T")


class Ruling(NamedTuple):
    """What follows for one recipient."""

    answer: str
    """`exists`, `absent`, `unknown`, `blocked` or `elsewhere`."""
    why: str
    """A sentence."""
    targets: tuple[str, ...] = ()
    """Addresses that get its mail instead; none = it is delivered to itself."""


def recipient(written: str, settings: Settings) -> Address:
    """Return a written address with its domain. ValueError for what is none."""
    from mailmoat._native import Address

    address = Address.parse(written)
    return address if address.domain else Address.parse(f"{address}@{settings.relay.default_domain or ''}")


async def rule(address: Address, settings: Settings, directory: Directory | None) -> Ruling:
    """Return what the server says of an address that has a domain."""
    from mailmoat.directory.directory import Redirection
    from mailmoat.policy.agents.recipient_filter import Recipients, Standing
    from mailmoat.settings.sections.recipient_domains import remarks

    found: Standing | Redirection = await now(Recipients(settings, directory).standing(address))
    standing = Standing.EXISTS if isinstance(found, Redirection) else found
    targets: tuple[str, ...] = ()
    if isinstance(found, Redirection):
        targets = tuple(map(str, found.targets))
    elif standing in (Standing.POSTMASTER, Standing.ABUSE):
        chosen = settings.recipients.postmaster if standing is Standing.POSTMASTER else settings.recipients.abuse
        targets = (str(chosen),) if chosen else ()
    ruled = _without_directory(address, standing, settings)
    if ruled is not None or directory is None:
        answer, why = ruled or (standing.name.lower(), standing.value)
        return Ruling(answer, f"{address}: {answer} ({why})", targets)
    why = await now(directory.explain(address))
    unusual = remarks(settings.recipients, settings.recipient_domains, address.domain)
    return Ruling(standing.name.lower(), f"{why.removesuffix(')')}; {unusual})" if unusual else why, targets)


def _without_directory(address: Address, standing: Standing, settings: Settings) -> tuple[str, str] | None:
    """Return answer and reason of a standing that the directory has no part in."""
    from mailmoat.policy.agents.recipient_filter import Standing

    return {
        Standing.ELSEWHERE: ("elsewhere", f"{address.domain} is not in relay.local_domains"),
        Standing.POSTMASTER: ("exists", "postmaster is always accepted"),
        Standing.ABUSE: ("exists", f"its mail goes to recipients.abuse, {settings.recipients.abuse}"),
        Standing.BLOCKED: ("blocked", "it is in recipients.blocked, itself or without its tag"),
        Standing.UNFILTERED: ("unknown", "neither recipients.file nor directories is set: every recipient is accepted"),
        Standing.UNLISTED: (
            "absent",
            "it could lead to another server, and there is neither recipients.file nor directories to list it",
        ),
    }.get(standing)


async def now(answer: T | Awaitable[T]) -> T:
    """Return an answer, or wait for it."""
    return await answer if isinstance(answer, Awaitable) else answer
