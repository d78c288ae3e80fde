"""Pagination over HTTP: the requested page, the response with a Link header, and signed cursors.

A cursor is 33 octets in base64url (RFC 4648 section 5): a format number, the last ID of the page, and a truncated
HMAC-SHA256 (RFC 2104) of these, the list and its filters. The format is 1 for lists by ID. For search results it is the
rank of the last post: 2 for a match in the title, 3 otherwise. 33 octets have exactly one encoding, in 44 characters.
"""

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote_plus
from uuid import UUID

from fastapi import Response

from adapters.http.problems.responses import invalid_parameter
from adapters.http.responses import REVALIDATE, Body, JsonResponse
from adapters.http.routing import ApiRequest
from application.pagination import Page
from application.search import SearchPosition

CURSOR_LENGTH = 44
CURSOR_PATTERN = "^[A-Za-z0-9_-]{44}$"

_CURSOR_REGEX = re.compile(CURSOR_PATTERN)
_BY_ID = 1
_RANKS = {True: 2, False: 3}
_HEAD_BYTES = 1 + 16
_SIGNATURE_BYTES = 16

Filters = Mapping[str, str | None]
"""The filters of a list by name, as in the query string. None means that a filter is absent."""

T = TypeVar("T", UUID, SearchPosition)


class CursorCodec:
    """Encodes and decodes cursors with one secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def encode(self, last: UUID | SearchPosition, *, resource: str, filters: Filters) -> str:
        """Return the cursor of the page after `last`."""
        if isinstance(last, SearchPosition):
            head = bytes([_RANKS[last.in_title]]) + last.id.bytes
        else:
            head = bytes([_BY_ID]) + last.bytes
        return base64.urlsafe_b64encode(head + self._signature(head, resource, filters)).decode("ascii")

    def decode(self, cursor: str, kind: type[T], *, resource: str, filters: Filters) -> T:
        """Return the start of the page: an ID in a list, a position in search results.

        Raises ProblemError unless `encode` returned this cursor for this kind, this resource and these filters.
        """
        found = base64.urlsafe_b64decode(cursor) if _CURSOR_REGEX.fullmatch(cursor) else b""
        head, signature = found[:_HEAD_BYTES], found[_HEAD_BYTES:]
        if hmac.compare_digest(signature, self._signature(head, resource, filters)):
            number, last_id = head[0], UUID(bytes=head[1:])
            last = last_id if number == _BY_ID else SearchPosition(in_title=number == _RANKS[True], id=last_id)
            if isinstance(last, kind):
                return last
        detail = "Must be the next_cursor of a page of this list with these filters."
        raise invalid_parameter("cursor", "invalid_cursor", detail)

    def _signature(self, head: bytes, resource: str, filters: Filters) -> bytes:
        # NUL is a safe separator, because no filter can contain it.
        given = "".join(f"\0{name}={value}" for name, value in filters.items() if value is not None)
        return hmac.digest(self._secret, head + f"{resource}{given}".encode(), "sha256")[:_SIGNATURE_BYTES]


class PageRequest:
    """A request for a page of the list at `path`. `filters` have the form of the query string."""

    def __init__(self, request: ApiRequest, path: str, *, limit: int, cursor: str | None, filters: Filters) -> None:
        self._root_path: str = request.state.request_context.root_path
        self._codec = CursorCodec(request.application.options.cursor_secret)
        self._path = path
        self._limit = limit
        self._cursor = cursor
        self._filters = filters

    def after(self, kind: type[T]) -> T | None:
        """Return the ID or the position after which the page starts. Raises ProblemError for an invalid cursor."""
        if self._cursor is None:
            return None
        return self._codec.decode(self._cursor, kind, resource=self._path, filters=self._filters)

    def response(self, page: Page[Any], item_body: Callable[[Any], Body]) -> Response:
        """Return the response with a page, and with a link to the next page if one exists."""
        items = [item_body(item) for item in page.items]
        if page.next_after is None:
            return JsonResponse(200, {"items": items, "next_cursor": None}, REVALIDATE)
        cursor = self._codec.encode(page.next_after, resource=self._path, filters=self._filters)
        filters = "".join(f"&{name}={quote_plus(value)}" for name, value in self._filters.items() if value is not None)
        target = f"{self._root_path}{self._path}?limit={self._limit}{filters}&cursor={cursor}"
        link = (b"link", f'<{target}>; rel="next"'.encode("ascii"))
        return JsonResponse(200, {"items": items, "next_cursor": cursor}, REVALIDATE, link)
