"""Users over HTTP: routes, request and response models."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path, Query, Request, Response
from pydantic import AfterValidator, Field, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from adapters.http import documentation as doc
from adapters.http import fields, problems, responses
from adapters.http.components import Json
from adapters.http.conditional import expected_versions
from adapters.http.context import caller, services
from adapters.http.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from adapters.http.idempotency import once
from adapters.http.pages import Listing
from adapters.http.routes import StrictRoute, operation_id
from adapters.http.scopes import secured
from domain.keys import Scope
from domain.text import LINE_PATTERN
from domain.users import (
    LONGEST_FULL_NAME,
    EmailAlreadyRegisteredError,
    User,
    UserNotFoundError,
    clean_full_name,
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
USER_NOT_FOUND = problems.domain_problem(
    UserNotFoundError, resolution="Check the ID. The user may have been deleted since you saw it."
)
EMAIL_ALREADY_REGISTERED = problems.domain_problem(
    EmailAlreadyRegisteredError,
    title="E-mail address already registered",
    resolution="Find the user with GET /api/v1/users?email=…, or use a different address. Spellings that reach the "
    "same mailbox, such as capital letters, count as the same address.",
)
UserId = Annotated[fields.Identifier, Path(description="The id of the user.", examples=[EXAMPLE["id"]])]

_NAME_SCHEMA = fields.text_schema(LINE_PATTERN, LONGEST_FULL_NAME)
_FullName = Annotated[
    Annotated[str, Field(strict=True, max_length=LONGEST_FULL_NAME), AfterValidator(clean_full_name)] | None,
    WithJsonSchema(fields.nullable(_NAME_SCHEMA)),
    Field(description="The name that people know the user by; null when it is not known."),
]
_Email = Annotated[fields.Email, Field(description="The address, kept as it is given; no other user may have it.")]
_IsActive = Annotated[fields.Flag, Field(description="Whether the user can write and publish posts.")]


class _OptionalUserFields(TypedDict, total=False):
    full_name: _FullName
    is_active: _IsActive


@with_config(fields.STRICT)
class CreateUserRequest(_OptionalUserFields):
    """A user to create. By default `full_name` is null and `is_active` is true."""

    email: _Email


@with_config(fields.STRICT)
class UpdateUserRequest(_OptionalUserFields, total=False):
    """Changes of a user, as a JSON merge patch (RFC 7396): omitted fields keep their values."""

    email: _Email


@with_config(json_schema_extra={"examples": [EXAMPLE]})
class UserResponse(TypedDict):
    """A user."""

    id: Annotated[UUID, WithJsonSchema(fields.ID_SCHEMA), Field(description="Ids are in the order of creation.")]
    email: Annotated[str, WithJsonSchema(fields.EMAIL_SCHEMA), Field(description="As it was given.")]
    full_name: Annotated[
        str | None, WithJsonSchema(fields.nullable(_NAME_SCHEMA)), Field(description="Null when it is not known.")
    ]
    is_active: Annotated[bool, Field(description="Whether the user can write and publish posts.")]
    created_at: Annotated[fields.Time, Field(description="When the user was registered.")]
    updated_at: Annotated[fields.Time, Field(description="When the user was changed last.")]
    version: fields.Version


class UserPage(TypedDict):
    """A page of users."""

    items: Annotated[list[UserResponse], Field(max_length=fields.MOST_ITEMS, description="The users, newest first.")]
    next_cursor: fields.NextCursor


user_response = responses.projection(UserResponse)

_RESULT = TypeAdapter(User)


_LINKS = {
    **doc.links("user_id", "id", get_user="Read it.", update_user="Change it.", delete_user="Erase it."),
    **doc.links("author_id", "id", list_posts="Read the posts of the user."),
}

router = APIRouter(prefix=PATH, tags=["users"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get(
    "/{user_id}",
    response_model=UserResponse,
    summary="Read a user",
    responses={
        200: doc.response("The user.", headers=["ETag"], example=EXAMPLE),
        304: doc.response("If-None-Match names the version of the user.", headers=["ETag"]),
        **doc.errors(USER_NOT_FOUND, problems.VALIDATION_FAILED, *doc.API),
    },
    openapi_extra={**secured(Scope.USERS_READ), **doc.parameters("If-None-Match")},
)
async def get_user(request: Request, user_id: UserId) -> Response:
    """Read one user. With `If-None-Match` the answer is 304 as long as the user has not changed."""
    user = await services(request).users.get(caller(request), user_id)
    return responses.entity(request, user_response(user), user.version)


@router.get(
    "",
    response_model=UserPage,
    summary="List users",
    responses={
        200: doc.response(
            "A page of users.", headers=["Link"], example={"items": [EXAMPLE], "next_cursor": doc.EXAMPLE_CURSOR}
        ),
        **doc.errors(problems.VALIDATION_FAILED, *doc.API),
    },
    openapi_extra=secured(Scope.USERS_READ),
)
async def list_users(
    request: Request,
    limit: fields.Limit = 20,
    cursor: fields.Cursor = None,
    email: Annotated[
        fields.Email | None,
        WithJsonSchema(fields.EMAIL_SCHEMA),
        Query(description="Only the user with this address, in any spelling that reaches the same mailbox."),
    ] = None,
    is_active: Annotated[fields.QueryFlag, Query(description="Only users that are, or are not, active.")] = None,
) -> Response:
    """Read users page by page, newest first. The next page starts at `next_cursor`, null on the last one."""
    filters = {"email": email, "is_active": None if is_active is None else str(is_active).lower()}
    listing = Listing(request=request, path=PATH, limit=limit, cursor=cursor, filters=filters)
    found = await services(request).users.list(
        caller(request), limit=limit, after=listing.after(), email=email, is_active=is_active
    )
    next_cursor = listing.next_cursor(found)
    body = {"items": [user_response(user) for user in found.items], "next_cursor": next_cursor}
    return listing.response(body, next_cursor)


@router.post(
    "",
    status_code=201,
    response_model=UserResponse,
    summary="Register a user",
    responses={
        201: doc.response(
            "The new user.", headers=["Location", "ETag", "Idempotency-Replayed"], example=EXAMPLE, links=_LINKS
        ),
        **doc.errors(EMAIL_ALREADY_REGISTERED, *doc.API, *IDEMPOTENCY_PROBLEMS, accept="Accept-Post"),
    },
    openapi_extra={**secured(Scope.USERS_WRITE), **doc.parameters("Idempotency-Key")},
)
async def create_user(
    request: Request,
    body: Annotated[CreateUserRequest, Body(examples=[{"email": "ada@example.org", "full_name": "Ada Lovelace"}])],
) -> Response:
    """Register a user with an e-mail address that no other user has, in any spelling."""
    user, is_replay = await services(request).users.create_once(caller(request), await once(request, _RESULT), **body)
    return responses.created(user_response(user), user.version, location=f"{PATH}/{user.id}", is_replay=is_replay)


@router.patch(
    "/{user_id}",
    response_model=UserResponse,
    summary="Change a user",
    responses={
        200: doc.response(
            "The user after the changes.",
            headers=["ETag"],
            example={**EXAMPLE, "full_name": "Ada King", "updated_at": "2026-02-01T10:00:00Z", "version": 2},
        ),
        **doc.errors(
            USER_NOT_FOUND,
            EMAIL_ALREADY_REGISTERED,
            problems.VERSION_MISMATCH,
            *doc.API,
            accept="Accept-Patch",
        ),
    },
    openapi_extra={
        **secured(Scope.USERS_WRITE),
        **doc.parameters("If-Match"),
        **doc.merge_patch("UpdateUserRequest", {"full_name": "Ada King"}),
    },
)
async def update_user(request: Request, user_id: UserId, body: UpdateUserRequest) -> Response:
    """Change what the merge patch (RFC 7396) names; null clears `full_name`.

    With `If-Match` only if the user still has that version. A patch that changes nothing leaves the version as it is.
    """
    expected = expected_versions(request.scope)
    user = await services(request).users.change(caller(request), user_id, expected=expected, **body)
    return responses.changed(user_response(user), user.version)


@router.delete(
    "/{user_id}",
    status_code=204,
    summary="Erase a user",
    responses={
        204: doc.response("The user is erased."),
        **doc.errors(USER_NOT_FOUND, problems.VERSION_MISMATCH, problems.VALIDATION_FAILED, *doc.API),
    },
    openapi_extra={**secured(Scope.USERS_WRITE), **doc.parameters("If-Match")},
)
async def delete_user(request: Request, user_id: UserId) -> Response:
    """Erase a user and all posts by that user, for good. With `If-Match` only if the user still has that version."""
    expected = expected_versions(request.scope)
    await services(request).users.erase(caller(request), user_id, expected=expected)
    return Response(status_code=204)
