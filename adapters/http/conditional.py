"""Conditional requests: entity tags and preconditions (RFC 9110 sections 8.8.3 and 13)."""

import re
from collections.abc import Collection, Sequence

from starlette.types import Scope

from adapters.http.problems.responses import invalid_parameter

_VERSION = re.compile(rb"[1-9][0-9]{0,9}")

MAX_TAGS_LENGTH = 1000
"""The maximum length of If-Match and If-None-Match."""
_TAG = r'(?:W/)?"[!#-~\x80-\xFF]*"'
TAGS_PATTERN = rf"^[ \t]*\*[ \t]*$|^(?:[ \t]*,)*[ \t]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*$"
"""The syntax of `*` and of a list of entity tags."""
_TAGS = re.compile(TAGS_PATTERN.encode())
_ELEMENT = re.compile(rb'(W/)?"([^"]*)"')


def if_match_versions(scope: Scope) -> Collection[int] | None:
    """Return the versions in If-Match, None for any version.

    Weak tags never match (strong comparison, RFC 9110 section 8.8.3.2). Raises ProblemError for a malformed header.
    """
    lines = [value for name, value in scope["headers"] if name == b"if-match"]
    tags = _tags(lines, "If-Match") if lines else None
    return None if tags is None else {int(tag) for weak, tag in tags if not weak and _VERSION.fullmatch(tag)}


def if_none_match_matches(lines: Sequence[bytes], tag: bytes) -> bool:
    """Return True if the lines of If-None-Match contain this tag, so that the response is 304.

    The comparison is weak (RFC 9110 section 8.8.3.2), and `*` matches every tag. Raises ProblemError for a malformed
    header.
    """
    tags = _tags(lines, "If-None-Match")
    return tags is None or any(b'"%s"' % opaque == tag for _, opaque in tags)


def _tags(lines: Sequence[bytes], name: str) -> list[tuple[bool, bytes]] | None:
    """Return each tag of the header, and True if it is weak. Return None for `*`."""
    value = b",".join(lines)
    if len(value) > MAX_TAGS_LENGTH:
        raise invalid_parameter(name, "too_long", f"Must be at most {MAX_TAGS_LENGTH} characters long.")
    if not _TAGS.fullmatch(value):
        raise invalid_parameter(
            name, "invalid_format", "Must be * or entity tags in double quotes, separated by commas."
        )
    return None if value.strip(b" \t") == b"*" else [(bool(weak), tag) for weak, tag in _ELEMENT.findall(value)]
