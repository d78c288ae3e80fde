"""Reads and parses JSON request bodies."""

import json
import re
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from adapters.http.problems.catalog import MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE
from adapters.http.problems.responses import ProblemError

JSON_TYPE = "application/json"
MERGE_PATCH_TYPE = "application/merge-patch+json"

MEDIA_TYPES = {"POST": (JSON_TYPE,), "PATCH": (MERGE_PATCH_TYPE, JSON_TYPE)}
"""The media types that each method accepts."""

_OTHER_CHARSET = re.compile(r'[ \t]*charset=(?!"?utf-?8"?[ \t]*\Z).*', re.IGNORECASE)
_ACCEPT = {"POST": "accept-post", "PATCH": "accept-patch"}


def validate_media_type(scope: Scope) -> None:
    """Raise ProblemError for an unsupported media type, another charset than UTF-8, and a compressed body."""
    accepted = MEDIA_TYPES[scope["method"]]
    types = []
    for name, value in scope["headers"]:
        if name == b"content-type":
            types.append(value.decode("latin-1"))
        elif name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            headers = {"accept-encoding": "identity"}
            raise ProblemError(UNSUPPORTED_MEDIA_TYPE, detail="The body must not be compressed.", headers=headers)
    if len(types) != 1 or (types[0] not in accepted and not _is_accepted(types[0], accepted)):
        names, header = ", ".join(accepted), _ACCEPT[scope["method"]]
        raise ProblemError(UNSUPPORTED_MEDIA_TYPE, detail=f"Content-Type must be {names}.", headers={header: names})


def _is_accepted(content_type: str, accepted: tuple[str, ...]) -> bool:
    """Return True for an accepted type in UTF-8. JSON defines no parameters (RFC 8259), so all others are ignored."""
    name, *parameters = content_type.split(";")
    return name.strip(" \t").lower() in accepted and not any(map(_OTHER_CHARSET.match, parameters))


async def read_body(receive: Receive) -> bytes:
    """Return the complete body. Raises ClientDisconnect if the client disconnects before its end."""
    chunks = []
    is_complete = False
    while not is_complete:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        is_complete = not message.get("more_body", False)
    return b"".join(chunks)


def parse_json(body: bytes, *, max_depth: int) -> Any:
    """Return the value of a JSON body (RFC 8259).

    Raises ProblemError for invalid JSON and for ambiguous JSON: duplicate names, numbers that are too large, unpaired
    surrogates, more than `max_depth` levels of arrays and objects.
    """
    if not body:
        _raise_malformed("The body is empty.")
    try:
        text = body.decode()
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        _raise_malformed(f"Invalid JSON at line {error.lineno}, column {error.colno}.")
    except UnicodeDecodeError:
        _raise_malformed("The body is not valid UTF-8.")
    except UnicodeEncodeError:
        _raise_malformed("The body contains an unpaired surrogate.")
    except RecursionError:
        _raise_too_deep(max_depth)
    except ValueError:  # int() limits the number of digits
        _raise_malformed("The body contains a number with too many digits.")
    if text.count("[") + text.count("{") > max_depth and _depth(value) > max_depth:
        _raise_too_deep(max_depth)
    return value


def _raise_malformed(detail: str) -> NoReturn:
    raise ProblemError(MALFORMED_JSON, detail=detail) from None


def _raise_too_deep(max_depth: int) -> NoReturn:
    _raise_malformed(f"The body has more than {max_depth} levels of nesting.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _raise_malformed("An object in the body has duplicate names.")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if number in {float("inf"), float("-inf")}:
        _raise_malformed("The body contains a number that is too large.")
    return number


def _no_constant(_name: str) -> NoReturn:
    _raise_malformed("The body contains NaN or Infinity, which are not valid JSON.")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return depth
