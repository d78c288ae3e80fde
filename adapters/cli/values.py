"""The values that can be said on the command line; what is said of a wrong one never repeats it: it may be a key."""

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.keys import Scope

LONGEST = timedelta(days=36_525)
"""A hundred years."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,10})([smhdw])", re.ASCII)
# RFC 3339 section 5.6
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_ID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
# Of a key that leaked, more than the id may be blackened or cut off.
_KEY = re.compile(r"hexa_([0-9a-f]{32})(_\S*)?", re.ASCII)


def a_scope(text: str) -> Scope:
    """Return the scope of this name."""
    try:
        return Scope(text)
    except ValueError:
        raise ArgumentTypeError(f"there is no such scope; there are {', '.join(Scope)}") from None


def a_duration(text: str) -> timedelta:
    """Return how long `90d`, `12h` and the like are."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ArgumentTypeError("must be a whole number and its unit, s, m, h, d or w, such as 90d or 12h")
    try:
        duration = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > LONGEST:
        raise ArgumentTypeError("must be at most a hundred years")
    return duration


def a_moment(text: str) -> datetime:
    """Return the time, in UTC."""
    try:
        if _MOMENT.fullmatch(text.upper()):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # such as the 30th of February
    raise ArgumentTypeError("must be a time as in RFC 3339, such as 2030-01-31T12:00:00Z")


def an_id(text: str) -> UUID:
    """Return the id, which may lack its dashes."""
    if _ID.fullmatch(text) is None:
        raise ArgumentTypeError("must be an id, such as 0193e0b8-7f6a-7c3d-9b1e-2f4a6c8d0e1f")
    return UUID(text)


def an_id_or_key(text: str) -> UUID:
    """Return the id, or the one in a key."""
    found = _KEY.fullmatch(text.strip())
    return an_id(found[1] if found else text.strip())
