"""Liveness and readiness probes."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from adapters.http.dependencies import AppState
from adapters.http.field_types import ResponseModel
from adapters.http.openapi.responses import errors, response
from adapters.http.routing import operation_id


class LivenessResponse(ResponseModel):
    """The process is running."""

    status: Annotated[Literal["ok"], Field(description="Always `ok`.")]


class ComponentResponse(ResponseModel):
    """The status of one component."""

    ready: Annotated[bool, Field(description="True if the component is ready.")]
    detail: Annotated[str, Field(max_length=200, description="Short status text.")]


class ReadinessResponse(ResponseModel):
    """The readiness of the service."""

    status: Annotated[Literal["ready", "unavailable"], Field(description="`ready` if all components are ready.")]
    components: Annotated[dict[str, ComponentResponse], Field(description="Components by name.", max_length=32)]


_ALIVE = LivenessResponse(status="ok").model_dump_json().encode()
_READY = {
    "status": "ready",
    "components": {
        "service": {"ready": True, "detail": "serving"},
        "database": {"ready": True, "detail": "reachable"},
        "migrations": {"ready": True, "detail": "current"},
        "pool": {"ready": True, "detail": "opened 10 of 10"},
    },
}
_UNAVAILABLE = {"status": "unavailable", "components": {"database": {"ready": False, "detail": "unreachable"}}}

router = APIRouter(tags=["health"], generate_unique_id_function=operation_id)


@router.get(
    "/livez",
    response_model=LivenessResponse,
    summary="Liveness probe",
    responses={200: response("The process is running.", example={"status": "ok"}), **errors()},
)
async def get_liveness() -> Response:
    """Return 200 without database access. Restart a process that does not respond."""
    return Response(_ALIVE, media_type="application/json")


@router.get(
    "/readyz",
    response_model=ReadinessResponse,
    summary="Readiness probe",
    responses={
        200: response("Ready to serve requests.", example=_READY),
        503: {
            "model": ReadinessResponse,
            **response("Not ready; do not route traffic here.", example=_UNAVAILABLE),
        },
        **errors(),
    },
)
async def get_readiness(request: Request) -> Response:
    """Report the readiness of each dependency, checked every second. Returns 503 while the process shuts down."""
    application: AppState = request.app.state.hexapost
    found = await application.use_cases.readiness()
    components = {name: ComponentResponse(ready=one.ready, detail=one.detail) for name, one in found.items()}
    is_ready = all(one.ready for one in components.values())
    body = ReadinessResponse(status="ready" if is_ready else "unavailable", components=components)
    return Response(body.model_dump_json(), 200 if is_ready else 503, media_type="application/json")
