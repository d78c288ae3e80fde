"""Time and ids of the machine."""

from datetime import UTC, datetime
from uuid import UUID

from uuid_utils import compat


def utc_now() -> datetime:
    """Return the present time, aware, in UTC."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562 section 5.7), greater than every one returned before in this process."""
    return compat.uuid7()
