"""The HTTP side of the admin process: `GET /metrics` and `GET /healthz`; anything else is 404 or 405.

A request for another host is refused (421, RFC 9110 15.5.20), as a protection against DNS rebinding: a web page makes a browser
send requests here under a name of its own. Such a name has a dot; addresses and names without one are not names on the internet.

It reads only the shared memory, so it answers whatever the state of the workers is; for the metrics of each source of recipients also the
file in which the directory process notes them, for which it does not wait long.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mailmoat import clock
from mailmoat.admin import health
from mailmoat.directory import freshness, source_metrics
from mailmoat.metrics import CONTENT_TYPE, render
from mailmoat.net import address

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from starlette.requests import Request

    from mailmoat._native import Shared
    from mailmoat.metrics import Gathered, Sample

_FRESH: Final = {"Cache-Control": "no-store"}
DISK_TIME: Final = 2.0
"""Seconds for the file of the directory process."""


def application(shared: Shared, hosts: Collection[str] = (), sources: Path | None = None) -> Starlette:
    """Return the application over one server's shared memory, which answers to the names `hosts`.

    `sources` is the file in which the directory process notes how fresh its sources are; None without sources.
    """
    known = frozenset(hosts)

    async def show_metrics(request: Request) -> Response:
        if not _is_ours(request, known):
            return _misdirected()
        return Response(render(shared, await _gathered(sources)), headers={"Content-Type": CONTENT_TYPE, **_FRESH})

    async def show_health(request: Request) -> Response:
        if not _is_ours(request, known):
            return _misdirected()
        verdict = health.judge(shared)
        return JSONResponse(verdict._asdict(), status_code=503 if verdict.status == "failing" else 200, headers=_FRESH)

    return Starlette(routes=[Route("/metrics", show_metrics), Route("/healthz", show_health)])


async def _gathered(sources: Path | None) -> dict[Gathered, list[Sample]]:
    """Return the metrics of the sources of recipients; none where the disk does not answer."""
    if sources is None:
        return {}
    try:
        async with asyncio.timeout(DISK_TIME):
            known = await asyncio.to_thread(freshness.read, sources)
    except TimeoutError:
        return {}
    return source_metrics.gathered(known, clock.wall_ms())


def _is_ours(request: Request, hosts: frozenset[str]) -> bool:
    """Return whether the request's `Host` names this server."""
    written = request.headers.get("host", "").strip().lower()
    host = written[1:].partition("]")[0] if written.startswith("[") else written.partition(":")[0]
    host = host.rstrip(".")
    if "." not in host and ":" not in host:
        return True
    try:
        address.parse(host)
    except ValueError:
        return host in hosts
    return True


def _misdirected() -> Response:
    text = "This host is not known here: name it in admin.hosts.\n"
    return Response(text, status_code=421, media_type="text/plain", headers=_FRESH)
