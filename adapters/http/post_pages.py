"""The list and the search of posts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from adapters.http import documentation as doc
from adapters.http import fields, problems
from adapters.http.context import caller, services
from adapters.http.pages import Listing
from adapters.http.posts import EXAMPLE, PATH, STATUS_SCHEMA, PostResponse, Status, post_response
from adapters.http.routes import StrictRoute, operation_id
from adapters.http.scopes import secured
from domain.api_keys import Scope
from domain.posts import MAX_QUERY_LENGTH, PostStatus, normalize_query
from domain.text_rules import SINGLE_LINE_PATTERN

_Words = Annotated[str, Field(max_length=MAX_QUERY_LENGTH), AfterValidator(normalize_query)]
_Query = Annotated[
    _Words | None,
    WithJsonSchema({**fields.text_schema(SINGLE_LINE_PATTERN, MAX_QUERY_LENGTH), "examples": ["analytical engine"]}),
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
            max_length=fields.MOST_ITEMS,
            description="Posts, newest first; with `q`, matches in titles rank first.",
        ),
    ]
    next_cursor: fields.NextCursor


router = APIRouter(prefix=PATH, tags=["posts"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get(
    "",
    response_model=PostPage,
    summary="List posts",
    responses={
        200: doc.response(
            "A page of posts.", headers=["Link"], example={"items": [EXAMPLE], "next_cursor": doc.EXAMPLE_CURSOR}
        ),
        **doc.errors(problems.VALIDATION_FAILED, *doc.API),
    },
    openapi_extra=secured(Scope.POSTS_READ),
)
async def list_posts(  # noqa: PLR0917 - FastAPI calls it by name
    request: Request,
    limit: fields.Limit = 20,
    cursor: fields.Cursor = None,
    author_id: Annotated[
        fields.Identifier | None, WithJsonSchema(fields.ID_SCHEMA), Query(description="Selects posts by this author.")
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
    listing = Listing(request=request, path=PATH, limit=limit, cursor=cursor, filters=filters)
    posts, given = services(request).posts, _Filters(limit=limit, author_id=author_id, status=status)
    found = (
        await posts.list(caller(request), after=listing.after(), **given)
        if q is None
        else await posts.search(caller(request), q, after=listing.behind(), **given)
    )
    next_cursor = listing.next_cursor(found)
    body = {"items": [post_response(post) for post in found.items], "next_cursor": next_cursor}
    return listing.response(body, next_cursor)
