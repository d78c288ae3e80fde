"""Parses JSON request bodies."""

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
"""The media types that each method accepts."""

_CHARSET = re.compile(r'[ \t]*charset=(?:utf-8|"utf-8")[ \t]*', re.IGNORECASE)
_ACCEPT = {"POST": "accept-post", "PATCH": "accept-patch"}


def check_media_type(scope: Scope) -> None:
    """Raise ProblemError for an unsupported media type and for a compressed body."""
    method = scope["method"]
    types = header_lines(scope, b"content-type")
    if len(types) != 1 or not _is_read(types[0].decode("latin-1"), MEDIA_TYPES[method]):
        accepted = ", ".join(MEDIA_TYPES[method])
        raise ProblemError(
            UNSUPPORTED_MEDIA_TYPE, detail=f"Content-Type must be {accepted}.", headers={_ACCEPT[method]: accepted}
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
    """Return the value of a JSON body (RFC 8259).

    Raises ProblemError for invalid JSON and for ambiguous JSON: duplicate names, numbers that are too large, unpaired
    surrogates, more than `deepest` levels of arrays and objects.
    """
    if not body:
        _refuse("The body is empty.")
    try:
        text = body.decode()
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        _refuse(f"Invalid JSON at line {error.lineno}, column {error.colno}.")
    except UnicodeDecodeError:
        _refuse("The body is not valid UTF-8.")
    except UnicodeEncodeError:
        _refuse("The body contains an unpaired surrogate.")
    except RecursionError:
        _refuse_depth(deepest)
    except ValueError:  # int() limits the number of digits
        _refuse("The body contains a number with too many digits.")
    if text.count("[") + text.count("{") > deepest and _depth(value) > deepest:
        _refuse_depth(deepest)
    return value


def _refuse(detail: str) -> NoReturn:
    raise ProblemError(MALFORMED_JSON, detail=detail) from None


def _refuse_depth(deepest: int) -> NoReturn:
    _refuse(f"The body has more than {deepest} levels of nesting.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("An object in the body has duplicate names.")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        _refuse("The body contains a number that is too large.")
    return number


def _no_constant(_name: str) -> NoReturn:
    _refuse("The body contains NaN or Infinity, which are not valid JSON.")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return depth
