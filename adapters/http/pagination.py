"""Pagination over HTTP: the requested page and the response with a Link header."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Response

from adapters.http.cursors import CursorCodec, Filters
from adapters.http.responses import REVALIDATE, Body, json_ok
from adapters.http.routing import ApiRequest
from application.pagination import Page
from application.search import SearchPage, SearchPosition


class PageRequest:
    """A request for a page of the list at `path`. `filters` have the form of the query string."""

    def __init__(self, request: ApiRequest, path: str, *, limit: int, cursor: str | None, filters: Filters) -> None:
        self._codec = CursorCodec(request.application.options.cursor_secret)
        self._path = path
        self._limit = limit
        self._cursor = cursor
        self._filters = filters

    def after_id(self) -> UUID | None:
        """Return the ID below which the page starts. Raises ProblemError for an invalid cursor."""
        if self._cursor is None:
            return None
        return self._codec.decode_id(self._cursor, resource=self._path, filters=self._filters)

    def after_position(self) -> SearchPosition | None:
        """Return the position after which the page starts. Raises ProblemError for an invalid cursor."""
        if self._cursor is None:
            return None
        return self._codec.decode_position(self._cursor, resource=self._path, filters=self._filters)

    def response(self, page: Page[Any] | SearchPage, item_body: Callable[[Any], Body]) -> Response:
        """Return the response with a page, and with a link to the next page if one exists."""
        items = [item_body(item) for item in page.items]
        if page.next_after is None:
            return json_ok({"items": items, "next_cursor": None}, REVALIDATE)
        cursor = self._codec.encode(page.next_after, resource=self._path, filters=self._filters)
        query = {"limit": str(self._limit), **self._filters, "cursor": cursor}
        given = urlencode({name: value for name, value in query.items() if value is not None})
        link = (b"link", f'<{self._path}?{given}>; rel="next"'.encode("ascii"))
        return json_ok({"items": items, "next_cursor": cursor}, REVALIDATE, link)
