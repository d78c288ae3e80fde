"""The list and the search of posts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from adapters.http import field_types
from adapters.http.openapi import responses as doc
from adapters.http.pagination import PageRequest
from adapters.http.problems import catalog
from adapters.http.routers.posts import EXAMPLE, PATH, STATUS_SCHEMA, PostResponse, Status, post_response
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from adapters.http.security.scopes import requires_scope
from domain.api_keys import Scope
from domain.posts import MAX_QUERY_LENGTH, PostStatus, normalize_query
from domain.text_rules import SINGLE_LINE_PATTERN

_Words = Annotated[str, Field(max_length=MAX_QUERY_LENGTH), AfterValidator(normalize_query)]
_Query = Annotated[
    _Words | None,
    WithJsonSchema(
        {**field_types.text_schema(SINGLE_LINE_PATTERN, MAX_QUERY_LENGTH), "examples": ["analytical engine"]}
    ),
    Query(
        description="Search query: selects posts whose title and content contain all these words. White space and "
        "punctuation separate words. Case is ignored, accents are significant, and only whole words match. Matches in "
        "titles rank first."
    ),
]


class _Filters(TypedDict):
    limit: int
    author_id: UUID | None
    status: PostStatus | None


class PostPage(TypedDict):
    """A page of posts."""

    items: Annotated[
        list[PostResponse],
        Field(
            max_length=field_types.MAX_PAGE_SIZE,
            description="Posts, newest first; with `q`, matches in titles rank first.",
        ),
    ]
    next_cursor: field_types.NextCursor


router = APIRouter(prefix=PATH, tags=["posts"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get(
    "",
    response_model=PostPage,
    summary="List posts",
    responses={
        200: doc.response(
            "A page of posts.", headers=["Link"], example={"items": [EXAMPLE], "next_cursor": doc.EXAMPLE_CURSOR}
        ),
        **doc.errors(catalog.VALIDATION_FAILED, *doc.API_PROBLEMS),
    },
    openapi_extra=requires_scope(Scope.POSTS_READ),
)
async def list_posts(  # noqa: PLR0917 - FastAPI calls it by name
    request: ApiRequest,
    limit: field_types.Limit = 20,
    cursor: field_types.Cursor = None,
    author_id: Annotated[
        field_types.Identifier | None,
        WithJsonSchema(field_types.ID_SCHEMA),
        Query(description="Selects posts by this author."),
    ] = None,
    status: Annotated[
        Status | None, WithJsonSchema(STATUS_SCHEMA), Query(description="Selects posts with this status.")
    ] = None,
    q: _Query = None,
) -> Response:
    """Return a page of posts, newest first. Send `next_cursor` as `cursor` to get the next page.

    With `q`, searches titles and contents. Matches in titles rank first.
    """
    filters = {"q": q, "author_id": None if author_id is None else str(author_id), "status": status}
    listing = PageRequest(request, PATH, limit=limit, cursor=cursor, filters=filters)
    posts, given = request.application.use_cases.posts, _Filters(limit=limit, author_id=author_id, status=status)
    found = (
        await posts.list(request.principal, after=listing.after_id(), **given)
        if q is None
        else await posts.search(request.principal, q, after=listing.after_position(), **given)
    )
    return listing.response(found, post_response)
