"""The receipts of erased users, for operators: the route and the response body."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field, with_config
from typing_extensions import TypedDict

from adapters.http import field_types, responses
from adapters.http.openapi.components import Json
from adapters.http.openapi.operations import operation, response
from adapters.http.problems.catalog import domain_problem
from adapters.http.routers import audit, users
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from domain.api_keys import Scope
from domain.audit import ActorKind, ErasureNotFoundError

EXAMPLE: Json = {
    "user_id": users.EXAMPLE["id"],
    "erased_at": "2026-03-01T00:00:00Z",
    "actor_kind": "api_key",
    "actor_id": audit.EXAMPLE["actor_id"],
    "erased_rows": {"users": 1, "posts": 12, "api_keys": 1, "idempotency_records": 3},
}
ERASURE_NOT_FOUND = domain_problem(
    ErasureNotFoundError, resolution="Check the ID. A user who exists is not erased: GET /api/v1/users/{user_id}."
)
_Rows = Annotated[int, Field(ge=0, le=2**53 - 1, json_schema_extra={"format": "int64"})]


@with_config(field_types.response_body(EXAMPLE))
class ErasureReceiptResponse(TypedDict):
    """The record of the erasure of a user, without personal data."""

    user_id: Annotated[UUID, Field(description="ID of the erased user.")]
    erased_at: Annotated[datetime, Field(description="Time of the erasure.")]
    actor_kind: Annotated[ActorKind, Field(description="Who erased the user: an API key, the command line, the purge.")]
    actor_id: Annotated[UUID | None, Field(description="ID of the API key; null for other actors.")]
    erased_rows: Annotated[dict[str, _Rows], Field(max_length=100, description="Number of erased rows for each table.")]


receipt_response = responses.projection(ErasureReceiptResponse)
router = APIRouter(
    prefix="/api/v1/erasures", tags=["audit"], route_class=StrictRoute, generate_unique_id_function=operation_id
)


@router.get(
    "/{user_id}",
    **operation(
        Scope.AUDIT_READ,
        "Get the receipt of an erasure",
        ErasureReceiptResponse,
        {200: response("The receipt.")},
        ERASURE_NOT_FOUND,
    ),
)
async def get_erasure(request: ApiRequest, user_id: users.UserId) -> Response:
    """Return the receipt of the erasure of a user, which the deletion stored."""
    receipt = await request.application.use_cases.audit.get_erasure(request.principal, user_id)
    return responses.JsonResponse(200, receipt_response(receipt))
