"""Which revisions of the schema the database has."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, Text, column, func, literal_column, select, table

from adapters.postgres.database import Database
from adapters.postgres.errors import sqlstate_of
from adapters.postgres.session import Session
from application.ports import TransientError

_APPLIED = select(column("version_num", Text)).select_from(table("alembic_version"))
_RECORD = select(func.obj_description(literal_column("'alembic_version'::regclass"), literal_column("'pg_class'")))
_UNDEFINED_TABLE = "42P01"


class SchemaUnreadableError(TransientError):
    """The database answers, but not with its revisions: the role may not read them, say, until somebody grants it.

    The message holds nothing that the database said but the SQLSTATE.
    """

    def __init__(self, error: Exception) -> None:
        state = sqlstate_of(error)
        super().__init__(f"in disorder: {f'SQLSTATE {state}' if state else type(error).__name__}")


async def applied_revisions(database: Database) -> frozenset[str]:
    """Return the revisions that were applied, those before them left out; none for an empty database.

    Raises a TransientError when the database cannot be asked now.
    """
    return frozenset(str(row[0]) for row in await _asked(database, _APPLIED))


async def record_of_revisions(database: Database) -> str:
    """Return the words in which the last migration named all revisions that were applied by then.

    Raises a TransientError when the database cannot be asked now.
    """
    return "".join(str(row[0] or "") for row in await _asked(database, _RECORD))


async def _asked(database: Database, question: Select[Any]) -> Sequence[Any]:
    """Return the rows of the answer, none from a table that is not there."""
    session = Session(database, readonly=True)
    try:
        rows = await session.fetch(question, {})
    except BaseException as error:
        await session.rollback()
        if getattr(error, "sqlstate", None) == _UNDEFINED_TABLE:
            return []
        if isinstance(error, Exception) and not isinstance(error, TransientError):
            raise SchemaUnreadableError(error) from error
        raise
    await session.commit()
    return rows
