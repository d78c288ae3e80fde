"""What is wrong with a request's fields and parameters, in our words: never the caller's, never a library's."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from domain.errors import InvalidValueError


class FieldError(TypedDict, total=False):
    """One finding: where (`pointer` into the body or the name of a `parameter`), which rule, and a sentence."""

    pointer: str
    parameter: str
    code: str
    detail: str


CODES = {
    "required": "It is missing.",
    "unknown": "No such field or parameter is known.",
    "repeated": "It is given more than once.",
    "type": "It is of another JSON type.",
    "too_long": "It has too many characters.",
    "out_of_range": "The number, or how many there are, is too small or too large.",
    "format": "It is not of the form that is asked for.",
    "choice": "It is none of the values that are allowed.",
    "not_found": "What it names does not exist.",
    "not_issued": "It was not handed out by this service for this request.",
}
"""The codes of findings and what they mean."""

MOST_ERRORS = 32
"""How many findings one response names."""

_RULES = {
    "missing": ("required", "It is required."),
    "extra_forbidden": ("unknown", "It is not a field of this object."),
    "string_type": ("type", "It must be a string."),
    "bool_type": ("type", "It must be true or false."),
    "dict_type": ("type", "It must be an object."),
    "string_too_long": ("too_long", "It must be at most {max_length} characters long."),
}
_SANE_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


def is_sane(name: str) -> bool:
    """Tell whether a name that the caller made up is harmless to repeat."""
    return _SANE_NAME.fullmatch(name) is not None


def field_errors(found: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Return what pydantic found, as FastAPI passes it on: each with the place as its `loc`."""
    return [_field_error(finding) for finding in found]


def _field_error(finding: Mapping[str, Any]) -> FieldError:
    code, detail = _rule(finding)
    place, *path = finding["loc"]
    if place != "body":
        return {"parameter": str(path[0]), "code": code, "detail": detail}
    if code == "unknown" and not is_sane(str(path[-1])):
        path.pop()
    return {"pointer": _pointer(path), "code": code, "detail": detail}


def _rule(finding: Mapping[str, Any]) -> tuple[str, str]:
    kind, context = finding["type"], finding.get("ctx", {})
    if kind in CODES:  # raised by a validator of ours
        return kind, finding["msg"]
    error = context.get("error")
    if isinstance(error, InvalidValueError):
        return "format", str(error)
    code, detail = _RULES.get(kind, ("format", "It is not acceptable."))
    return code, detail.format_map(context)


def _pointer(path: Sequence[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
