"""Conditional requests: entity tags and preconditions (RFC 9110 sections 8.8.3 and 13)."""

import re
from collections.abc import Container, Iterable, Sequence

from typing_extensions import override

from adapters.http.middleware.request_limits import Header
from adapters.http.problems.responses import invalid_parameter

MAX_TAGS_LENGTH = 1000
"""The maximum length of If-Match and If-None-Match."""
_TAG = r'(?:W/)?"[!#-~\x80-\xFF]*"'
TAGS_PATTERN = rf"^[ \t]*\*[ \t]*$|^(?:[ \t]*,)*[ \t]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*$"
"""The syntax of `*` and of a list of entity tags."""
_TAGS = re.compile(TAGS_PATTERN.encode())
_ELEMENT = re.compile(rb'(W/)?"([^"]*)"')
_ANY = (b"*", b"")

Tags = Sequence[tuple[bytes, bytes]]
"""Each tag of a header: `W/` if it is weak, and the text in quotes. `*` is _ANY."""


class Preconditions(Container[int]):
    """If-Match and If-None-Match of a request. It contains the versions to which a write applies."""

    def __init__(self, if_match: Tags | None, if_none_match: Tags | None) -> None:
        self._if_match = if_match
        self._if_none_match = if_none_match

    @override
    def __contains__(self, version: object) -> bool:
        tag = str(version).encode()
        return self.allow(tag) and not self.client_has(tag)

    def allow(self, tag: bytes) -> bool:
        """Return True if If-Match has the tag, or is missing. Weak tags never match (section 8.8.3.2)."""
        return self._if_match is None or any(given in {_ANY, (b"", tag)} for given in self._if_match)

    def client_has(self, tag: bytes) -> bool:
        """Return True if If-None-Match has the tag. A weak tag matches, too (section 8.8.3.2)."""
        return any(given == _ANY or given[1] == tag for given in self._if_none_match or ())


def preconditions(headers: Iterable[Header]) -> Preconditions | None:
    """Return the preconditions of a request, None without any. Raises ProblemError for a malformed header."""
    if_match, if_none_match = [], []
    for name, value in headers:
        if name == b"if-match":
            if_match.append(value)
        elif name == b"if-none-match":
            if_none_match.append(value)
    if not (if_match or if_none_match):
        return None
    return Preconditions(_tags(if_match, "If-Match"), _tags(if_none_match, "If-None-Match"))


def _tags(lines: Sequence[bytes], name: str) -> Tags | None:
    """Return the tags of a header, None if it is missing."""
    if not lines:
        return None
    value = b",".join(lines)
    if len(value) > MAX_TAGS_LENGTH:
        raise invalid_parameter(name, "too_long", f"Must be at most {MAX_TAGS_LENGTH} characters long.")
    if not _TAGS.fullmatch(value):
        raise invalid_parameter(
            name, "invalid_format", "Must be * or entity tags in double quotes, separated by commas."
        )
    return [_ANY] if value.strip(b" \t") == b"*" else _ELEMENT.findall(value)
