"""The export of all data about a user: one JSON document, which is sent in parts."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, with_config
from pydantic_core import to_json
from typing_extensions import TypedDict

from adapters.http import field_types
from adapters.http.openapi.components import Json
from adapters.http.openapi.operations import operation, response
from adapters.http.responses import JsonStream
from adapters.http.routers import api_keys, audit, posts, users
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from application.user_export import ExportPage
from domain.api_keys import Scope

_PROJECTIONS: dict[str, Callable[[Any], Json]] = {
    "posts": posts.post_response,
    "api_keys": api_keys.api_key_response,
    "audit_entries": audit.audit_entry_response,
}
_MAX_ITEMS = 2**31 - 1
# Without nulls: FastAPI drops them from examples.
_EXAMPLE_KEY = {
    **api_keys.EXAMPLE,
    "user_id": users.EXAMPLE["id"],
    "last_used_at": "2026-02-28T23:59:59.5Z",
    "revoked_at": "2026-03-01T00:00:00Z",
}
_EXAMPLE = {
    "user": users.EXAMPLE,
    "posts": [posts.EXAMPLE],
    "api_keys": [_EXAMPLE_KEY],
    "audit_entries": [audit.EXAMPLE],
}


@with_config(field_types.response_body(_EXAMPLE))
class UserExportResponse(TypedDict):
    """Everything that is stored about a user, at one time."""

    user: Annotated[users.UserResponse, Field(description="The profile.")]
    posts: Annotated[list[posts.PostResponse], Field(max_length=_MAX_ITEMS, description="All posts, newest first.")]
    api_keys: Annotated[
        list[api_keys.ApiKeyResponse],
        Field(max_length=_MAX_ITEMS, description="The API keys that are bound to the user, newest first."),
    ]
    audit_entries: Annotated[
        list[audit.AuditEntryResponse],
        Field(max_length=_MAX_ITEMS, description="The changes of all this data, newest first."),
    ]


async def export_document(pages: AsyncGenerator[ExportPage]) -> AsyncGenerator[bytes]:
    """Yield the parts of the JSON document of an export. The first part has the user."""
    async with aclosing(pages):
        first = await anext(pages)
        yield b'{"user":' + to_json(users.user_response(first.entities[0]))
        table = ""
        async for page in pages:
            items = to_json([_PROJECTIONS[page.table](entity) for entity in page.entities])[1:-1]
            if page.table != table:
                yield b'%b,"%b":[%b' % (b"]" if table else b"", page.table.encode(), items)
            elif items:
                yield b"," + items
            table = page.table
        yield b"]}"


router = APIRouter(prefix=users.PATH, tags=["users"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get(
    "/{user_id}/export",
    **operation(
        Scope.USERS_EXPORT,
        "Get all data about a user",
        UserExportResponse,
        {200: response("Everything that is stored about the user.")},
        users.USER_NOT_FOUND,
    ),
)
async def get_user_export(request: ApiRequest, user_id: users.UserId) -> JsonStream:
    """Return everything that is stored about a user, as one document: profile, posts, API keys, audit entries.

    All data is of one time. API keys are without their secrets. The document is complete if it is valid JSON: after
    an error the connection is closed early. Each process has two exports at a time; further ones get a 503.
    """
    application = request.application
    request.state.request_context.response_timeout = application.options.limits.export_timeout
    parts = export_document(application.use_cases.user_export.export(request.principal, user_id))
    return JsonStream(await anext(parts), parts)
