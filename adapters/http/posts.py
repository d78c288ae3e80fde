"""Posts over HTTP: routes, request and response models; lists of them are in `post_pages`."""

from typing import Annotated, NotRequired
from uuid import UUID

from fastapi import APIRouter, Body, Path, Request, Response
from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from adapters.http import documentation as doc
from adapters.http import fields, problems, responses
from adapters.http.components import Json
from adapters.http.conditional import expected_versions
from adapters.http.context import caller, services
from adapters.http.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from adapters.http.idempotency import once
from adapters.http.routes import StrictRoute, operation_id
from adapters.http.scopes import secured
from domain.keys import Scope
from domain.posts import (
    FIRST_STATUSES,
    LONGEST_CONTENT,
    LONGEST_TITLE,
    AuthorInactiveError,
    AuthorNotFoundError,
    InvalidTransitionError,
    Post,
    PostNotFoundError,
    PostStatus,
    clean_content,
    clean_title,
)
from domain.text import LINE_PATTERN, LINES_PATTERN

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
POST_NOT_FOUND = problems.domain_problem(
    PostNotFoundError, resolution="Check the ID. The post or its author may have been deleted since you saw it."
)
AUTHOR_NOT_FOUND = problems.domain_problem(
    AuthorNotFoundError, resolution="Check author_id. The user may have been deleted since you saw it."
)
AUTHOR_INACTIVE = problems.domain_problem(
    AuthorInactiveError,
    resolution='Activate the user first: PATCH /api/v1/users/{user_id} with {"is_active": true}.',
)
INVALID_TRANSITION = problems.domain_problem(
    InvalidTransitionError,
    resolution="A draft can be published, a published post archived, and an archived post published again.",
)
PostId = Annotated[fields.Identifier, Path(description="The id of the post.", examples=[EXAMPLE["id"]])]

_FIRST = tuple(status for status in PostStatus if status in FIRST_STATUSES)
STATUS_SCHEMA: Json = {"type": "string", "enum": list(PostStatus)}
_TITLE_SCHEMA = fields.text_schema(LINE_PATTERN, LONGEST_TITLE)
_CONTENT_SCHEMA = fields.text_schema(LINES_PATTERN, LONGEST_CONTENT)
_Title = Annotated[
    str,
    Field(strict=True, max_length=LONGEST_TITLE, description="One line."),
    AfterValidator(clean_title),
    WithJsonSchema(_TITLE_SCHEMA),
]
_Content = Annotated[
    str,
    Field(strict=True, max_length=LONGEST_CONTENT, description="Plain text, with line breaks where there are any."),
    AfterValidator(clean_content),
    WithJsonSchema(_CONTENT_SCHEMA),
]
Status = Annotated[PostStatus, PlainValidator(fields.one_of(*PostStatus)), WithJsonSchema(STATUS_SCHEMA)]
_FirstStatus = Annotated[
    PostStatus, PlainValidator(fields.one_of(*_FIRST)), WithJsonSchema({"type": "string", "enum": list(_FIRST)})
]


@with_config(fields.STRICT)
class CreatePostRequest(TypedDict):
    """A post to create. By default it is a draft."""

    author_id: Annotated[fields.Identifier, Field(description="ID of the author, who must be an active user.")]
    title: _Title
    content: _Content
    status: NotRequired[Annotated[_FirstStatus, Field(description="Initial status.")]]


@with_config(fields.STRICT)
class UpdatePostRequest(TypedDict, total=False):
    """Changes of a post, as a JSON merge patch (RFC 7396): omitted fields keep their values."""

    title: _Title
    content: _Content
    status: Annotated[Status, Field(description="New status: draft -> published <-> archived.")]


@with_config(json_schema_extra={"examples": [EXAMPLE]})
class PostResponse(TypedDict):
    """A post."""

    id: Annotated[UUID, WithJsonSchema(fields.ID_SCHEMA), Field(description="Ids are in the order of creation.")]
    author_id: Annotated[UUID, WithJsonSchema(fields.ID_SCHEMA), Field(description="The user who wrote it.")]
    title: Annotated[str, WithJsonSchema(_TITLE_SCHEMA), Field(description="One line.")]
    content: Annotated[str, WithJsonSchema(_CONTENT_SCHEMA), Field(description="Plain text.")]
    status: Annotated[PostStatus, Field(description="Where it is in its life.")]
    published_at: Annotated[
        fields.Time | None,
        WithJsonSchema(fields.nullable(fields.TIME_SCHEMA)),
        Field(description="When it was published first; null before that."),
    ]
    created_at: Annotated[fields.Time, Field(description="When it was written.")]
    updated_at: Annotated[fields.Time, Field(description="When it was changed last.")]
    version: fields.Version


post_response = responses.projection(PostResponse)

_RESULT = TypeAdapter(Post)


_LINKS = {
    **doc.links("post_id", "id", get_post="Read it.", update_post="Change it.", delete_post="Remove it."),
    **doc.links("user_id", "author_id", get_user="Read the author."),
}

router = APIRouter(prefix=PATH, tags=["posts"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get(
    "/{post_id}",
    response_model=PostResponse,
    summary="Read a post",
    responses={
        200: doc.response("The post.", headers=["ETag"], example=EXAMPLE),
        304: doc.response("If-None-Match names the version of the post.", headers=["ETag"]),
        **doc.errors(POST_NOT_FOUND, problems.VALIDATION_FAILED, *doc.API),
    },
    openapi_extra={**secured(Scope.POSTS_READ), **doc.parameters("If-None-Match")},
)
async def get_post(request: Request, post_id: PostId) -> Response:
    """Read one post. With `If-None-Match` the answer is 304 as long as the post has not changed."""
    post = await services(request).posts.get(caller(request), post_id)
    return responses.entity(request, post_response(post), post.version)


@router.post(
    "",
    status_code=201,
    response_model=PostResponse,
    summary="Write a post",
    responses={
        201: doc.response(
            "The new post.", headers=["Location", "ETag", "Idempotency-Replayed"], example=EXAMPLE, links=_LINKS
        ),
        **doc.errors(AUTHOR_NOT_FOUND, AUTHOR_INACTIVE, *doc.API, *IDEMPOTENCY_PROBLEMS, accept="Accept-Post"),
    },
    openapi_extra={**secured(Scope.POSTS_WRITE), **doc.parameters("Idempotency-Key")},
)
async def create_post(
    request: Request,
    body: Annotated[
        CreatePostRequest,
        Body(examples=[{name: EXAMPLE[name] for name in ("author_id", "title", "content", "status")}]),
    ],
) -> Response:
    """Write a post, as a draft or published at once, in the name of an active user."""
    post, is_replay = await services(request).posts.create_once(caller(request), await once(request, _RESULT), **body)
    return responses.created(post_response(post), post.version, location=f"{PATH}/{post.id}", is_replay=is_replay)


@router.patch(
    "/{post_id}",
    response_model=PostResponse,
    summary="Change a post",
    responses={
        200: doc.response(
            "The post after the changes.",
            headers=["ETag"],
            example={**EXAMPLE, "status": "archived", "updated_at": "2026-02-01T10:00:00Z", "version": 2},
        ),
        **doc.errors(
            POST_NOT_FOUND,
            AUTHOR_INACTIVE,
            INVALID_TRANSITION,
            problems.VERSION_MISMATCH,
            *doc.API,
            accept="Accept-Patch",
        ),
    },
    openapi_extra={
        **secured(Scope.POSTS_WRITE),
        **doc.parameters("If-Match"),
        **doc.merge_patch("UpdatePostRequest", {"status": "archived"}),
    },
)
async def update_post(request: Request, post_id: PostId, body: UpdatePostRequest) -> Response:
    """Change what the merge patch (RFC 7396) names: text, status (draft -> published <-> archived), or both.

    With `If-Match` only if the post still has that version. A patch that changes nothing leaves the version as it is.
    """
    expected = expected_versions(request.scope)
    post = await services(request).posts.revise(caller(request), post_id, expected=expected, **body)
    return responses.changed(post_response(post), post.version)


@router.delete(
    "/{post_id}",
    status_code=204,
    summary="Remove a post",
    responses={
        204: doc.response("The post is removed."),
        **doc.errors(POST_NOT_FOUND, problems.VERSION_MISMATCH, problems.VALIDATION_FAILED, *doc.API),
    },
    openapi_extra={**secured(Scope.POSTS_WRITE), **doc.parameters("If-Match")},
)
async def delete_post(request: Request, post_id: PostId) -> Response:
    """Remove a post, for good. With `If-Match` only if the post still has that version."""
    expected = expected_versions(request.scope)
    await services(request).posts.remove(caller(request), post_id, expected=expected)
    return Response(status_code=204)
