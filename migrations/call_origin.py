"""Who has a statement run: a revision by itself, a safe operation, or neither (Alembic, what runs the revisions)."""

import sys
from collections.abc import Iterator
from typing import Any


def called_by_safe_operation() -> bool:
    """Tell whether a safe operation has it run: each of their statements, and no other, is a step."""
    return any(scope.get("__name__") == "migrations.operations.steps" for scope in _frames())


def called_by_revision() -> bool:
    """Tell whether a revision has it run, by an operation or not."""
    return any("down_revision" in scope for scope in _frames())


def _frames() -> Iterator[dict[str, Any]]:
    """Yield the globals of every function that is being called in this thread."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.currentframe is the same
    while frame is not None:
        yield frame.f_globals
        frame = frame.f_back  # type: ignore[assignment]
