"""The user resource: routes, request and response bodies."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, Strict, TypeAdapter, with_config
from typing_extensions import TypedDict

from adapters.http import field_types, responses
from adapters.http.conditional import preconditions
from adapters.http.idempotency import idempotent_request
from adapters.http.openapi.components import Json
from adapters.http.openapi.operations import Resource, links
from adapters.http.pagination import PageRequest
from adapters.http.problems.catalog import domain_problem
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from domain import users
from domain.api_keys import Scope

PATH = "/api/v1/users"
TAG = {"name": "users", "description": "User accounts."}
EXAMPLE: Json = {
    "id": "0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357",
    "email": "ada@example.org",
    "full_name": "Ada Lovelace",
    "is_active": True,
    "created_at": "2026-01-15T09:30:00.123456Z",
    "updated_at": "2026-01-15T09:30:00.123456Z",
    "version": 1,
}
USER_NOT_FOUND = domain_problem(
    users.UserNotFoundError, resolution="Check the ID. The user may have been deleted since you saw it."
)
EMAIL_ALREADY_REGISTERED = domain_problem(
    users.EmailAlreadyRegisteredError,
    title="E-mail address already registered",
    resolution="Find the user with GET /api/v1/users?email=..., or use a different address. Spellings that reach the "
    "same mailbox, such as capital letters, count as the same address.",
)

UserId = Annotated[field_types.Identifier, Path(description="ID of the user.", examples=[EXAMPLE["id"]])]
_Email = Annotated[
    field_types.Email,
    Field(description="E-mail address, stored as entered; unique in normalized form, and in any case of letters."),
]
_FullName = Annotated[
    Annotated[str, field_types.text(users.MAX_FULL_NAME_LENGTH)] | None,
    Field(description="Display name; null if unknown."),
]
_IsActive = Annotated[bool, Strict(), Field(description="True if the user can create and publish posts.")]


class _OptionalUserFields(TypedDict, total=False):
    full_name: _FullName
    is_active: _IsActive


@with_config(field_types.request_body(email="ada@example.org", full_name="Ada Lovelace"))
class CreateUserRequest(_OptionalUserFields):
    """A user to create. By default `full_name` is null and `is_active` is true."""

    email: _Email


@with_config(field_types.request_body(full_name="Ada King"))
class UpdateUserRequest(_OptionalUserFields, total=False):
    """Changes of a user, as a JSON merge patch (RFC 7396): omitted fields keep their values."""

    email: _Email


@with_config(field_types.response_body(EXAMPLE))
class UserResponse(TypedDict):
    """A user."""

    id: field_types.EntityId
    email: _Email
    full_name: _FullName
    is_active: _IsActive
    created_at: field_types.CreatedAt
    updated_at: field_types.UpdatedAt
    version: field_types.Version


class UserPage(TypedDict):
    """A page of users."""

    items: Annotated[list[UserResponse], field_types.PAGE_ITEMS]
    next_cursor: field_types.NextCursor


_USER = Resource(
    name="user",
    title="a user",
    model=UserResponse,
    read=Scope.USERS_READ,
    write=Scope.USERS_WRITE,
    not_found=USER_NOT_FOUND,
)
_LINKS = links("user_id", "id", get_user="The user.", update_user="Update the user.", delete_user="Delete the user.")
_POSTS_LINK = links("author_id", "id", list_posts="The posts of the user.")
_RESULT = TypeAdapter(users.User)
user_response = responses.projection(UserResponse)

router = APIRouter(prefix=PATH, tags=["users"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get("", **_USER.list(UserPage))
async def list_users(
    request: ApiRequest,
    limit: field_types.Limit = 20,
    cursor: field_types.Cursor = None,
    email: Annotated[
        field_types.Email | None,
        Query(description="Selects the user with this address, in any spelling.", examples=[EXAMPLE["email"]]),
    ] = None,
    is_active: Annotated[
        field_types.QueryBool, Query(description="Selects active or inactive users.", examples=[True])
    ] = None,
) -> Response:
    """Return a page of users, newest first. Send `next_cursor` as `cursor` to get the next page."""
    filters = {"email": email, "is_active": None if is_active is None else str(is_active).lower()}
    page = PageRequest(request, PATH, limit=limit, cursor=cursor, filters=filters)
    found = await request.application.use_cases.users.list(
        request.principal, limit=limit, after=page.after(UUID), email=email, is_active=is_active
    )
    return page.response(found, user_response)


@router.post("", **_USER.create(EMAIL_ALREADY_REGISTERED, links={**_LINKS, **_POSTS_LINK}))
async def create_user(request: ApiRequest, body: CreateUserRequest) -> Response:
    """Create a user. The e-mail address must be unique in all its spellings."""
    user, is_replay = await request.application.use_cases.users.create_once(
        request.principal, await idempotent_request(request, _RESULT), **body
    )
    created = user_response(user)
    return responses.created_response(request, created, f"{PATH}/{user.id}", user.version, is_replay=is_replay)


@router.get("/{user_id}", **_USER.get())
async def get_user(request: ApiRequest, user_id: UserId) -> Response:
    """Return one user. Send `If-None-Match` to get a 304 if the user has not changed."""
    user = await request.application.use_cases.users.get(request.principal, user_id)
    return responses.entity_response(request, user_response(user), user.version)


@router.patch("/{user_id}", **_USER.update(EMAIL_ALREADY_REGISTERED))
async def update_user(request: ApiRequest, user_id: UserId, body: UpdateUserRequest) -> Response:
    """Partial update (JSON merge patch, RFC 7396); null clears `full_name`.

    Send `If-Match` to prevent lost updates; on a mismatch the response is 412. A no-op update keeps the version.
    """
    expected = preconditions(request.scope["headers"])
    user = await request.application.use_cases.users.update(request.principal, user_id, expected=expected, **body)
    return responses.updated_response(user_response(user), user.version)


@router.delete("/{user_id}", **_USER.delete())
async def delete_user(request: ApiRequest, user_id: UserId) -> Response:
    """Delete a user, their posts and their API keys permanently. On a mismatch of `If-Match` the response is 412."""
    expected = preconditions(request.scope["headers"])
    await request.application.use_cases.users.delete(request.principal, user_id, expected=expected)
    return Response(status_code=204)
