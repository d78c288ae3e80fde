"""The metrics endpoint."""

import asyncio

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

from adapters.http.openapi.operations import response
from adapters.http.routing import ApiRequest, StrictRoute, operation_id, requires_scope
from domain.api_keys import Scope

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of the text format of Prometheus ("Exposition formats")."""

_EXAMPLE = """# HELP hexapost_db_transaction_retries_total Database transactions retried, by cause.
# TYPE hexapost_db_transaction_retries_total counter
hexapost_db_transaction_retries_total{cause="concurrent-change"} 2.0
"""
_RESPONSE = response("Metrics in the Prometheus text format.")
_RESPONSE["content"] = {"text/plain": {"schema": {"type": "string", "maxLength": 16_777_216}, "example": _EXAMPLE}}


router = APIRouter(route_class=StrictRoute, tags=["health"], generate_unique_id_function=operation_id)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    summary="Prometheus metrics",
    responses={200: _RESPONSE},
    openapi_extra=requires_scope(Scope.METRICS_READ),
)
async def get_metrics(request: ApiRequest) -> PlainTextResponse:
    """Return the metrics of all worker processes of this service.

    During a database outage, a process accepts API keys that it verified in the last hour.
    """
    request.principal.require_scopes(Scope.METRICS_READ)
    # In a thread, because each worker process has files to read.
    shown = await asyncio.to_thread(request.application.options.metrics.render)
    return PlainTextResponse(shown, media_type=CONTENT_TYPE)
