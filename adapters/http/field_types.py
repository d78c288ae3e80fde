"""Shared types of fields and parameters: validators and their JSON schemas."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from adapters.http.cursors import CURSOR_LENGTH, CURSOR_PATTERN
from domain.email import MAX_EMAIL_BYTES, validate_email

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LIMIT = re.compile(r"[1-9][0-9]?|100")
_CURSOR = re.compile(CURSOR_PATTERN[:-1] + r"\Z")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_BOOLEANS = {"true": True, "false": False}

MAX_PAGE_SIZE = 100
"""The maximum number of items on a page."""

ID_DESCRIPTION = "Identifier; the order of IDs is the order of creation."
ID_SCHEMA: dict[str, Any] = {"type": "string", "format": "uuid", "minLength": 36, "maxLength": 36}
EMAIL_SCHEMA: dict[str, Any] = {"type": "string", "format": "idn-email", "minLength": 3, "maxLength": MAX_EMAIL_BYTES}
CURSOR_SCHEMA: dict[str, Any] = {
    "type": "string",
    "minLength": CURSOR_LENGTH,
    "maxLength": CURSOR_LENGTH,
    "pattern": CURSOR_PATTERN,
}
TIME_SCHEMA: dict[str, Any] = {"type": "string", "format": "date-time", "maxLength": 32}
VERSION_SCHEMA: dict[str, Any] = {"type": "integer", "format": "int32", "minimum": 1, "maximum": 2_147_483_647}


def nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema that also allows null."""
    return {**schema, "type": [schema["type"], "null"]}


def _identifier(value: object) -> UUID:
    if not isinstance(value, str):
        raise PydanticCustomError("invalid_type", "Must be a string.")
    if not _UUID.fullmatch(value):
        raise PydanticCustomError("invalid_format", "Must be a UUID of the form 8-4-4-4-12 hexadecimal digits.")
    return UUID(value)


def _limit(value: str) -> int:
    if not _LIMIT.fullmatch(value):
        raise PydanticCustomError("out_of_range", "Must be an integer from 1 to 100.")
    return int(value)


def _boolean(value: str) -> bool:
    if value not in _BOOLEANS:
        raise PydanticCustomError("invalid_choice", "Must be true or false.")
    return _BOOLEANS[value]


def _cursor(value: str) -> str:
    if not _CURSOR.match(value):
        raise PydanticCustomError("invalid_cursor", "Must be the next_cursor of a page of this list.")
    return value


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
    one = enum_value(*allowed)

    def validate(value: object) -> frozenset[E]:
        if not isinstance(value, list):
            raise PydanticCustomError("invalid_type", "Must be an array.")
        if not 1 <= len(value) <= len(allowed):
            raise PydanticCustomError("out_of_range", "Must have 1-{most} items.", {"most": len(allowed)})
        found = frozenset(map(one, value))
        if len(found) != len(value):
            raise PydanticCustomError("duplicate", "Items must be unique.")
        return found

    return validate


def _input_datetime(value: object) -> datetime:
    if not isinstance(value, str):
        raise PydanticCustomError("invalid_type", "Must be a string.")
    with suppress(ValueError, OverflowError):
        if _TIME.fullmatch(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    raise PydanticCustomError("invalid_format", "Must be a time of the form 2026-12-31T23:59:59Z.")


Identifier = Annotated[UUID, PlainValidator(_identifier), WithJsonSchema(ID_SCHEMA)]
"""A UUID of any version in its canonical form, in upper or lower case."""

Email = Annotated[
    str, Field(strict=True, max_length=MAX_EMAIL_BYTES), AfterValidator(validate_email), WithJsonSchema(EMAIL_SCHEMA)
]
"""An e-mail address."""

StrictBool = Annotated[bool, Field(strict=True)]
"""A JSON boolean."""

QueryBool = Annotated[bool | None, PlainValidator(_boolean), WithJsonSchema({"type": "boolean"})]
"""A boolean query parameter: `true` or `false`."""

Limit = Annotated[
    int,
    PlainValidator(_limit),
    WithJsonSchema({"type": "integer", "format": "int32", "minimum": 1, "maximum": MAX_PAGE_SIZE}),
    Query(description="Maximum number of items on the page."),
]
"""The maximum number of items on a page."""

Cursor = Annotated[
    str | None,
    PlainValidator(_cursor),
    WithJsonSchema(CURSOR_SCHEMA),
    Query(description="`next_cursor` of the previous page, with the same filters. By default the first page."),
]
"""The start of a page."""


Time = Annotated[datetime, WithJsonSchema(TIME_SCHEMA)]
"""An aware time in UTC."""

InputDatetime = Annotated[datetime, PlainValidator(_input_datetime), WithJsonSchema(TIME_SCHEMA)]
"""A time in a request: RFC 3339 with any offset."""

Version = Annotated[
    int,
    WithJsonSchema(VERSION_SCHEMA),
    Field(description="Starts at 1 and increases by 1 with each change; the ETag contains it."),
]
"""The version of an entity."""

NextCursor = Annotated[
    str | None,
    WithJsonSchema(nullable(CURSOR_SCHEMA)),
    Field(description="Send it as `cursor` to get the next page; null on the last page."),
]
"""The start of the next page."""


STRICT = ConfigDict(extra="forbid")
"""The configuration of a request body: unknown fields are rejected."""


class ResponseModel(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


def text_schema(pattern: str, max_length: int) -> dict[str, Any]:
    """Return the schema of text with a pattern of `domain.text_rules` and at most `max_length` characters."""
    return {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": pattern}
