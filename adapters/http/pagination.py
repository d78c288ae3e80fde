"""Pagination over HTTP: cursors and Link headers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Request, Response

from adapters.http.cursors import Filters
from adapters.http.dependencies import get_cursor_codec
from adapters.http.responses import REVALIDATE, Body, json_ok
from application.pagination import Page
from application.search import SearchPage, SearchPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """A request for a page of the list at `path`. `filters` have the form of the query string."""

    request: Request
    path: str
    limit: int
    cursor: str | None
    filters: Filters

    def after_id(self) -> UUID | None:
        """Return the ID below which the page starts. Raises ProblemError for an invalid cursor."""
        if self.cursor is None:
            return None
        return get_cursor_codec(self.request).decode_id(self.cursor, resource=self.path, filters=self.filters)

    def after_position(self) -> SearchPosition | None:
        """Return the position after which the page starts. Raises ProblemError for an invalid cursor."""
        if self.cursor is None:
            return None
        return get_cursor_codec(self.request).decode_position(self.cursor, resource=self.path, filters=self.filters)

    def response(self, found: Page[Any] | SearchPage, project: Callable[[Any], Body]) -> Response:
        """Return the response with a page of projected items, and with a link to the next page if one exists."""
        items = [project(item) for item in found.items]
        if found.next_after is None:
            return json_ok({"items": items, "next_cursor": None}, REVALIDATE)
        cursor = get_cursor_codec(self.request).encode(found.next_after, resource=self.path, filters=self.filters)
        query: Mapping[str, str | None] = {"limit": str(self.limit), **self.filters, "cursor": cursor}
        given = urlencode({name: value for name, value in query.items() if value is not None})
        link = f'<{self.path}?{given}>; rel="next"'.encode("ascii")
        return json_ok({"items": items, "next_cursor": cursor}, REVALIDATE, (b"link", link))
