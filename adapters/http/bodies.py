"""Reading a request body: which media types, and which JSON."""

import json
import re
from typing import Any, NoReturn

from starlette.types import Scope

from adapters.http.headers import header_lines
from adapters.http.problem_responses import ProblemError
from adapters.http.problems import MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE

JSON_TYPE = "application/json"
MERGE_PATCH_TYPE = "application/merge-patch+json"

MEDIA_TYPES = {"POST": (JSON_TYPE,), "PATCH": (MERGE_PATCH_TYPE, JSON_TYPE)}
"""The media types that each method reads."""

_CHARSET = re.compile(r'[ \t]*charset=(?:utf-8|"utf-8")[ \t]*', re.IGNORECASE)
_ACCEPT = {"POST": "accept-post", "PATCH": "accept-patch"}


def check_media_type(scope: Scope) -> None:
    """Raise ProblemError unless the body is of a media type that the method reads, and is not compressed."""
    method = scope["method"]
    types = header_lines(scope, b"content-type")
    if len(types) != 1 or not _is_read(types[0].decode("latin-1"), MEDIA_TYPES[method]):
        accepted = ", ".join(MEDIA_TYPES[method])
        raise ProblemError(
            UNSUPPORTED_MEDIA_TYPE, detail=f"The body must be of type {accepted}.", headers={_ACCEPT[method]: accepted}
        )
    if any(line.strip().lower() != b"identity" for line in header_lines(scope, b"content-encoding")):
        raise ProblemError(
            UNSUPPORTED_MEDIA_TYPE, detail="The body must not be compressed.", headers={"accept-encoding": "identity"}
        )


def _is_read(content_type: str, accepted: tuple[str, ...]) -> bool:
    if content_type in accepted:
        return True
    name, *parameters = content_type.split(";")
    return name.strip(" \t").lower() in accepted and all(_CHARSET.fullmatch(one) for one in parameters)


def read_json(body: bytes, *, deepest: int) -> Any:
    """Return the value of a body in JSON (RFC 8259).

    Raises ProblemError for what is not JSON, and for JSON that means nothing certain: names that repeat, numbers
    beyond all bounds, halves of surrogate pairs, more than `deepest` levels of arrays and objects.
    """
    if not body:
        _refuse("The body is empty.")
    try:
        text = body.decode()
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        _refuse(f"The body is not JSON: the error is in line {error.lineno}, column {error.colno}.")
    except UnicodeDecodeError:
        _refuse("The body is not in UTF-8.")
    except UnicodeEncodeError:
        _refuse("The body escapes half of a surrogate pair.")
    except RecursionError:
        _refuse_depth(deepest)
    except ValueError:  # int() bounds its digits
        _refuse("The body holds a number with too many digits.")
    if text.count("[") + text.count("{") > deepest and _depth(value) > deepest:
        _refuse_depth(deepest)
    return value


def _refuse(detail: str) -> NoReturn:
    raise ProblemError(MALFORMED_JSON, detail=detail) from None


def _refuse_depth(deepest: int) -> NoReturn:
    _refuse(f"The body is nested deeper than {deepest} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("An object in the body has two members of the same name.")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        _refuse("The body holds a number that is too large.")
    return number


def _no_constant(_name: str) -> NoReturn:
    _refuse("The body holds NaN or Infinity, which are not JSON.")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return depth
