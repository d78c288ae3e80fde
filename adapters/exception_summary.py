"""Summaries of unexpected exceptions for the log: types and locations only.

Messages and values are left out, because they may contain input or database text.
"""

import traceback


def exception_types(error: BaseException) -> str:
    """Return the type of an exception, followed by the types of its causes."""
    names = []
    found: BaseException | None = error
    while found is not None:
        names.append(f"{type(found).__module__}.{type(found).__qualname__}")
        found = found.__cause__ or found.__context__
    return " from ".join(names)


def traceback_locations(error: BaseException) -> list[str]:
    """Return the locations in the traceback, the innermost last."""
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
