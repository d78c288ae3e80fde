"""The post resource: routes, request and response bodies. `post_pages` has the list and the search."""

from typing import Annotated, NotRequired
from uuid import UUID

from fastapi import APIRouter, Body, Path, Response
from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from adapters.http import field_types, responses
from adapters.http.conditional import if_match_versions
from adapters.http.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from adapters.http.idempotency import idempotent_request
from adapters.http.openapi import responses as doc
from adapters.http.openapi.components import Json
from adapters.http.problems import catalog
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from adapters.http.security.scopes import requires_scope
from domain.api_keys import Scope
from domain.posts import (
    INITIAL_STATUSES,
    MAX_CONTENT_LENGTH,
    MAX_TITLE_LENGTH,
    AuthorInactiveError,
    AuthorNotFoundError,
    InvalidStatusTransitionError,
    Post,
    PostNotFoundError,
    PostStatus,
    normalize_content,
    normalize_title,
)
from domain.text_rules import MULTILINE_PATTERN, SINGLE_LINE_PATTERN

PATH = "/api/v1/posts"
EXAMPLE: Json = {
    "id": "0198a3c5-01d4-7c52-9d6e-5b8f0a7e1c23",
    "author_id": "0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357",
    "title": "On the Analytical Engine",
    "content": "It weaves algebraical patterns\njust as the loom weaves flowers and leaves.",
    "status": "published",
    "published_at": "2026-01-15T09:45:00.654321Z",
    "created_at": "2026-01-15T09:45:00.654321Z",
    "updated_at": "2026-01-15T09:45:00.654321Z",
    "version": 1,
}
POST_NOT_FOUND = catalog.domain_problem(
    PostNotFoundError, resolution="Check the ID. The post or its author may have been deleted since you saw it."
)
AUTHOR_NOT_FOUND = catalog.domain_problem(
    AuthorNotFoundError, resolution="Check author_id. The user may have been deleted since you saw it."
)
AUTHOR_INACTIVE = catalog.domain_problem(
    AuthorInactiveError,
    resolution='Activate the user first: PATCH /api/v1/users/{user_id} with {"is_active": true}.',
)
INVALID_TRANSITION = catalog.domain_problem(
    InvalidStatusTransitionError,
    resolution="A draft can be published, a published post archived, and an archived post published again.",
)
PostId = Annotated[field_types.Identifier, Path(description="ID of the post.", examples=[EXAMPLE["id"]])]

_FIRST = tuple(status for status in PostStatus if status in INITIAL_STATUSES)
STATUS_SCHEMA: Json = {"type": "string", "enum": list(PostStatus)}
_TITLE_SCHEMA = field_types.text_schema(SINGLE_LINE_PATTERN, MAX_TITLE_LENGTH)
_CONTENT_SCHEMA = field_types.text_schema(MULTILINE_PATTERN, MAX_CONTENT_LENGTH)
_Title = Annotated[
    str,
    Field(strict=True, max_length=MAX_TITLE_LENGTH, description="Title, in one line."),
    AfterValidator(normalize_title),
    WithJsonSchema(_TITLE_SCHEMA),
]
_Content = Annotated[
    str,
    Field(strict=True, max_length=MAX_CONTENT_LENGTH, description="Plain text; line breaks are allowed."),
    AfterValidator(normalize_content),
    WithJsonSchema(_CONTENT_SCHEMA),
]
Status = Annotated[PostStatus, PlainValidator(field_types.enum_value(*PostStatus)), WithJsonSchema(STATUS_SCHEMA)]
_FirstStatus = Annotated[
    PostStatus,
    PlainValidator(field_types.enum_value(*_FIRST)),
    WithJsonSchema({"type": "string", "enum": list(_FIRST)}),
]


@with_config(field_types.STRICT)
class CreatePostRequest(TypedDict):
    """A post to create. By default it is a draft."""

    author_id: Annotated[field_types.Identifier, Field(description="ID of the author, who must be an active user.")]
    title: _Title
    content: _Content
    status: NotRequired[Annotated[_FirstStatus, Field(description="Initial status.")]]


@with_config(field_types.STRICT)
class UpdatePostRequest(TypedDict, total=False):
    """Changes of a post, as a JSON merge patch (RFC 7396): omitted fields keep their values."""

    title: _Title
    content: _Content
    status: Annotated[Status, Field(description="New status: draft -> published <-> archived.")]


@with_config(json_schema_extra={"examples": [EXAMPLE]})
class PostResponse(TypedDict):
    """A post."""

    id: Annotated[
        UUID,
        WithJsonSchema(field_types.ID_SCHEMA),
        Field(description=field_types.ID_DESCRIPTION),
    ]
    author_id: Annotated[UUID, WithJsonSchema(field_types.ID_SCHEMA), Field(description="ID of the author.")]
    title: Annotated[str, WithJsonSchema(_TITLE_SCHEMA), Field(description="Title, in one line.")]
    content: Annotated[str, WithJsonSchema(_CONTENT_SCHEMA), Field(description="Plain text.")]
    status: Annotated[PostStatus, Field(description="Lifecycle status: draft -> published <-> archived.")]
    published_at: Annotated[
        field_types.Time | None,
        WithJsonSchema(field_types.nullable(field_types.TIME_SCHEMA)),
        Field(description="Time of the first publication; null before it."),
    ]
    created_at: Annotated[field_types.Time, Field(description="Time of creation.")]
    updated_at: Annotated[field_types.Time, Field(description="Time of the last change.")]
    version: field_types.Version


post_response = responses.projection(PostResponse)

_RESULT = TypeAdapter(Post)


_LINKS = {
    **doc.links(
        "post_id", "id", get_post="Get the post.", update_post="Update the post.", delete_post="Delete the post."
    ),
    **doc.links("user_id", "author_id", get_user="Get the author."),
}

router = APIRouter(prefix=PATH, tags=["posts"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get(
    "/{post_id}",
    response_model=PostResponse,
    summary="Get a post",
    responses={
        200: doc.response("The post.", headers=["ETag"], example=EXAMPLE),
        304: doc.response("The post has the version in If-None-Match.", headers=["ETag"]),
        **doc.errors(POST_NOT_FOUND, catalog.VALIDATION_FAILED, *doc.API_PROBLEMS),
    },
    openapi_extra={**requires_scope(Scope.POSTS_READ), **doc.parameters("If-None-Match")},
)
async def get_post(request: ApiRequest, post_id: PostId) -> Response:
    """Return one post. Send `If-None-Match` to get a 304 if the post has not changed."""
    post = await request.application.use_cases.posts.get(request.principal, post_id)
    return responses.entity_response(request, post_response(post), post.version)


@router.post(
    "",
    status_code=201,
    response_model=PostResponse,
    summary="Create a post",
    responses={
        201: doc.response(
            "The new post.", headers=["Location", "ETag", "Idempotency-Replayed"], example=EXAMPLE, links=_LINKS
        ),
        **doc.errors(AUTHOR_NOT_FOUND, AUTHOR_INACTIVE, *doc.API_PROBLEMS, *IDEMPOTENCY_PROBLEMS, accept="Accept-Post"),
    },
    openapi_extra={**requires_scope(Scope.POSTS_WRITE), **doc.parameters("Idempotency-Key")},
)
async def create_post(
    request: ApiRequest,
    body: Annotated[
        CreatePostRequest,
        Body(examples=[{name: EXAMPLE[name] for name in ("author_id", "title", "content", "status")}]),
    ],
) -> Response:
    """Create a post for an active author, as a draft (default) or published."""
    post, is_replay = await request.application.use_cases.posts.create_once(
        request.principal, await idempotent_request(request, _RESULT), **body
    )
    return responses.created_response(
        post_response(post), post.version, location=f"{PATH}/{post.id}", is_replay=is_replay
    )


@router.patch(
    "/{post_id}",
    response_model=PostResponse,
    summary="Update a post",
    responses={
        200: doc.response(
            "The updated post.",
            headers=["ETag"],
            example={**EXAMPLE, "status": "archived", "updated_at": "2026-02-01T10:00:00Z", "version": 2},
        ),
        **doc.errors(
            POST_NOT_FOUND,
            AUTHOR_INACTIVE,
            INVALID_TRANSITION,
            catalog.VERSION_MISMATCH,
            *doc.API_PROBLEMS,
            accept="Accept-Patch",
        ),
    },
    openapi_extra={
        **requires_scope(Scope.POSTS_WRITE),
        **doc.parameters("If-Match"),
        **doc.merge_patch("UpdatePostRequest", {"status": "archived"}),
    },
)
async def update_post(request: ApiRequest, post_id: PostId, body: UpdatePostRequest) -> Response:
    """Partial update (JSON merge patch, RFC 7396) of text and status (draft -> published <-> archived).

    Send `If-Match` to prevent lost updates; on a mismatch the response is 412. A no-op update keeps the version.
    """
    expected = if_match_versions(request.scope)
    post = await request.application.use_cases.posts.update(request.principal, post_id, expected=expected, **body)
    return responses.updated_response(post_response(post), post.version)


@router.delete(
    "/{post_id}",
    status_code=204,
    summary="Delete a post",
    responses={
        204: doc.response("The post was deleted."),
        **doc.errors(POST_NOT_FOUND, catalog.VERSION_MISMATCH, catalog.VALIDATION_FAILED, *doc.API_PROBLEMS),
    },
    openapi_extra={**requires_scope(Scope.POSTS_WRITE), **doc.parameters("If-Match")},
)
async def delete_post(request: ApiRequest, post_id: PostId) -> Response:
    """Delete a post permanently. On a mismatch of `If-Match` the response is 412."""
    expected = if_match_versions(request.scope)
    await request.application.use_cases.posts.delete(request.principal, post_id, expected=expected)
    return Response(status_code=204)
