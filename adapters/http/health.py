"""Probes: whether the process lives, and whether it can work."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from adapters.http.context import services
from adapters.http.documentation import errors, response
from adapters.http.fields import ResponseModel
from adapters.http.routes import operation_id


class LivenessResponse(ResponseModel):
    """The process answers."""

    status: Annotated[Literal["ok"], Field(description="Always ok.")]


class ComponentResponse(ResponseModel):
    """Something that the service needs."""

    ready: Annotated[bool, Field(description="Whether it can be used.")]
    detail: Annotated[str, Field(max_length=200, description="A word about its state.")]


class ReadinessResponse(ResponseModel):
    """Whether the service can work."""

    status: Annotated[Literal["ready", "unavailable"], Field(description="Ready when all components are.")]
    components: Annotated[
        dict[str, ComponentResponse], Field(description="What the service needs, by name.", max_length=32)
    ]


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
    summary="Is the process alive?",
    responses={200: response("It is.", example={"status": "ok"}), **errors()},
)
async def get_liveness() -> Response:
    """Answer without touching the database: a process that does not answer should be started again."""
    return Response(_ALIVE, media_type="application/json")


@router.get(
    "/readyz",
    response_model=ReadinessResponse,
    summary="Can it work?",
    responses={
        200: response("It can.", example=_READY),
        503: {"model": ReadinessResponse, **response("It cannot: do not send it requests.", example=_UNAVAILABLE)},
        **errors(),
    },
)
async def get_readiness(request: Request) -> Response:
    """Tell which of what the service needs was ready a moment ago. It is not when the process is about to end."""
    found = await services(request).readiness()
    components = {name: ComponentResponse(ready=one.ready, detail=one.detail) for name, one in found.items()}
    is_ready = all(one.ready for one in components.values())
    body = ReadinessResponse(status="ready" if is_ready else "unavailable", components=components)
    return Response(body.model_dump_json(), 200 if is_ready else 503, media_type="application/json")
