"""Liveness and readiness probes."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field, with_config
from pydantic_core import to_json
from typing_extensions import TypedDict

from adapters.http.compiled_routes import CompiledRoute
from adapters.http.dependencies import AppState
from adapters.http.field_types import response_body
from adapters.http.openapi.operations import response
from adapters.http.routing import operation_id

TAG = {"name": "health", "description": "Probes and metrics (operators)."}


@with_config(response_body({"status": "ok"}))
class LivenessResponse(TypedDict):
    """The process is running."""

    status: Annotated[Literal["ok"], Field(description="Always `ok`.")]


class ComponentResponse(TypedDict):
    """The status of one component."""

    ready: Annotated[bool, Field(description="True if the component is ready.")]
    detail: Annotated[str, Field(max_length=200, description="Short status text.")]


_READY = {
    "service": {"ready": True, "detail": "serving"},
    "database": {"ready": True, "detail": "reachable (primary)"},
    "migrations": {"ready": True, "detail": "current"},
    "pool": {"ready": True, "detail": "opened 10 of 10"},
}
_UNAVAILABLE = {"status": "unavailable", "components": {"database": {"ready": False, "detail": "unreachable"}}}


@with_config(response_body({"status": "ready", "components": _READY}))
class ReadinessResponse(TypedDict):
    """The readiness of the service."""

    status: Annotated[Literal["ready", "unavailable"], Field(description="`ready` if all components are ready.")]
    components: Annotated[dict[str, ComponentResponse], Field(description="Components by name.", max_length=32)]


_ALIVE = Response(b'{"status":"ok"}', media_type="application/json")

router = APIRouter(tags=["health"], route_class=CompiledRoute, generate_unique_id_function=operation_id)


@router.get(
    "/livez",
    response_model=LivenessResponse,
    summary="Liveness probe",
    responses={200: response("The process is running.")},
)
async def get_liveness() -> Response:
    """Return 200 without database access. Restart a process that does not respond."""
    return _ALIVE


@router.get(
    "/readyz",
    response_model=ReadinessResponse,
    summary="Readiness probe",
    responses={
        200: response("Ready to serve requests."),
        503: {
            "model": ReadinessResponse,
            "content": {"application/json": {"example": _UNAVAILABLE}},
            **response(
                "Not ready; do not route traffic here. The body reports the components, and is no problem document."
            ),
        },
    },
)
async def get_readiness(request: Request) -> Response:
    """Report the readiness of each dependency, checked every second. Returns 503 while the process shuts down."""
    application: AppState = request.app.state.hexapost
    found = await application.use_cases.readiness()
    is_ready = all(component.ready for component in found.values())
    body: ReadinessResponse = {
        "status": "ready" if is_ready else "unavailable",
        "components": {name: {"ready": one.ready, "detail": one.detail} for name, one in found.items()},
    }
    return Response(to_json(body), 200 if is_ready else 503, media_type="application/json")
