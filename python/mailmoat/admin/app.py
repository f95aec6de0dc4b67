"""The HTTP side of the admin process: `GET /metrics` and `GET /healthz`; anything else is 404 or 405.

It reads the shared memory and nothing else, so an answer says what is, however the workers fare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mailmoat import metrics
from mailmoat.admin import health

if TYPE_CHECKING:
    from starlette.requests import Request

    from mailmoat._native import Shared

_FRESH: Final = {"Cache-Control": "no-store"}


def application(shared: Shared) -> Starlette:
    """The application over one server's shared memory."""

    async def show_metrics(_request: Request) -> Response:
        return Response(metrics.render(shared), headers={"Content-Type": metrics.CONTENT_TYPE, **_FRESH})

    async def show_health(_request: Request) -> Response:
        verdict = health.judge(shared)
        return JSONResponse(verdict._asdict(), status_code=503 if verdict.status == "failing" else 200, headers=_FRESH)

    return Starlette(routes=[Route("/metrics", show_metrics), Route("/healthz", show_health)])
