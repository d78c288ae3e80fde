"""What the service counts, for Prometheus."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse

from adapters.http.context import caller, metrics
from adapters.http.documentation import API, errors, response
from adapters.http.problems import VALIDATION_FAILED
from adapters.http.routes import StrictRoute, operation_id
from adapters.http.scopes import secured
from domain.keys import Scope

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of the text format of Prometheus ("Exposition formats")."""

_EXAMPLE = """# HELP hexapost_retries_total Units of work that were tried again.
# TYPE hexapost_retries_total counter
hexapost_retries_total{cause="concurrent-change"} 2.0
"""
_SHOWN = response("All of it, in the text format of Prometheus.")
_SHOWN["content"] = {"text/plain": {"schema": {"type": "string", "maxLength": 16_777_216}, "example": _EXAMPLE}}


class OutageRoute(StrictRoute):
    """A route that is needed most while the database is away."""

    in_outage = True


router = APIRouter(route_class=OutageRoute, tags=["health"], generate_unique_id_function=operation_id)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    summary="Read what the service counts",
    responses={200: _SHOWN, **errors(*API, VALIDATION_FAILED)},
    openapi_extra=secured(Scope.METRICS_READ),
)
async def get_metrics(request: Request) -> PlainTextResponse:
    """Show requests, durations, the pool, retries, rejections and errors, of all processes that serve together.

    A key that the process has found in the last hour is good for this also while the database is away.
    """
    caller(request).require(Scope.METRICS_READ)
    # In a thread, because each worker process has files to read.
    shown = await asyncio.to_thread(metrics(request).exposition)
    return PlainTextResponse(shown, media_type=EXPOSITION)
