"""Applies migrations."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache

import psycopg
from alembic import command
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import URL
from sqlalchemy.exc import StatementError

from adapters.postgres.connect_errors import ConnectError
from adapters.postgres.sqlstate import sqlstate_of, to_port_error
from migrations.runner.alembic_config import alembic_config, error_location
from migrations.runner.lock_retry import MigrationError
from migrations.runner.revisions import Phase

_REMEDIES = {
    "42501": "; the role needs the privilege CREATE on the schema, and must own its tables",
    "3F000": "; the schema does not exist",
}


@cache
def script_directory() -> ScriptDirectory:
    """Return the revisions of this release."""
    return ScriptDirectory.from_config(alembic_config())


def upgrade(url: URL, report: Callable[[str], None], phase: Phase | None = None, *, allow_unsafe: bool = False) -> None:
    """Apply all pending revisions of a phase, and report each in a line. Do not call it in an event loop.

    Without a phase, a database without revisions gets both phases, and others get phase expand.

    Raises StorageUnavailableError if the database is unreachable, and MigrationError if the migration fails. If the
    linter rejects a revision, nothing is applied, unless unsafe revisions are allowed.
    """
    try:
        command.upgrade(alembic_config(url=url, report=report, phase=phase, lint=not allow_unsafe), "heads")
    except (MigrationError, ConnectError):
        raise
    except Exception as error:
        state = sqlstate_of(error)
        is_about_file = getattr(error, "filename", None) is not None
        meaning = to_port_error(error, connection_lost=True) if state is None and not is_about_file else None
        raise meaning or MigrationError(_describe(error, state)) from error


def _describe(error: Exception, state: str | None) -> str:
    """Describe an error and its place in one line, without text of the database."""
    if isinstance(error.__cause__, ResolutionError):
        return f"the database has revision {error.__cause__.argument}, which this release lacks; use a later release"
    if isinstance(error, CommandError):
        return " ".join(str(error).split())
    if state is not None:
        reason = f"PostgreSQL reported SQLSTATE {state}"
        with suppress(KeyError):
            reason += f" ({psycopg.errors.lookup(state).__name__})"
        reason += _REMEDIES.get(state, "")
    elif isinstance(error, StatementError):  # its text has the statement and its parameters
        reason = type(error.orig).__name__
    else:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"{error_location(error)}: {reason}"
