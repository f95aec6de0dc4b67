"""Whether the name servers validate DNSSEC, found out by the one zone that every server has signatures of: the root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.resolver.answer import Found
from mailmoat.resolver.servers import Servers

if TYPE_CHECKING:
    from mailmoat.settings.sections.dns import DnsSettings


async def validates(settings: DnsSettings) -> bool | None:
    """Return whether the servers say that an answer is authentic; None when they do not answer, or may not be trusted (`dns.trust_ad`)."""
    if not settings.trust_ad:
        return None
    answer = await Servers(settings).ask((), "SOA")
    return answer.authentic if isinstance(answer, Found) else None
