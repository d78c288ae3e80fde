"""The metrics endpoint."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse

from adapters.http.context import caller, metrics
from adapters.http.documentation import API, errors, response
from adapters.http.problems import VALIDATION_FAILED
from adapters.http.routes import StrictRoute, operation_id
from adapters.http.scopes import secured
from domain.api_keys import Scope

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of the text format of Prometheus ("Exposition formats")."""

_EXAMPLE = """# HELP hexapost_retries_total Units of work that were tried again.
# TYPE hexapost_retries_total counter
hexapost_retries_total{cause="concurrent-change"} 2.0
"""
_SHOWN = response("Metrics in the Prometheus text format.")
_SHOWN["content"] = {"text/plain": {"schema": {"type": "string", "maxLength": 16_777_216}, "example": _EXAMPLE}}


class OutageRoute(StrictRoute):
    """A route that accepts stale authentication results during a database outage."""

    in_outage = True


router = APIRouter(route_class=OutageRoute, tags=["health"], generate_unique_id_function=operation_id)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    summary="Prometheus metrics",
    responses={200: _SHOWN, **errors(*API, VALIDATION_FAILED)},
    openapi_extra=secured(Scope.METRICS_READ),
)
async def get_metrics(request: Request) -> PlainTextResponse:
    """Return the metrics of all worker processes of this service.

    During a database outage, a process accepts API keys that it verified in the last hour.
    """
    caller(request).require_scopes(Scope.METRICS_READ)
    # In a thread, because each worker process has files to read.
    shown = await asyncio.to_thread(metrics(request).exposition)
    return PlainTextResponse(shown, media_type=EXPOSITION)
