"""Conditional requests: entity tags and preconditions (RFC 9110 sections 8.8.3 and 13)."""

import re
from collections.abc import Collection, Sequence

from starlette.types import Scope

from adapters.http.problems.catalog import VALIDATION_FAILED
from adapters.http.problems.responses import ProblemError

_ELEMENT = re.compile(rb'[ \t]*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)")?[ \t]*(?:,|\Z)')
_VERSION = re.compile(rb"[1-9][0-9]{0,9}")

MAX_TAGS_LENGTH = 1000
"""The maximum length of If-Match and If-None-Match."""
_TAG = r'(?:W/)?"[!#-~\x80-\xFF]*"'
TAGS_PATTERN = rf"^[ \t]*\*[ \t]*$|^(?:[ \t]*,)*[ \t]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*$"
"""The syntax of `*` and of a list of entity tags."""


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
        raise _malformed(name, "too_long", f"Must be at most {MAX_TAGS_LENGTH} characters long.")
    if value.strip(b" \t") == b"*":
        return None
    tags: list[tuple[bool, bytes]] = []
    element = _ELEMENT.match(value)
    while element is not None and element.end() > element.start():
        if element[2] is not None:
            tags.append((element[1] is not None, element[2]))
        element = _ELEMENT.match(value, element.end())
    if element is None or not tags:
        raise _malformed(name, "invalid_format", "Must be * or entity tags in double quotes, separated by commas.")
    return tags


def _malformed(name: str, code: str, detail: str) -> ProblemError:
    return ProblemError(VALIDATION_FAILED, errors=[{"parameter": name, "code": code, "detail": detail}])
