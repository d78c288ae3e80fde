"""The command `hexapost settings`: lists the settings by group, with their defaults and bounds."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from typer import Option

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

GROUPS = {
    "Server": r"host|port|root_path|workers|log_.+",
    "Limits": r"max_.+|(header|body|request|export|write)_timeout_seconds|rate_limit.*",
    "Database": r"database_url|db_.+",
    "Security": r"cursor_secret|api_key_.+|cors_origins",
    "Retention": r"idempotency_.+|.+_retention_days|purge_.+",
    "Files": r".+_directory",
}
"""The groups of settings: a pattern of the field names for each title."""


def settings(
    *, markdown: Annotated[bool, Option("--markdown", help="Print the tables of docs/configuration.md.")] = False
) -> None:
    """List all settings with defaults and bounds, as a template of `.env`. Values in use are not printed."""
    print("\n".join(markdown_tables() if markdown else dotenv_lines()).rstrip())  # noqa: T201 - the result of the command


def markdown_tables() -> Iterable[str]:
    """Return the lines of one table for each group."""
    for title, fields in _grouped():
        yield from [f"### {title}", "", "| variable | default | bounds | meaning |", "|---|---|---|---|"]
        for name, default, bounds, field in fields:
            yield f"| `{name}` | {f'`{default}`' if default else '-'} | {bounds or '-'} | {field.description} |"
        yield ""


def dotenv_lines() -> Iterable[str]:
    """Return each setting as a comment line, below its meaning."""
    for title, fields in _grouped():
        yield f"## {title}"
        for name, default, bounds, field in fields:
            yield f"# {field.description}{f' ({bounds})' if bounds else ''}"
            yield f"#{name}={default}"


def _grouped() -> Iterable[tuple[str, list[tuple[str, str, str, "FieldInfo"]]]]:
    from adapters.settings import Settings, variable

    for title, pattern in GROUPS.items():
        names = [name for name in Settings.model_fields if re.fullmatch(pattern, name)]
        fields = [(name, Settings.model_fields[name]) for name in names]
        yield title, [(variable(name), _default(field), _bounds(field), field) for name, field in fields]


def _default(field: "FieldInfo") -> str:
    value = field.default
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _bounds(field: "FieldInfo") -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    bounds = {type(bound): bound for bound in field.metadata}
    match bounds.get(Ge), bounds.get(Gt), bounds.get(Le), bounds.get(MinLen):
        case Ge(ge=low), _, Le(le=high), _:
            return f"{low} to {high}"
        case None, Gt(gt=low), Le(le=high), _:
            return f"above {low}, at most {high}"
        case _, _, _, MinLen(min_length=length):
            return f"at least {length} byte{'' if length == 1 else 's'}"
        case _:
            return ""
