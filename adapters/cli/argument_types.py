"""Types of command-line arguments. Error messages never repeat a value, because it may be a key."""

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.api_keys import Scope

MAX_DURATION = timedelta(days=36_525)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,10})([smhdw])", re.ASCII)
# RFC 3339 section 5.6
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_ID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
# A leaked key can be truncated or redacted after its ID.
_KEY = re.compile(r"hexa_([0-9a-f]{32})(_\S*)?", re.ASCII)


def parse_scope(text: str) -> Scope:
    """Return the scope with this name."""
    try:
        return Scope(text)
    except ValueError:
        raise ArgumentTypeError(f"unknown scope; valid scopes: {', '.join(Scope)}") from None


def parse_duration(text: str) -> timedelta:
    """Return a duration such as `90d` or `12h`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ArgumentTypeError("must be an integer and a unit (s, m, h, d or w), such as 90d or 12h")
    try:
        duration = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > MAX_DURATION:
        raise ArgumentTypeError("must be at most 100 years")
    return duration


def parse_datetime(text: str) -> datetime:
    """Return a time in UTC."""
    try:
        if _DATETIME.fullmatch(text.upper()):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # such as February 30
    raise ArgumentTypeError("must be an RFC 3339 time, such as 2030-01-31T12:00:00Z")


def parse_id(text: str) -> UUID:
    """Return an ID, with or without dashes."""
    if _ID.fullmatch(text) is None:
        raise ArgumentTypeError("must be an ID, such as 0193e0b8-7f6a-7c3d-9b1e-2f4a6c8d0e1f")
    return UUID(text)


def parse_id_or_key(text: str) -> UUID:
    """Return an ID, or the ID in an API key."""
    found = _KEY.fullmatch(text.strip())
    return parse_id(found[1] if found else text.strip())
