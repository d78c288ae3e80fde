"""The table of `hexapost keys list`."""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.api_keys import ApiKey

HEADER = ("ID", "NAME", "SCOPES", "USER", "CREATED", "EXPIRES", "LAST USED", "STATE", "PEPPER")
TERMINAL_COLUMNS = ((0, 1, 3), (2,), (4, 5, 6), (7, 8))
"""The fields of each column on a terminal, one below the other. They fit 80 characters."""
SCRIPT_WIDTH = 10_000
"""More than the longest line."""
STYLES = {"live": "green", "expired": "yellow", "revoked": "red"}


def api_key_table(keys: Iterable[ApiKey], now: datetime, console: Console) -> str:
    """Return a line for each key for scripts, or several lines for each key on a terminal."""
    columns = TERMINAL_COLUMNS if console.is_terminal else tuple((field,) for field in range(len(HEADER)))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 1, 0) if console.is_terminal else (0, 2, 0, 0))
    for column in columns:
        table.add_column("\n".join(HEADER[field] for field in column), overflow="fold", header_style="bold")
    rows = [_row(key, now) for key in keys]
    for row in rows:
        if console.is_terminal:
            row[2].plain = row[2].plain.replace(",", "\n")
        table.add_row(*(Text("\n").join(row[field] for field in column) for column in columns))
    if not console.is_terminal:
        console.width = SCRIPT_WIDTH
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def expiry_text(at: datetime | None) -> str:
    """Return when a key expires, as a part of a sentence."""
    return "does not expire" if at is None else f"expires at {_format_timestamp(at)}"


def _row(key: ApiKey, now: datetime) -> list[Text]:
    state = "revoked" if key.revoked_at is not None else "live" if key.is_active(now) else "expired"
    return [
        Text(str(key.id)),
        Text(key.name),
        Text(",".join(sorted(key.scopes))),
        Text("-" if key.user_id is None else str(key.user_id)),
        *(Text(_format_timestamp(at)) for at in (key.created_at, key.expires_at, key.last_used_at)),
        Text(state, style=STYLES[state]),
        Text(str(key.secret_hash.pepper)),
    ]


def _format_timestamp(at: datetime | None) -> str:
    """Return a time in UTC to the second, or a dash for None."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
