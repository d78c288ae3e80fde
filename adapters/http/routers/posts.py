"""The post resource: routes, request and response bodies."""

from datetime import datetime
from typing import Annotated, NotRequired
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter, with_config
from typing_extensions import TypedDict

from adapters.http import field_types, responses
from adapters.http.conditional import preconditions
from adapters.http.idempotency import idempotent_request
from adapters.http.openapi.components import Json
from adapters.http.openapi.operations import Resource, links
from adapters.http.pagination import PageRequest
from adapters.http.problems.catalog import domain_problem
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from application.search import SearchPosition
from domain import posts
from domain.api_keys import Scope
from domain.posts import INITIAL_STATUSES, PostStatus
from domain.text_rules import MULTILINE_DETAIL, MULTILINE_PATTERN

PATH = "/api/v1/posts"
TAG = {"name": "posts", "description": "Posts and their lifecycle: draft -> published <-> archived."}
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
POST_NOT_FOUND = domain_problem(
    posts.PostNotFoundError, resolution="Check the ID. The post or its author may have been deleted since you saw it."
)
AUTHOR_NOT_FOUND = domain_problem(
    posts.AuthorNotFoundError, resolution="Check author_id. The user may have been deleted since you saw it."
)
AUTHOR_INACTIVE = domain_problem(
    posts.AuthorInactiveError,
    resolution='Activate the user first: PATCH /api/v1/users/{user_id} with {"is_active": true}.',
)
INVALID_TRANSITION = domain_problem(
    posts.InvalidStatusTransitionError,
    resolution="A draft can be published, a published post archived, and an archived post published again.",
)

PostId = Annotated[field_types.Identifier, Path(description="ID of the post.", examples=[EXAMPLE["id"]])]
_Title = Annotated[str, field_types.text(posts.MAX_TITLE_LENGTH), Field(description="Title, in one line.")]
_Content = Annotated[
    str,
    field_types.text(posts.MAX_CONTENT_LENGTH, MULTILINE_PATTERN, MULTILINE_DETAIL),
    Field(description="Plain text; line breaks are allowed."),
]
_Query = Annotated[
    str,
    field_types.text(posts.MAX_QUERY_LENGTH),
    AfterValidator(posts.normalize_query),  # because cursors contain the query
]
_Status = Annotated[PostStatus, PlainValidator(field_types.enum_value(*PostStatus), json_schema_input_type=PostStatus)]
_INITIAL = [status for status in PostStatus if status in INITIAL_STATUSES]
_InitialStatus = Annotated[
    PostStatus,
    PlainValidator(field_types.enum_value(*_INITIAL), json_schema_input_type=PostStatus),
    Field(description="Initial status.", json_schema_extra={"enum": [*_INITIAL]}),
]


@with_config(field_types.request_body(**{name: EXAMPLE[name] for name in ("author_id", "title", "content", "status")}))
class CreatePostRequest(TypedDict):
    """A post to create. By default it is a draft."""

    author_id: Annotated[field_types.Identifier, Field(description="ID of the author, who must be an active user.")]
    title: _Title
    content: _Content
    status: NotRequired[_InitialStatus]


@with_config(field_types.request_body(status="archived"))
class UpdatePostRequest(TypedDict, total=False):
    """Changes of a post, as a JSON merge patch (RFC 7396): omitted fields keep their values."""

    title: _Title
    content: _Content
    status: Annotated[_Status, Field(description="New status: draft -> published <-> archived.")]


@with_config(field_types.response_body(EXAMPLE))
class PostResponse(TypedDict):
    """A post."""

    id: field_types.EntityId
    author_id: Annotated[UUID, Field(description="ID of the author.")]
    title: _Title
    content: _Content
    status: Annotated[PostStatus, Field(description="Lifecycle status: draft -> published <-> archived.")]
    published_at: Annotated[datetime | None, Field(description="Time of the first publication; null before it.")]
    created_at: field_types.CreatedAt
    updated_at: field_types.UpdatedAt
    version: field_types.Version


class PostPage(TypedDict):
    """A page of posts."""

    items: Annotated[list[PostResponse], field_types.PAGE_ITEMS]
    next_cursor: field_types.NextCursor


_POST = Resource(
    name="post",
    title="a post",
    model=PostResponse,
    read=Scope.POSTS_READ,
    write=Scope.POSTS_WRITE,
    not_found=POST_NOT_FOUND,
)
_LINKS = links("post_id", "id", get_post="The post.", update_post="Update the post.", delete_post="Delete the post.")
_AUTHOR_LINK = links("user_id", "author_id", get_user="The author.")
_RESULT = TypeAdapter(posts.Post)
post_response = responses.projection(PostResponse)

router = APIRouter(prefix=PATH, tags=["posts"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get("", **_POST.list(PostPage))
async def list_posts(  # noqa: PLR0917 - FastAPI calls it by name
    request: ApiRequest,
    limit: field_types.Limit = 20,
    cursor: field_types.Cursor = None,
    author_id: Annotated[
        field_types.Identifier | None,
        Query(description="Selects posts by this author.", examples=[EXAMPLE["author_id"]]),
    ] = None,
    status: Annotated[
        _Status | None, Query(description="Selects posts with this status.", examples=["published"])
    ] = None,
    q: Annotated[
        _Query | None,
        Query(
            description="Search query: selects posts whose title and content contain all these words. White space, "
            "punctuation and symbols separate words. Case and accents are ignored. Only whole words match, except in "
            "scripts without spaces, and `web*` matches words that start with `web`.",
            examples=["analytical engine"],
        ),
    ] = None,
) -> Response:
    """Return a page of posts, newest first. Send `next_cursor` as `cursor` to get the next page.

    With `q`, searches titles and contents. Matches in titles rank first.
    """
    filters = {"q": q, "author_id": None if author_id is None else str(author_id), "status": status}
    page = PageRequest(request, PATH, limit=limit, cursor=cursor, filters=filters)
    service, principal = request.application.use_cases.posts, request.principal
    if q is None:
        found = await service.list(principal, limit=limit, after=page.after(UUID), author_id=author_id, status=status)
    else:
        after = page.after(SearchPosition)
        found = await service.search(principal, q, limit=limit, after=after, author_id=author_id, status=status)
    return page.response(found, post_response)


@router.post("", **_POST.create(AUTHOR_NOT_FOUND, AUTHOR_INACTIVE, links={**_LINKS, **_AUTHOR_LINK}))
async def create_post(request: ApiRequest, body: CreatePostRequest) -> Response:
    """Create a post for an active author, as a draft (default) or published."""
    post, is_replay = await request.application.use_cases.posts.create_once(
        request.principal, await idempotent_request(request, _RESULT), **body
    )
    created = post_response(post)
    return responses.created_response(request, created, f"{PATH}/{post.id}", post.version, is_replay=is_replay)


@router.get("/{post_id}", **_POST.get())
async def get_post(request: ApiRequest, post_id: PostId) -> Response:
    """Return one post. Send `If-None-Match` to get a 304 if the post has not changed."""
    post = await request.application.use_cases.posts.get(request.principal, post_id)
    return responses.entity_response(request, post_response(post), post.version)


@router.patch("/{post_id}", **_POST.update(AUTHOR_INACTIVE, INVALID_TRANSITION))
async def update_post(request: ApiRequest, post_id: PostId, body: UpdatePostRequest) -> Response:
    """Partial update (JSON merge patch, RFC 7396) of text and status (draft -> published <-> archived).

    Send `If-Match` to prevent lost updates; on a mismatch the response is 412. A no-op update keeps the version.
    """
    expected = preconditions(request.scope["headers"])
    post = await request.application.use_cases.posts.update(request.principal, post_id, expected=expected, **body)
    return responses.updated_response(post_response(post), post.version)


@router.delete("/{post_id}", **_POST.delete())
async def delete_post(request: ApiRequest, post_id: PostId) -> Response:
    """Delete a post permanently. On a mismatch of `If-Match` the response is 412."""
    expected = preconditions(request.scope["headers"])
    await request.application.use_cases.posts.delete(request.principal, post_id, expected=expected)
    return Response(status_code=204)
