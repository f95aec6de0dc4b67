"""A server made with aiosmtpd: refuses unknown recipients, after a delay where one is asked for, and discards messages.

Arguments: port, file with an address a line, seconds of delay.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session


class Policy:
    """The hooks of aiosmtpd that are needed."""

    def __init__(self, known: frozenset[str], delay: float) -> None:
        self._known = known
        self._delay = delay

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> str:
        """Refuse the unknown."""
        if address.lower() not in self._known:
            if self._delay:
                await asyncio.sleep(self._delay)
            return "550 5.1.1 User unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        """Take it and forget it."""
        return "250 OK"


async def serve(port: int, policy: Policy) -> None:
    """Serve until ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(policy, hostname="mx.example.test", enable_SMTPUTF8=True), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    known = frozenset(Path(sys.argv[2]).read_text().split())
    uvloop.run(serve(int(sys.argv[1]), Policy(known, float(sys.argv[3]))))
