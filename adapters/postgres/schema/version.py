"""Reads the applied revisions of a database."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, Text, column, func, literal_column, select, table

from adapters.postgres.pool import Database
from adapters.postgres.session import PgSession
from adapters.postgres.sqlstate import sqlstate_of
from application.ports import TransientStorageError

_APPLIED = select(column("version_num", Text)).select_from(table("alembic_version"))
_RECORD = select(func.obj_description(literal_column("'alembic_version'::regclass"), literal_column("'pg_class'")))
_UNDEFINED_TABLE = "42P01"


class SchemaUnreadableError(TransientStorageError):
    """The schema version cannot be read, for example because of a missing privilege.

    The message contains the SQLSTATE, but no database text.
    """

    def __init__(self, error: Exception) -> None:
        state = sqlstate_of(error)
        super().__init__(f"cannot read schema version ({f'SQLSTATE {state}' if state else type(error).__name__})")


async def applied_revisions(database: Database) -> frozenset[str]:
    """Return the latest applied revisions, without their ancestors. The set is empty for an empty database.

    Raises a TransientStorageError if the database is unavailable.
    """
    return frozenset(str(row[0]) for row in await _query(database, _APPLIED))


async def record_of_revisions(database: Database) -> str:
    """Return the record of all applied revisions that the last migration wrote.

    Raises a TransientStorageError if the database is unavailable.
    """
    return "".join(str(row[0] or "") for row in await _query(database, _RECORD))


async def _query(database: Database, statement: Select[Any]) -> Sequence[Any]:
    """Return the rows of a query, or no rows if the table does not exist."""
    session = PgSession(database, readonly=True)
    try:
        rows = await session.fetch(statement, {})
    except BaseException as error:
        await session.rollback()
        if getattr(error, "sqlstate", None) == _UNDEFINED_TABLE:
            return []
        if isinstance(error, Exception) and not isinstance(error, TransientStorageError):
            raise SchemaUnreadableError(error) from error
        raise
    await session.commit()
    return rows
