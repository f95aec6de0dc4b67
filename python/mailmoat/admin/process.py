"""The admin process: serves `admin.app` on a listening socket until SIGTERM, SIGINT or the end of the lifeline.

Runs in a fresh child, root already dropped. It owns no message and no port: it may end and be started
again at any time. What only this process needs is imported here, so that the supervisor and the workers do not load it.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket  # noqa: TID251 - a type only
    from collections.abc import Callable, Collection
    from pathlib import Path

    from mailmoat._native import Shared

GRACE: Final = 3
"""Seconds an answer under way has to end after SIGTERM."""


def run(
    listener: socket.socket,
    shared: Shared,
    *,
    ready: Callable[[], None],
    lifeline: int | None = None,
    hosts: Collection[str] = (),
    sources: Path | None = None,
) -> None:
    """Serve until a signal ends the process.

    `lifeline` is a descriptor that reads as ended when the supervisor is dead; `hosts` are names it may be asked for under; `sources` is
    the file that says how fresh the sources of recipients are.
    """
    import uvicorn
    import uvloop

    from mailmoat.admin.app import application
    from mailmoat.admin.connection import AdminConnection
    from mailmoat.admin.server import AdminServer

    server = AdminServer(
        uvicorn.Config(
            application(shared, hosts, sources),
            http=AdminConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # what strangers send is no line of our log
            access_log=False,
            server_header=False,
            date_header=False,  # `AdminConnection` has it
            timeout_graceful_shutdown=GRACE,
        )
    )

    def orphaned(lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)  # it stays readable
        server.end()

    async def serve() -> None:
        if lifeline is not None:
            asyncio.get_running_loop().add_reader(lifeline, orphaned, lifeline)
        ready()
        await server.serve(sockets=[listener])

    for number in (signal.SIGTERM, signal.SIGINT):  # until it serves
        signal.signal(number, lambda *_: server.end())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
