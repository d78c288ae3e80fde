"""The audit trail, for operators: the route and the response bodies."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field, with_config
from typing_extensions import TypedDict

from adapters.http import field_types, responses
from adapters.http.openapi.components import Json
from adapters.http.openapi.operations import list_operation
from adapters.http.pagination import PageRequest
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from domain.api_keys import Scope
from domain.audit import ActorKind, AuditEntry, AuditOperation, SubjectKind

PATH = "/api/v1/audit"
TAG = {"name": "audit", "description": "Audit trail of users, posts and API keys (operators)."}
EXAMPLE: Json = {
    "id": "0198a3c4-6f2c-7a15-8e44-1b2c3d4e5f60",
    "created_at": "2026-01-15T09:30:00.123456Z",
    "actor_kind": "api_key",
    "actor_id": "0198a3c7-2b51-7e04-8d3a-94c1f0b27e58",
    "request_id": "0198a3c46f2b7d31a6f0c2b9e4d81357",
    "operation": "updated",
    "subject_kind": "user",
    "subject_id": "0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357",
    "user_id": "0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357",
    "changed_fields": ["full_name"],
    "version_before": 1,
    "version_after": 2,
}
_Version = Annotated[int, Field(ge=1, le=2**53 - 1, json_schema_extra={"format": "int64"})] | None


@with_config(field_types.response_body(EXAMPLE))
class AuditEntryResponse(TypedDict):
    """The record of one change, without values."""

    id: Annotated[UUID, Field(description="Identifier; the order of IDs is the order of the changes.")]
    created_at: Annotated[datetime, Field(description="Time of the change.")]
    actor_kind: Annotated[ActorKind, Field(description="Who made the change: an API key, the command line, the purge.")]
    actor_id: Annotated[UUID | None, Field(description="ID of the API key; null for other actors.")]
    request_id: Annotated[
        Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,128}$", max_length=128)] | None,
        Field(description="`X-Request-ID` of the request; null without a request, and after erasure of the user."),
    ]
    operation: Annotated[AuditOperation, Field(description="The kind of change.")]
    subject_kind: Annotated[SubjectKind, Field(description="The kind of the changed resource.")]
    subject_id: Annotated[UUID, Field(description="ID of the changed resource.")]
    user_id: Annotated[
        UUID | None, Field(description="ID of the user, of the author of the post, or of the user of the API key.")
    ]
    changed_fields: Annotated[
        list[Annotated[str, Field(max_length=63)]],
        Field(max_length=100, description="Names of the fields that an update changed."),
    ]
    version_before: Annotated[_Version, Field(description="Null for new resources, and for API keys.")]
    version_after: Annotated[_Version, Field(description="Null for deleted resources, and for API keys.")]


class AuditPage(TypedDict):
    """A page of audit entries."""

    items: Annotated[list[AuditEntryResponse], field_types.PAGE_ITEMS]
    next_cursor: field_types.NextCursor


_projection = responses.projection(AuditEntryResponse)


def audit_entry_response(entry: AuditEntry) -> Json:
    """Return the response body of an entry."""
    return {**_projection(entry), "changed_fields": list(entry.changed_fields)}


router = APIRouter(prefix=PATH, tags=["audit"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get("", **list_operation(Scope.AUDIT_READ, "audit entries", AuditPage))
async def list_audit_entries(
    request: ApiRequest,
    limit: field_types.Limit = 20,
    cursor: field_types.Cursor = None,
    subject_id: Annotated[
        field_types.Identifier | None,
        Query(description="Selects changes of this resource.", examples=[EXAMPLE["subject_id"]]),
    ] = None,
    actor_id: Annotated[
        field_types.Identifier | None,
        Query(description="Selects changes by this API key.", examples=[EXAMPLE["actor_id"]]),
    ] = None,
) -> Response:
    """Return a page of audit entries, newest first. Send `next_cursor` as `cursor` to get the next page."""
    filters = {
        "subject_id": None if subject_id is None else str(subject_id),
        "actor_id": None if actor_id is None else str(actor_id),
    }
    page = PageRequest(request, PATH, limit=limit, cursor=cursor, filters=filters)
    found = await request.application.use_cases.audit.list(
        request.principal, limit=limit, after=page.after(UUID), subject_id=subject_id, actor_id=actor_id
    )
    return page.response(found, audit_entry_response)
