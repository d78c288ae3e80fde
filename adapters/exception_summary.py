"""Summaries of exceptions for the log: types, locations and names of the database schema only.

Messages and values are left out, because they may contain input or database text.
"""

import re
import traceback
from collections.abc import Iterator, Mapping

TABLES_NOTE = "tables: "
"""The start of the note of an exception with the tables of its statement. The server does not always name them."""

_NAMES = re.compile(r"[\w$]+(?:, [\w$]+)*")


def exception_types(error: BaseException) -> str:
    """Return the type of an exception, followed by the types of its causes."""
    return " from ".join(f"{type(one).__module__}.{type(one).__qualname__}" for one in _causes(error))


def traceback_locations(error: BaseException) -> list[str]:
    """Return the locations in the traceback, the innermost last."""
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def database_fields(error: BaseException) -> Mapping[str, str]:
    """Return the SQLSTATE of the database error in an exception or its causes, and the names of table and constraint.

    The table is that of the violated constraint, otherwise those of the statement.
    """
    for cause in _causes(error):
        state = getattr(cause, "sqlstate", None)
        if isinstance(state, str):
            details = getattr(cause, "diag", cause)  # psycopg has a separate object for them
            notes = [note for note in getattr(cause, "__notes__", ()) if note.startswith(TABLES_NOTE)]
            tables = notes[0].removeprefix(TABLES_NOTE) if notes else None
            table, constraint = getattr(details, "table_name", None), getattr(details, "constraint_name", None)
            fields = {"sqlstate": state, "table": table or tables, "constraint": constraint}
            return {name: value for name, value in fields.items() if value and _NAMES.fullmatch(value)}
    return {}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
