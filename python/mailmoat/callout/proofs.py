"""Whether a refusal stands: the next hop has to accept an address of the same domain after it.

A next hop that has lost its recipients, or refuses us from now on, refuses everybody in the words in which it refuses those who do not
exist. So an address that it accepted before is asked for again, else postmaster, which exists at every domain (RFC 5321 4.5.1). All refusals
that wait share one such question.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from mailmoat import clock
from mailmoat.callout.attempt import ask
from mailmoat.callout.judgement import Judgement

if TYPE_CHECKING:
    from mailmoat._native import Address
    from mailmoat.callout.domains import Domains
    from mailmoat.delivery.pool import Pool


class Proofs:
    """The proofs that are on their way, one for each domain."""

    def __init__(self, domains: Domains) -> None:
        self._domains = domains
        self._running: dict[str, asyncio.Task[None]] = {}

    async def stands(self, address: Address, pool: Pool, next_hop: str) -> bool:
        """Return whether an address is absent that was refused just now."""
        domain, refused_at = address.domain, clock.monotonic()
        proof = self._running.get(domain)
        if proof is None or proof.done():
            proof = self._running[domain] = asyncio.create_task(self._prove(str(address), domain, pool, next_hop))
            proof.add_done_callback(partial(self._end, domain))
        await asyncio.wait((proof,))
        return self._domains.accepted_since(domain, refused_at)

    def close(self) -> None:
        """Give up what runs."""
        for proof in self._running.values():
            proof.cancel()

    def _end(self, domain: str, proof: asyncio.Task[None]) -> None:
        if self._running.get(domain) is proof:
            del self._running[domain]

    async def _prove(self, refused: str, domain: str, pool: Pool, next_hop: str) -> None:
        """Ask for addresses that were accepted until one is; another answer than a refusal shows nothing."""
        witnesses, gone = self._domains.witnesses(domain), [refused]
        for witness in (*witnesses, f"postmaster@{domain}"):
            if witness in gone:
                continue
            judgement, _ = await ask(pool, witness)
            if judgement is Judgement.EXISTS:
                self._domains.removed(domain, gone)
                self._domains.accepted(domain, witness, next_hop)
                return
            if judgement not in {Judgement.ABSENT, Judgement.UNPROVEN}:
                return
            gone.append(witness)
        (self._domains.lost if witnesses else self._domains.refuses_postmaster)(domain, next_hop)
