"""Validation errors of fields and parameters. Their texts contain no input and no library texts."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from domain.errors import FieldValidationError

ERROR_CODES = {
    "required": "The required field is missing.",
    "unknown": "The field or parameter is unknown.",
    "duplicate": "The value occurs more than once.",
    "invalid_type": "The JSON type is wrong.",
    "too_long": "The text is too long.",
    "out_of_range": "The number, or the number of items, is too small or too large.",
    "invalid_format": "The format is invalid.",
    "invalid_choice": "The value is not one of the allowed values.",
    "not_found": "The referenced entity does not exist.",
    "invalid_cursor": "The cursor was not issued for this list with these filters.",
}
"""The codes of validation errors, and their meanings."""


def text_field(description: str, max_length: int, pattern: str | None = None, **schema: Any) -> Any:
    """Return the JSON schema of a text field in a problem document."""
    return Field(description=description, max_length=max_length, pattern=pattern, json_schema_extra=schema)


class FieldError(TypedDict):
    """A validation error of one field of the body or of one parameter."""

    pointer: NotRequired[
        Annotated[str, text_field("JSON Pointer to the invalid field (RFC 6901).", 200, format="json-pointer")]
    ]
    parameter: NotRequired[
        Annotated[str, text_field("Name of the path parameter, query parameter or header.", 64, "^[A-Za-z0-9_-]+$")]
    ]
    code: Annotated[
        str, text_field(f"Violated rule: {', '.join(f'`{code}`' for code in ERROR_CODES)}.", 40, "^[a-z_]+$")
    ]
    detail: Annotated[str, text_field("Description of the rule.", 500)]


MAX_ERRORS = 32
"""The maximum number of validation errors in one response."""

_RULES = {
    "missing": ("required", "Required."),
    "extra_forbidden": ("unknown", "Unknown field."),
    "string_type": ("invalid_type", "Must be a string."),
    "bool_type": ("invalid_type", "Must be true or false."),
    "dict_type": ("invalid_type", "Must be an object."),
    "string_too_long": ("too_long", "Must be at most {max_length} characters long."),
}
_SAFE_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


def is_safe_to_echo(name: str) -> bool:
    """Return True if a name from the request is safe to echo."""
    return _SAFE_NAME.fullmatch(name) is not None


def field_errors(found: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Return the validation errors for the errors of pydantic."""
    return [_field_error(finding) for finding in found]


def _field_error(finding: Mapping[str, Any]) -> FieldError:
    code, detail = _rule(finding)
    place, *path = finding["loc"]
    if place != "body":
        return {"parameter": str(path[0]), "code": code, "detail": detail}
    if code == "unknown" and not is_safe_to_echo(str(path[-1])):
        path.pop()
    return {"pointer": _pointer(path), "code": code, "detail": detail}


def _rule(finding: Mapping[str, Any]) -> tuple[str, str]:
    kind, context = finding["type"], finding.get("ctx", {})
    if kind in ERROR_CODES:  # raised by our validators
        return kind, finding["msg"]
    error = context.get("error")
    if isinstance(error, FieldValidationError):
        return "invalid_format", str(error)
    code, detail = _RULES.get(kind, ("invalid_format", "Invalid value."))
    return code, detail.format_map(context)


def _pointer(path: Sequence[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
