"""Cursors: where the next page of a list starts, in a form that only this service can make.

A cursor is 33 octets in base64url (RFC 4648 section 5): a format number, the last id of the page, and a truncated
HMAC-SHA256 (RFC 2104) over these, the list and its filters. 33 octets are 44 characters without padding or spare bits,
so each cursor has one spelling.
"""

import base64
import hmac
import re
from collections.abc import Mapping
from uuid import UUID

from adapters.http.errors import ProblemError
from adapters.http.problems import VALIDATION_FAILED

CURSOR_LENGTH = 44
"""Characters."""
CURSOR_PATTERN = "^[A-Za-z0-9_-]{44}$"

_FORM = re.compile(r"[A-Za-z0-9_-]{44}")
_FORMAT = b"\x01"
_HEAD_BYTES = len(_FORMAT) + 16
_SIGNATURE_BYTES = 16

Filters = Mapping[str, str | None]
"""The filters of a list by name, as they are sent; None for one that is not."""


class Cursors:
    """Makes and reads cursors with one secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, last: UUID, *, resource: str, filters: Filters) -> str:
        """Return the cursor of the page after `last`."""
        head = _FORMAT + last.bytes
        return base64.urlsafe_b64encode(head + self._signature(head, resource, filters)).decode("ascii")

    def read(self, cursor: str, *, resource: str, filters: Filters) -> UUID:
        """Return the id below which the page starts.

        Raises ProblemError unless `make` returned this cursor for this resource and these filters.
        """
        if not _FORM.fullmatch(cursor):
            raise _refusal()
        found = base64.urlsafe_b64decode(cursor)
        head, signature = found[:_HEAD_BYTES], found[_HEAD_BYTES:]
        if not hmac.compare_digest(signature, self._signature(head, resource, filters)) or head[:1] != _FORMAT:
            raise _refusal()
        return UUID(bytes=head[1:])

    def _signature(self, head: bytes, resource: str, filters: Filters) -> bytes:
        # A NUL separates, because no filter's value can hold one.
        given = "".join(f"\0{name}={value}" for name, value in filters.items() if value is not None)
        return hmac.digest(self._secret, head + f"{resource}{given}".encode(), "sha256")[:_SIGNATURE_BYTES]


def _refusal() -> ProblemError:
    detail = "It is not a cursor of this list with these filters."
    return ProblemError(VALIDATION_FAILED, errors=[{"parameter": "cursor", "code": "not_issued", "detail": detail}])
