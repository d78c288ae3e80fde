"""The system clock and the generator of IDs."""

from datetime import UTC, datetime
from uuid import UUID

from uuid_utils import compat


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562 section 5.7) that is greater than all earlier ones of this process."""
    return compat.uuid7()
