"""What is written down of an error that nobody expected: of which kind it is, and where it came from.

Neither messages nor values: they may hold what people wrote, or what the database said.
"""

import traceback


def kinds(error: BaseException) -> str:
    """Return the class of the error and, after it, those of the errors it arose from."""
    names = []
    found: BaseException | None = error
    while found is not None:
        names.append(f"{type(found).__module__}.{type(found).__qualname__}")
        found = found.__cause__ or found.__context__
    return " from ".join(names)


def places(error: BaseException) -> list[str]:
    """Return the places that the error came through, the innermost last."""
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
