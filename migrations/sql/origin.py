"""Marks the code that issues a statement, for the linter and the lock trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum, auto


class StatementOrigin(Enum):
    """The code that issues a statement."""

    RUNNER = auto()
    """Alembic and the runner: version table, time limits, checkpoints."""
    REVISION = auto()
    SAFE_OPERATION = auto()


_origin = ContextVar("statement_origin", default=StatementOrigin.RUNNER)


@contextmanager
def statements_from(origin: StatementOrigin) -> Iterator[None]:
    """Mark the statements of the block as issued by `origin`."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


def statement_origin() -> StatementOrigin:
    """Return the origin of the statements that run now."""
    return _origin.get()
