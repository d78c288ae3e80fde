"""Arguments of several commands. Error messages never repeat a value, because it may be a key."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from typer import BadParameter, Option

from application.api_key_tokens import API_KEY_PREFIX

Embedded = Annotated[
    bool, Option("--embedded", help="Without DATABASE_URL, start a local PostgreSQL in the state directory.")
]

MAX_DURATION = timedelta(days=36_525)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,10})([smhdw])", re.ASCII)
# A leaked key can be truncated or redacted after its ID.
_KEY = re.compile(rf"{API_KEY_PREFIX}([0-9a-f]{{32}})(_\S*)?", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Return a duration such as `90d` or `12h`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise BadParameter("must be an integer and a unit (s, m, h, d or w), such as 90d or 12h")
    try:
        duration = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > MAX_DURATION:
        raise BadParameter("must be at most 100 years")
    return duration


def parse_datetime(text: str) -> datetime:
    """Return a time in UTC."""
    try:
        time = datetime.fromisoformat(text.upper())
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # such as February 30
    raise BadParameter("must be an RFC 3339 time, such as 2030-01-31T12:00:00Z")


def parse_id(text: str) -> UUID:
    """Return an ID, with or without dashes."""
    try:
        return UUID(text)
    except ValueError:
        raise BadParameter("must be an ID, such as 0193e0b8-7f6a-7c3d-9b1e-2f4a6c8d0e1f") from None


def parse_id_or_key(text: str) -> UUID:
    """Return an ID, or the ID in an API key."""
    found = _KEY.fullmatch(text.strip())
    return parse_id(found[1] if found else text.strip())


def remove_values(message: str, arguments: Sequence[str]) -> str:
    """Return an error message in one line, without the values that typer quotes."""
    values = {value for argument in arguments for value in (argument, argument.partition("=")[2])}
    for value in sorted(values, key=len, reverse=True):
        if value and not value.startswith("-"):
            message = message.replace(repr(value), "'…'")
    message = re.sub(r"(unexpected extra argument)\S* \(.*\)", r"\1", message, flags=re.DOTALL)
    return " ".join(message.replace("Value error, ", "").split())
