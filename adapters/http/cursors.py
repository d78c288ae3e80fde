"""Signed cursors: the start of the next page of a list.

A cursor is 33 octets in base64url (RFC 4648 section 5): a format number, the last ID of the page, and a truncated
HMAC-SHA256 (RFC 2104) of these, the list and its filters. The format is 1 for lists by ID. For search results it is the
rank of the last post: 2 for a match in the title, 3 otherwise. 33 octets have exactly one encoding, in 44 characters.
"""

import base64
import hmac
import re
from collections.abc import Mapping
from uuid import UUID

from adapters.http.problems.catalog import VALIDATION_FAILED
from adapters.http.problems.responses import ProblemError
from application.search import SearchPosition

CURSOR_LENGTH = 44
CURSOR_PATTERN = "^[A-Za-z0-9_-]{44}$"

_CURSOR_REGEX = re.compile(r"[A-Za-z0-9_-]{44}")
_BY_ID = 1
_RANKS = {True: 2, False: 3}
_HEAD_BYTES = 1 + 16
_SIGNATURE_BYTES = 16

Filters = Mapping[str, str | None]
"""The filters of a list by name, as in the query string. None means that a filter is absent."""


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

    def decode_id(self, cursor: str, *, resource: str, filters: Filters) -> UUID:
        """Return the ID below which the page of a list starts.

        Raises ProblemError unless `encode` returned this cursor for an ID, this resource and these filters.
        """
        number, last = self._verify(cursor, resource, filters)
        if number != _BY_ID:
            raise _invalid_cursor_error()
        return last

    def decode_position(self, cursor: str, *, resource: str, filters: Filters) -> SearchPosition:
        """Return the position after which a page of search results starts.

        Raises ProblemError unless `encode` returned this cursor for a position, this resource and these filters.
        """
        number, last = self._verify(cursor, resource, filters)
        if number not in _RANKS.values():
            raise _invalid_cursor_error()
        return SearchPosition(in_title=number == _RANKS[True], id=last)

    def _verify(self, cursor: str, resource: str, filters: Filters) -> tuple[int, UUID]:
        if not _CURSOR_REGEX.fullmatch(cursor):
            raise _invalid_cursor_error()
        found = base64.urlsafe_b64decode(cursor)
        head, signature = found[:_HEAD_BYTES], found[_HEAD_BYTES:]
        if not hmac.compare_digest(signature, self._signature(head, resource, filters)):
            raise _invalid_cursor_error()
        return head[0], UUID(bytes=head[1:])

    def _signature(self, head: bytes, resource: str, filters: Filters) -> bytes:
        # NUL is a safe separator, because no filter can contain it.
        given = "".join(f"\0{name}={value}" for name, value in filters.items() if value is not None)
        return hmac.digest(self._secret, head + f"{resource}{given}".encode(), "sha256")[:_SIGNATURE_BYTES]


def _invalid_cursor_error() -> ProblemError:
    detail = "Must be the next_cursor of a page of this list with these filters."
    return ProblemError(VALIDATION_FAILED, errors=[{"parameter": "cursor", "code": "invalid_cursor", "detail": detail}])
