"""The user resource: routes, request and response bodies."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path, Query, Response
from pydantic import AfterValidator, Field, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from adapters.http import field_types, responses
from adapters.http.conditional import if_match_versions
from adapters.http.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from adapters.http.idempotency import idempotent_request
from adapters.http.openapi import responses as doc
from adapters.http.openapi.components import Json
from adapters.http.pagination import PageRequest
from adapters.http.problems import catalog
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from adapters.http.security.scopes import requires_scope
from domain.api_keys import Scope
from domain.text_rules import SINGLE_LINE_PATTERN
from domain.users import (
    MAX_FULL_NAME_LENGTH,
    EmailAlreadyRegisteredError,
    User,
    UserNotFoundError,
    normalize_full_name,
)

PATH = "/api/v1/users"
EXAMPLE: Json = {
    "id": "0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357",
    "email": "ada@example.org",
    "full_name": "Ada Lovelace",
    "is_active": True,
    "created_at": "2026-01-15T09:30:00.123456Z",
    "updated_at": "2026-01-15T09:30:00.123456Z",
    "version": 1,
}
USER_NOT_FOUND = catalog.domain_problem(
    UserNotFoundError, resolution="Check the ID. The user may have been deleted since you saw it."
)
EMAIL_ALREADY_REGISTERED = catalog.domain_problem(
    EmailAlreadyRegisteredError,
    title="E-mail address already registered",
    resolution="Find the user with GET /api/v1/users?email=…, or use a different address. Spellings that reach the "
    "same mailbox, such as capital letters, count as the same address.",
)
UserId = Annotated[field_types.Identifier, Path(description="ID of the user.", examples=[EXAMPLE["id"]])]

_NAME_SCHEMA = field_types.text_schema(SINGLE_LINE_PATTERN, MAX_FULL_NAME_LENGTH)
_FullName = Annotated[
    Annotated[str, Field(strict=True, max_length=MAX_FULL_NAME_LENGTH), AfterValidator(normalize_full_name)] | None,
    WithJsonSchema(field_types.nullable(_NAME_SCHEMA)),
    Field(description="Display name; null if unknown."),
]
_Email = Annotated[field_types.Email, Field(description="E-mail address, unique in normalized form.")]
_IsActive = Annotated[field_types.StrictBool, Field(description="True if the user can create and publish posts.")]


class _OptionalUserFields(TypedDict, total=False):
    full_name: _FullName
    is_active: _IsActive


@with_config(field_types.STRICT)
class CreateUserRequest(_OptionalUserFields):
    """A user to create. By default `full_name` is null and `is_active` is true."""

    email: _Email


@with_config(field_types.STRICT)
class UpdateUserRequest(_OptionalUserFields, total=False):
    """Changes of a user, as a JSON merge patch (RFC 7396): omitted fields keep their values."""

    email: _Email


@with_config(json_schema_extra={"examples": [EXAMPLE]})
class UserResponse(TypedDict):
    """A user."""

    id: Annotated[
        UUID,
        WithJsonSchema(field_types.ID_SCHEMA),
        Field(description=field_types.ID_DESCRIPTION),
    ]
    email: Annotated[
        str,
        WithJsonSchema(field_types.EMAIL_SCHEMA),
        Field(description="E-mail address, stored as entered; compared case-insensitively and in normalized form."),
    ]
    full_name: Annotated[
        str | None,
        WithJsonSchema(field_types.nullable(_NAME_SCHEMA)),
        Field(description="Display name; null if unknown."),
    ]
    is_active: Annotated[bool, Field(description="True if the user can create and publish posts.")]
    created_at: Annotated[field_types.Time, Field(description="Time of creation.")]
    updated_at: Annotated[field_types.Time, Field(description="Time of the last change.")]
    version: field_types.Version


class UserPage(TypedDict):
    """A page of users."""

    items: Annotated[
        list[UserResponse], Field(max_length=field_types.MAX_PAGE_SIZE, description="Users, newest first.")
    ]
    next_cursor: field_types.NextCursor


user_response = responses.projection(UserResponse)

_RESULT = TypeAdapter(User)


_LINKS = {
    **doc.links(
        "user_id", "id", get_user="Get the user.", update_user="Update the user.", delete_user="Delete the user."
    ),
    **doc.links("author_id", "id", list_posts="List the posts of the user."),
}

router = APIRouter(prefix=PATH, tags=["users"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get(
    "/{user_id}",
    response_model=UserResponse,
    summary="Get a user",
    responses={
        200: doc.response("The user.", headers=["ETag"], example=EXAMPLE),
        304: doc.response("The user has the version in If-None-Match.", headers=["ETag"]),
        **doc.errors(USER_NOT_FOUND, catalog.VALIDATION_FAILED, *doc.API_PROBLEMS),
    },
    openapi_extra={**requires_scope(Scope.USERS_READ), **doc.parameters("If-None-Match")},
)
async def get_user(request: ApiRequest, user_id: UserId) -> Response:
    """Return one user. Send `If-None-Match` to get a 304 if the user has not changed."""
    user = await request.application.use_cases.users.get(request.principal, user_id)
    return responses.entity_response(request, user_response(user), user.version)


@router.get(
    "",
    response_model=UserPage,
    summary="List users",
    responses={
        200: doc.response(
            "A page of users.", headers=["Link"], example={"items": [EXAMPLE], "next_cursor": doc.EXAMPLE_CURSOR}
        ),
        **doc.errors(catalog.VALIDATION_FAILED, *doc.API_PROBLEMS),
    },
    openapi_extra=requires_scope(Scope.USERS_READ),
)
async def list_users(
    request: ApiRequest,
    limit: field_types.Limit = 20,
    cursor: field_types.Cursor = None,
    email: Annotated[
        field_types.Email | None,
        WithJsonSchema(field_types.EMAIL_SCHEMA),
        Query(description="Selects the user with this address, in any spelling of the same mailbox."),
    ] = None,
    is_active: Annotated[field_types.QueryBool, Query(description="Selects active or inactive users.")] = None,
) -> Response:
    """Return a page of users, newest first. Send `next_cursor` as `cursor` to get the next page."""
    filters = {"email": email, "is_active": None if is_active is None else str(is_active).lower()}
    listing = PageRequest(request, PATH, limit=limit, cursor=cursor, filters=filters)
    found = await request.application.use_cases.users.list(
        request.principal, limit=limit, after=listing.after_id(), email=email, is_active=is_active
    )
    return listing.response(found, user_response)


@router.post(
    "",
    status_code=201,
    response_model=UserResponse,
    summary="Create a user",
    responses={
        201: doc.response(
            "The new user.", headers=["Location", "ETag", "Idempotency-Replayed"], example=EXAMPLE, links=_LINKS
        ),
        **doc.errors(EMAIL_ALREADY_REGISTERED, *doc.API_PROBLEMS, *IDEMPOTENCY_PROBLEMS, accept="Accept-Post"),
    },
    openapi_extra={**requires_scope(Scope.USERS_WRITE), **doc.parameters("Idempotency-Key")},
)
async def create_user(
    request: ApiRequest,
    body: Annotated[CreateUserRequest, Body(examples=[{"email": "ada@example.org", "full_name": "Ada Lovelace"}])],
) -> Response:
    """Create a user. The e-mail address must be unique in all its spellings."""
    user, is_replay = await request.application.use_cases.users.create_once(
        request.principal, await idempotent_request(request, _RESULT), **body
    )
    return responses.created_response(
        user_response(user), user.version, location=f"{PATH}/{user.id}", is_replay=is_replay
    )


@router.patch(
    "/{user_id}",
    response_model=UserResponse,
    summary="Update a user",
    responses={
        200: doc.response(
            "The updated user.",
            headers=["ETag"],
            example={**EXAMPLE, "full_name": "Ada King", "updated_at": "2026-02-01T10:00:00Z", "version": 2},
        ),
        **doc.errors(
            USER_NOT_FOUND,
            EMAIL_ALREADY_REGISTERED,
            catalog.VERSION_MISMATCH,
            *doc.API_PROBLEMS,
            accept="Accept-Patch",
        ),
    },
    openapi_extra={
        **requires_scope(Scope.USERS_WRITE),
        **doc.parameters("If-Match"),
        **doc.merge_patch("UpdateUserRequest", {"full_name": "Ada King"}),
    },
)
async def update_user(request: ApiRequest, user_id: UserId, body: UpdateUserRequest) -> Response:
    """Partial update (JSON merge patch, RFC 7396); null clears `full_name`.

    Send `If-Match` to prevent lost updates; on a mismatch the response is 412. A no-op update keeps the version.
    """
    expected = if_match_versions(request.scope)
    user = await request.application.use_cases.users.update(request.principal, user_id, expected=expected, **body)
    return responses.updated_response(user_response(user), user.version)


@router.delete(
    "/{user_id}",
    status_code=204,
    summary="Delete a user",
    responses={
        204: doc.response("The user was deleted."),
        **doc.errors(USER_NOT_FOUND, catalog.VERSION_MISMATCH, catalog.VALIDATION_FAILED, *doc.API_PROBLEMS),
    },
    openapi_extra={**requires_scope(Scope.USERS_WRITE), **doc.parameters("If-Match")},
)
async def delete_user(request: ApiRequest, user_id: UserId) -> Response:
    """Delete a user, their posts and their API keys permanently. On a mismatch of `If-Match` the response is 412."""
    expected = if_match_versions(request.scope)
    await request.application.use_cases.users.delete(request.principal, user_id, expected=expected)
    return Response(status_code=204)
