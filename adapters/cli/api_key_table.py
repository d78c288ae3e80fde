"""Prints API keys as a table."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from domain.api_keys import ApiKey

_HEADER = ("ID", "NAME", "SCOPES", "USER", "CREATED", "EXPIRES", "LAST USED", "STATE", "PEPPER")


def api_key_table(keys: Iterable[ApiKey], now: datetime) -> str:
    """Return a header line and a line for each key, in aligned columns."""
    rows = [_HEADER, *(_row(key, now) for key in keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def key_status(key: ApiKey, now: datetime) -> str:
    """Return `live`, `expired` or `revoked`."""
    if key.revoked_at is not None:
        return "revoked"
    return "live" if key.is_active(now) else "expired"


def format_timestamp(at: datetime | None) -> str:
    """Return a time in UTC to the second, or a dash for None."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _row(key: ApiKey, now: datetime) -> tuple[str, ...]:
    return (
        str(key.id),
        key.name,
        ",".join(sorted(key.scopes)),
        "-" if key.user_id is None else str(key.user_id),
        format_timestamp(key.created_at),
        format_timestamp(key.expires_at),
        format_timestamp(key.last_used_at),
        key_status(key, now),
        str(key.secret_hash.pepper),
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
