"""Shared types of fields and parameters: validators and their JSON schemas."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

from annotated_types import GroupedMetadata, MaxLen
from fastapi import Query
from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from adapters.http.cursors import CURSOR_LENGTH, CURSOR_PATTERN
from domain.email import MAX_EMAIL_BYTES, validate_email
from domain.text_rules import SINGLE_LINE_PATTERN

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LIMIT = re.compile(r"[1-9][0-9]?|100")
_CURSOR = re.compile(CURSOR_PATTERN[:-1] + r"\Z")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_BOOLEANS = {"true": True, "false": False}
_INT32 = {"format": "int32"}

MAX_PAGE_SIZE = 100
"""The maximum number of items on a page."""

EXAMPLE_CURSOR = "AQGh_AYeUnAmr3pOhsvHVKtP-bOmn4uMKi_6bhhx1MqZ"


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


def _input_datetime(value: object) -> datetime:
    if not isinstance(value, str):
        raise PydanticCustomError("invalid_type", "Must be a string.")
    with suppress(ValueError, OverflowError):
        if _TIME.fullmatch(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    raise PydanticCustomError("invalid_format", "Must be a time of the form 2026-12-31T23:59:59Z.")


E = TypeVar("E", bound=StrEnum)


def enum_value(*allowed: E) -> PlainValidator:
    """Return a validator for the values of these enumeration members."""
    return PlainValidator(_enum_parser(*allowed), json_schema_input_type=type(allowed[0]))


def enum_set(*allowed: E) -> Callable[[object], frozenset[E]]:
    """Return a validator for an array of distinct values of these enumeration members."""
    one = _enum_parser(*allowed)

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


def _enum_parser(*allowed: E) -> Callable[[object], E]:
    members = {str(member): member for member in allowed}
    names = ", ".join(members)

    def parse(value: object) -> E:
        if not isinstance(value, str):
            raise PydanticCustomError("invalid_type", "Must be a string.")
        if value not in members:
            raise PydanticCustomError("invalid_choice", "Must be one of: {names}.", {"names": names})
        return members[value]

    return parse


@dataclass(frozen=True, slots=True)
class Text(GroupedMetadata):
    """The rule of a text field: a normalizer of the domain, whose pattern and maximum length are published."""

    normalize: Callable[[str], str]
    max_length: int
    pattern: str = SINGLE_LINE_PATTERN

    def __iter__(self) -> Iterator[object]:
        """Yield the rule as annotations of pydantic."""
        yield Strict()
        yield MaxLen(self.max_length)
        yield AfterValidator(self.normalize)
        yield WithJsonSchema({"type": "string", "minLength": 1, "maxLength": self.max_length, "pattern": self.pattern})


Identifier = Annotated[UUID, PlainValidator(_identifier, json_schema_input_type=UUID)]
"""A UUID of any version in its canonical form, in upper or lower case."""

Email = Annotated[
    str,
    Strict(),
    MaxLen(MAX_EMAIL_BYTES),
    AfterValidator(validate_email),
    WithJsonSchema({"type": "string", "format": "idn-email", "minLength": 3, "maxLength": MAX_EMAIL_BYTES}),
]
"""An e-mail address."""

QueryBool = Annotated[bool | None, PlainValidator(_boolean, json_schema_input_type=bool)]
"""A boolean query parameter: `true` or `false`."""

InputDatetime = Annotated[
    datetime,
    PlainValidator(_input_datetime),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 32}),
]
"""A time in a request: RFC 3339 with any offset."""

_CursorText = Annotated[str, Field(min_length=CURSOR_LENGTH, max_length=CURSOR_LENGTH, pattern=CURSOR_PATTERN)]

Limit = Annotated[
    int,
    PlainValidator(
        _limit, json_schema_input_type=Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE, json_schema_extra=_INT32)]
    ),
    Query(description="Maximum number of items on the page.", examples=[20]),
]
"""The maximum number of items on a page."""

Cursor = Annotated[
    str | None,
    PlainValidator(_cursor, json_schema_input_type=_CursorText),
    Query(
        description="`next_cursor` of the previous page, with the same filters. By default the first page.",
        examples=[EXAMPLE_CURSOR],
    ),
]
"""The start of a page."""

NextCursor = Annotated[
    _CursorText | None,
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
        le=2_147_483_647,
        json_schema_extra=_INT32,
        description="Starts at 1 and increases by 1 with each change; the ETag contains it.",
    ),
]


def request_body(**example: Any) -> ConfigDict:
    """Return the configuration of a request body with this example: unknown fields are rejected."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


def response_body(example: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a response body with this example."""
    return ConfigDict(json_schema_extra={"examples": [example]})
