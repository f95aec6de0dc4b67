"""The HTTP side of the admin process: `GET /metrics` and `GET /healthz`; anything else is 404 or 405.

A request for another host is refused (421, RFC 9110 15.5.20), as a protection against DNS rebinding: a web page makes a browser
send requests here under a name of its own. Such a name has a dot; addresses and names without one are not names on the internet.

It reads only the shared memory, so it answers whatever the state of the workers is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mailmoat.admin import health
from mailmoat.metrics import CONTENT_TYPE, render
from mailmoat.net import address

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import Request

    from mailmoat._native import Shared

_FRESH: Final = {"Cache-Control": "no-store"}


def application(shared: Shared, hosts: Collection[str] = ()) -> Starlette:
    """Return the application over one server's shared memory, which answers to the names `hosts`."""
    known = frozenset(hosts)

    async def show_metrics(request: Request) -> Response:
        if not _is_ours(request, known):
            return _misdirected()
        return Response(render(shared), headers={"Content-Type": CONTENT_TYPE, **_FRESH})

    async def show_health(request: Request) -> Response:
        if not _is_ours(request, known):
            return _misdirected()
        verdict = health.judge(shared)
        return JSONResponse(verdict._asdict(), status_code=503 if verdict.status == "failing" else 200, headers=_FRESH)

    return Starlette(routes=[Route("/metrics", show_metrics), Route("/healthz", show_health)])


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
