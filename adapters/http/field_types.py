"""Shared types of fields and parameters: validators and their JSON schemas."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

from annotated_types import MaxLen
from fastapi import Query
from pydantic import AfterValidator, ConfigDict, Field, GetPydanticSchema, Strict, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from adapters.http.pagination import CURSOR_LENGTH, CURSOR_PATTERN
from domain.email import MAX_EMAIL_BYTES, validate_email
from domain.text_rules import SINGLE_LINE_DETAIL, SINGLE_LINE_PATTERN

MAX_PAGE_SIZE = 100
"""The maximum number of items on a page."""

EXAMPLE_CURSOR = "AQGh_AYeUnAmr3pOhsvHVKtP-bOmn4uMKi_6bhhx1MqZ"


def text_pattern(
    pattern: str,
    detail: str,
    json_schema: dict[str, Any],
    parse: Callable[[str], object] = str,
    *,
    code: str = "invalid_format",
    max_length: int | None = None,
) -> GetPydanticSchema:
    """Return the rule of a string: at most `max_length` characters that match the pattern, and that `parse` accepts.

    Other strings, and all errors of `parse`, become an error with this code and detail. pydantic checks the pattern
    without calls of own functions.
    """

    def validator(_source: object, _handler: object) -> CoreSchema:
        parsed: CoreSchema = core_schema.str_schema(pattern=pattern)
        if parse is UUID:  # pydantic creates it four times as fast
            parsed = core_schema.chain_schema([parsed, core_schema.uuid_schema()])
        elif parse is not str:
            parsed = core_schema.no_info_after_validator_function(parse, parsed)
        rule = core_schema.custom_error_schema(parsed, code, custom_error_message=detail)
        return core_schema.chain_schema([core_schema.str_schema(strict=True, max_length=max_length), rule])

    # The first `json_schema` gives the order of the members, the last one their values. handler() adds descriptions.
    return GetPydanticSchema(validator, lambda schema, handler: json_schema | handler(schema) | json_schema)


def text(max_length: int, pattern: str = SINGLE_LINE_PATTERN, detail: str = SINGLE_LINE_DETAIL) -> GetPydanticSchema:
    """Return the rule of a text, which the domain trims."""
    json_schema = {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": pattern}
    return text_pattern(pattern, detail, json_schema, max_length=max_length)


E = TypeVar("E", bound=StrEnum)


def enum_value(*allowed: E) -> Callable[[object], E]:
    """Return a validator for the values of these enumeration members."""
    members = {str(member): member for member in allowed}
    names = ", ".join(members)

    def validate(value: object) -> E:
        if not isinstance(value, str):
            raise PydanticCustomError("invalid_type", "Must be a string.")
        if value not in members:
            raise PydanticCustomError("invalid_choice", "Must be one of: {names}.", {"names": names})
        return members[value]

    return validate


def enum_set(*allowed: E) -> Callable[[object], frozenset[E]]:
    """Return a validator for an array of distinct values of these enumeration members."""
    validate_one = enum_value(*allowed)

    def validate(value: object) -> frozenset[E]:
        if not isinstance(value, list):
            raise PydanticCustomError("invalid_type", "Must be an array.")
        if not 1 <= len(value) <= len(allowed):
            raise PydanticCustomError("out_of_range", "Must have 1-{most} items.", {"most": len(allowed)})
        found = frozenset(map(validate_one, value))
        if len(found) != len(value):
            raise PydanticCustomError("duplicate", "Items must be unique.")
        return found

    return validate


Identifier = Annotated[
    UUID,
    text_pattern(
        "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        "Must be a UUID of the form 8-4-4-4-12 hexadecimal digits.",
        {"type": "string", "format": "uuid"},
        UUID,
    ),
]
"""A UUID of any version in its canonical form, in upper or lower case."""

Email = Annotated[
    str,
    Strict(),
    MaxLen(MAX_EMAIL_BYTES),
    AfterValidator(validate_email),
    WithJsonSchema({"type": "string", "format": "idn-email", "minLength": 3, "maxLength": MAX_EMAIL_BYTES}),
]
"""An e-mail address."""

QueryBool = Annotated[
    bool | None,
    text_pattern(
        "^(?:true|false)$", "Must be true or false.", {"type": "boolean"}, "true".__eq__, code="invalid_choice"
    ),
]
"""A boolean query parameter: `true` or `false`."""

InputDatetime = Annotated[
    datetime,
    text_pattern(
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$",
        "Must be a time of the form 2026-12-31T23:59:59Z.",
        {"type": "string", "format": "date-time", "maxLength": 64},
        lambda value: datetime.fromisoformat(value.upper()).astimezone(UTC),
        max_length=64,
    ),
]
"""A time in a request: RFC 3339 with any offset. Digits after the microseconds are ignored."""

Limit = Annotated[
    int,
    text_pattern(
        "^(?:[1-9][0-9]?|100)$",
        "Must be an integer from 1 to 100.",
        {"type": "integer", "maximum": MAX_PAGE_SIZE, "minimum": 1, "format": "int32"},
        int,
        code="out_of_range",
    ),
    Query(description="Maximum number of items on the page.", examples=[20]),
]
"""The maximum number of items on a page."""

_CURSOR_SCHEMA = {"type": "string", "minLength": CURSOR_LENGTH, "maxLength": CURSOR_LENGTH, "pattern": CURSOR_PATTERN}

Cursor = Annotated[
    str | None,
    text_pattern(
        CURSOR_PATTERN, "Must be the next_cursor of a page of this list.", _CURSOR_SCHEMA, code="invalid_cursor"
    ),
    Query(
        description="`next_cursor` of the previous page, with the same filters. By default the first page.",
        examples=[EXAMPLE_CURSOR],
    ),
]
"""The start of a page."""

NextCursor = Annotated[
    Annotated[str, WithJsonSchema(_CURSOR_SCHEMA)] | None,
    Field(
        description="Send it as `cursor` to get the next page; null on the last page.",
        examples=[EXAMPLE_CURSOR],
    ),
]
"""The start of the next page."""

PAGE_ITEMS = Field(max_length=MAX_PAGE_SIZE, description="Items, newest first.")

EntityId = Annotated[UUID, Field(description="Identifier; the order of IDs is the order of creation.")]
CreatedAt = Annotated[datetime, Field(description="Time of creation.")]
UpdatedAt = Annotated[datetime, Field(description="Time of the last change.")]
Version = Annotated[
    int,
    Field(
        ge=1,
        le=2**53 - 1,  # exact in JavaScript (RFC 8259 section 6); the columns are bigint
        json_schema_extra={"format": "int64"},
        description="Starts at 1 and increases by 1 with each change; the ETag contains it.",
    ),
]


def request_body(**example: Any) -> ConfigDict:
    """Return the configuration of a request body with this example: unknown fields are rejected."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


def response_body(example: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a response body with this example."""
    return ConfigDict(json_schema_extra={"examples": [example]})
