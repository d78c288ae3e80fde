"""Conditional requests: entity tags and the preconditions on them (RFC 9110 sections 8.8.3 and 13)."""

import re
from collections.abc import Collection

from starlette.types import Scope

from adapters.http.headers import header_lines
from adapters.http.problem_responses import ProblemError
from adapters.http.problems import VALIDATION_FAILED

_ELEMENT = re.compile(rb'[ \t]*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)")?[ \t]*(?:,|\Z)')
_VERSION = re.compile(rb"[1-9][0-9]{0,9}")

LONGEST_TAGS = 1000
"""Characters of If-Match and If-None-Match."""
_TAG = r'(?:W/)?"[!#-~\u0080-\u00FF]*"'
TAGS_PATTERN = rf"^(?:[ \t]*,)*[ \t]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*$"
"""Their syntax, when they are not `*`: a list of entity tags."""


def entity_tag(version: int) -> str:
    """Return the strong entity tag of a version."""
    return f'"{version}"'


def expected_versions(scope: Scope) -> Collection[int] | None:
    """Return the versions that If-Match asks for: None for any.

    Weak tags never match (the strong comparison of RFC 9110 section 8.8.3.2). Raises ProblemError for a header that is
    malformed.
    """
    lines = header_lines(scope, b"if-match")
    tags = _tags(lines, "If-Match") if lines else None
    if tags is None:
        return None
    return {int(tag) for weak, tag in tags if not weak and _VERSION.fullmatch(tag)}


def is_known(scope: Scope, tag: str) -> bool:
    """Tell whether If-None-Match names this tag, so that there is nothing new to send.

    The comparison is weak (RFC 9110 section 8.8.3.2); `*` names every tag. Raises ProblemError for a header that is
    malformed.
    """
    lines = header_lines(scope, b"if-none-match")
    if not lines:
        return False
    tags = _tags(lines, "If-None-Match")
    return tags is None or any(f'"{opaque.decode("latin-1")}"' == tag for _, opaque in tags)


def _tags(lines: list[bytes], name: str) -> list[tuple[bool, bytes]] | None:
    """Return each tag of the header's lines and whether it is weak; None for `*`."""
    value = b",".join(lines)
    if len(value) > LONGEST_TAGS:
        raise _malformed(name, "too_long", f"It must be at most {LONGEST_TAGS} characters long.")
    if value.strip(b" \t") == b"*":
        return None
    tags: list[tuple[bool, bytes]] = []
    element = _ELEMENT.match(value)
    while element is not None and element.end() > element.start():
        if element[2] is not None:
            tags.append((element[1] is not None, element[2]))
        element = _ELEMENT.match(value, element.end())
    if element is None or not tags:
        raise _malformed(name, "format", "It must be * or entity tags in double quotes, separated by commas.")
    return tags


def _malformed(name: str, code: str, detail: str) -> ProblemError:
    return ProblemError(VALIDATION_FAILED, errors=[{"parameter": name, "code": code, "detail": detail}])
